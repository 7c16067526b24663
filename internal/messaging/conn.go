package messaging

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wire"
)

// A Sink takes what is due to one program: the relay's connection, or a client
// in the node's own process. Its methods are called under a cell's lock unless
// they say otherwise: they append to the program's queue, add themselves to the
// batch if a flush is owed, and never block or call back. Octets passed in are
// valid during the call only.
type Sink interface {
	queue.Flusher

	// Request hands over a request that the program is to answer under id:
	// within timeout, as its requester gave it, of which left is left, both in
	// milliseconds. It returns the position of the request in the program's
	// queue. A program that has no room refuses, and has Conn.Relieved called
	// when it has some; so with Offer.
	Request(b *queue.Batch, id uint64, body []byte, timeout, left uint64) (pos uint64, err error)

	// Offer hands over a tunnel build that the program is to confirm under id.
	Offer(b *queue.Batch, id uint64) (pos uint64, err error)

	// Answer ends the program's own request id.
	Answer(b *queue.Batch, id uint64, out Outcome, body []byte)

	// Unbuilt ends the program's own tunnel build id: nobody confirmed it.
	Unbuilt(b *queue.Batch, id uint64, out Outcome)

	// Broadcast and Event hand over a broadcast, an event of a topic.
	Broadcast(b *queue.Batch, p queue.Payload) error
	Event(b *queue.Batch, topic []byte, p queue.Payload) error

	// Gap tells that messages are declared lost which would have come before what
	// comes next: events of a topic or, with nil, broadcasts. Nobody knows how
	// many if lost is 0.
	Gap(b *queue.Batch, topic []byte, lost uint64)

	// Fail ends the program's connection for the given reason. Called without
	// a lock.
	Fail(reason string)

	// Unstarted returns the body of the request or offer that was handed over
	// at pos, if it was provably not passed on to the program. Called without
	// a lock, with growing positions, when nothing more is handed over; the
	// body is valid until the next call.
	Unstarted(pos uint64) (body []byte, ok bool)
}

// An Outcome is how a request or tunnel build ended for the program that
// started it.
type Outcome byte

const (
	Replied   Outcome = iota // the body is the reply
	Faulted                  // the body is the text of the fault
	TimedOut                 // the deadline passed without an answer
	Unreached                // the deadline passed while it waited for a member
	Lost                     // the member is gone that was serving it
	Refused                  // too many are pending on this connection, or names in use
	Busy                     // the deadline passed while all members refused it
)

// A Conn is one program's connection as the data plane sees it. Its methods are
// for the goroutine that reads the program's messages, save where they say
// otherwise.
type Conn struct {
	ID      core.Conn
	Cluster string     // empty: client-only
	Early   bool       // the program is told of a Lost at once, not at the deadline
	Traced  func(Step) // hears what becomes of requests; nil, but where somebody looks
	Counts  Counts

	plane  *Plane
	sink   Sink
	calls  calls
	served served
	load   atomic.Int32 // requests and builds handed over and not ended
	home   *cluster     // what it is a member of, once the loop has made it one

	// refused is set when a call was not handed over because the program had
	// too many, or no room: Relieved then has parked calls tried again.
	refused atomic.Bool

	names int // octets charged for topics; the loop's
	purse *purse
}

// Counts is how many messages a connection sent, by primitive. Safe for
// concurrent use.
type Counts struct {
	Requests, Replies, Broadcasts, Events, Tunnels atomic.Uint64
}

// NewConn returns a connection whose program takes its messages through sink.
// It is a member of nothing until the loop has registered it. Safe for concurrent
// use.
func (p *Plane) NewConn(cluster string, sink Sink) *Conn {
	c := &Conn{ID: core.Conn(p.ids.Add(1)), Cluster: cluster, plane: p, sink: sink, purse: new(purse)}
	c.calls.timer.Owner = c
	return c
}

// Sink returns what NewConn was given. Safe for concurrent use.
func (c *Conn) Sink() Sink { return c.sink }

// Load returns the requests and tunnel builds the program has been handed and
// has not ended. Safe for concurrent use.
func (c *Conn) Load() int { return int(c.load.Load()) }

