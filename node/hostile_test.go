package node

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

const (
	hostileMemory = 256 << 20       // --memory of the node
	hostileTime   = 4 * time.Second // of measuring in quiet, and again under attack
)

// TestHostilePrograms attacks a node, the real command in a process of its own,
// in every way a program can: huge prefixes, half frames, silence, floods, never
// reading, and a thousand sudden disconnects; in V0 also tunnels whose messages
// nobody takes, and surplus acknowledgements. Two programs that ask and answer
// meanwhile must hardly notice, and the process must stay within its memory.
func TestHostilePrograms(t *testing.T) {
	addr, pid := commandNode(t)
	service := dialRaw(t, addr, "echo")
	go func() {
		for {
			m, err := service.read()
			if err != nil {
				return
			}
			if m.Op == relaywire.Request {
				service.write(relaywire.Message{Op: relaywire.Reply, ID: m.ID, Body: m.Body})
			}
		}
	}()
	client := dialRaw(t, addr, "")
	probe := func() (count int, p99 time.Duration) {
		var took []time.Duration
		for started := time.Now(); time.Since(started) < hostileTime; {
			id, began := uint64(len(took)), time.Now()
			client.write(relaywire.Message{Op: relaywire.Request, ID: id, Name: []byte("echo"), Body: make([]byte, 128), Timeout: 10_000})
			m, err := client.read()
			if err != nil {
				t.Fatalf("request %d: %v", id, err)
			}
			if m.ID != id || m.TimedOut || m.Fault {
				t.Fatalf("request %d: came %+v", id, m)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return len(took), took[len(took)*99/100]
	}
	calm, quiet := probe()

	stop := make(chan struct{})
	finish := startAttack(t, addr)
	var peak int64
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				peak = max(peak, resident(pid))
			}
		}
	}()
	stormy, attacked := probe()
	close(stop)
	finish()
	<-watched

	t.Logf("p99 of %d requests in quiet %v, of %d under attack %v: %.1f times", calm, quiet, stormy, attacked, float64(attacked)/float64(quiet))
	if attacked > 10*quiet {
		t.Errorf("p99 under attack is %v, more than 10 times the %v in quiet", attacked, quiet)
	}
	t.Logf("memory at its peak: %d MB of %d MB", peak>>20, hostileMemory>>20)
	if peak > hostileMemory {
		t.Errorf("the node grew to %d MB, over its budget of %d MB", peak>>20, hostileMemory>>20)
	}
	probe() // the node serves on
}

// startAttack runs every attack in a process of its own, of lowest priority: what
// is measured is what hostile programs do to the node, not that they take
// processors from the programs they share the host with.
func startAttack(t *testing.T, addr string) (finish func()) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestAttacker$")
	cmd.Env = append(os.Environ(), "IRIS_TEST_ATTACK="+addr)
	stop, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := startIdle(cmd); err != nil {
		t.Fatal(err)
	}
	return func() {
		stop.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the attackers: %v\n%s", err, out.String())
		}
		for line := range strings.Lines(out.String()) {
			if strings.Contains(line, "turns of") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}

// TestAttacker is the other process of TestHostilePrograms.
func TestAttacker(t *testing.T) {
	addr := os.Getenv("IRIS_TEST_ATTACK")
	if addr == "" {
		t.Skip("started by TestHostilePrograms")
	}
	stop := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	var attackers sync.WaitGroup
	for name, attack := range attacks {
		attackers.Go(func() {
			for turns, refused := 1, 0; ; turns++ {
				switch err := attack(addr); {
				case errors.Is(err, errRefused):
					refused++
				case err != nil:
					t.Errorf("%s: %v", name, err)
					return
				}
				select {
				case <-stop:
					fmt.Printf("%d turns of %s, %d refused\n", turns, name, refused)
					return
				default:
				}
			}
		})
	}
	attackers.Wait()
}

