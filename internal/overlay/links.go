package overlay

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

const (
	// In a network of up to fullMesh nodes every node is linked to every other;
	// in a larger one to longLinks nodes spread evenly over the ring.
	fullMesh  = 49
	longLinks = 32

	firstRetry = 250 * time.Millisecond
	lastRetry  = 10 * time.Second
	callAfter  = time.Second // of dialling in vain the other side is asked to dial too

	// A link that a program used is closed after some time between idle and twice
	// that, one of the ring's own between useless and twice that: who starts together
	// with hundreds has dialled the same few nodes as they, who cannot take more.
	// No link is idle before who uses it had the time to say so: that is asked every
	// 15 s (messaging.sweep).
	idle      = time.Minute
	leastIdle = 20 * time.Second
	useless   = 3 * time.Second

	// One in so many links is left for those that the ring needs, which others dial
	// too: a node that has no room for its leaves is outside the ring.
	reserve = 8
)

// pinned reports whether the ring or the routing needs the peer.
func (p *peer) pinned() bool { return p.leaf || p.long }

// dial asks for a link to a node.
func (o *Overlay) dial(now time.Time, id ring.ID, out *Output, told ...wire.Addr) *peer {
	p := o.peers.add(id)
	p.move(now, dialling)
	p.obliged = false
	if len(told) > 0 {
		p.addrs = told
	}
	addrs := p.addrs
	if e := o.view.alive(id); e != nil && len(e.addrs) > 0 {
		addrs = e.addrs
	}
	out.Dial = append(out.Dial, Dial{id, addrs})
	return p
}

// fail notes that no link to a peer came about.
func (o *Overlay) fail(now time.Time, p *peer) {
	o.moved = true
	p.move(now, broken)
	wait := min(firstRetry<<min(p.failures, 16), lastRetry)
	p.failures++
	p.retry = now.Add(wait + o.jitter(wait/4))
}

// call asks a node that does not let itself be dialled to dial this one, by way of
// others. Who was asked does not ask back: each dial has one answer.
func (o *Overlay) call(now time.Time, p *peer, out *Output) {
	if !p.obliged && len(o.addrs) > 0 && o.view.alive(p.id) != nil {
		p.called = now
		out.send(p.id, wire.DialBack{Addrs: o.addrs})
	}
}

// receiveDialBack dials a node that cannot dial this one.
func (o *Overlay) receiveDialBack(now time.Time, from ring.ID, m wire.DialBack, out *Output) {
	p := o.peers.find(from)
	switch {
	case p != nil && (p.path == linked || p.path == dialling):
		return
	case p != nil && p.path == indirect:
		o.redial(now, p, out)
	case o.makeRoom(now, out):
		p = o.dial(now, from, out, m.Addrs...)
		p.needed = now
	default:
		return
	}
	p.obliged = true
}

// lost notes that the link to a peer is no more: it is dialled again at once if
// it is needed. Those that were reached through it have to be found anew.
func (o *Overlay) lost(now time.Time, p *peer) {
	o.moved = true
	p.move(now, untried)
	p.asked, p.dialled = 0, false
	if p.long {
		o.agenda.bringForward(&o.agenda.spread, now)
	}
	for _, q := range o.peers {
		if q.path == indirect && q.via == p.id {
			o.fail(now, q)
		}
	}
}

// redial tries once more to get a link to a node that is reached through others
// meanwhile.
func (o *Overlay) redial(now time.Time, p *peer, out *Output) {
	via := p.via
	o.dial(now, p.id, out)
	o.fail(now, p) // sets the time of the next attempt
	p.move(now, indirect)
	p.via = via
}

// drop closes the link to a peer from here.
func (o *Overlay) drop(now time.Time, p *peer, reason string, out *Output) {
	if p.path != linked {
		return
	}
	out.Drop = append(out.Drop, Drop{p.id, reason})
	o.lost(now, p)
}

// Want tells that somebody here has something for a node. If there is no link it
// is dialled, as long as the budget allows; until it is up, and if it never is,
// messages are routed. A link that is wanted is kept for a minute. It reports whether
// there is a link, or one is being dialled.
func (o *Overlay) Want(now time.Time, id ring.ID, out *Output) bool {
	o.wake(now, out)
	if id == o.self || o.departed || !o.Knows(id) {
		return false
	}
	p := o.peers.find(id)
	if p != nil {
		p.needed, p.wanted = now, now
	}
	retry := p == nil || p.path == untried || p.path == broken && !now.Before(p.retry)
	if retry && o.makeRoom(now, out) {
		p = o.dial(now, id, out)
		p.needed, p.wanted = now, now
	}
	o.settle(now, out)
	p = o.peers.find(id)
	return p != nil && (p.path == linked || p.path == dialling)
}

// makeRoom closes the link that was needed least recently if there are too many.
// Only links dialled from here are closed: the others are their diallers' to
// close.
func (o *Overlay) makeRoom(now time.Time, out *Output) bool {
	return o.inUse() < common(o.budget) || o.dropOldest(now, leastIdle, out)
}

// inUse returns how many links there are or may soon be.
func (o *Overlay) inUse() int {
	return o.peers.count(func(p *peer) bool { return p.path == linked || p.path == dialling })
}

