package overlay

import (
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

const (
	listen   = 300 * time.Millisecond // of a Solo node, after its first contact
	patience = time.Second            // for leaves that do not answer a joining node
	maxWait  = 3 * time.Second        // of a Solo node for one that is lower
)

// join is how far this node has come from Solo to Active.
type join struct {
	began   time.Time
	contact ring.ID   // whose view is copied
	asked   time.Time // when
	mark    uint64    // nonce of the question behind, whose answer says that all is here
	gotView bool
	found   time.Time // Solo: when to see whether this node is the founder
	waiting time.Time // Solo: since when there is somebody
}

// meet looks at what a peer and this node are to each other. It is called when
// there is a new link, and when the peer's state has changed.
func (o *Overlay) meet(now time.Time, p *peer, out *Output) {
	switch {
	case p.path != linked:
	case o.state == wire.Solo && p.state == wire.Active:
		o.begin(now, out)
		o.follow(now, p, out)
	case o.state == wire.Solo:
		if o.join.found.IsZero() {
			o.join.found, o.join.waiting = now.Add(listen), now
		}
		o.spreadLowest(p, out)
	case o.state == wire.Joining && p.state == wire.Active && o.join.contact.IsZero():
		o.follow(now, p, out)
	case o.state == wire.Active && p.state == wire.Active:
		o.meetForeign(now, p, out)
	}
}

// meetForeign finds out whether an Active peer belongs to another ring than this
// node, as after a split of the network, and if so begins to merge them.
func (o *Overlay) meetForeign(now time.Time, p *peer, out *Output) {
	e := o.view.get(p.id)
	if e != nil && isLive(e.kind) {
		return
	}
	if e != nil {
		out.send(p.id, wire.ViewEvent{Events: []wire.Event{e.event()}}) // it will object
	}
	o.compareWith(now, p, out)
}

// lowestSolo returns the lowest Solo node among this one, those linked to it and
// those they told of.
func (o *Overlay) lowestSolo() ring.ID {
	lowest := o.self
	for _, p := range o.peers {
		if p.path != linked || p.state != wire.Solo {
			continue
		}
		if p.id.Less(lowest) {
			lowest = p.id
		}
		if !p.lowest.IsZero() && p.lowest.Less(lowest) {
			lowest = p.lowest
		}
	}
	return lowest
}

// spreadLowest tells the Solo nodes around of a new one, if it is the lowest. So
// nodes that all begin by dialling the same one learn of each other, and do not
// all become founders.
func (o *Overlay) spreadLowest(p *peer, out *Output) {
	lowest := o.lowestSolo()
	if p.state != wire.Solo || lowest != p.id && lowest != p.lowest {
		return
	}
	for _, q := range o.peers {
		if q != p && q.path == linked && q.state == wire.Solo {
			o.ask(q, out)
		}
	}
}

// considerFounding makes the lowest of the Solo nodes that met the first Active
// one. The others wait for it, but not for ever.
func (o *Overlay) considerFounding(now time.Time, out *Output) {
	o.join.found = time.Time{}
	alone := true
	for _, p := range o.peers {
		if p.path == linked && p.state == wire.Active {
			o.begin(now, out)
			o.follow(now, p, out)
			return
		}
		alone = alone && (p.path != linked || p.state == wire.InLeaving)
	}
	if alone {
		return
	}
	joining := o.peers.count(func(p *peer) bool { return p.path == linked && p.state == wire.Joining })
	wait := o.lowestSolo() != o.self || joining > 0
	if wait && now.Sub(o.join.waiting) < maxWait {
		o.join.found = now.Add(listen + o.jitter(listen))
		return
	}
	o.activate(now, out)
}

// begin makes this node a joining one.
func (o *Overlay) begin(now time.Time, out *Output) {
	o.become(wire.Joining, out)
	o.join = join{began: now}
	for _, p := range o.peers {
		p.answered, p.lists = false, false
	}
}

// follow asks a contact for its view, and behind that who is closest to this
// node: with the answer all of the view is here.
func (o *Overlay) follow(now time.Time, p *peer, out *Output) {
	o.nonce++
	o.join.contact, o.join.asked, o.join.mark = p.id, now, o.nonce
	o.get(now, p, everything, out)
	out.send(p.id, wire.Lookup{Nonce: o.nonce, Key: o.self, Exclude: true})
	for _, q := range o.peers {
		if q.path == linked {
			o.ask(q, out)
		}
	}
}

// proceed takes a joining node on: to Active when its leaves know it, or after a
// second; back to Solo if nobody is there to join.
func (o *Overlay) proceed(now time.Time, out *Output) {
	if o.state != wire.Joining {
		return
	}
	contact := o.peers.find(o.join.contact)
	lost := contact == nil || !contact.isActive()
	if !o.join.gotView && (lost || now.Sub(o.join.asked) >= patience) {
		o.join.contact = ring.ID{}
		if p := o.pick((*peer).isActive); p != nil {
			o.follow(now, p, out)
		} else if now.Sub(o.join.began) >= patience {
			o.giveUp(now, out)
		}
		return
	}
	if o.join.gotView && (o.inStep() || now.Sub(o.join.began) >= patience) {
		o.activate(now, out)
	}
}

// inStep reports whether every node that should be a leaf is one, answered, and
// has this node for a leaf too; nodes out of reach are not waited for.
func (o *Overlay) inStep() bool {
	for _, p := range o.peers {
		if p.leaf && (p.path == dialling || p.path == linked && !(p.answered && p.lists)) {
			return false
		}
	}
	return true
}

// giveUp makes a joining node Solo again.
func (o *Overlay) giveUp(now time.Time, out *Output) {
	for i := range o.view.live {
		o.graves.bury(now, &o.view.live[i], len(o.view.live), o.rng)
		out.news(NodeGone, o.view.live[i].id)
	}
	o.view = view{gone: o.view.gone}
	o.doubts = nil
	o.changed = true
	o.become(wire.Solo, out)
	o.join = join{}
	for _, p := range o.peers {
		if p.path == linked {
			o.ask(p, out)
			o.meet(now, p, out)
		}
	}
}

// activate makes this node an owner of keys, and says so to all it is linked to.
func (o *Overlay) activate(now time.Time, out *Output) {
	o.join = join{}
	o.become(wire.Active, out)
	o.announce(now, wire.EventJoin, out)
	if o.mourned {
		o.mourned = false
		out.news(Mourned, ring.ID{})
	}
	o.agenda.soon(now, o.rng)
}

func (o *Overlay) become(s wire.State, out *Output) {
	o.state, o.moved = s, true
	out.news(StateChanged, ring.ID{})
}

// pause is what a node does that was stopped for so long that others may have
// buried it: it owns nothing until it has joined again.
func (o *Overlay) pause(now time.Time, out *Output) {
	o.forgive(now)
	o.doubts = nil
	if o.state != wire.Active {
		return
	}
	o.view.remove(o.self)
	o.changed = true
	o.begin(now, out)
	if p := o.pick((*peer).isActive); p != nil {
		o.follow(now, p, out)
	}
}

// Leave begins the end: this node owns nothing from now on.
func (o *Overlay) Leave(now time.Time, out *Output) {
	o.wake(now, out)
	if o.state == wire.InLeaving || o.departed {
		return
	}
	known := o.state == wire.Active
	o.become(wire.InLeaving, out)
	o.join = join{}
	if known {
		o.announce(now, wire.EventLeaving, out)
	}
	for _, p := range o.peers {
		if p.path == linked {
			out.send(p.id, wire.Leaving{Seconds: uint16(min(o.drain/time.Second, 1<<16-1))})
		}
	}
	o.settle(now, out)
}

// Depart is the end: all are told that this node is gone. Nothing comes of the
// Overlay after that, and Next says never.
func (o *Overlay) Depart(now time.Time, out *Output) {
	o.Leave(now, out)
	if o.departed {
		return
	}
	if o.view.alive(o.self) != nil {
		o.announce(now, wire.EventLeave, out)
	}
	for _, p := range o.peers {
		if p.path == linked {
			out.send(p.id, wire.Leave{})
		}
	}
	o.departed, o.due = true, time.Time{}
}
