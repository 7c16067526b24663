package messaging

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/balance"
	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wheel"
	"github.com/project-iris/iris/internal/wire"
)

// A Plane is the data plane of one node.
type Plane struct {
	Timers  *wheel.Timers
	Budget  *queue.Budget
	Drops   Drops
	Retries Retries
	Hops    Hops

	// Self is this node, once there are others. Set before anything else happens.
	Self ring.ID

	// Accepted hears of tunnel builds that members of other nodes confirmed; nil:
	// nobody. Set before anything else happens; called by readers of links.
	Accepted func(from *Peer, t Build, m wire.TunnelAccept)

	// NoTunnel reports that a tunnel to a peer could not be had now, so none of its
	// builds is offered to a program; nil: it always could.
	NoTunnel func(peer ring.ID) bool

	network string
	workers int
	start   time.Time
	wake    func() // tells the loop that Attend has work

	ids      atomic.Uint64
	seed     maphash.Seed
	shards   [shards]atomic.Pointer[shard]
	alone    atomic.Bool // no other node is known: nothing is kept for others
	draining atomic.Bool
	uses     *queue.Budget // of names that programs of this node use
	cells    *queue.Budget // of streams, of all peers, in pieces: none takes the others' share
	holding  atomic.Int64  // those that hold something back
	short    atomic.Bool   // some peer is
	canceled atomic.Bool   // some peer does not wait for something any more
	routes   atomic.Pointer[routes]
	stirred  atomic.Bool // some peer is

	latencies latencies

	mu    sync.Mutex
	notes []note // for the loop

	// Cells that are not in the snapshot yet, made by whoever needed them first.
	freshClusters map[string]*cluster
	freshTopics   map[string]*publication

	// Where streams go on whose cells were closed; those that are not there begin
	// at floor.
	numbers map[wire.Name]uint64
	floor   uint64

	// Only the loop takes peers out, and those that are linked stay.
	peersMu   sync.RWMutex
	peers     map[ring.ID]*Peer
	strangers int       // of them, those that were never linked
	begin     [2]uint64 // where the numbers of attempts at a new one begin

	// The loop's own.
	next    [shards]*shard // parts changed in this turn, not yet published
	changed []uint64       // which those are
	conns   map[core.Conn]*Conn
	known   []overlay.Route // what routes was made of
	astray  []*Peer         // those that things are for and there is no link to, by id
	names   map[wire.Name]*interest
	waiting map[string]*waiting // tickets parked for clusters without a member
	gone    Totals              // of connections that are closed
	asked   purse               // pays for names that an operator asks for
	swept   time.Time
	lookAt  time.Time // when streams and peers that wait for something are looked at; zero: none do
}

// Drops counts what was let go of, by reason. Safe for concurrent use.
type Drops struct {
	Pending     atomic.Uint64 // calls refused: too many were under way
	Parked      atomic.Uint64 // bodies let go: no room, or no member before the deadline
	LateReplies atomic.Uint64 // replies nobody waits for any more
	Lost        atomic.Uint64 // requests whose member was lost while serving them
	NodeDead    atomic.Uint64 // those that went with a whole other node
	Silent      atomic.Uint64 // requests that somebody had in hand when their time was up
	Unproved    atomic.Uint64 // routers' words that come too late to say that an attempt was not started
	Unstarted   atomic.Uint64 // requests of programs of this node that ended with it before a member began
	Tunnels     atomic.Uint64 // tunnel builds refused: memory is short
	Expired     atomic.Uint64 // requests whose deadline passed before a member got to them

	// Requests whose time was up: without an answer; for want of any member; or as
	// all of them refused.
	TimedOut, Unreached, Busy atomic.Uint64

	// Attempts of this node that others refused, by why, or that never left.
	RefusedBusy, RefusedGone, RefusedDraining, TurnedDown, Unwritten atomic.Uint64

	// Attempts of other nodes: refused; come again; too old to tell. Numbers of
	// attempts that had not come when they became too old.
	Refused, Repeated, BelowWindow, Evicted atomic.Uint64

	// Messages of streams: come again; for nobody here; long ones that were given up
	// before they were whole.
	Doubled, Unwanted, Aborted atomic.Uint64

	// Messages lost and declared, by why: too much held back; no progress; publisher
	// gone; the publisher no longer has them.
	HeldBack, Waited, PublisherGone, Declared atomic.Uint64

	// Messages that other nodes miss and this one no longer keeps: as they ask, and as
	// they come. Messages that there was no memory to keep.
	Overrun, Outrun, Unkept atomic.Uint64

	// Repairs: asked for, and done; askings where a stream begins.
	Nacks, Replayed, Starts atomic.Uint64

	Shed                         atomic.Uint64 // times that a stream was given up as memory was short
	Standing                     atomic.Uint64 // links that were full of messages and did not move
	Paused                       atomic.Int64  // nanoseconds that publishers waited for links that do
	SealedClusters, SealedTopics atomic.Uint64 // messages whose cell was closed each time it was found
	Streams                      atomic.Uint64 // streams refused: there are too many
	Names                        atomic.Uint64 // messages refused: too many names are in use for one more
	Forgotten                    atomic.Uint64 // nodes that are gone and were forgotten before their time
	Hints                        atomic.Uint64 // hints of other nodes let go: too many at once
}

