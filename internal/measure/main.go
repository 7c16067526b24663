// Measure builds the release binary and prints what an idle node costs: the time
// from process start to an open relay, memory, processor time, and the memory of
// an attached program that does nothing. Linux only; run it with "make measure".
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

const (
	starts   = 20
	idle     = 60 * time.Second
	programs = 1000
	ticks    = 100 // of processor time in a second, in /proc
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
}

func run() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("this reads /proc: run it on Linux")
	}
	dir, err := os.MkdirTemp("", "iris-measure")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "iris")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "./cmd/iris")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if info, err := os.Stat(bin); err == nil {
		fmt.Printf("release binary          %8.1f MB\n", float64(info.Size())/1e6)
	}

	times := make([]time.Duration, starts)
	for i := range times {
		n, err := start(bin)
		if err != nil {
			return err
		}
		times[i] = n.took
		n.stop()
	}
	slices.Sort(times)
	fmt.Printf("start to open relay     %8.1f ms   median of %d, %.1f to %.1f\n", ms(times[starts/2]), starts, ms(times[0]), ms(times[starts-1]))

	n, err := start(bin)
	if err != nil {
		return err
	}
	defer n.stop()
	time.Sleep(2 * time.Second) // past what only the start does
	used := n.processor()
	time.Sleep(idle)
	used = n.processor() - used
	fmt.Printf("idle node               %8.1f MB resident\n", float64(n.resident())/1e6)
	fmt.Printf("idle node               %8.3f %% of a core over %v\n", 100*used.Seconds()/idle.Seconds(), idle)

	before := n.resident()
	conns := make([]net.Conn, programs)
	for i := range conns {
		if conns[i], err = attach(n.addr); err != nil {
			return err
		}
		defer conns[i].Close()
	}
	time.Sleep(5 * time.Second)
	fmt.Printf("idle program            %8.1f KB resident, of %d attached\n", float64(n.resident()-before)/1e3/programs, programs)
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// node is a running node.
type node struct {
	cmd  *exec.Cmd
	addr string
	took time.Duration // from the start of the process to an open relay
}

func start(bin string) (*node, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	n := &node{addr: addr, cmd: exec.Command(bin, "node", "--dev", "--port", port, "--socket", "none", "--state", "none")}
	began := time.Now()
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	for time.Since(began) < 10*time.Second {
		if nc, err := net.Dial("tcp", addr); err == nil {
			n.took = time.Since(began)
			nc.Close()
			return n, nil
		}
		time.Sleep(200 * time.Microsecond)
	}
	n.stop()
	return nil, fmt.Errorf("the relay at %s did not open", addr)
}

func (n *node) stop() {
	n.cmd.Process.Signal(syscall.SIGTERM)
	n.cmd.Wait()
}

// resident returns the octets of memory the node has.
func (n *node) resident() int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	for line := range strings.Lines(string(b)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			v, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")), 10, 64)
			return v << 10
		}
	}
	return 0
}

// processor returns the processor time the node has used.
func (n *node) processor() time.Duration {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(b), ") ") // the name may hold blanks
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticks
}

// attach connects a program that is a member of nothing.
func attach(addr string) (net.Conn, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	init := relaywire.Message{Op: relaywire.Init, Magic: []byte(relaywire.ClientMagic), Version: []byte(relaywire.Version)}
	if _, err := nc.Write(init.AppendToNode(nil)); err != nil {
		return nil, err
	}
	var m relaywire.Message
	for in := make([]byte, 0, 256); ; {
		if _, err := relaywire.DefaultLimits.ParseToClient(in, &m); err == nil {
			return nc, nil
		}
		k, err := nc.Read(in[len(in):cap(in)])
		if err != nil {
			return nil, err
		}
		in = in[:len(in)+k]
	}
}
