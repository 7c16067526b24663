// Package memnet is a network in memory, for tests: a [Listener] and
// connections that behave like TCP on the loopback interface, without sockets,
// ports or a kernel.
//
// It blocks only in ways testing/synctest knows, so a whole server and its
// clients can run in a bubble where time is invented. Whatever is used in a
// bubble must be made in it.
package memnet

import (
	"fmt"
	"net"
	"sync"
	"syscall"
)

// Backlog is how many connections may wait for Accept; further calls to Dial
// block.
const Backlog = 128

// An Addr is the address of a listener or of one end of a connection.
type Addr string

// Network returns "mem".
func (Addr) Network() string { return "mem" }

// String returns the address itself.
func (a Addr) String() string { return string(a) }

// A Listener hands out the far ends of the connections made with its Dial
// method. All methods may be called concurrently.
type Listener struct {
	name Addr

	mu      sync.Mutex
	changed sync.Cond // pending or closed changed
	pending []*Conn
	dialled int // connections made so far, to tell their addresses apart
	closed  bool
}

// Listen returns a listener at the address name. Names are only labels: two
// listeners of one name do not know of each other.
func Listen(name string) *Listener {
	l := &Listener{name: Addr(name)}
	l.changed.L = &l.mu
	return l
}

// Addr returns the name the listener was made with, as an Addr.
func (l *Listener) Addr() net.Addr { return l.name }

// Dial connects to l and returns a *Conn. It does not wait for Accept unless
// Backlog connections do already. On a closed listener the error is
// syscall.ECONNREFUSED, wrapped.
func (l *Listener) Dial() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed && len(l.pending) >= Backlog {
		l.changed.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "dial", Net: l.name.Network(), Addr: l.name, Err: syscall.ECONNREFUSED}
	}
	l.dialled++
	near, far := pair(Addr(fmt.Sprintf("%s#%d", l.name, l.dialled)), l.name)
	l.pending = append(l.pending, far)
	l.changed.Broadcast()
	return near, nil
}

// Accept waits for the next connection and returns it as a *Conn. On a closed
// listener the error is net.ErrClosed, wrapped.
func (l *Listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed && len(l.pending) == 0 {
		l.changed.Wait()
	}
	if l.closed {
		return nil, l.closedError("accept")
	}
	c := l.pending[0]
	l.pending[0] = nil
	l.pending = l.pending[1:]
	l.changed.Broadcast()
	return c, nil
}

// Close stops the listener: calls to Accept and Dial return errors, and
// connections nobody has accepted are reset. Accepted ones live on.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return l.closedError("close")
	}
	l.closed = true
	l.changed.Broadcast()
	for _, c := range l.pending {
		c.abort()
	}
	l.pending = nil
	return nil
}

func (l *Listener) closedError(op string) error {
	return &net.OpError{Op: op, Net: l.name.Network(), Addr: l.name, Err: net.ErrClosed}
}
