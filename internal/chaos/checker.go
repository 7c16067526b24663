package main

import (
	"fmt"
	"time"
)

// A checker compares what was promised with what programs wrote down and nodes
// counted. It may get the histories of different programs in any order, but each in
// its own, so what needs two of them is told at the end. It is for one goroutine.
type checker struct {
	Broken []broken // the first of them
	Count  int      // of all

	sessions map[string]*session
	current  map[string]*session // the last of each program
	requests requests
	streams  streams
	tunnels  tunnels
}

// mostBroken bounds what is listed: one promise breaks often.
const mostBroken = 100

// A broken promise.
type broken struct {
	At      int64  `json:"at"` // of the record that told, or 0
	Promise string `json:"promise"`
	What    string `json:"what"`
}

// A session is what a program has with its node, from one connection on to its end.
type session struct {
	name  string
	node  string // the start of a node
	ready bool
	over  bool
}

func newChecker() *checker {
	return &checker{
		sessions: make(map[string]*session),
		current:  make(map[string]*session),
		requests: newRequests(),
		streams:  newStreams(),
		tunnels:  newTunnels(),
	}
}

func (c *checker) broken(at int64, promise, format string, args ...any) {
	c.Count++
	if len(c.Broken) < mostBroken {
		c.Broken = append(c.Broken, broken{at, promise, fmt.Sprintf(format, args...)})
	}
}

// take takes the next record of a program.
func (c *checker) take(r *record) {
	s := c.session(r.Session)
	switch r.What {
	case attaching:
		s.node = r.Node
		c.current[programOf(s.name)] = s
	case ready:
		s.ready = true
	case detached:
		s.over = true
	case asked, answered, executed:
		c.requests.take(c, s, r)
	case published, heard:
		c.streams.take(c, s, r)
	case opening, unopened, opened, closing, ended:
		c.tunnels.take(c, s, r)
	}
}

func (c *checker) session(name string) *session {
	s := c.sessions[name]
	if s == nil {
		s = &session{name: name}
		c.sessions[name] = s
	}
	return s
}

// killed notes that the program which had a session was: it writes no more.
func (c *checker) killed(name string) {
	if s := c.current[name]; s != nil {
		s.over = true
	}
}

// finish looks at what can be told when nothing more comes: load has stopped, and
// everything has had the time it may take.
func (c *checker) finish() {
	c.requests.finish(c)
	c.streams.finish(c)
	c.tunnels.finish(c)
}

// seconds is for people.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// quiet tells whether all that was begun has ended.
func (c *checker) quiet() bool {
	for _, x := range c.requests.all {
		if x.session != nil && x.answers == 0 && !x.session.over {
			return false
		}
	}
	for _, x := range c.tunnels.all {
		for i := range x.sides {
			if x.sides[i].hangs() {
				return false
			}
		}
	}
	return true
}
