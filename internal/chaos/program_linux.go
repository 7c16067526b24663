package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-iris/iris"
)

// A program is a process on a host that uses its node, and writes down what it does.
// This program starts it of itself, with the arguments
//
//	as PART NAME DIR HOSTS PLANT
//
// It attaches to the node that the file "node" in DIR names, as often as there is a
// new one or the connection is lost, and uses it as its part is until the connection
// ends. While there is a file "rest" in DIR it begins nothing new.
type program struct {
	part    string // service or client
	name    string // of this start of it, such as host3.client.2
	dir     string
	hosts   int
	plant   string // a promise that it breaks; for trying the checker
	history *history
}

const (
	servicePart = "service"
	clientPart  = "client"
)

func (p *program) args() []string {
	return []string{"as", p.part, p.name, p.dir, fmt.Sprint(p.hosts), p.plant}
}

// programFrom returns the program that the arguments of a process make it.
func programFrom(args []string) (p *program, ok bool) {
	if len(args) != 7 || args[1] != "as" {
		return nil, false
	}
	p = &program{part: args[2], name: args[3], dir: args[4], plant: args[6]}
	_, err := fmt.Sscan(args[5], &p.hosts)
	return p, err == nil
}

// host returns the name of its host.
func (p *program) host() string {
	host, _, _ := strings.Cut(p.name, ".")
	return host
}

// run uses nodes for ever.
func (p *program) run() error {
	var err error
	if p.history, err = newHistory(historyFile(p.dir, p.name)); err != nil {
		return err
	}
	for k := 1; ; k++ {
		name, socket := p.awaitNode()
		s := &attached{program: p, session: fmt.Sprintf("%s.%d", p.name, k), config: iris.Config{Address: socket}}
		s.write(record{What: attaching, Node: name})
		use := s.serve
		if p.part == clientPart {
			use = s.load
		}
		err := use()
		s.write(record{What: detached, Why: fmt.Sprint(err)})
		time.Sleep(100 * time.Millisecond)
	}
}

// resting tells whether nothing new is to begin.
func (p *program) resting() bool {
	_, err := os.Stat(filepath.Join(p.dir, restFile))
	return err == nil
}

const (
	nodeFile = "node" // start of a node, space, its socket
	restFile = "rest"
)

// awaitNode returns what nodeFile says once it is there.
func (p *program) awaitNode() (name, socket string) {
	for {
		text, err := os.ReadFile(filepath.Join(p.dir, nodeFile))
		if name, socket, ok := strings.Cut(string(text), " "); ok && err == nil {
			return name, socket
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// attached is a session of a program with a node.
type attached struct {
	*program
	session string
	config  iris.Config
}

// write writes r down, with the time and the attachment that it is of.
func (s *attached) write(r record) {
	r.At, r.Session = now(), s.session
	s.history.write(&r)
}

// now is the time of the machine's monotonic clock.
func now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // there is one
	}
	return t.Nano()
}

// endOf returns how a tunnel ended, by the error of its methods.
func endOf(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return endEOF
	case errors.Is(err, iris.ErrClosed):
		return endClosed
	case errors.Is(err, iris.ErrBroken):
		return endBroken
	case errors.Is(err, iris.ErrLost):
		return endLost
	}
	return endOther + ": " + err.Error()
}

// answerOf returns what the answer to a request was.
func answerOf(err error) string {
	var remote *iris.RemoteError
	switch {
	case err == nil:
		return replied
	case errors.As(err, &remote):
		return fault
	case errors.Is(err, iris.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return timedOut
	case errors.Is(err, iris.ErrLost), errors.Is(err, iris.ErrClosed):
		return lost
	}
	return endOther + ": " + err.Error()
}