// attacks are what hostile programs do, one turn each. An error is one of the
// test's own: what the node does to them is its business.
var attacks = map[string]func(addr string) error{
	"huge prefixes": func(addr string) error {
		for _, frame := range []string{
			"\x03\x04echo\x80\x80\x80\x80\x80\x80\x80\x80\x40",
			"\x04\x00\x04echo\xff\xff\xff\xff\x0f",
			"\x08\x80\x80\x80\x80\x20",
			"\x0c\x01\x05\x80\x80\x08",
			"\x03\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
		} {
			h, err := hostile(addr, "")
			if err != nil {
				return err
			}
			h.Write([]byte(frame))
			(&socketProgram{nc: h}).ended()
			h.Close()
		}
		return nil
	},
	"half frames": func(addr string) error {
		var held []net.Conn
		defer func() { closeAll(held) }()
		for i := range 100 {
			h, err := hostile(addr, "")
			if err != nil {
				return err
			}
			held = append(held, h)
			half := append([]byte("\x03\x04echo\x80\x80\x80\x10"), make([]byte, 100*i)...) // of 32 MiB
			h.Write(half)
		}
		time.Sleep(50 * time.Millisecond)
		return nil
	},
	"silence": func(addr string) error {
		var held []net.Conn
		defer func() { closeAll(held) }()
		for range 100 {
			h, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			held = append(held, h)
		}
		time.Sleep(50 * time.Millisecond)
		return nil
	},
	"flood": func(addr string) error {
		h, err := hostile(addr, "")
		if err != nil {
			return err
		}
		defer h.Close()
		m := relaywire.Message{Op: relaywire.Publish, Name: []byte("nobody listens"), Body: make([]byte, 100)}
		var burst []byte
		for range 500 {
			burst = m.AppendToNode(burst)
		}
		for range 20 {
			if _, err := h.Write(burst); err != nil {
				return nil
			}
			time.Sleep(time.Millisecond)
		}
		return nil
	},
	"never reading": func(addr string) error {
		var held []net.Conn
		defer func() { closeAll(held) }()
		for range 20 {
			h, err := hostile(addr, "sink")
			if err != nil {
				return err
			}
			held = append(held, h)
		}
		h, err := hostile(addr, "")
		if err != nil {
			return err
		}
		held = append(held, h)
		m := relaywire.Message{Op: relaywire.Broadcast, Name: []byte("sink"), Body: make([]byte, 12<<10)}
		for i := range 2000 {
			m.Body[0] = byte(i)
			if _, err := h.Write(m.AppendToNode(nil)); err != nil {
				return nil
			}
			if i%10 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		return nil
	},
	"sudden disconnects": func(addr string) error {
		for i := range 1000 {
			h, err := hostile(addr, "victims")
			if err != nil {
				return err
			}
			h.(*net.TCPConn).SetLinger(0) // a reset
			h.Close()
			if i%20 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		return nil
	},

	// V0 has tunnels that are full after a number of messages, however large.
	"v0 huge prefixes": func(addr string) error {
		for _, frame := range []string{
			"\x01\x04echo\x80\x80\x80\x80\x80\x80\x80\x80\x40",
			"\x02\x00\x04echo\xff\xff\xff\xff\x0f",
			"\x05\x80\x80\x80\x80\x20",
			"\x0a\x01\x81\x80\x80\x20",
			"\x0b\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
		} {
			h, err := attachSocket(relaywire.V0, addr, "older")
			if err != nil {
				return err
			}
			h.nc.Write([]byte(frame))
			h.ended()
			h.nc.Close()
		}
		return nil
	},
	"v0 half frames": func(addr string) error {
		var held []net.Conn
		defer func() { closeAll(held) }()
		for i := range 100 {
			h, err := attachSocket(relaywire.V0, addr, "older")
			if err != nil {
				return err
			}
			held = append(held, h.nc)
			h.nc.Write(append([]byte("\x0a\x01\x80\x80\x80\x10"), make([]byte, 100*i)...)) // of 32 MiB
		}
		time.Sleep(50 * time.Millisecond)
		return nil
	},
	"v0 flood that nobody takes": func(addr string) error {
		from, to, err := olderTunnel(addr, 128)
		if err != nil {
			return err
		}
		defer closeAll([]net.Conn{from.nc, to.nc})
		m := relaywire.Message{Op: relaywire.TunnelTransfer, ID: 1, Body: make([]byte, 100)}
		for free := 128; ; free++ {
			for ; free > 0; free-- {
				if from.write(m) != nil {
					return nil
				}
			}
			from.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if m, err := from.read(); err != nil || m.Op != relaywire.TunnelAllow {
				break // it is told to wait, and does not
			}
		}
		from.write(m)
		from.ended()
		return nil
	},
	"v0 large messages that nobody takes": func(addr string) error {
		from, to, err := olderTunnel(addr, 1)
		if err != nil {
			return err
		}
		defer closeAll([]net.Conn{from.nc, to.nc})
		m := relaywire.Message{Op: relaywire.TunnelTransfer, ID: 1, Body: make([]byte, 1<<20)}
		for range 128 {
			from.nc.SetWriteDeadline(time.Now().Add(time.Second))
			if from.write(m) != nil {
				break
			}
		}
		time.Sleep(50 * time.Millisecond)
		return nil
	},
	"v0 surplus acknowledgements": func(addr string) error {
		from, to, err := olderTunnel(addr, 1<<63)
		if err != nil {
			return err
		}
		defer closeAll([]net.Conn{from.nc, to.nc})
		var burst []byte
		for range 1000 {
			burst = relaywire.V0.AppendToNode(burst, &relaywire.Message{Op: relaywire.TunnelAllow, ID: 1})
		}
		to.nc.Write(burst)
		to.ended()
		return nil
	},
}

// olderTunnel attaches two programs of V0 with a tunnel between them, that both
// call 1 and of whose messages the acceptor takes so many.
func olderTunnel(addr string, takes uint64) (from, to *socketProgram, err error) {
	app := fmt.Sprint("older ", apps.Add(1))
	if to, err = attachSocket(relaywire.V0, addr, app); err != nil {
		return nil, nil, err
	}
	if from, err = attachSocket(relaywire.V0, addr, "older"); err != nil {
		to.nc.Close()
		return nil, nil, err
	}
	from.write(relaywire.Message{Op: relaywire.TunnelInit, ID: 1, Name: []byte(app), Size: 128, Timeout: 1000})
	to.nc.SetReadDeadline(time.Now().Add(time.Second))
	if m, err := to.read(); err == nil && m.Op == relaywire.TunnelInit {
		to.write(relaywire.Message{Op: relaywire.TunnelConfirm, ID: m.ID, Tunnel: 1, Size: takes})
		if m, err := from.read(); err == nil && m.Op == relaywire.TunnelResult && !m.TimedOut {
			return from, to, nil
		}
	}
	closeAll([]net.Conn{from.nc, to.nc})
	return nil, nil, errRefused
}

var (
	apps       atomic.Int64 // named so far
	errRefused = errors.New("the node builds no tunnel")
)

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

// hostile attaches a program that will not behave.
func hostile(addr, cluster string) (net.Conn, error) {
	p, err := attachSocket(relaywire.V1, addr, cluster)
	if err != nil {
		return nil, err
	}
	return p.nc, nil
}

// socketProgram is a program on the bare protocol that returns its errors.
type socketProgram struct {
	nc      net.Conn
	dialect relaywire.Dialect
	buf     []byte
}

func attachSocket(d relaywire.Dialect, addr, cluster string) (*socketProgram, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &socketProgram{nc: nc, dialect: d}
	hello := relaywire.Message{Op: relaywire.Init, Version: []byte(relaywire.VersionV0), Name: []byte(cluster)}
	if d == relaywire.V1 {
		hello.Magic, hello.Version = []byte(relaywire.ClientMagic), []byte(relaywire.Version)
	}
	p.write(hello)
	if _, err := p.read(); err != nil {
		nc.Close()
		return nil, fmt.Errorf("attach: %w", err)
	}
	return p, nil
}

func dialRaw(t *testing.T, addr, cluster string) *socketProgram {
	p, err := attachSocket(relaywire.V1, addr, cluster)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.nc.Close() })
	return p
}

