package overlay

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// halfSet is how many leaves a node has on each side.
const halfSet = 8

// surround finds out anew who the leaves are: on each side the nearest nodes that are
// reached, at most eight. Whoever should be one and is not linked is dialled.
//
// The first that answers is a neighbour and is watched. So are those before it,
// whether they are silent or cannot be linked: as nobody who answers is closer to
// them on this side, they are this node's to judge.
func (o *Overlay) surround(now time.Time, out *Output) {
	if o.inUse() >= o.budget {
		o.dropOldest(now, 0, out) // there is always room for one more leaf
	}
	for _, p := range o.peers {
		p.leaf, p.neighbour = false, false
	}
	o.noteJoiners()
	o.moved = false
	for i, s := range sides {
		o.leaves[i] = o.surroundSide(now, o.candidates(s, o.joiners), o.leaves[i][:0], out)
	}
	o.sweep(now, out)
	o.watched = o.watched[:0]
	for _, p := range o.peers {
		if p.leaf || p.probe.tries > 0 || !p.verdict.IsZero() {
			o.watched = append(o.watched, p)
		}
	}
}

// noteJoiners finds out who is joining. That it is others than before is news: some
// are replicas, which the packages above feed.
func (o *Overlay) noteJoiners() {
	n := 0
	for _, p := range o.peers {
		if !o.isJoiner(p) {
			continue
		}
		if n == len(o.joiners) || o.joiners[n] != p.id {
			o.joiners = append(o.joiners[:n], p.id)
			o.changed = true
		}
		n++
	}
	if n < len(o.joiners) {
		o.joiners = o.joiners[:n]
		o.changed = true
	}
}

func (o *Overlay) surroundSide(now time.Time, c candidates, leaves []ring.ID, out *Output) []ring.ID {
	var failed, waiting int
	var answers bool // some node nearer than the next
	for c.more() {
		id := c.next()
		p := o.peers.find(id)
		if p == nil || p.path == untried || p.path == broken && !now.Before(p.retry) {
			p = o.dial(now, id, out)
		}
		if p.path == indirect && !now.Before(p.retry) {
			o.redial(now, p, out)
		}
		p.leaf, p.needed = true, now
		switch {
		case p.reachable():
			p.neighbour = p.neighbour || !answers
			answers = answers || p.answers()
			leaves = append(leaves, id)
		case p.failures > 0:
			failed++ // so look further: a row of dead nodes is passed in growing strides
		default:
			waiting++
		}
		if !answers && o.isHopeless(now, p) {
			o.suspect(now, p, out)
		}
		if len(leaves) == halfSet || len(leaves)+waiting >= halfSet+failed {
			break
		}
	}
	return leaves
}

// candidates are the nodes that may be leaves, on one side, by distance: those
// in the view, and linked ones that are joining.
type candidates struct {
	o             *Overlay
	side          side
	joiners       []ring.ID
	live, joining walk
	a, b          ring.ID // the next of each, of nobody at the end
}

func (o *Overlay) candidates(s side, joiners []ring.ID) candidates {
	place, found := slices.BinarySearchFunc(joiners, o.self, ring.ID.Compare)
	c := candidates{o: o, side: s, joiners: joiners, live: o.view.around(o.self, s), joining: walkFrom(len(joiners), place, found, s)}
	c.nextLive()
	c.nextJoiner()
	return c
}

func (c *candidates) nextLive() {
	c.a = ring.ID{}
	if c.live.more() {
		c.a = c.o.view.live[c.live.next()].id
	}
}

func (c *candidates) nextJoiner() {
	c.b = ring.ID{}
	if c.joining.more() {
		c.b = c.joiners[c.joining.next()]
	}
}

func (c *candidates) more() bool { return !c.a.IsZero() || !c.b.IsZero() }

func (c *candidates) next() ring.ID {
	a, b := c.a, c.b
	self := c.o.self
	if b.IsZero() || !a.IsZero() && c.side.distance(self, a).Less(c.side.distance(self, b)) {
		c.nextLive()
		return a
	}
	c.nextJoiner()
	return b
}

