package directory

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// Whatever other nodes say, in whatever order, and however the view changes, a
// Directory keeps its own rules.
func FuzzNothingBreaksTheRules(f *testing.F) {
	f.Add(uint64(1), uint16(3000))
	f.Add(uint64(2), uint16(3000))
	f.Add(uint64(3), uint16(3000))
	f.Add(uint64(4), uint16(300))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16) {
		c := &chaos{bench: newBench(t, 5, 1, 3, 7, 9), r: rand.New(rand.NewPCG(seed, 5))}
		for range steps {
			c.now = c.now.Add(time.Duration(c.r.Int64N(int64(100 * time.Millisecond))))
			if c.r.IntN(100) == 0 {
				c.now = c.now.Add(time.Duration(c.r.Int64N(int64(2 * tombstone))))
			}
			c.out.Reset()
			c.anything()
			c.check()
		}
	})
}

// A chaos is a bench to which anything may happen.
type chaos struct {
	*bench
	r *rand.Rand
}

// node returns the id of a node, or nobody's.
func (c *chaos) node() ring.ID { return id(c.r.Uint64N(12)) }

// name returns a name, next to a node.
func (c *chaos) name() wire.Name {
	return wire.Name{Kind: wire.Topic, Key: ring.ID{Hi: c.node().Hi, Lo: 1}}
}

func (c *chaos) ver() wire.Ver {
	v := wire.Ver{Epoch: c.r.Uint32N(3), Count: c.r.Uint32N(5)}
	if l := c.d.lists[c.name()]; l != nil && c.r.IntN(2) == 0 {
		v = l.ver
	}
	if w := c.d.watched[c.name()]; w != nil && c.r.IntN(2) == 0 {
		v = w.ver
	}
	v.Count += c.r.Uint32N(3) - 1
	return v
}

// few makes a short list.
func few[T any](r *rand.Rand, item func() T) (items []T) {
	for range r.IntN(5) {
		items = append(items, item())
	}
	return items
}

func (c *chaos) held() []wire.Held {
	return few(c.r, func() wire.Held { return wire.Held{Name: c.name(), Ver: c.ver()} })
}

func (c *chaos) entry() wire.Entry {
	return wire.Entry{Node: c.node(), Members: uint16(c.r.IntN(3)), Workers: uint16(c.r.IntN(3)), Seq: uint64(c.r.IntN(20))}
}

func (c *chaos) query() uint32 {
	return (c.d.query - uint32(c.r.IntN(3))) | uint32(c.r.IntN(2))<<31
}

func (c *chaos) message() wire.Message {
	switch c.r.IntN(10) {
	case 0:
		return wire.Announce{Seq: uint64(c.r.IntN(20)), Names: few(c.r, func() wire.Registration {
			return wire.Registration{Name: c.name(), Members: uint16(c.r.IntN(3)), Workers: uint16(c.r.IntN(3))}
		})}
	case 1:
		return wire.Announced{Seq: c.d.seq - uint64(c.r.IntN(5)), NotMine: few(c.r, func() uint16 { return uint16(c.r.IntN(4)) })}
	case 2:
		return wire.Resolve{Query: c.query(), Watch: c.r.IntN(2) == 0, Names: c.held()}
	case 3:
		m := wire.Members{
			Query: c.query(), Name: c.name(), Ver: c.ver(), Incomplete: c.r.IntN(3) == 0, Partial: c.r.IntN(3) == 0,
			Entries: few(c.r, c.entry),
		}
		if c.r.IntN(2) == 0 {
			m.Query = 0
		}
		if c.r.IntN(2) == 0 {
			m.From = c.ver()
		}
		return m
	case 4:
		return wire.Redirect{Query: c.query(), Name: c.name(), Owner: c.node()}
	case 5:
		return wire.Check{Check: c.r.Uint32(), Names: c.held()}
	case 6:
		return wire.Checked{Check: c.query(), Names: few(c.r, func() wire.CheckedName {
			return wire.CheckedName{Index: uint16(c.r.IntN(4)), State: byte(c.r.IntN(3)), Ver: c.ver()}
		})}
	case 7:
		return wire.DigestDir{Role: byte(c.r.IntN(3)), Count: c.r.Uint32N(3), Wanted: c.r.IntN(2) == 0}
	case 8:
		return wire.Replicate{Entries: few(c.r, func() wire.Replica { return wire.Replica{Name: c.name(), Ver: c.ver(), Entry: c.entry()} })}
	}
	return wire.Unwanted{Name: c.name(), Seq: uint64(c.r.IntN(20))}
}

