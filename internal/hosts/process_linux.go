package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
)

// A Process is one on a host.
type Process struct {
	cmd   *exec.Cmd
	name  string
	done  chan struct{} // closed when it has ended and its output is there
	state error         // how it ended

	mu      sync.Mutex
	output  []byte
	changed chan struct{} // closed with the next output
}

// Start starts cmd on the host. Its standard output and standard error are the
// Process's. The kernel kills it when this process ends.
func (h *Host) Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{
		cmd:     cmd,
		name:    h.Name + ": " + strings.Join(cmd.Args[:min(2, len(cmd.Args))], " "),
		done:    make(chan struct{}),
		changed: make(chan struct{}),
	}
	cmd.Stdout, cmd.Stderr = p, p
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := h.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	h.processes.add(p)
	go func() {
		defer close(p.done)
		p.state = cmd.Wait()
	}()
	return p, nil
}

// Write adds to the output. It is for the process.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.output = append(p.output, b...)
	close(p.changed)
	p.changed = make(chan struct{})
	return len(b), nil
}

// Output returns what the process has written so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.output)
}

// Line waits for a line of the output that contains text, and returns it.
func (p *Process) Line(ctx context.Context, text string) (string, error) {
	seen := 0 // octets of lines without it
	for {
		ended := p.hasEnded() // before the look: then there is no more output after it
		p.mu.Lock()
		changed := p.changed
		for {
			i := bytes.IndexByte(p.output[seen:], '\n')
			if i < 0 {
				break
			}
			line := p.output[seen : seen+i]
			seen += i + 1
			if bytes.Contains(line, []byte(text)) {
				p.mu.Unlock()
				return string(line), nil
			}
		}
		p.mu.Unlock()
		if ended {
			return "", fmt.Errorf("%s ended (%v) without a line with %q; it wrote\n%s", p.name, p.state, text, p.Output())
		}
		select {
		case <-changed:
		case <-p.done:
		case <-ctx.Done():
			return "", fmt.Errorf("%s has no line with %q: %w; it wrote\n%s", p.name, text, ctx.Err(), p.Output())
		}
	}
}

func (p *Process) hasEnded() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Wait waits for the end of the process. The error is nil for exit status 0.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.state
	case <-ctx.Done():
		return fmt.Errorf("%s does not end: %w; it wrote\n%s", p.name, ctx.Err(), p.Output())
	}
}

// Kill ends the process without its doing, and waits for that.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the process to end, with SIGTERM, and waits for that. One that does
// not, or not with exit status 0, is an error.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return p.Wait(ctx)
}

// Freeze has the process stand still until Thaw.
func (p *Process) Freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw ends what Freeze did.
func (p *Process) Thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// processes are those of a host.
type processes struct {
	mu  sync.Mutex
	all []*Process
}

func (ps *processes) add(p *Process) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.all = append(ps.all, p)
}

// kill ends all of them.
func (ps *processes) kill() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.all {
		if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			panic(err) // a process of our own
		}
	}
	for _, p := range ps.all {
		<-p.done
	}
}