// dropOldest closes the link that was needed least recently, if that was long enough
// ago. It reports whether there was one.
func (o *Overlay) dropOldest(now time.Time, unused time.Duration, out *Output) bool {
	var oldest *peer
	for _, p := range o.peers {
		if p.path == linked && p.dialled && !p.pinned() && now.Sub(p.needed) >= unused &&
			(oldest == nil || p.needed.Before(oldest.needed)) {
			oldest = p
		}
	}
	if oldest != nil {
		o.drop(now, oldest, "room for a link that is needed more", out)
	}
	return oldest != nil
}

// common is how many links of a budget are for anybody.
func common(budget int) int { return budget - budget/reserve }

// Admits reports whether a node that has so many links takes one more, which another
// one dials: the last of them are for those in whose leaf sets the node may be, and
// for those that are not in the network yet. The view is what View returns.
func Admits(self, from ring.ID, view []ring.ID, links, budget int) bool {
	if links < common(budget) {
		return true
	}
	if links >= budget {
		return false
	}
	there, known := slices.BinarySearchFunc(view, from, ring.ID.Compare)
	here, _ := slices.BinarySearchFunc(view, self, ring.ID.Compare)
	apart := max(there-here, here-there)
	return !known || min(apart, len(view)-apart) <= 2*halfSet
}

// spread finds out which long links there should be, and dials those.
func (o *Overlay) spread(now time.Time, out *Output) {
	for _, p := range o.peers {
		p.long = false
	}
	if o.state == wire.Solo {
		return
	}
	n := len(o.view.live)
	self, found := locate(o.view.live, o.self)
	if !found {
		n++ // this node is not in its view yet, but counts
	}
	if n <= fullMesh {
		for i := range o.view.live {
			o.pin(now, o.view.live[i].id, out)
		}
		return
	}
	for i := 1; i <= longLinks; i++ {
		if id := o.nodeNear(self, i, n); !id.IsZero() {
			o.pin(now, id, out)
		}
	}
}

// nodeNear returns the node for the long link of place i, of n nodes: one that is
// linked, within a quarter of the way to the next place, else the one at the
// place, or the next that is not known to be out of reach. The places are a
// quarter of a step before the even ones: so the links that others dial, which
// lie a quarter behind them, fall between one's own.
func (o *Overlay) nodeNear(self, i, n int) ring.ID {
	slack := n / (longLinks + 1) / 4
	place := self + (4*i-1)*n/(longLinks+1)/4
	var free ring.ID
	for off := 0; off <= slack; off++ {
		for _, at := range [...]int{place + off, place - off} {
			e := &o.view.live[(at+len(o.view.live))%len(o.view.live)]
			p := o.peers.find(e.id)
			switch {
			case e.id == o.self || e.kind != wire.EventJoin:
			case p != nil && (p.path == linked || p.path == dialling):
				return e.id
			case free.IsZero() && (p == nil || p.path == untried):
				free = e.id
			}
		}
	}
	return free
}

func (o *Overlay) pin(now time.Time, id ring.ID, out *Output) {
	if id == o.self {
		return
	}
	p := o.peers.find(id)
	if p == nil || p.path == untried || p.path == broken && !now.Before(p.retry) {
		p = o.dial(now, id, out)
	}
	p.long, p.needed = true, now
}

// trim closes links that were dialled from here and are not needed any more.
// When exactly depends on the pair, so that not all are closed at once; earlier
// if there are many. Links that are kept are asked for a sign of life now and
// then, and at once when they are silent to nodes that are not in the view: those have
// no neighbours that watch them. Nodes that take long to be dialled are asked to dial.
func (o *Overlay) trim(now time.Time, out *Output) {
	crowded := o.Links() > o.budget*3/4
	for _, p := range o.peers {
		pair := time.Duration((p.id.Lo ^ o.self.Lo) >> 1)
		kept, keep := useless+pair%useless, idle+pair%idle
		if crowded {
			keep = leastIdle
		}
		switch {
		case p.path == dialling && now.Sub(p.since) >= callAfter && p.called.Before(p.since):
			o.call(now, p, out)
		case p.path != linked:
		case p.dialled && !p.pinned() && now.Sub(p.needed) > kept && now.Sub(p.wanted) > keep:
			o.drop(now, p, "not needed", out)
		case p.probe.tries == 0 && (now.Sub(p.seen) >= checkEvery || now.Sub(p.seen) >= beatEvery && o.view.alive(p.id) == nil):
			o.beat(now, p, out)
			o.moved = true
		}
	}
}

// sweep forgets peers that there is nothing to say about. One that was linked and
// never came into the view is gone with its link.
func (o *Overlay) sweep(now time.Time, out *Output) {
	o.peers = slices.DeleteFunc(o.peers, func(p *peer) bool {
		if p.path != untried && (p.path != broken || p.pinned() || now.Before(p.retry)) {
			return false
		}
		if p.met && p.state == wire.Joining && o.view.get(p.id) == nil {
			out.news(NodeGone, p.id)
		}
		return true
	})
}

func (o *Overlay) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(o.rng.Int64N(int64(d)))
}