// Request sends a request to one member of cluster. Exactly one Answer with id
// follows, at the deadline at the latest, unless the connection is closed first
// (relay-v1, Request and reply).
func (c *Conn) Request(now time.Time, b *queue.Batch, id uint64, cluster, body []byte, timeout uint64) {
	if len(cluster) > 0 || timeout > 0 { // else it only waits for what the program sent before
		c.Counts.Requests.Add(1)
	}
	c.start(now, b, request, id, cluster, body, timeout)
}

// Build looks for a member of cluster to be the other end of the tunnel id.
// Either that member's Confirm names this connection and id, or Unbuilt follows.
func (c *Conn) Build(now time.Time, b *queue.Batch, id uint64, cluster []byte, timeout uint64) {
	c.Counts.Tunnels.Add(1)
	c.start(now, b, build, id, cluster, nil, timeout)
}

// Reply answers the request that was handed over under id. An unknown id, or
// one answered before, is ignored (R30, R32, R56).
func (c *Conn) Reply(now time.Time, b *queue.Batch, id uint64, fault bool, body []byte) {
	c.Counts.Replies.Add(1)
	g, inTurn, ok := c.served.answer(id)
	if !ok {
		c.plane.Drops.LateReplies.Add(1)
		return
	}
	c.home.served(now, c.plane, &g, inTurn)
	c.unload()
	if g.origin != nil {
		status := wire.ReplyOK
		if fault {
			status = wire.ReplyFault
		}
		g.origin.answer(b, g.number, status, c.home.says(c.plane), body)
		return
	}
	if g.conn.Traced != nil {
		g.conn.Traced(Step{What: Answered, Node: c.plane.Self})
	}
	out := Replied
	if fault {
		out = Faulted
	}
	if at, ok := g.answer(b, out, body); ok {
		c.plane.answered(now, c.home, at)
	} else {
		c.plane.Drops.LateReplies.Add(1)
	}
}

// An Offer is a tunnel build that a program has confirmed: of another program of
// this node, under its id there, or of another node. The zero Offer is of a program
// that no longer waits.
type Offer struct {
	From   *Conn
	Tunnel uint64

	Peer    *Peer
	Number  uint64
	Timeout time.Duration // the peer's program waits for so long
	Load    wire.Load     // to tell the peer
}

// Confirm accepts the tunnel build that was offered under id. It reports false for
// an id that was never offered or is confirmed already (R59).
func (c *Conn) Confirm(id uint64) (o Offer, ok bool) {
	g, ok := c.served.remove(build, id)
	if !ok {
		return Offer{}, false
	}
	c.plane.Timers.Stop(&g.limit.timer)
	c.unload()
	if g.origin != nil {
		timeout := time.Duration(min(g.timeout, maxTimeout)) * time.Millisecond
		return Offer{Peer: g.origin, Number: g.number, Timeout: timeout, Load: c.home.says(c.plane)}, true
	}
	if o.Tunnel, ok = g.take(); ok {
		o.From = g.conn
	}
	return o, true
}

// Broadcast hands body to every member of cluster, once.
func (c *Conn) Broadcast(now time.Time, b *queue.Batch, cluster, body []byte) {
	c.Counts.Broadcasts.Add(1)
	p := c.plane
	for range 3 {
		cl := p.cluster(cluster)
		if cl == nil || cl.everyone.closed.Load() {
			if p.alone.Load() {
				return
			}
			if cl = p.freshCluster(cluster, c.purse); cl == nil {
				return
			}
		}
		if p.spread(now, b, &cl.everyone, nil, body) {
			return
		}
	}
	p.Drops.SealedClusters.Add(1)
}

// Publish hands event to every subscriber of topic, once.
func (c *Conn) Publish(now time.Time, b *queue.Batch, topic, event []byte) {
	c.Counts.Events.Add(1)
	p := c.plane
	for range 3 {
		t := p.topic(topic)
		if t == nil || t.closed.Load() {
			if p.alone.Load() {
				return
			}
			if t = p.freshTopic(topic, c.purse); t == nil {
				return
			}
		}
		if p.spread(now, b, t, topic, event) {
			return
		}
	}
	p.Drops.SealedTopics.Add(1)
}

