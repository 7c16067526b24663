package overlay

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

const (
	batching    = 100 * time.Millisecond // between two batches of events
	randomPass  = 4                      // peers that events are passed to, besides the neighbours
	directDoubt = 300 * time.Millisecond // for a node to object to its death, on a link
	routedDoubt = 2 * time.Second        // and if it is told by others
	maxDoubts   = ViewSize
)

// A doubt is the death of a node that is not believed until it had the time to
// object.
type doubt struct {
	event wire.Event
	until time.Time
}

// announce makes and spreads an event about this node itself. Those it is linked
// to hear of it at once, all others from them.
func (o *Overlay) announce(now time.Time, kind wire.EventKind, out *Output) {
	o.seq++
	ev := wire.Event{Node: o.self, Kind: kind, Seq: o.seq, Addrs: o.addrs}
	o.view.put(now, &ev)
	o.changed = true
	for _, p := range o.peers {
		if p.path == linked {
			out.send(p.id, wire.ViewEvent{Events: []wire.Event{ev}})
		}
	}
}

// receiveEvents takes events over from a node.
func (o *Overlay) receiveEvents(now time.Time, from ring.ID, m wire.ViewEvent, out *Output) {
	p := o.peers.find(from)
	for i := range m.Events {
		ev := &m.Events[i]
		if o.state != wire.Solo {
			o.hear(now, from, ev, p != nil && now.Before(p.getting), out)
		}
		if p != nil && ev.Node == from {
			o.hearFirstHand(now, p, ev, out)
		}
	}
}

// hearFirstHand takes over what a peer says about itself.
func (o *Overlay) hearFirstHand(now time.Time, p *peer, ev *wire.Event, out *Output) {
	was := p.state
	switch ev.Kind {
	case wire.EventJoin:
		p.state = wire.Active
	case wire.EventLeaving:
		p.state = wire.InLeaving
	}
	if p.state != was {
		o.moved = true
		o.meet(now, p, out)
	}
}

// hear takes over an event that is new. One that came with the answer to a
// VIEW-GET may be of any age.
func (o *Overlay) hear(now time.Time, from ring.ID, ev *wire.Event, aged bool, out *Output) {
	if ev.Node == o.self {
		o.hearOfSelf(now, from, ev, out)
		return
	}
	e := o.view.get(ev.Node)
	if e != nil && !e.olderThan(ev) {
		return
	}
	if ev.Kind == wire.EventDead && e != nil && isLive(e.kind) {
		switch {
		case o.Linked(ev.Node):
			o.doubt(now, ev, directDoubt, out)
			return
		case aged:
			o.doubt(now, ev, routedDoubt, out)
			return
		}
	}
	o.accept(now, ev, out)
}

// hearOfSelf answers what others say about this node, if it is wrong: all need to
// know if it is newer than what this node last said, else the one that missed it.
func (o *Overlay) hearOfSelf(now time.Time, from ring.ID, ev *wire.Event, out *Output) {
	e := o.view.alive(o.self)
	switch {
	case e == nil:
		o.seq = max(o.seq, ev.Seq)
		o.mourned = o.mourned || !isLive(ev.Kind)
	case e.olderThan(ev):
		o.seq = ev.Seq
		o.announce(now, e.kind, out)
		out.news(Mourned, ring.ID{})
	case !isLive(ev.Kind):
		out.send(from, wire.ViewEvent{Events: []wire.Event{e.event()}})
	}
}

// doubt gives a node that is said to be dead the time to object, and passes the
// event on to it.
func (o *Overlay) doubt(now time.Time, ev *wire.Event, wait time.Duration, out *Output) {
	if len(o.doubts) == maxDoubts || slices.ContainsFunc(o.doubts, func(d doubt) bool { return d.event.Node == ev.Node }) {
		return
	}
	o.doubts = append(o.doubts, doubt{*ev, now.Add(o.health.stretch(wait))})
	out.send(ev.Node, wire.ViewEvent{Events: []wire.Event{*ev}})
}

