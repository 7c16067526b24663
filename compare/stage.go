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
	lan     lan    // of what is apart; not there unless it is needed
	hubs    map[system][]hub
	players map[system]players
	all     []*process // in the order of their start
}

// A hub is the process in the middle, or that of one host. Both transports of a
// fabric share it.
type hub struct {
	*process
	addresses map[string]string // by transport
}

// players are the processes of a system.
type players struct {
	hubs            []int // process ids
	service, client *process
}

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
	s := &stage{self: self, dir: dir, cpuprof: cpuprof, hubs: make(map[system][]hub), players: make(map[system]players)}
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
	if s.lan != (lan{}) {
		s.lan.close()
	}
	os.RemoveAll(s.dir)
}

// start starts what a system consists of, unless it runs already.
func (s *stage) start(sys system) error {
	if _, ok := s.players[sys]; ok {
		return nil
	}
	hubs, err := s.hubsOf(sys)
	if err != nil {
		return err
	}
	var p players
	for _, h := range hubs {
		p.hubs = append(p.hubs, h.pid())
	}
	near, far := hubs[0], hubs[0]
	startNear, startFar := (*exec.Cmd).Start, (*exec.Cmd).Start
	if sys.Apart {
		far = hubs[1]
		startNear, startFar = s.lan.on(0), s.lan.on(1)
	}
	if p.service, _, err = s.startRole(role{"service", sys, far.addresses[sys.Transport]}, startFar); err != nil {
		return err
	}
	if p.client, _, err = s.startRole(role{"client", sys, near.addresses[sys.Transport]}, startNear); err != nil {
		return err
	}
	s.players[sys] = p
	return nil
}

// hubsOf returns the hubs of a system, which it starts unless they run already.
func (s *stage) hubsOf(sys system) (hubs []hub, err error) {
	sys.Transport = ""
	hubs, ok := s.hubs[sys]
	if ok {
		return hubs, nil
	}
	if sys.Apart {
		hubs, err = s.startHubsApart(sys.Fabric)
	} else {
		hubs = make([]hub, 1)
		hubs[0], err = s.startHub(sys.Fabric)
	}
	s.hubs[sys] = hubs
	return hubs, err
}

func (s *stage) startHub(fabric string) (h hub, err error) {
	socket := filepath.Join(s.dir, fabric+".sock")
	var address string
	if fabric == irisTCP.Fabric {
		h.process, address, err = s.startNode(socket)
	} else {
		h.process, address, err = s.startRole(role{"hub", system{Fabric: fabric}, socket}, (*exec.Cmd).Start)
	}
	h.addresses = map[string]string{"tcp": address, "unix": socket}
	return h, err
}

// startRole has a process of this program play r, and returns what it told when
// it was ready.
func (s *stage) startRole(r role, start starter) (*process, string, error) {
	return s.run(r.String(), exec.CommandContext(s.ctx, s.self, r.args()...), start, true)
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
	p, check, err := s.run("iris node", exec.CommandContext(s.ctx, s.iris, args...), (*exec.Cmd).Start, false)
	// A dev node that is ready tells: check: ... through HOST:PORT
	return p, check[strings.LastIndex(check, " ")+1:], err
}

// run starts a process and waits for its first line.
func (s *stage) run(name string, cmd *exec.Cmd, start starter, hasInput bool) (*process, string, error) {
	p, err := startProcess(name, cmd, start, hasInput, s.fail)
	if err != nil {
		return nil, "", err
	}
	s.all = append(s.all, p)
	line, err := p.line(s.ctx)
	return p, strings.TrimSpace(line), err
}

// build builds the program of the node as a release has it, unless that was done.
func (s *stage) build() error {
	if s.iris != "" {
		return nil
	}
	root, err := s.goTool("list", "-m", "-f", "{{.Dir}}", "github.com/project-iris/iris")
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, "iris")
	if _, err = s.goTool("build", "-C", strings.TrimSpace(root), "-trimpath", "-ldflags", "-s -w", "-o", path, "./cmd/iris"); err == nil {
		s.iris = path
	}
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
	text, err := json.Marshal(order{m.load, d, p.hubs, p.service.pid()})
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