// wouldBeLeaf reports whether a node, if it were linked, would be a leaf.
func (o *Overlay) wouldBeLeaf(id ring.ID) bool {
	for i, s := range sides {
		l := o.leaves[i]
		if len(l) < halfSet || s.distance(o.self, id).Less(s.distance(o.self, l[len(l)-1])) {
			return true
		}
	}
	return false
}

// ask sends the leaf set to a peer and expects that of the peer.
func (o *Overlay) ask(p *peer, out *Output) {
	p.asked++
	out.send(p.id, o.leavesFor(p))
}

// leavesFor returns what a peer is told: the leaves, and if it is joining, also
// the nodes around its own place, which are those it looks for. A Solo node tells
// of the lowest Solo node it knows.
func (o *Overlay) leavesFor(p *peer) wire.Leaves {
	m := wire.Leaves{State: o.state}
	if o.state == wire.Solo {
		if id := o.lowestSolo(); id != o.self {
			m.Contacts = append(m.Contacts, wire.Contact{Node: id, State: wire.Solo})
		}
		return m
	}
	var ids []ring.ID
	for _, l := range o.leaves {
		ids = append(ids, l...)
	}
	if p != nil && p.state == wire.Joining {
		ids = o.appendAround(ids, p.id)
	}
	slices.SortFunc(ids, ring.ID.Compare)
	for _, id := range slices.Compact(ids) {
		m.Contacts = append(m.Contacts, o.contact(id))
	}
	return m
}

// appendAround appends those linked nodes that are nearest to id on each side.
func (o *Overlay) appendAround(ids []ring.ID, id ring.ID) []ring.ID {
	place, found := o.peers.locate(id)
	for _, s := range sides {
		n := 0
		for w := walkFrom(len(o.peers), place, found, s); w.more() && n < halfSet; {
			p := o.peers[w.next()]
			if p.path == linked && (p.state == wire.Active || p.state == wire.Joining) {
				ids = append(ids, p.id)
				n++
			}
		}
	}
	return ids
}

func (o *Overlay) contact(id ring.ID) wire.Contact {
	c := wire.Contact{Node: id, State: wire.Active, Addrs: o.Addrs(id)}
	if e := o.view.alive(id); e != nil {
		if e.kind == wire.EventLeaving {
			c.State = wire.InLeaving
		}
	} else if p := o.peers.find(id); p != nil {
		c.State = p.state
	}
	return c
}

// receiveLeaves takes the leaf set of another node in. It is answered, unless it
// is an answer itself.
func (o *Overlay) receiveLeaves(now time.Time, from ring.ID, m wire.Leaves, out *Output) {
	p := o.peers.find(from)
	if p == nil {
		out.send(from, o.leavesFor(nil))
		return
	}
	was := p.state
	p.state, p.answered, p.lists, p.lowest = m.State, true, false, ring.ID{}
	for _, c := range m.Contacts[:min(len(m.Contacts), 4*halfSet)] { // no honest node tells more
		switch {
		case c.Node == o.self:
			p.lists = true
		case c.State == wire.Solo:
			p.lowest = c.Node
		case o.state == wire.Joining || o.state == wire.Active:
			o.hint(now, p, c, out)
		}
	}
	if p.state != was {
		o.surround(now, out) // it may be a leaf now, and will look for itself in the answer
	}
	if p.asked > 0 {
		p.asked--
	} else {
		out.send(from, o.leavesFor(p))
	}
	if p.state != was {
		o.meet(now, p, out)
	}
}

// hint hears of a node from somebody who has it for a leaf. It is hearsay: if it
// would be a leaf here too, it is dialled, and counts once there is a link. An
// Active node that is missing in the view shows that the views differ.
func (o *Overlay) hint(now time.Time, from *peer, c wire.Contact, out *Output) {
	if o.view.get(c.Node) != nil {
		return
	}
	if c.State == wire.Active && now.Sub(from.compared) > soon {
		o.compareWith(now, from, out)
	}
	if p := o.peers.find(c.Node); p == nil && o.wouldBeLeaf(c.Node) {
		p := o.dial(now, c.Node, out, c.Addrs...)
		p.state = c.State
	}
}
