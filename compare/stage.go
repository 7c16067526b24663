package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A stage has the processes of the systems. Its methods are called one at a
// time.
type stage struct {
	ctx     context.Context // of all processes
	fail    context.CancelCauseFunc
	self    string // the path of this program
	dir     string
	cpuprof string
	iris    string // the path of the node's program, once built
	hubs    map[string]hub
	players map[system]players
	all     []*process // in the order of their start
}

// A hub is the process in the middle. Both transports of a fabric share it.
type hub struct {
	*process
	addresses map[string]string // by transport
}

// players are the processes of a system.
type players struct{ hub, service, client *process }

func newStage(ctx context.Context, cpuprof string) (*stage, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if cpuprof != "" {
		if cpuprof, err = filepath.Abs(cpuprof); err != nil {
			return nil, err
		}
	}
	dir, err := privateDir()
	if err != nil {
		return nil, err
	}
	s := &stage{self: self, dir: dir, cpuprof: cpuprof, hubs: make(map[string]hub), players: make(map[system]players)}
	s.ctx, s.fail = context.WithCancelCause(ctx)
	return s, nil
}

// privateDir makes a directory that nobody else can change, or the node would
// put no socket there: not where all temporary files go.
func privateDir() (string, error) {
	parent := "/run"
	if os.Geteuid() != 0 {
		var err error
		if parent, err = os.UserHomeDir(); err != nil {
			return "", err
		}
	}
	return os.MkdirTemp(parent, "iris-compare-")
}

// close ends all processes, those first that started last.
func (s *stage) close() {
	for i := len(s.all) - 1; i >= 0; i-- {
		s.all[i].stop()
	}
	s.fail(nil)
	os.RemoveAll(s.dir)
}

// start starts what a system consists of, unless it runs already.
func (s *stage) start(sys system) error {
	if _, ok := s.players[sys]; ok {
		return nil
	}
	h, ok := s.hubs[sys.Fabric]
	if !ok {
		var err error
		if h, err = s.startHub(sys.Fabric); err != nil {
			return err
		}
		s.hubs[sys.Fabric] = h
	}
	service, _, err := s.startRole(role{"service", sys, h.addresses[sys.Transport]})
	if err != nil {
		return err
	}
	client, _, err := s.startRole(role{"client", sys, h.addresses[sys.Transport]})
	if err != nil {
		return err
	}
	s.players[sys] = players{h.process, service, client}
	return nil
}

func (s *stage) startHub(fabric string) (h hub, err error) {
	socket := filepath.Join(s.dir, fabric+".sock")
	var address string
	if fabric == irisTCP.Fabric {
		h.process, address, err = s.startNode(socket)
	} else {
		h.process, address, err = s.startRole(role{"hub", system{Fabric: fabric}, socket})
	}
	h.addresses = map[string]string{"tcp": address, "unix": socket}
	return h, err
}

// startRole has a process of this program play r, and returns what it told when
// it was ready.
func (s *stage) startRole(r role) (*process, string, error) {
	return s.run(r.String(), exec.CommandContext(s.ctx, s.self, r.args()...), true)
}

// startNode starts a node, and returns where its relay listens.
func (s *stage) startNode(socket string) (*process, string, error) {
	if err := s.build(); err != nil {
		return nil, "", err
	}
	args := []string{"node", "--dev", "--port", "0", "--socket", socket, "--state", "none", "--log-level", "warn"}
	if s.cpuprof != "" {
		args = append(args, "--cpuprof", s.cpuprof)
	}
	p, check, err := s.run("iris node", exec.CommandContext(s.ctx, s.iris, args...), false)
	// A dev node that is ready tells: check: ... through HOST:PORT
	return p, check[strings.LastIndex(check, " ")+1:], err
}

// run starts a process and waits for its first line.
func (s *stage) run(name string, cmd *exec.Cmd, hasInput bool) (*process, string, error) {
	p, err := startProcess(name, cmd, hasInput, s.fail)
	if err != nil {
		return nil, "", err
	}
	s.all = append(s.all, p)
	line, err := p.line(s.ctx)
	return p, strings.TrimSpace(line), err
}

// build builds the program of the node as a release has it.
func (s *stage) build() error {
	root, err := s.goTool("list", "-m", "-f", "{{.Dir}}", "github.com/project-iris/iris")
	if err != nil {
		return err
	}
	s.iris = filepath.Join(s.dir, "iris")
	_, err = s.goTool("build", "-C", strings.TrimSpace(root), "-trimpath", "-ldflags", "-s -w", "-o", s.iris, "./cmd/iris")
	return err
}

// goTool runs the go command and returns what it wrote.
func (s *stage) goTool(args ...string) (string, error) {
	cmd := exec.CommandContext(s.ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, bytes.TrimSpace(problem.Bytes()))
	}
	return string(out), nil
}

// measure has the client of a started system measure for d.
func (s *stage) measure(m measurement, d time.Duration) (result, error) {
	p := s.players[m.system]
	text, err := json.Marshal(order{m.load, d, p.hub.pid(), p.service.pid()})
	if err != nil {
		return result{}, err
	}
	// A client that takes no order has ended: its output tells.
	p.client.in.Write(append(text, '\n'))
	line, err := p.client.line(s.ctx)
	if err != nil {
		return result{}, err
	}
	var a answer
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		return result{}, fmt.Errorf("the client answered %q: %w", line, err)
	}
	if a.Error != "" {
		return result{}, errors.New(a.Error)
	}
	return a.Result, nil
}