// Gaps returns how many messages were declared lost to members of this node.
func (d *Drops) Gaps() uint64 {
	return d.HeldBack.Load() + d.Waited.Load() + d.PublisherGone.Load() + d.Declared.Load()
}

// Retries counts calls handed to another member as the one before had provably not
// started: why that is. Budget are those of Busy, Gone and Draining that have to wait,
// since many requests to the cluster are tried again. Safe for concurrent use.
type Retries struct {
	Busy, Gone, Draining, TurnedDown, Budget atomic.Uint64 // the other node's word

	Unwritten   atomic.Uint64 // it never left for the other node
	Undelivered atomic.Uint64 // no router could hand it on
	Ended       atomic.Uint64 // the member of this node ended
}

// Total returns how many there were.
func (r *Retries) Total() uint64 {
	return r.Busy.Load() + r.Gone.Load() + r.Draining.Load() + r.TurnedDown.Load() + r.Budget.Load() +
		r.Unwritten.Load() + r.Undelivered.Load() + r.Ended.Load()
}

// shards is how many parts the snapshot has: a name that comes or goes costs a
// copy of its own part only, and that of a few dozen names even when a node has
// 100,000.
const shards = 4096

// A shard is an immutable part of the snapshot: names to cells.
type shard struct {
	clusters map[string]*cluster
	topics   map[string]*publication
	keys     map[wire.Name]keyed // what stands for a name between nodes
}

type keyed struct {
	cluster *cluster // nil: a topic
	pub     *publication
}

// A note is what the data plane has to say to the loop.
type note struct {
	// A call waits for a member of the cluster, one has given up waiting, or, with
	// neither, a member which refused may take calls again.
	name   string
	ticket ticket
	busy   time.Duration // it was refused by all: when to try again
	gone   bool

	used *cluster     // a member of other nodes may be wanted
	pub  *publication // something was published

	// A name that a node does not have, though it was thought to; that a node
	// publishes to in vain.
	left, unwanted *Peer
	key            wire.Name

	roomy *Peer // the link to it takes more again

	to  ring.ID // a control message for that node
	msg wire.Message
}

// waiting is the list of calls parked for one cluster. Those that have ended are
// taken out once they make up half of it.
type waiting struct {
	tickets []parked
	gone    int
	at      time.Time // when they are tried again; zero: when something happens
}

// A parked call is one that waits for a member.
type parked struct {
	ticket
	at time.Time // when it is tried again after all refused it; zero: as soon as may be
}

// Config is what a Plane is made of. Timers, Budget and Wake are required.
type Config struct {
	Timers  *wheel.Timers
	Budget  *queue.Budget
	Wake    func() // called when Attend has work; must not block
	Network string // its name; empty: there are no other nodes
	Workers int    // how many requests this node can work on at once; 0: one
}

