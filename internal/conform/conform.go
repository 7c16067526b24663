// Package conform is the conformance suite of relay protocol v1: what a
// program can see of a node, as cases that run against any node that can be
// dialled. It knows the protocol by docs/relay-v1.md, whose requirements are
// cited as R1 to R64, and shares its codec with the node, nothing else.
//
// Requirements are played by hand, message for message. Expectations are played by
// programs: the suite's own, or those of a library that an Attach function puts on
// the scene. OlderExpectations are those of programs that speak v0.
//
// The cases run in invented time on an in-memory network and over real
// sockets. Nothing in a case starts a goroutine that outlives it.
package conform

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A Node is the node under test, with nothing attached to it yet.
type Node struct {
	// Dial opens a new connection to the node's relay. The connection has a
	// method CloseWrite() error.
	Dial func() (net.Conn, error)

	// Attach plays Expectations on the programs of some library; nil: on the
	// suite's own.
	Attach Attach

	// Close ends the node in order, as SIGTERM does, and returns when it is
	// gone. Run allows it to be called more than once.
	Close func()

	virtual bool
}

// slack is how late something may be that the protocol wants within d: d in
// invented time, which passes only when nobody has anything left to do, and
// much more on a busy machine.
func (n *Node) slack(d time.Duration) time.Duration {
	if n.virtual {
		return d
	}
	return d + 3*time.Second
}

// An Env says where the cases run.
type Env struct {
	Start   func(t testing.TB) *Node // a fresh node; the suite closes it
	Virtual bool                     // invented time: each case in its own synctest bubble, on an in-memory network
	Meet    bool                     // the nodes of all cases would find each other: one at a time
}

// A Case is one behaviour.
type Case struct {
	Name string // unique, such as "R12 lost member"

	// Run fails t if n does not behave. When it returns, every connection it
	// opened is closed and no goroutine it started is running.
	Run func(t testing.TB, n *Node)

	// Timed cases depend on limits in real time. Over sockets they may fail on
	// a busy machine, and their rate of failure counts; in invented time they
	// must pass.
	Timed bool

	// virtual says why a case makes sense in invented time only; empty: it
	// runs over sockets too.
	virtual string

	// alone cases measure the process, in which no other case may run meanwhile.
	alone bool
}

// Run runs the cases as subtests named after them, each with a node of its own.
// Over sockets it leaves out what needs invented time. Most cases only wait, and run
// beside each other; over sockets those that depend on real time come first, alone.
func Run(t *testing.T, env Env, cases []Case) {
	for _, c := range cases {
		if c.virtual != "" && !env.Virtual {
			continue
		}
		one := func(t *testing.T) {
			n := env.Start(t)
			n.virtual = env.Virtual
			n.Close = sync.OnceFunc(n.Close)
			defer n.Close()
			c.Run(t, n)
		}
		t.Run(c.Name, func(t *testing.T) {
			if !c.alone && !env.Meet && (env.Virtual || !c.Timed) { // bubbles do not feel each other
				t.Parallel()
			}
			if env.Virtual {
				synctest.Test(t, one)
			} else {
				one(t)
			}
		})
	}
}
