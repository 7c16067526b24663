package link

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// Bounds of what may wait in a link (docs/messaging.md, Overflow).
const (
	laneLimit    = 16 << 10 << 10 // of a data lane, and one frame
	answerLimit  = 64 << 20       // of answers, which nothing else refuses
	controlLimit = 1 << 20        // of control, for controlPatience at most
	controlMost  = 4 << 20        // of control, at any time
	routedLimit  = 1 << 20        // of the lane of routed frames

	controlPatience = 2 * time.Second
	closeLimit      = 2 * time.Second // for what waits, and the other side's, when a link is closed
	toldLimit       = time.Second     // for the word that it ends at once
)

// A Lane is a queue of a link's data connection.
type Lane = wire.Lane

// Info is what the other node said of itself.
type Info struct {
	State    wire.State
	Addrs    []wire.Addr // whether they may be dialled has not been looked at
	Software string
	Caps     uint64
	Seen     netip.AddrPort // this node as the other sees it, if that accepted the link
}

// A Link is the connections to one other node. Its methods are safe for concurrent
// use; those that send never block and never call back.
type Link struct {
	// Value is the handler's own: set in Up, before anything else of the link comes,
	// and not changed after.
	Value any

	m       *Manager
	peer    ring.ID
	dialled bool
	addr    netip.AddrPort // dialled, or that of the dialler
	started time.Time
	info    Info
	rtt     atomic.Int64

	requests     *queue.Queue
	publications *queue.Queue
	bulk         bulk
	commands     *queue.Queue // the lane of control frames
	routed       *queue.Queue
	aging        aging // of requests

	former   *Link         // to the same node, which ends first
	greeted  chan struct{} // closed after Handler.Up
	gone     chan struct{} // closed after Handler.Down
	dialling chan struct{} // holds a token while something is dialled for the link
	ctx      context.Context
	cancel   context.CancelFunc

	control, data *role
	written       chan struct{} // closed when the data role has written all it will
	closeWritten  func()        // closes it, once
	asked         atomic.Bool   // for the data connection
	carrying      atomic.Bool   // it is up
	joins         joins

	mu        sync.Mutex
	id        uint64    // of the newest connections
	keyed     time.Time // when they came up
	phase     phase
	end       *Error // why it ends
	conns     []*conn
	fullSince time.Time   // the control lane has been over its limit
	timer     *time.Timer // ends what takes too long to end
	running   int         // goroutines
	beat      beat
	up        bool // Handler.Up was called
	admitted  bool // the first data connection has been taken
	renewing  bool
	renew     time.Time // not before
	octets    [2]uint64 // read and written on connections that were replaced
}

// A phase is where a link stands at its end.
type phase byte

const (
	open    phase = iota
	closing       // what waits is still written, what comes is still read
	dead
)

// A beat is the question after a sign of life that was sent last.
type beat struct {
	nonce uint64
	at    time.Time
}

func newLink(m *Manager, peer ring.ID, id uint64, addr netip.AddrPort) *Link {
	now := time.Now()
	l := &Link{
		m:            m,
		peer:         peer,
		id:           id,
		addr:         addr,
		started:      now,
		keyed:        now,
		greeted:      make(chan struct{}),
		dialling:     make(chan struct{}, 1),
		requests:     queue.New(m.Budget, laneLimit),
		publications: queue.New(m.Budget, laneLimit),
		commands:     queue.New(m.Budget, controlMost),
		routed:       queue.New(m.Budget, routedLimit),
		written:      make(chan struct{}),
		gone:         make(chan struct{}),
	}
	l.closeWritten = sync.OnceFunc(func() { close(l.written) })
	l.ctx, l.cancel = context.WithCancel(m.ctx)
	l.aging.expired = &m.Stats.Expired
	l.bulk.budget, l.bulk.earlier = m.Budget, l.publications
	l.joins.m = m
	l.control = newRole(l, "control", controlWrite,
		lane{source: &queued{Queue: l.commands}},
		lane{source: &queued{Queue: l.routed, room: routedLimit / 2}, weight: 1})
	l.data = newRole(l, "data", dataWrite,
		lane{source: &queued{Queue: l.requests, room: laneLimit / 2, aging: &l.aging}, weight: 4},
		lane{source: &queued{Queue: l.publications, room: laneLimit / 2}, weight: 2},
		lane{source: &l.bulk, weight: 1})
	return l
}

// Peer returns the id of the other node.
func (l *Link) Peer() ring.ID { return l.peer }

// Dialled reports whether this node dialled the link.
func (l *Link) Dialled() bool { return l.dialled }

// Info returns what the other node said of itself when the link came up.
func (l *Link) Info() Info { return l.info }

