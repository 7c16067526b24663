package node

import (
	"bufio"
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
// reading, and a thousand sudden disconnects. Two programs that ask and answer
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
			for turns := 1; ; turns++ {
				if err := attack(addr); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				select {
				case <-stop:
					fmt.Printf("%d turns of %s\n", turns, name)
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
			h.SetReadDeadline(time.Now().Add(time.Second))
			for buf := make([]byte, 512); ; {
				if _, err := h.Read(buf); err != nil {
					break
				}
			}
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
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

// hostile attaches a program that will not behave.
func hostile(addr, cluster string) (net.Conn, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	r := &socketProgram{nc: nc}
	r.write(relaywire.Message{Op: relaywire.Init, Magic: []byte(relaywire.ClientMagic), Version: []byte(relaywire.Version), Name: []byte(cluster)})
	if _, err := r.read(); err != nil {
		nc.Close()
		return nil, fmt.Errorf("attach: %w", err)
	}
	return nc, nil
}

// socketProgram is a program on the bare protocol that returns its errors.
type socketProgram struct {
	nc  net.Conn
	buf []byte
}

func dialRaw(t *testing.T, addr, cluster string) *socketProgram {
	nc, err := hostile(addr, cluster)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &socketProgram{nc: nc}
}

func (p *socketProgram) write(m relaywire.Message) error {
	_, err := p.nc.Write(m.AppendToNode(nil))
	return err
}

func (p *socketProgram) read() (relaywire.Message, error) {
	for {
		var m relaywire.Message
		if n, err := relaywire.DefaultLimits.ParseToClient(p.buf, &m); err == nil {
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
