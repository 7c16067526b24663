package node

import (
	"errors"
	"net"
	"runtime"
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
	"github.com/project-iris/iris/internal/session"
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
	loop    messaging.Loop // the loop's, but for the data plane
	plane   *messaging.Plane
	relay   *relay.Server
	tunnels tunnel.Stats
	network *network // nil: alone for good

	listeners []net.Listener
	addrs     []string
	admin     []*admin.Server
	adminAddr string // of the one over TCP; empty: none

	tasks    chan task
	attend   chan struct{} // the data plane has something to say to the loop
	tick     chan struct{} // the timers have become due sooner
	stop     chan struct{} // ends the loop and the timers
	running  sync.WaitGroup
	closing  sync.Once
	up       atomic.Bool
	open     atomic.Bool   // programs are served
	leaving  atomic.Bool   // Close was called
	refusals atomic.Uint64 // strangers at the Unix socket
	names    atomic.Uint64 // subscriptions refused: too many of one program
	refused  *session.Refusals
	events   events

	mu      sync.Mutex
	clients map[*Client]struct{} // nil: closed
	socket  *localsock.Listener  // nil: none
}

// A task is work for the loop. What it puts in n.loop.Out is effective when done is
// closed.
type task struct {
	run  func(now time.Time, b *queue.Batch)
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
		tasks:   make(chan task),
		attend:  make(chan struct{}, 1),
		tick:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		clients: make(map[*Client]struct{}),
		refused: session.NewRefusals(c.Log, c.Now),
	}
	n.refused.Tell = n.tellRefusal
	n.listeners = slices.Clone(c.Listeners)
	limits := relaywire.DefaultLimits
	limits.Body = c.MaxMessage
	n.plane = messaging.New(messaging.Config{
		Timers: wheel.NewTimers(n.started, func() { signal(n.tick) }),
		Budget: queue.NewBudget(c.Memory),
		Wake:   func() { signal(n.attend) },

		Network: c.Network,
		Workers: runtime.GOMAXPROCS(0),
	})
	n.loop.Plane = n.plane
	setup := core.Config{Limit: c.MaxPrograms}
	if !c.Dev {
		nw, err := newNetwork(n, &setup)
		if err != nil {
			return nil, err
		}
		n.network = nw
	}
	n.loop.Core = core.New(n.started, setup)
	n.relay = relay.NewServer(relay.Config{
		Plane:    n.plane,
		Control:  registry{n},
		Tunnels:  &n.tunnels,
		Limits:   limits,
		MaxConns: c.MaxPrograms,
		Log:      c.Log,
		Abroad:   n.abroad,
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
	n.running.Go(n.control) // first: Close asks it to leave the network
	n.running.Go(n.drive)
	if err := n.listen(); err != nil {
		n.Close()
		return err
	}
	if n.network != nil {
		n.network.start()
	}
	for _, l := range n.listeners {
		n.relay.Serve(l)
	}
	n.open.Store(true)
	return nil
}

// Close ends the node: programs get what waits for them and a Close with the
// reason Terminating, in-process clients ErrClosed. When it returns nothing of
// the node is running. Further calls do nothing.
func (n *Node) Close() error {
	n.closing.Do(func() {
		served := n.up.Swap(true) // so it cannot be started any more
		n.leaving.Store(true)
		if n.network != nil && served {
			n.network.drain()
		}
		n.closeListeners()
		n.closeClients()
		n.relay.Close(Terminating)
		if n.network != nil {
			n.network.close(served)
		}
		close(n.stop)
		n.running.Wait()
	})
	return nil
}

func (n *Node) closeListeners() {
	for _, s := range n.admin {
		s.Close()
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
			n.mu.Lock()
			n.socket = l
			n.mu.Unlock()
		}
	}
	for _, l := range n.listeners {
		n.addrs = append(n.addrs, l.Addr().String())
	}
	return n.listenAdmin()
}

