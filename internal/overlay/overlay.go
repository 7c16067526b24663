package overlay

import (
	"math/rand/v2"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// DefaultBudget is how many links a node has at most, unless it is told
// otherwise.
const DefaultBudget = 256

// Config is what an Overlay starts with.
type Config struct {
	Self   ring.ID
	Addrs  []wire.Addr   // where this node may be dialled, 8 at most
	Seed   uint64        // of its random choices
	Budget int           // links at most; those the ring needs come first. 0: DefaultBudget
	Drain  time.Duration // how long Leave says that this node will go on
}

// A Peer is the other end of a link.
type Peer struct {
	ID      ring.ID
	State   wire.State  // as its first frame says
	Addrs   []wire.Addr // where it may be dialled
	Dialled bool        // the link was dialled from here
}

// An Overlay is one node's place among the others. One goroutine at a time may
// use it. Times must not go backwards.
type Overlay struct {
	self   ring.ID
	addrs  []wire.Addr
	budget int
	drain  time.Duration
	rng    *rand.Rand

	state   wire.State
	seq     uint64 // of the newest event about this node
	mourned bool   // others held it for dead, while it could not object
	view    view
	peers   peers
	leaves  [2][]ring.ID // per side, by distance
	watched []*peer      // leaves, and those that a question is out about
	moved   bool         // peers or view are others than at the last surround
	graves  graveyard
	join    join

	fresh    []wire.Event // to be passed on
	passed   time.Time    // when events last were
	compared time.Time    // when a view last was
	doubts   []doubt
	askers   []asker
	nonce    uint64 // of the last question
	health   health
	agenda   agenda
	last     time.Time // of the last call
	due      time.Time // when Advance is
	changed  bool      // owners or replicas may be others than at the last news
	joiners  []ring.ID // linked nodes that are joining, sorted
	alone    bool      // that was news
	departed bool
}

// New returns the Overlay of a node that knows nobody yet: it is Solo.
func New(now time.Time, c Config) *Overlay {
	o := &Overlay{
		self: c.Self, addrs: c.Addrs, budget: c.Budget, drain: c.Drain,
		rng:  rand.New(rand.NewPCG(c.Seed, c.Self.Lo)),
		last: now, due: now,
	}
	if o.budget == 0 {
		o.budget = DefaultBudget
	}
	o.nonce = o.rng.Uint64()
	o.agenda.start(now, o.rng)
	return o
}

// Up tells that there is a link.
func (o *Overlay) Up(now time.Time, link Peer, out *Output) {
	o.wake(now, out)
	if link.ID == o.self || o.departed {
		return
	}
	p := o.peers.add(link.ID)
	p.move(now, linked)
	o.moved = true
	p.state, p.dialled, p.met = link.State, link.Dialled, true
	p.seen, p.needed, p.verdict, p.failures = now, now, time.Time{}, 0
	p.asked, p.answered, p.lists = 0, false, false
	if len(link.Addrs) > 0 {
		p.addrs = link.Addrs
	}
	o.surround(now, out) // the answer shows whom the other one has for a leaf
	o.ask(p, out)
	o.meet(now, p, out)
	o.settle(now, out)
}

// Down tells that a link is no more.
func (o *Overlay) Down(now time.Time, id ring.ID, out *Output) {
	o.wake(now, out)
	if p := o.peers.find(id); p != nil && p.path == linked {
		o.lost(now, p)
	}
	o.settle(now, out)
}

// Move tells where this node may be dialled from now on, and so tells the others.
func (o *Overlay) Move(now time.Time, addrs []wire.Addr, out *Output) {
	o.wake(now, out)
	o.addrs = addrs
	if o.state == wire.Active && !o.departed {
		o.announce(now, wire.EventJoin, out)
	}
	o.settle(now, out)
}

// DialFailed tells that no link came of a Dial.
func (o *Overlay) DialFailed(now time.Time, id ring.ID, out *Output) {
	o.wake(now, out)
	p := o.peers.find(id)
	if p != nil && p.path == dialling {
		o.fail(now, p)
	}
	if p != nil && p.path != linked {
		o.call(now, p, out)
	}
	o.settle(now, out)
}

// Receive tells of a message of the overlay's from a node, which is the origin
// if the message was routed. Others are ignored.
func (o *Overlay) Receive(now time.Time, from ring.ID, m wire.Message, out *Output) {
	o.wake(now, out)
	if from == o.self || o.departed {
		return
	}
	p := o.peers.find(from)
	if p != nil {
		p.heard(now)
	}
	switch m := m.(type) {
	case wire.Beat:
		o.receiveBeat(now, from, m, out)
	case wire.ProbeFor:
		o.receiveProbeFor(now, from, m, out)
	case wire.Leaves:
		o.receiveLeaves(now, from, m, out)
	case wire.ViewEvent:
		o.receiveEvents(now, from, m, out)
	case wire.ViewHash:
		o.receiveHash(now, from, m, out)
	case wire.ViewGet:
		o.receiveGet(from, m, out)
	case wire.Lookup:
		o.receiveLookup(from, m, out)
	case wire.Found:
		o.receiveFound(now, from, m, out)
	case wire.DialBack:
		o.receiveDialBack(now, from, m, out)
	case wire.Leaving:
		if p != nil {
			p.state, o.moved = wire.InLeaving, true
		}
	}
	o.settle(now, out)
}

// Advance does what is due. It may be called at any time, and must be soon after
// Next.
func (o *Overlay) Advance(now time.Time, out *Output) {
	o.wake(now, out)
	if o.departed {
		return
	}
	o.moved = true // time alone moves some
	o.watch(now, out)
	o.resolveDoubts(now, out)
	o.consultAgenda(now, out)
	o.settle(now, out)
}

// Next returns when Advance is due; the zero time says never.
func (o *Overlay) Next() time.Time { return o.due }

// settle brings everything in line with what has just changed. Each call ends
// with it.
func (o *Overlay) settle(now time.Time, out *Output) {
	if o.departed {
		return
	}
	if o.moved {
		o.surround(now, out)
	}
	o.proceed(now, out)
	o.passOn(now, out)
	o.tell(out)
	o.due = o.nextDue(now)
}

// tell adds the news about the view as a whole.
func (o *Overlay) tell(out *Output) {
	if !o.changed {
		return
	}
	o.changed = false
	out.news(ViewChanged, ring.ID{})
	alone := o.state == wire.Active && len(o.view.live) == 1
	if alone && !o.alone {
		out.news(Alone, ring.ID{})
	}
	o.alone = alone
}
