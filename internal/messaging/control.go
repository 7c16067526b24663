package messaging

import (
	"cmp"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A Loop is a control plane and a data plane that act on each other: what a node's
// control loop owns, in the daemon and in a simulation. Whoever calls the core does so
// with Out, and then Settle.
type Loop struct {
	Core  *core.Core
	Plane *Plane
	Out   core.Output
	asks  Asks

	routes []overlay.Route // reused
}

// Settle has each plane do what the other wants, until neither wants anything more.
// What Out then holds, messages and dials and what is for the data plane of tunnels,
// is the caller's to carry out and to reset.
func (l *Loop) Settle(now time.Time, b *queue.Batch) {
	changes, steps, news := 0, 0, 0
	for {
		out := &l.Out
		l.routes = l.Core.Routes(l.routes[:0])
		l.Plane.Route(now, b, l.routes)
		l.Plane.Attend(now, b, &l.asks)
		if l.obey(now); changes == len(out.Changes) && steps == len(out.Steps) && news == len(out.News) {
			break
		}
		for _, n := range out.News[news:] {
			switch n.Kind {
			case overlay.NodeGone:
				l.Plane.NodeGone(now, b, n.ID)
			case overlay.NodeJoined:
				l.Plane.NodeJoined(now, n.ID)
			}
		}
		news = len(out.News)
		if !l.Core.Alone() {
			l.Plane.Join()
		}
		l.Plane.Apply(now, b, out.Changes[changes:])
		changes = len(out.Changes)
		l.apply(now, b, out.Steps[steps:])
		steps = len(out.Steps)
	}
}

// apply does what the directory said, in its order.
func (l *Loop) apply(now time.Time, b *queue.Batch, steps []directory.Step) {
	for _, s := range steps {
		switch s.What {
		case directory.Changed:
			l.Plane.Member(b, s.Change, &l.asks)
		case directory.Checked:
			l.Plane.Checked(s.Name)
		case directory.Confirmed:
			l.Plane.Confirmed(s.Name, &l.asks)
		}
	}
	l.Plane.publish()
	for _, s := range steps {
		if s.What == directory.Changed && s.Members > 0 {
			l.Plane.Found(now, b, s.Name)
		}
	}
}

// obey asks of the core what the data plane wants.
func (l *Loop) obey(now time.Time) {
	a, c, out := &l.asks, l.Core, &l.Out
	for _, n := range a.Watch {
		c.Watch(now, n, out)
	}
	for _, n := range a.Published {
		c.Published(now, n, out)
	}
	for _, n := range a.Hurried {
		c.Hurry(now, n, out)
	}
	for _, n := range a.Left {
		c.Left(now, n.Name, n.Node, out)
	}
	for _, n := range a.Unwanted {
		c.Refuse(now, n.Name, n.Node, out)
	}
	scatter(a.Wanted)
	for _, id := range a.Wanted {
		if !c.Want(now, id, out) {
			l.Plane.Unlinked(now, id)
		}
	}
	for _, m := range a.Messages {
		c.Send(m.To, m.Msg, out)
	}
	for _, n := range a.Unwatch {
		c.Unwatch(n)
	}
	a.Reset()
}

// scatter puts ids in an order in which the first lie all around the ring: where there is
// not room for all, those that get links are the routers to the others.
func scatter(ids []ring.ID) {
	slices.SortFunc(ids, func(a, b ring.ID) int { return cmp.Or(cmp.Compare(a.Lo, b.Lo), a.Compare(b)) })
}

// Data takes what came for the data plane over control connections: questions for
// what was missed, and what routers could not hand on. It returns the rest, which is
// about tunnels.
func (l *Loop) Data(now time.Time, b *queue.Batch) (rest []core.Data) {
	for _, d := range l.Out.Data {
		switch m := d.Msg.(type) {
		case wire.Nack:
			l.Plane.Nack(b, d.From, m)
		case wire.Undelivered:
			l.Plane.Undelivered(now, b, m)
		default:
			rest = append(rest, d)
		}
	}
	return rest
}

// Advance does what has come due in both planes.
func (l *Loop) Advance(now time.Time, b *queue.Batch) {
	l.Core.Advance(now, &l.Out)
	l.Plane.Advance(now, b, &l.asks)
}

// Next returns when Advance is due; the zero time says never.
func (l *Loop) Next(now time.Time) time.Time {
	at := l.Core.Next()
	if p, ok := l.Plane.Next(now); ok && (at.IsZero() || p.Before(at)) {
		at = p
	}
	return at
}
