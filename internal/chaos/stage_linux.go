package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/project-iris/iris/internal/hosts"
	"github.com/project-iris/iris/node"
)

// A stage has the hosts, with their nodes and programs.
type stage struct {
	options
	self string // this program
	lan  *hosts.LAN
	dir  string // sockets
	key  string
	all  []*host

	mu     sync.Mutex
	tails  map[string]*tail // histories, by program
	killed []string         // programs of which nothing more comes, and that was not told
	broken []broken         // processes that ended by themselves
}

// A host is one of the stage's. What disturbs it calls its methods, one at a time.
type host struct {
	*hosts.Host
	stage *stage
	dir   string // of its programs

	mu       sync.Mutex
	starts   map[string]int // by part; of the node too
	node     *nodeStart     // nil: not there
	programs map[string]*started
}

// A nodeStart is one start of a node.
type nodeStart struct {
	*hosts.Node
	*started
}

// started is a process, from its start to its end.
type started struct {
	name    string // of this start, such as host3.node.2
	process *hosts.Process
	mu      sync.Mutex
	meant   bool // its end is
}

const nodePart = "node"

func newStage(o options) (s *stage, err error) {
	s = &stage{options: o, tails: make(map[string]*tail)}
	if s.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if s.lan, err = hosts.New(o.Hosts); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	removeStale()
	// Nodes put no socket where temporary files go: others can change that.
	if s.dir, err = os.MkdirTemp("/run", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid())); err != nil {
		return nil, err
	}
	if s.Iris == "" {
		s.Iris = filepath.Join(s.History, "iris")
		if err := build(s.Iris, o.Race); err != nil {
			return nil, err
		}
	}
	s.key = filepath.Join(s.dir, "iris.key")
	if output, err := exec.Command(s.Iris, "keygen", s.key).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("keygen: %w: %s", err, output)
	}
	for _, h := range s.lan.Hosts {
		dir := filepath.Join(s.History, h.Name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		s.all = append(s.all, &host{Host: h, stage: s, dir: dir, starts: make(map[string]int), programs: make(map[string]*started)})
	}
	return s, nil
}

const dirPrefix = "iris-chaos-" // then the process, and something that tells its runs apart

// removeStale removes the directories of processes that were killed.
func removeStale() {
	dirs, _ := filepath.Glob(filepath.Join("/run", dirPrefix+"*"))
	for _, dir := range dirs {
		var pid int
		_, err := fmt.Sscanf(filepath.Base(dir), dirPrefix+"%d-", &pid)
		if err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			os.RemoveAll(dir)
		}
	}
}

// build builds the node's program.
func build(path string, race bool) error {
	args := []string{"build", "-trimpath", "-o", path}
	cgo := "CGO_ENABLED=0"
	if race {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(args, "github.com/project-iris/iris/cmd/iris")...)
	cmd.Env = append(os.Environ(), cgo)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build iris: %w: %s", err, output)
	}
	return nil
}

// close ends everything.
func (s *stage) close() {
	s.lan.Close()
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}

// startNode starts the node of the host, which tells programs where it is.
func (h *host) startNode(ctx context.Context) error {
	s := h.stage
	h.mu.Lock()
	defer h.mu.Unlock()
	h.starts[nodePart]++
	name := fmt.Sprintf("%s.%s.%d", h.Name, nodePart, h.starts[nodePart])
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	flags := []string{"--net", "chaos", "--key", s.key, "--drain", "2s", "--discover", s.Discover}
	if s.Discover == "none" {
		for _, seed := range s.all[:seeds] {
			if seed != h {
				flags = append(flags, "--peer", seed.IPv4.String())
			}
		}
	}
	n, err := h.StartNode(ctx, s.Iris, dir, flags...)
	if err != nil {
		return err
	}
	h.node = &nodeStart{n, s.watch(name, n.Process)}
	return h.tell(fmt.Sprintf("%s %s", name, n.Socket))
}

