package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/project-iris/iris/node"
)

// limit bounds each wait of a test. It is far more than any needs.
const limit = 30 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(orphansVariable) != "" {
		if err := makeOrphans(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	status := m.Run()
	if thePlace.dir != "" {
		os.RemoveAll(thePlace.dir)
	}
	os.Exit(status)
}

// thePlace has the program iris and the sockets of nodes.
var thePlace place

type place struct {
	once sync.Once
	dir  string
	err  error
}

// need makes the place unless that was done.
func (p *place) need(t *testing.T) {
	t.Helper()
	if p.once.Do(p.make); p.err != nil {
		t.Fatal(p.err)
	}
}

const placePrefix = "iris-hosts-" // then the process, and something that tells its places apart

func (p *place) make() {
	removeStale()
	// Nodes put no socket where temporary files go: others can change that.
	if p.dir, p.err = os.MkdirTemp("/run", fmt.Sprintf("%s%d-", placePrefix, os.Getpid())); p.err != nil {
		return
	}
	cmd := exec.Command("go", "build", "-C", "../..", "-trimpath", "-ldflags", "-s -w", "-o", p.iris(), "./cmd/iris")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		p.err = fmt.Errorf("build iris: %w: %s", err, output)
	}
}

// removeStale removes the places of processes that were killed.
func removeStale() {
	dirs, _ := filepath.Glob(filepath.Join("/run", placePrefix+"*"))
	for _, dir := range dirs {
		var pid int
		_, err := fmt.Sscanf(filepath.Base(dir), placePrefix+"%d-", &pid)
		if err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			os.RemoveAll(dir)
		}
	}
}

// iris returns the path of the program.
func (p *place) iris() string { return filepath.Join(p.dir, "iris") }

// start starts a node on h. Its sockets are its own.
func (p *place) start(t *testing.T, h *Host, flags ...string) *Node {
	t.Helper()
	n, err := h.StartNode(withLimit(t), p.iris(), withinPlace(t), flags...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// withinPlace makes a directory for sockets.
func withinPlace(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(thePlace.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// newLAN makes a LAN for a test, which is skipped where that cannot be unless
// IRIS_HOSTS is set.
func newLAN(t *testing.T, hosts int) *LAN {
	t.Helper()
	l, err := New(hosts)
	if errors.Is(err, ErrUnable) && os.Getenv("IRIS_HOSTS") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func withLimit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// status returns what the node of host i says of itself.
func (n *network) status(t *testing.T, i int) *node.Status {
	t.Helper()
	s := new(node.Status)
	if err := n.nodes[i].Status(withLimit(t), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// await waits until the status of node i is as wanted.
func (n *network) await(t *testing.T, i int, what string, wanted func(*node.Status) bool) {
	t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		s := n.status(t, i)
		if wanted(s) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %s is not so: %d other nodes, discovery %+v", n.nodes[i].Host.Name, what, len(s.Peers), s.Discovery)
		}
	}
}

func has(others int) func(*node.Status) bool {
	return func(s *node.Status) bool { return len(s.Peers) == others && s.State == "active" }
}

func (n *network) line(t *testing.T, i int, text string) string {
	t.Helper()
	line, err := n.nodes[i].Line(withLimit(t), text)
	if err != nil {
		t.Fatal(err)
	}
	return line
}