func (p *socketProgram) write(m relaywire.Message) error {
	_, err := p.nc.Write(p.dialect.AppendToNode(nil, &m))
	return err
}

func (p *socketProgram) read() (relaywire.Message, error) {
	for {
		var m relaywire.Message
		if n, err := p.dialect.ParseToClient(&relaywire.DefaultLimits, p.buf, &m); err == nil {
			p.buf = p.buf[n:]
			return m, nil
		}
		in := make([]byte, 4096)
		n, err := p.nc.Read(in)
		if err != nil {
			return m, err
		}
		p.buf = append(p.buf, in[:n]...)
	}
}

// ended waits, for a second at most, until the node has ended the connection.
func (p *socketProgram) ended() {
	p.nc.SetReadDeadline(time.Now().Add(time.Second))
	io.Copy(io.Discard, p.nc)
}

// commandNode builds and starts the command as a node of its own, and ends it
// after the test.
func commandNode(t *testing.T) (addr string, pid int) {
	bin := filepath.Join(t.TempDir(), "iris")
	if out, err := exec.Command("go", "build", "-o", bin, "../cmd/iris").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	l.Close()
	cmd := exec.Command(bin, "node", "--dev", "--port", port, "--socket", "none", "--state", "none",
		"--memory", strconv.Itoa(hostileMemory), "--log-level", "error")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the node ended with %v", err)
		}
	})
	if !bufio.NewScanner(out).Scan() { // its own check has been answered
		t.Fatal("the node did not start")
	}
	return addr, cmd.Process.Pid
}

// resident returns the octets of memory a process has, where the system tells.
func resident(pid int) int64 {
	if runtime.GOOS != "linux" {
		return 0
	}
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}
