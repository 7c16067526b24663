package core

import (
	"time"

	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// Key returns what stands for a name between nodes.
func (c *Core) Key(k Kind, name string) wire.Name {
	return wire.Name{Kind: k, Key: ring.Key(c.Network, byte(k), name, 0)}
}

// State returns where this node stands in the network.
func (c *Core) State() wire.State {
	if c.overlay == nil {
		return wire.Solo
	}
	return c.overlay.State()
}

// Alone reports that no other node is known.
func (c *Core) Alone() bool {
	return c.overlay == nil || c.overlay.Links() == 0 && len(c.overlay.View()) <= 1
}

// View returns the nodes that are known to be up, this one included if it is Active.
func (c *Core) View() []ring.ID {
	if c.overlay == nil {
		return nil
	}
	return c.overlay.View()
}

// Addrs returns where a node may be dialled.
func (c *Core) Addrs(id ring.ID) []wire.Addr { return c.overlay.Addrs(id) }

// NextHop returns the linked node through which a frame for target goes.
func (c *Core) NextHop(target ring.ID) (ring.ID, bool) { return c.overlay.NextHop(target) }

// Routes appends to out how frames get to other nodes, by id.
func (c *Core) Routes(out []overlay.Route) []overlay.Route {
	if c.overlay == nil {
		return out
	}
	return c.overlay.Routes(out)
}

// Up tells that there is a link.
func (c *Core) Up(now time.Time, p overlay.Peer, out *Output) {
	c.overlay.Up(now, p, &c.ring)
	c.collect(now, out)
	c.directory.Linked(now, p.ID, &c.dir)
	c.collect(now, out)
}

// Down tells that a link is no more.
func (c *Core) Down(now time.Time, id ring.ID, out *Output) {
	c.overlay.Down(now, id, &c.ring)
	c.collect(now, out)
}

// Move tells where this node may be dialled from now on.
func (c *Core) Move(now time.Time, addrs []wire.Addr, out *Output) {
	c.overlay.Move(now, addrs, &c.ring)
	c.collect(now, out)
}

// DialFailed tells that no link came of a Dial.
func (c *Core) DialFailed(now time.Time, id ring.ID, out *Output) {
	c.overlay.DialFailed(now, id, &c.ring)
	c.collect(now, out)
}

// Receive takes a control frame from a linked node. One for somebody else is handed
// on, as long as it may pass routers.
func (c *Core) Receive(now time.Time, from ring.ID, f *wire.Frame, m wire.Message, out *Output) {
	if f.Flags&wire.Routed != 0 {
		if f.Target != c.Self {
			c.forward(from, f, m, out)
			return
		}
		if from = f.Origin; from == c.Self || from.IsZero() {
			c.Forged++ // the directory believes what it tells itself
			return
		}
	}
	switch m := m.(type) {
	case wire.Nack, wire.Undelivered:
		out.Data = append(out.Data, Data{from, m})
	case wire.DialBack:
		if m.Tunnel == ([16]byte{}) {
			c.overlay.Receive(now, from, m, &c.ring)
		} else {
			out.Data = append(out.Data, Data{from, m})
		}
	case wire.Announce, wire.Announced, wire.Resolve, wire.Members, wire.Redirect, wire.Check, wire.Checked,
		wire.DigestDir, wire.Replicate, wire.Unwanted:
		c.directory.Receive(now, from, m, &c.dir)
	default:
		c.overlay.Receive(now, from, m, &c.ring)
	}
	c.collect(now, out)
}

// forward hands a frame on.
func (c *Core) forward(from ring.ID, f *wire.Frame, m wire.Message, out *Output) {
	via, ok := c.overlay.NextHop(f.Target)
	if !ok || f.Hops <= 1 || via == from {
		c.Lost++
		return
	}
	c.Forwarded++
	out.Send = append(out.Send, Send{To: via, Origin: f.Origin, Target: f.Target, Hops: f.Hops - 1, Msg: m})
}

// Advance does what is due.
func (c *Core) Advance(now time.Time, out *Output) {
	if c.overlay == nil {
		return
	}
	c.overlay.Advance(now, &c.ring)
	c.collect(now, out)
	c.directory.Advance(now, &c.dir)
	c.collect(now, out)
}

// Next returns when Advance is due; the zero time says never.
func (c *Core) Next() time.Time {
	if c.overlay == nil {
		return time.Time{}
	}
	at := c.overlay.Next()
	if d := c.directory.Next(); at.IsZero() || !d.IsZero() && d.Before(at) {
		at = d
	}
	return at
}

// Watch asks for the member nodes of a name, now and as they change.
func (c *Core) Watch(now time.Time, name wire.Name, out *Output) {
	c.directory.Watch(now, name, &c.dir)
	c.collect(now, out)
}

// Unwatch ends a Watch.
func (c *Core) Unwatch(name wire.Name) { c.directory.Unwatch(name) }

// Published says that a watched name was published to since its last check.
func (c *Core) Published(now time.Time, name wire.Name, out *Output) {
	c.directory.Published(now, name, &c.dir)
	c.collect(now, out)
}

// Hurry has the check of a name that was published to leave as soon as one may.
func (c *Core) Hurry(now time.Time, name wire.Name, out *Output) {
	c.directory.Hurry(now, name, &c.dir)
	c.collect(now, out)
}

// Left says that a node turned out to have no member of a name.
func (c *Core) Left(now time.Time, name wire.Name, node ring.ID, out *Output) {
	c.directory.Gone(now, name, node, &c.dir)
	c.collect(now, out)
}

// Refuse tells a node that publishes to a name in vain that this one has no member.
func (c *Core) Refuse(now time.Time, name wire.Name, node ring.ID, out *Output) {
	c.directory.Refuse(now, name, node, &c.dir)
	c.collect(now, out)
}

// Want asks for a link to a node that messages are for. It reports whether there is
// one, or it is being dialled.
func (c *Core) Want(now time.Time, id ring.ID, out *Output) bool {
	ok := c.overlay.Want(now, id, &c.ring)
	c.collect(now, out)
	return ok
}

// Send sends a message to a node, over the link to it or through others.
func (c *Core) Send(to ring.ID, m wire.Message, out *Output) { c.route(to, m, out) }

// Leave begins the drain: this node owns nothing any more, and no other node finds
// its members.
func (c *Core) Leave(now time.Time, out *Output) {
	if c.overlay == nil {
		return
	}
	c.directory.Withdraw(now, &c.dir)
	c.collect(now, out)
	c.overlay.Leave(now, &c.ring)
	c.collect(now, out)
}

// Withdrawn reports that everybody who had to has acknowledged that this node has no
// members any more.
func (c *Core) Withdrawn() bool { return c.overlay == nil || c.directory.Settled() }

// Depart is the last word to the network.
func (c *Core) Depart(now time.Time, out *Output) {
	if c.overlay == nil {
		return
	}
	c.overlay.Depart(now, &c.ring)
	c.collect(now, out)
}

// collect moves what the parts have to say to out. What the overlay has news of the
// directory hears.
func (c *Core) collect(now time.Time, out *Output) {
	for _, s := range c.ring.Send {
		c.route(s.To, s.Msg, out)
	}
	out.Dial = append(out.Dial, c.ring.Dial...)
	out.Drop = append(out.Drop, c.ring.Drop...)
	changed := false
	var joined []ring.ID
	for _, n := range c.ring.News {
		out.News = append(out.News, n)
		switch n.Kind {
		case overlay.NodeGone:
			c.directory.NodeGone(now, n.ID, &c.dir)
			changed = true
		case overlay.Mourned:
			c.directory.Mourned(now, &c.dir)
			changed = true
		case overlay.NodeJoined:
			joined = append(joined, n.ID)
		case overlay.ViewChanged, overlay.StateChanged, overlay.NodeLeaving:
			changed = true
		}
	}
	if len(joined) > 0 { // all at once: it looks at every name
		c.directory.Again(now, &c.dir, joined...)
		changed = true
	}
	if changed {
		c.directory.ViewChanged(now, &c.dir)
	}
	c.ring.Reset()
	for _, s := range c.dir.Send {
		c.route(s.To, s.Msg, out)
	}
	out.Steps = append(out.Steps, c.dir.Steps...)
	c.dir.Reset()
}

// route sends a message to a node: over the link to it, or through others. What
// cannot be sent is repeated by whoever waits for an answer.
func (c *Core) route(to ring.ID, m wire.Message, out *Output) {
	via, ok := c.overlay.FirstHop(to)
	switch {
	case !ok:
		c.Lost++
	case via == to:
		out.Send = append(out.Send, Send{To: to, Msg: m})
	default:
		out.Send = append(out.Send, Send{To: via, Origin: c.Self, Target: to, Hops: wire.MaxHops, Msg: m})
	}
}