// resolveDoubts believes what was not objected to.
func (o *Overlay) resolveDoubts(now time.Time, out *Output) {
	var due []wire.Event
	o.doubts = slices.DeleteFunc(o.doubts, func(d doubt) bool {
		if now.Before(d.until) {
			return false
		}
		due = append(due, d.event)
		return true
	})
	for i := range due {
		if e := o.view.get(due[i].Node); e == nil || e.olderThan(&due[i]) {
			o.accept(now, &due[i], out)
		}
	}
}

// accept believes an event that is newer than what is known, and will pass it on.
func (o *Overlay) accept(now time.Time, ev *wire.Event, out *Output) {
	var before wire.EventKind
	if e := o.view.alive(ev.Node); e != nil {
		before = e.kind
		if !isLive(ev.Kind) {
			o.graves.bury(now, e, len(o.view.live), o.rng)
		}
	}
	if !o.view.put(now, ev) {
		return
	}
	if o.state != wire.Joining || o.join.gotView { // what a joining node is told first is news to nobody else
		o.fresh = append(o.fresh, *ev)
	}
	o.changed, o.moved = true, true
	switch {
	case ev.Kind == wire.EventJoin:
		o.graves.remove(ev.Node)
		if p := o.peers.find(ev.Node); p != nil {
			p.retry = now // it may be back
		}
		out.news(NodeJoined, ev.Node)
	case ev.Kind == wire.EventLeaving:
		out.news(NodeLeaving, ev.Node)
	case before != 0:
		o.forgetPeer(now, ev, out)
		out.news(NodeGone, ev.Node)
	}
}

// forgetPeer lets go of a node that is dead or has left. The link to one that
// left is its own to close.
func (o *Overlay) forgetPeer(now time.Time, ev *wire.Event, out *Output) {
	p := o.peers.find(ev.Node)
	if p == nil {
		return
	}
	p.verdict = time.Time{}
	if ev.Kind == wire.EventLeave {
		o.graves.remove(ev.Node)
	} else {
		if p.leaf { // others may have died too, and with them what they would have told
			o.agenda.bringForward(&o.agenda.compare, now.Add(soon+o.jitter(2*soon)))
		}
		o.drop(now, p, "found dead", out)
	}
	if p.path != linked {
		p.move(now, untried)
	}
}

// passOn sends the events that are new to this node to both neighbours and some
// others: at once after a pause, else in batches.
func (o *Overlay) passOn(now time.Time, out *Output) {
	if len(o.fresh) == 0 || now.Sub(o.passed) < batching {
		return
	}
	o.passed = now
	for _, id := range o.passTo() {
		sendEvents(id, o.fresh, out)
	}
	o.fresh = nil // the messages share it
}

func (o *Overlay) passTo() []ring.ID {
	var to []ring.ID
	for _, l := range o.leaves {
		if len(l) > 0 && !slices.Contains(to, l[0]) {
			to = append(to, l[0])
		}
	}
	rest := make([]ring.ID, 0, len(o.peers))
	for _, p := range o.peers {
		if p.path == linked && p.state != wire.Solo && !slices.Contains(to, p.id) {
			rest = append(rest, p.id)
		}
	}
	for n := min(randomPass, len(rest)); n > 0; n-- {
		i := o.rng.IntN(len(rest))
		to = append(to, rest[i])
		rest[i] = rest[len(rest)-1]
		rest = rest[:len(rest)-1]
	}
	return to
}

// sendEvents sends events in messages of a size that a frame can carry.
func sendEvents(to ring.ID, events []wire.Event, out *Output) {
	const most = wire.MaxBody
	start, size := 0, 0
	for i := range events {
		n := ring.Size + 1 + 8 + 2 + wire.AddrSize*len(events[i].Addrs)
		if size+n > most-2 {
			out.send(to, wire.ViewEvent{Events: events[start:i]})
			start, size = i, 0
		}
		size += n
	}
	if start < len(events) {
		out.send(to, wire.ViewEvent{Events: events[start:]})
	}
}
