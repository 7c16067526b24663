package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"
)

// A starter starts a process somewhere, such as (*exec.Cmd).Start here.
type starter func(*exec.Cmd) error

// A process is one that this program started, and that is killed when the
// context of its start ends.
type process struct {
	name     string
	cmd      *exec.Cmd
	in       io.WriteCloser // standard input, at whose end it ends; nil: a signal ends it
	out      *os.File       // standard output
	lines    *bufio.Reader  // of out
	stopping atomic.Bool
	ended    chan struct{} // closed when it has
}

// startProcess starts cmd, which was made with ctx, by calling start. If it ends
// before it is stopped, fail is told.
func startProcess(name string, cmd *exec.Cmd, start starter, hasInput bool, fail context.CancelCauseFunc) (p *process, err error) {
	p = &process{name: name, cmd: cmd, ended: make(chan struct{})}
	cmd.Stderr = os.Stderr
	endWithUs(cmd)
	if hasInput {
		if p.in, err = cmd.StdinPipe(); err != nil {
			return nil, err
		}
	}
	// Wait would close a StdoutPipe, and what was not yet read would be lost.
	var theirs *os.File
	if p.out, theirs, err = os.Pipe(); err != nil {
		return nil, err
	}
	p.lines = bufio.NewReader(p.out)
	cmd.Stdout = theirs
	err = start(cmd)
	theirs.Close()
	if err != nil {
		p.out.Close()
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		cmd.Wait()
		if !p.stopping.Load() {
			fail(fmt.Errorf("the %s ended before its time: %v", name, cmd.ProcessState))
		}
	}()
	return p, nil
}

// line returns the next line of the output.
func (p *process) line(ctx context.Context) (string, error) {
	text, err := p.lines.ReadString('\n')
	if err == nil {
		return text, nil
	}
	<-p.ended // what ends the output
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return "", err
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process and waits for that.
func (p *process) stop() {
	p.stopping.Store(true)
	if p.in != nil {
		p.in.Close()
	} else if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
		p.cmd.Process.Kill() // where there are no signals, and where it has ended
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		<-p.ended
	}
	p.out.Close()
}