func (c *chaos) anything() {
	switch c.r.IntN(24) {
	case 0, 1:
		c.d.SetLocal(c.now, c.name(), c.r.IntN(3), c.r.IntN(9), &c.out)
	case 2, 3:
		name := c.name()
		c.d.Watch(c.now, name, &c.out)
		c.d.Published(c.now, name, &c.out)
	case 4:
		c.d.Unwatch(c.name())
	case 5:
		c.d.Gone(c.now, c.name(), c.node(), &c.out)
		c.d.Refuse(c.now, c.name(), id(1), &c.out)
	case 6:
		c.d.NodeGone(c.now, id(1+2*c.r.Uint64N(5)), &c.out)
	case 7:
		c.d.Linked(c.now, c.node(), &c.out)
	case 8:
		c.change()
	case 9:
		if c.r.IntN(20) == 0 {
			c.d.Withdraw(c.now, &c.out)
		}
		if c.r.IntN(5) == 0 {
			c.d.Mourned(c.now, &c.out)
		}
	case 10, 11, 12:
		c.d.Advance(c.now, &c.out)
		c.d.Advance(c.now, &c.out)
		if next := c.d.Next(); !next.After(c.now) {
			c.t.Fatalf("all is done, but Advance is due at %v, now is %v", next, c.now)
		}
	default:
		from := c.node()
		if from == c.self || from.IsZero() { // the core sees to that
			from = id(1)
		}
		c.d.Receive(c.now, from, c.message(), &c.out)
	}
}

// change changes the view, and with it who owns what.
func (c *chaos) change() {
	clear(c.others)
	c.state = wire.State(c.r.IntN(4))
	for range c.r.IntN(12) {
		if node := c.node(); node != c.self && !node.IsZero() {
			c.others[node] = wire.State(1 + c.r.IntN(3))
		}
	}
	c.d.ViewChanged(c.now, &c.out)
}

// check looks at what was put out, and at what is inside.
func (c *chaos) check() {
	c.t.Helper()
	for _, s := range c.out.Send {
		if s.To == c.self || s.To.IsZero() {
			c.t.Fatalf("%v is for %v", s.Msg, s.To)
		}
		wire.Append(nil, s.Msg) // panics if it is too long
		if m, ok := s.Msg.(wire.Members); ok && c.state != wire.Active {
			c.t.Fatalf("a node that is %v says %v", c.state, m)
		}
	}
	if len(c.out.Send) > 2000 {
		c.t.Fatalf("%d messages at once", len(c.out.Send))
	}
	for _, s := range c.out.Steps {
		if s.What == Changed && (s.Node == c.self || s.Node.IsZero() || s.Members > 0 && c.d.watched[s.Name] == nil) {
			c.t.Fatalf("step %+v", s)
		}
	}
	isHeap(c, "repeating", c.d.repeating)
	isHeap(c, "pushing", c.d.pushing)
	isHeap(c, "asking", c.d.asking)
	isHeap(c, "checking", c.d.checking)
	if n := len(c.d.unacknowledged); n != len(c.d.repeating.heap) || n > 1000 {
		c.t.Fatalf("%d announcements are not acknowledged, %d are repeated", n, len(c.d.repeating.heap))
	}
	for _, w := range c.d.asking.heap {
		if c.d.watched[w.name] != w {
			c.t.Fatalf("%v is asked for, but not watched", w.name)
		}
	}
	for _, l := range c.d.pushing.heap {
		if c.d.lists[l.name] != l {
			c.t.Fatalf("%v is pushed, but there is no list", l.name)
		}
	}
	for _, w := range c.d.watched {
		if w.place == 0 && w.query == 0 {
			c.t.Fatalf("%v is watched, but never asked for again", w.name)
		}
	}
	for root, ch := range c.d.checks {
		if c.d.checking.heap != nil && ch.place > 0 && c.d.checks[root] != ch {
			c.t.Fatalf("a check of %v is left behind", root)
		}
		if len(ch.names) != len(ch.queued) {
			c.t.Fatalf("%d names to check, %d queued", len(ch.names), len(ch.queued))
		}
	}
}

func isHeap[T interface{ when() *due }](c *chaos, what string, a agenda[T]) {
	c.t.Helper()
	for i := range a.heap {
		d := a.heap[i].when()
		if d.place != i+1 || d.at.IsZero() || d.at.Before(a.heap[i/2].when().at) && i > 0 && d.at.Before(a.heap[(i+1)/2-1].when().at) {
			c.t.Fatalf("%s: %+v is at %d of %d", what, d, i, len(a.heap))
		}
	}
}
