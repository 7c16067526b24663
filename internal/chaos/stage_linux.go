package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/project-iris/iris/internal/hosts"
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

func newStage(o options) (s *stage, err error) {
	s = &stage{options: o, tails: make(map[string]*tail)}
	if s.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if s.lan, err = hosts.New(o.Hosts); err != nil {
		return nil, err
	}
	made := s
	defer func() {
		if err != nil {
			made.close()
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

// rest has clients begin nothing new.
func (s *stage) rest() error {
	for _, h := range s.all {
		if err := os.WriteFile(filepath.Join(h.dir, restFile), nil, 0o600); err != nil {
			return err
		}
	}
	return nil
}