func (n *Node) refuse(uid int) {
	n.refusals.Add(1)
	n.config.Log.Warn("a user was refused at the Unix socket: let it in with --socket-uid", "uid", uid)
}

// control is the control loop: it owns n.loop; everyone else goes through tasks or
// attend. It never touches payload.
func (n *Node) control() {
	const most = 64 // tasks a turn
	var b queue.Batch
	done := make([]chan struct{}, 0, most)
	timer := time.NewTimer(time.Millisecond)
	defer timer.Stop()
	for {
		var now time.Time
		select {
		case t := <-n.tasks:
			now = time.Now()
			t.run(now, &b)
			done = append(done, t.done)
		case <-n.attend:
			now = time.Now()
		case <-timer.C:
			now = time.Now()
			n.loop.Advance(now, &b)
		case <-n.stop:
			return
		}
		for more := true; more && len(done) > 0 && len(done) < most; {
			select {
			case t := <-n.tasks:
				t.run(now, &b)
				done = append(done, t.done)
			default:
				more = false
			}
		}
		n.loop.Settle(now, &b)
		if n.network != nil {
			n.network.carryOut(now, &b)
		}
		n.tellChanges(n.loop.Out.Changes)
		n.loop.Out.Reset()
		b.Flush()
		for _, d := range done {
			if d != nil {
				close(d)
			}
		}
		done = done[:0]
		if at := n.loop.Next(now); !at.IsZero() {
			timer.Reset(max(time.Until(at), time.Millisecond))
		} else {
			timer.Stop()
		}
	}
}

// do has the loop run f, and returns when what follows from it is effective. It
// reports false when the node is closed.
func (n *Node) do(f func(now time.Time, b *queue.Batch)) bool {
	t := task{f, make(chan struct{})}
	select {
	case n.tasks <- t:
		<-t.done
		return true
	case <-n.stop:
		return false
	}
}

// tell has the loop run f, and does not wait for that.
func (n *Node) tell(f func(now time.Time, b *queue.Batch)) {
	select {
	case n.tasks <- task{run: f}:
	case <-n.stop:
	}
}

// drive advances the timers. It is apart from the loop, so that deadlines hold
// whatever the loop does.
func (n *Node) drive() {
	var b queue.Batch
	timer := time.NewTimer(time.Millisecond)
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

// registry is the node as the relay sees it.
type registry struct{ n *Node }

func (c registry) Attach(conn *messaging.Conn) (err error) {
	n := c.n
	if !n.do(func(now time.Time, _ *queue.Batch) {
		if err = n.loop.Core.Attach(now, conn.ID, conn.Cluster, &n.loop.Out); err == nil {
			n.plane.Register(conn)
			n.tellProgram("program_attached", conn, "")
		}
	}) {
		return ErrClosed
	}
	return err
}

func (c registry) Subscribe(conn *messaging.Conn, topic []byte) (fresh bool, err error) {
	n := c.n
	if !n.do(func(now time.Time, _ *queue.Batch) {
		name := string(topic)
		if !conn.Affords(name) {
			err = queue.ErrMemory
			return
		}
		if fresh, err = n.loop.Core.Subscribe(now, conn.ID, name, &n.loop.Out); err == core.ErrNames {
			n.names.Add(1)
		}
	}) {
		return false, ErrClosed
	}
	return fresh, err
}

func (c registry) Unsubscribe(conn *messaging.Conn, topic []byte) (had bool, err error) {
	n := c.n
	if !n.do(func(now time.Time, _ *queue.Batch) {
		had = n.loop.Core.Unsubscribe(now, conn.ID, string(topic), &n.loop.Out)
	}) {
		return false, ErrClosed
	}
	return had, nil
}

func (c registry) Detach(conn *messaging.Conn, why string) {
	n := c.n
	n.do(func(now time.Time, _ *queue.Batch) {
		n.loop.Core.Detach(now, conn.ID, &n.loop.Out)
		n.tellProgram("program_ended", conn, why)
	})
	n.do(func(now time.Time, _ *queue.Batch) { n.plane.Forget(conn) })
}