// New returns a data plane without names.
func New(c Config) *Plane {
	p := &Plane{
		Timers:  c.Timers,
		Budget:  c.Budget,
		network: c.Network,
		workers: max(c.Workers, 1),
		start:   c.Timers.Start(),
		cells:   queue.NewBudget(maxStreams),
		wake:    c.Wake,
		uses:    newUses(c.Budget),
		seed:    maphash.MakeSeed(),
		conns:   make(map[core.Conn]*Conn),
		peers:   make(map[ring.ID]*Peer),
		names:   make(map[wire.Name]*interest),
		waiting: make(map[string]*waiting),
		numbers: make(map[wire.Name]uint64),

		freshClusters: make(map[string]*cluster),
		freshTopics:   make(map[string]*publication),
	}
	p.alone.Store(true)
	p.routes.Store(&routes{})
	empty := &shard{}
	for i := range p.shards {
		p.shards[i].Store(empty)
	}
	return p
}

// nanos is a time as grants note it.
func (p *Plane) nanos(now time.Time) int64 { return int64(now.Sub(p.start)) }

// cluster finds the cell of a name without allocating; nil: it has no members.
func (p *Plane) cluster(name []byte) *cluster {
	return p.shards[maphash.Bytes(p.seed, name)%shards].Load().clusters[string(name)]
}

func (p *Plane) topic(name []byte) *publication {
	return p.shards[maphash.Bytes(p.seed, name)%shards].Load().topics[string(name)]
}

// keyed finds the cluster that another node means; nil: there is none here.
func (p *Plane) keyed(name wire.Name) *cluster {
	return p.shards[name.Key.Lo%shards].Load().keys[name].cluster
}

// publication finds what another node publishes to, if it has members here, and
// the name to deliver it under.
func (p *Plane) publication(name wire.Name) (pub *publication, topic []byte) {
	pub = p.shards[name.Key.Lo%shards].Load().keys[name].pub
	if pub == nil || pub.members.Load() == 0 {
		return nil, nil
	}
	return pub, pub.title
}

// How many members of this node, and how many other nodes, are tried for one call.
const (
	triesHere  = 3
	triesThere = 64
)

// place hands a call to a member of the cluster. It reports false when there is
// none that would take it. One whose time has passed is handed to nobody: its
// deadline tells.
func (p *Plane) place(now time.Time, b *queue.Batch, t ticket, name, body []byte, given term, not choice, again bool) bool {
	if again && given.remains(p.Timers.Tick(now)) == 0 {
		p.Drops.Expired.Add(1)
		return true
	}
	here := 0
	for range triesHere + triesThere {
		cl := p.cluster(name)
		if cl == nil {
			return false
		}
		if p.network != "" && !cl.used.Load() {
			cl.used.Store(true)
			if !cl.watched.Load() {
				p.post(note{used: cl})
			}
		}
		to := cl.choose(now, not, again)
		again = true
		switch {
		case to.member != nil:
			if t.conn.Traced != nil {
				t.conn.Traced(Step{What: Chosen, Node: p.Self})
			}
			m := to.member
			id, ok := m.hand(now, b, grant{ticket: t, term: given}, t.kind, body)
			if !ok {
				m.unpick()
				not.member = m
				if here++; here == triesHere {
					if !cl.elsewhere() {
						return false
					}
					cl.full(now, nil)
				}
				continue
			}
			if !t.attempted(attempt{member: m, id: id}) && t.kind == request {
				m.drop(id) // it ended while it was being handed over
			}
			m.Relieved()
			return true
		case to.peer != nil:
			if p.placeThere(now, b, t, cl, to, body, given) {
				return true
			}
			cl.full(now, to.peer)
		default:
			return false
		}
	}
	return false
}

// A request that goes to a node of which nothing new is known may be turned down by
// it twice if it is short: then who has said least is taken.
const (
	mostTurned = 2
	mostPinned = 4 << 10
)

