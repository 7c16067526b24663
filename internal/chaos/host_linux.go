package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/project-iris/iris/internal/hosts"
)

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
	meant   atomic.Bool // its end is
}

const nodePart = "node"

var programParts = []string{servicePart, clientPart}

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
	for _, part := range programParts {
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
		if !st.meant.Load() {
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
	st.meant.Store(true)
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
		for _, part := range programParts {
			ps = append(ps, h.programs[part].process)
		}
	}
	return ps
}