// spread publishes, and tells the loop when it must know. It reports false when
// the cell is no longer the one of its name.
func (p *Plane) spread(now time.Time, b *queue.Batch, t *publication, topic, body []byte) bool {
	fresh, ok := t.spread(now, b, p, topic, body)
	if fresh {
		p.post(note{pub: t})
	}
	return ok
}

// Expire ends what has come due; the driver calls it.
func (c *Conn) Expire(now time.Time, b *queue.Batch) {
	var ends [32]end
	tick := c.plane.Timers.Tick(now)
	for {
		n := c.calls.expire(c, b, tick, ends[:])
		c.plane.Drops.Silent.Add(c.plane.settle(now, b, ends[:n]))
		if n < len(ends) {
			return
		}
	}
}

// Close ends the connection's part in everything, once the loop has taken it out
// of every name: what it asked for is forgotten; what it was serving is lost, save
// what provably did not start, which goes to another member (R12).
func (c *Conn) Close(now time.Time, b *queue.Batch) {
	c.plane.settle(now, b, c.calls.seal(c))
	grants := c.served.seal(c.plane.Budget)
	slices.SortFunc(grants, func(a, b grant) int { return cmp.Compare(a.pos, b.pos) })
	for _, g := range grants {
		c.unload() // it counts for its cluster's load, too
		if g.limit != nil {
			c.plane.Timers.Stop(&g.limit.timer)
		}
		body, ok := c.sink.Unstarted(g.pos)
		switch {
		case ok && g.origin != nil:
			k := request
			if g.limit != nil {
				k = build
			}
			g.limit = nil
			c.plane.serve(now, b, g, k, c.home.everyone.key, body, false)
		case ok && c.plane.draining.Load(): // who asked is ending as well
			c.plane.Drops.Unstarted.Add(1)
		case ok:
			c.plane.again(now, b, g.ticket, c.Cluster, body, c)
		case g.origin != nil:
			g.origin.answer(b, g.number, wire.ReplyLost, c.home.says(c.plane), nil)
		default:
			c.plane.lost(b, g, &c.plane.Drops.Lost)
		}
	}
}

// start begins a call and hands it to a member, or parks it until there is one.
func (c *Conn) start(now time.Time, b *queue.Batch, k kind, id uint64, cluster, body []byte, timeout uint64) {
	if timeout == 0 {
		c.end(b, k, id, TimedOut, nil) // R54
		return
	}
	t, term, ok := c.calls.add(c, now, k, id, timeout)
	if !ok {
		c.plane.Drops.Pending.Add(1)
		c.end(b, k, id, Refused, nil)
		return
	}
	switch {
	case c.plane.place(now, b, t, cluster, body, term, choice{}, false):
	case c.plane.behind():
		c.plane.Drops.Pending.Add(1)
		t.answer(b, Refused, nil)
	default:
		c.plane.park(t, cluster, body, false)
	}
}

// Expired says that the request that was handed over under id was not passed on to
// the program: its time had passed. Safe for concurrent use.
func (c *Conn) Expired(id uint64) {
	c.plane.Drops.Expired.Add(1)
	c.drop(id)
}

// end tells the program how a call ended.
func (c *Conn) end(b *queue.Batch, k kind, id uint64, out Outcome, body []byte) {
	if k == build {
		c.sink.Unbuilt(b, id, out)
	} else {
		c.sink.Answer(b, id, out, body)
	}
}

// unload takes one off the load.
func (c *Conn) unload() {
	c.unpick()
	if r := &c.home.refused; r.Load() && r.Swap(false) {
		c.plane.post(note{name: c.Cluster})
	}
	c.Relieved()
}

// unpick undoes the choice of a member.
func (c *Conn) unpick() {
	c.load.Add(-1)
	c.home.load.Add(-1)
}

// Relieved says that the program may take calls again that it refused. Safe for
// concurrent use, without a lock.
func (c *Conn) Relieved() {
	if c.refused.Load() && c.refused.Swap(false) {
		c.plane.post(note{name: c.Cluster})
	}
}