// tell has programs find a node, or none.
func (h *host) tell(node string) error {
	path := filepath.Join(h.dir, nodeFile)
	if node == "" {
		return os.Remove(path)
	}
	if err := os.WriteFile(path+".new", []byte(node), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// startProgram starts a program of the host.
func (h *host) startProgram(part string) error {
	s := h.stage
	h.mu.Lock()
	defer h.mu.Unlock()
	h.starts[part]++
	p := program{part: part, name: fmt.Sprintf("%s.%s.%d", h.Name, part, h.starts[part]), dir: h.dir, hosts: s.Hosts, plant: s.Plant}
	if s.Plant == "" {
		p.plant = "nothing"
	}
	process, err := h.Start(exec.Command(s.self, p.args()...))
	if err != nil {
		return err
	}
	h.programs[part] = s.watch(p.name, process)
	s.mu.Lock()
	s.tails[p.name] = &tail{path: historyFile(h.dir, p.name)}
	s.mu.Unlock()
	return nil
}

// startAll starts what is not there.
func (h *host) startAll(ctx context.Context) error {
	if h.node == nil {
		if err := h.startNode(ctx); err != nil {
			return err
		}
	}
	for _, part := range []string{servicePart, clientPart} {
		if h.programs[part] == nil {
			if err := h.startProgram(part); err != nil {
				return err
			}
		}
	}
	return nil
}

// watch notes when a process ends that was not to.
func (s *stage) watch(name string, p *hosts.Process) *started {
	st := &started{name: name, process: p}
	go func() {
		err := p.Wait(context.Background())
		st.mu.Lock()
		meant := st.meant
		st.mu.Unlock()
		if !meant {
			s.breaks(staysUp, "%s ended by itself (%v); its last words:\n%s", name, err, tailOf(p.Output()))
		}
	}()
	return st
}

const (
	staysUp = "nodes and programs end when they are told to"
	noRaces = "a node has no data race"
)

// breaks notes a broken promise for the checker.
func (s *stage) breaks(promise, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = append(s.broken, broken{now(), promise, fmt.Sprintf(format, args...)})
}

// tailOf returns the last of a text.
func tailOf(text string) string { return text[max(0, len(text)-4000):] }

// mean says that the process is to end.
func (st *started) mean() *hosts.Process {
	st.mu.Lock()
	st.meant = true
	st.mu.Unlock()
	return st.process
}

// killNode kills the node.
func (h *host) killNode() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tell("")
	h.node.mean().Kill()
	h.left()
}

// left removes what a node leaves.
func (h *host) left() {
	os.RemoveAll(filepath.Join(h.stage.dir, h.node.name))
	h.logNode()
	h.node = nil
}

// logNode keeps what the node wrote.
func (h *host) logNode() {
	output := h.node.Output()
	os.WriteFile(filepath.Join(h.dir, h.node.name+".log"), []byte(output), 0o600)
	if _, race, found := strings.Cut(output, "DATA RACE"); found {
		h.stage.breaks(noRaces, "%s: %s", h.node.name, race[:min(len(race), 4000)])
	}
}

// drainNode has the node end in order.
func (h *host) drainNode(ctx context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tell("")
	if err := h.node.mean().Stop(ctx); err != nil {
		h.stage.breaks(staysUp, "%s was told to end in order: %v", h.node.name, err)
		h.node.process.Kill()
	}
	h.left()
}

func (h *host) killProgram(part string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.programs[part]
	p.mean().Kill()
	delete(h.programs, part)
	h.stage.mu.Lock()
	h.stage.killed = append(h.stage.killed, p.name)
	h.stage.mu.Unlock()
}

// processes returns the node, or that and the programs.
func (h *host) processes(all bool) []*hosts.Process {
	h.mu.Lock()
	defer h.mu.Unlock()
	ps := []*hosts.Process{h.node.process}
	if all {
		for _, part := range []string{servicePart, clientPart} {
			ps = append(ps, h.programs[part].process)
		}
	}
	return ps
}

// read has the checker take all that was written since the last time.
func (s *stage) read(c *checker) error {
	s.mu.Lock()
	names := make([]string, 0, len(s.tails))
	for name := range s.tails {
		names = append(names, name)
	}
	killed, broken := s.killed, s.broken
	s.killed, s.broken = nil, nil
	s.mu.Unlock()
	slices.Sort(names)
	for _, name := range names {
		s.mu.Lock()
		t := s.tails[name]
		s.mu.Unlock()
		if err := t.read(c.take); err != nil {
			return err
		}
	}
	for _, name := range killed {
		c.killed(name)
		s.mu.Lock()
		if f := s.tails[name].file; f != nil {
			f.Close()
		}
		delete(s.tails, name)
		s.mu.Unlock()
	}
	for _, b := range broken {
		c.broken(b.At, b.Promise, "%s", b.What)
	}
	return nil
}

// look asks the node of the host for its status, and the kernel for what it uses.
func (h *host) look(ctx context.Context) (u usage, s *node.Status, err error) {
	h.mu.Lock()
	n := h.node
	h.mu.Unlock()
	if n == nil {
		return u, nil, errNoNode
	}
	u = usage{Node: n.name, At: now()}
	s = new(node.Status)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := n.Status(ctx, s); err != nil {
		return u, nil, err
	}
	u.Goroutines, u.Payload, u.Gaps = s.Goroutines, s.Memory.Used, s.Dropped["messages declared lost to subscribers here"]
	if u.Files, err = descriptors(n.PID()); err != nil {
		return u, nil, err
	}
	u.Resident, err = resident(n.PID())
	return u, s, err
}

var errNoNode = errors.New("there is no node")

func descriptors(pid int) (int, error) {
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(names), err
}

// resident returns how many octets of memory a process has.
func resident(pid int) (octets int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &octets); err == nil {
			return octets << 10, nil
		}
	}
	return 0, fmt.Errorf("%w: VmRSS of process %d", fs.ErrNotExist, pid)
}

// rest has clients begin nothing new, or go on.
func (s *stage) rest(on bool) error {
	for _, h := range s.all {
		path := filepath.Join(h.dir, restFile)
		var err error
		if on {
			err = os.WriteFile(path, nil, 0o600)
		} else {
			err = os.Remove(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