// placeThere hands a call to another node. It reports false when that takes
// nothing.
func (p *Plane) placeThere(now time.Time, b *queue.Batch, t ticket, cl *cluster, to choice, body []byte, given term) bool {
	choosy := to.dated && t.kind == request && t.turned < mostTurned && len(body) <= mostPinned
	let, choosy, ok := t.hold(cl.everyone.name, body, choosy)
	for _, name := range let {
		p.post(note{name: name, gone: true})
	}
	if !ok {
		return true // it ended
	}
	if t.conn.Traced != nil {
		t.conn.Traced(Step{What: Chosen, Node: to.peer.ID, Via: to.peer.router()})
	}
	number, err := to.peer.hand(now, b, t, cl, body, given, choosy)
	if err != nil {
		return false
	}
	if !t.attempted(attempt{peer: to.peer, id: number}) {
		to.peer.cancel(b, number) // it ended while it was being handed over
	}
	return true
}

// drop takes back the request that was handed over under id, if it still is.
func (c *Conn) drop(id uint64) bool {
	_, ok := c.served.remove(request, id)
	if ok {
		c.unload()
	}
	return ok
}

// settle does what calls that ended without an answer leave to do. A build that
// ended stays with the program it was offered to, which may still confirm it. It
// returns how many requests somebody had in hand.
func (p *Plane) settle(now time.Time, b *queue.Batch, ends []end) (silent uint64) {
	for _, e := range ends {
		switch {
		case e.member != nil && e.kind == request:
			if e.member.drop(e.id) {
				silent++
			}
		case e.peer != nil:
			g, ok := e.peer.cancel(b, e.id)
			if ok && e.kind == request {
				silent++
			}
			if ok && !e.peer.answeredSince(g.at) {
				g.cluster.failed(now, e.peer)
			}
		}
		if e.waits {
			p.post(note{name: e.parked, gone: true})
		}
	}
	return silent
}

// again finds another member for a call that its member provably did not start.
func (p *Plane) again(now time.Time, b *queue.Batch, t ticket, name string, body []byte, not *Conn) {
	t, _, _, given, ok := t.retry()
	if !ok {
		return
	}
	p.Retries.Ended.Add(1)
	if !p.place(now, b, t, []byte(name), body, given, choice{member: not}, true) {
		p.park(t, []byte(name), body, false)
	}
}

// park keeps a call until its cluster has a member, or with busy until its members
// may take it, and tells the loop.
func (p *Plane) park(t ticket, name, body []byte, busy bool) {
	if t.conn.Traced != nil {
		t.conn.Traced(Step{What: Waits})
	}
	parked, let, backed, ok := t.park(name, body, busy)
	if ok {
		n := note{name: parked, ticket: t}
		if busy {
			n.busy = min(firstPause<<backed, mostPause)
		}
		p.post(n)
	}
	for _, name := range let {
		p.post(note{name: name, gone: true})
	}
}

// How long a call waits that all member nodes refused: the first time, and at
// most.
const (
	firstPause = balance.Pause // no less, or all are still passed over
	mostPause  = time.Second
)

// mostNotes is how many notes may wait for the loop before calls that have to are
// refused: calls that end soon could bring any number of them.
const mostNotes = 1 << 16

// behind reports that the loop has not come to what it is to do.
func (p *Plane) behind() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.notes) >= mostNotes
}

// mostHints is how many notes may wait for the loop before hints are let go.
const mostHints = 1 << 12

// hint posts a note of something that is no matter if it is let go, as it must be
// when another node sends more of it than the loop can take.
func (p *Plane) hint(n note) {
	p.mu.Lock()
	many := len(p.notes) >= mostHints
	p.mu.Unlock()
	if many {
		p.Drops.Hints.Add(1)
	} else {
		p.post(n)
	}
}

func (p *Plane) post(n note) {
	p.mu.Lock()
	p.notes = append(p.notes, n)
	first := len(p.notes) == 1
	p.mu.Unlock()
	if first {
		p.wake()
	}
}

// NameCost is the memory that one membership of a topic is charged.
func NameCost(name string) int { return 2*len(name) + 256 }

// Affords reports whether the connection's share of memory allows it one more
// topic. Loop.
func (c *Conn) Affords(topic string) bool {
	return c.plane.Budget.Allows(NameCost(topic), c.names)
}

// An Expirer owns an entry of the node's timers: the driver tells it when the
// entry has come due.
type Expirer interface {
	Expire(now time.Time, b *queue.Batch)
}

var _, _ Expirer = (*Conn)(nil), (*limit)(nil)
