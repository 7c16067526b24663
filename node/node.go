package node

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/admin"
	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/localsock"
	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relay"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/tunnel"
	"github.com/project-iris/iris/internal/wheel"
)

// ErrClosed is what a node that does not run, and a client that has ended, says.
var ErrClosed = errors.New("node or client is closed")

// Terminating is the reason programs get when the node is closed.
const Terminating = "node terminating"

// A Node is one node. Its methods are safe for concurrent use.
type Node struct {
	config  Config
	started time.Time
	core    *core.Core // the loop's
	out     core.Output
	asks    messaging.Asks
	plane   *messaging.Plane
	relay   *relay.Server
	tunnels tunnel.Stats

	listeners []net.Listener
	addrs     []string
	admin     *admin.Server

	tasks    chan task
	attend   chan struct{} // the data plane has something to say to the loop
	tick     chan struct{} // the timers have become due sooner
	stop     chan struct{} // ends the loop and the timers
	running  sync.WaitGroup
	closing  sync.Once
	up       atomic.Bool
	refusals atomic.Uint64 // strangers at the Unix socket

	mu      sync.Mutex
	clients map[*Client]struct{} // nil: closed
}

// A task is work for the loop. What it puts in n.out is effective when done is
// closed.
type task struct {
	run  func(now time.Time)
	done chan struct{}
}

// New makes a node that is not started.
func New(c Config) (*Node, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	n := &Node{
		config:  c,
		started: time.Now(),
		core:    core.New(c.MaxPrograms),
		tasks:   make(chan task),
		attend:  make(chan struct{}, 1),
		tick:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		clients: make(map[*Client]struct{}),
	}
	n.listeners = slices.Clone(c.Listeners)
	limits := relaywire.DefaultLimits
	limits.Body = c.MaxMessage
	n.plane = messaging.New(messaging.Config{
		Timers: wheel.NewTimers(n.started, func() { signal(n.tick) }),
		Budget: queue.NewBudget(c.Memory),
		Wake:   func() { signal(n.attend) },
	})
	n.relay = relay.NewServer(relay.Config{
		Plane:    n.plane,
		Control:  control{n},
		Tunnels:  &n.tunnels,
		Limits:   limits,
		MaxConns: c.MaxPrograms,
		Log:      c.Log,
	})
	return n, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Start opens the relay and serves programs. A node is started once.
func (n *Node) Start() error {
	if !n.up.CompareAndSwap(false, true) {
		return errors.New("node was started before")
	}
	if err := n.listen(); err != nil {
		n.Close()
		return err
	}
	n.running.Go(n.loop)
	n.running.Go(n.drive)
	for _, l := range n.listeners {
		n.relay.Serve(l)
	}
	return nil
}

// Close ends the node: programs get what waits for them and a Close with the
// reason Terminating, in-process clients ErrClosed. When it returns nothing of
// the node is running. Further calls do nothing.
func (n *Node) Close() error {
	n.closing.Do(func() {
		n.up.Store(true) // so it cannot be started any more
		n.closeListeners()
		n.closeClients()
		n.relay.Close(Terminating)
		close(n.stop)
		n.running.Wait()
	})
	return nil
}

func (n *Node) closeListeners() {
	if n.admin != nil {
		n.admin.Close()
	}
	for _, l := range n.listeners {
		l.Close()
	}
}

// listen opens what the configuration asks for.
func (n *Node) listen() error {
	c := &n.config
	if c.Listeners == nil {
		tcp, missing, err := listenLoopback(c.Port)
		if err != nil {
			return err
		}
		n.listeners = tcp
		for _, err := range missing {
			c.Log.Warn("the relay serves one address family only", "error", err)
		}
	}
	if c.Socket != "" {
		l, err := localsock.Listen(c.Socket, localsock.Options{UIDs: c.SocketUIDs, Refused: n.refuse})
		if err != nil {
			c.Log.Warn("no Unix socket: programs use TCP", "error", err)
		} else {
			n.listeners = append(n.listeners, l)
		}
	}
	for _, l := range n.listeners {
		n.addrs = append(n.addrs, l.Addr().String())
	}
	if c.State != "" {
		s, err := admin.Serve(c.State, func() (any, error) { return n.Status() }, c.Log)
		if err != nil {
			return fmt.Errorf("admin socket: %w", err)
		}
		n.admin = s
	}
	return nil
}

func (n *Node) refuse(uid int) {
	n.refusals.Add(1)
	n.config.Log.Warn("a user was refused at the Unix socket: let it in with --socket-uid", "uid", uid)
}

// loop owns core, out and the loop's half of the data plane; everyone else goes
// through tasks or attend. It never touches payload.
func (n *Node) loop() {
	const most = 64 // tasks a turn
	var b queue.Batch
	done := make([]chan struct{}, 0, most)
	for {
		var now time.Time
		select {
		case t := <-n.tasks:
			now = time.Now()
			t.run(now)
			done = append(done, t.done)
		case <-n.attend:
			now = time.Now()
			n.plane.Attend(now, &b, &n.asks)
		case <-n.stop:
			return
		}
		for more := true; more && len(done) > 0 && len(done) < most; {
			select {
			case t := <-n.tasks:
				t.run(now)
				done = append(done, t.done)
			default:
				more = false
			}
		}
		n.plane.Apply(now, &b, n.out.Changes)
		clear(n.out.Changes)
		n.out.Changes = n.out.Changes[:0]
		b.Flush()
		for _, d := range done {
			close(d)
		}
		done = done[:0]
	}
}

// do has the loop run f, and returns when what follows from it is effective. It
// reports false when the node is closed.
func (n *Node) do(f func(now time.Time)) bool {
	t := task{f, make(chan struct{})}
	select {
	case n.tasks <- t:
		<-t.done
		return true
	case <-n.stop:
		return false
	}
}

// drive advances the timers. It is apart from the loop, so that deadlines hold
// whatever the loop does.
func (n *Node) drive() {
	var b queue.Batch
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-n.tick:
		case <-n.stop:
			return
		}
		now := time.Now()
		n.plane.Timers.Advance(now, func(owner any) {
			owner.(messaging.Expirer).Expire(now, &b)
		})
		b.Flush()
		if at, ok := n.plane.Timers.Next(); ok {
			timer.Reset(time.Until(at))
		} else {
			timer.Stop()
		}
	}
}

// control is the node as the relay sees it.
type control struct{ n *Node }

func (c control) Attach(conn *messaging.Conn) (err error) {
	n := c.n
	if !n.do(func(time.Time) {
		if err = n.core.Attach(conn.ID, conn.Cluster, &n.out); err == nil {
			n.plane.Register(conn)
		}
	}) {
		return ErrClosed
	}
	return err
}

func (c control) Subscribe(conn *messaging.Conn, topic []byte) (fresh bool, err error) {
	n := c.n
	if !n.do(func(time.Time) {
		name := string(topic)
		if !conn.Affords(name) {
			err = queue.ErrMemory
			return
		}
		fresh, err = n.core.Subscribe(conn.ID, name, &n.out)
	}) {
		return false, ErrClosed
	}
	return fresh, err
}

func (c control) Unsubscribe(conn *messaging.Conn, topic []byte) (had bool, err error) {
	n := c.n
	if !n.do(func(time.Time) { had = n.core.Unsubscribe(conn.ID, string(topic), &n.out) }) {
		return false, ErrClosed
	}
	return had, nil
}

func (c control) Detach(conn *messaging.Conn) {
	n := c.n
	n.do(func(time.Time) { n.core.Detach(conn.ID, &n.out) })
	n.do(func(time.Time) { n.plane.Forget(conn) })
}