// Addr returns where the other node was dialled, or where it dialled from; none, if
// it has no address of the usual kind.
func (l *Link) Addr() netip.AddrPort { return l.addr }

// Started returns when the link came up.
func (l *Link) Started() time.Time { return l.started }

// Anchor returns which of the accepted network keys, in their order, vouches for the
// other node on the newest control connection.
func (l *Link) Anchor() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.control.in == nil {
		return 0
	}
	return l.control.in.Anchor()
}

// RTT returns how long the way there and back takes, by the beats of the last time;
// 0: nothing is known of it yet.
func (l *Link) RTT() time.Duration { return time.Duration(l.rtt.Load()) }

// Counters are what passed through a link, and what waits in it, in octets.
type Counters struct {
	Read, Written    uint64 // on the wire, what TLS adds included
	Control, Routed  int    // waiting
	Waiting          [wire.Lanes]int
	Moved            [wire.Lanes]uint64 // ever taken out of the lane by its writer
	DataConnectionUp bool
}

// Counters returns them as they are now.
func (l *Link) Counters() Counters {
	c := Counters{
		Control:          l.commands.Waiting(),
		Routed:           l.routed.Waiting(),
		Waiting:          [wire.Lanes]int{l.requests.Waiting(), l.publications.Waiting(), l.bulk.waiting()},
		Moved:            [wire.Lanes]uint64{l.requests.Handed(), l.publications.Handed(), l.bulk.handed()},
		DataConnectionUp: l.carrying.Load(),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Read, c.Written = l.octets[0], l.octets[1]
	for _, o := range l.conns {
		r, w := o.Wire()
		c.Read += r
		c.Written += w
	}
	return c
}

// Waiting returns how many octets wait in a lane.
func (l *Link) Waiting(lane Lane) int {
	switch lane {
	case wire.Requests:
		return l.requests.Waiting()
	case wire.Publications:
		return l.publications.Waiting()
	}
	return l.bulk.waiting()
}

// Moved returns how many octets the writer ever took out of a lane: what it took
// lately tells whether the other side reads.
func (l *Link) Moved(lane Lane) uint64 {
	switch lane {
	case wire.Requests:
		return l.requests.Handed()
	case wire.Publications:
		return l.publications.Handed()
	}
	return l.bulk.handed()
}

// name returns the id of the link's newest connections.
func (l *Link) name() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id
}

// rename notes the id of new connections, which are about to take the place of the
// others. It reports false if the link is at its end.
func (l *Link) rename(id uint64) bool {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.phase != open {
		return false
	}
	l.id, l.keyed = id, time.Now()
	l.m.peers[l.peer].last = id
	return true
}

// run starts the link on its first control connection.
func (l *Link) run(c *session.Conn) {
	l.commands.Open()
	l.routed.Open()
	if !l.control.begin(c) {
		c.NetConn().Close()
		l.finish()
	}
}

// greet tells the handler of the link.
func (l *Link) greet() {
	if l.former != nil {
		<-l.former.gone
		l.former = nil
	}
	l.mu.Lock()
	l.up = true
	anchor := l.control.in.Anchor()
	l.mu.Unlock()
	l.m.Stats.Anchors[anchor].Add(1)
	l.m.Log.Info("link is up", "node", l.peer, "addr", l.addr, "dialled", l.dialled, "anchor", anchor, "software", l.info.Software)
	l.m.Handler.Up(l)
	close(l.greeted)
}

// carry starts the data connection: what has waited for it leaves.
func (l *Link) carry(c *session.Conn) {
	if !l.data.begin(c) {
		c.NetConn().Close()
		return
	}
	l.requests.Open()
	l.publications.Open()
	l.bulk.uncork()
	l.carrying.Store(true)
	l.data.poke()
}

// exit notes that a goroutine has ended. With the last one the link ends.
func (l *Link) exit() {
	l.mu.Lock()
	l.running--
	last := l.running == 0
	l.mu.Unlock()
	if last {
		l.finish()
	}
}

// A conn is a connection of a link.
type conn struct {
	*session.Conn
	halves atomic.Int32 // of its reader and its writer, that have ended
}

// leave closes the connection when both its reader and its writer have left it.
func (l *Link) leave(c *conn) {
	if c.halves.Add(1) < 2 {
		return
	}
	l.mu.Lock()
	for i, o := range l.conns {
		if o == c {
			l.conns = append(l.conns[:i], l.conns[i+1:]...)
			r, w := c.Wire()
			l.octets[0] += r
			l.octets[1] += w
			break
		}
	}
	l.mu.Unlock()
	c.NetConn().Close() // the word that it ends has been said, or cannot be
}
