package directory

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A check is what this node has to ask one root: whether it knows all the member
// nodes of names it publishes to. One is under way at a time.
type check struct {
	due
	root    ring.ID     // nobody: of names without a root
	names   []wire.Name // published to since they were last asked about
	queued  map[wire.Name]bool
	asked   []wire.Name // in the one under way; no name where one was taken out
	number  uint32
	sent    time.Time     // of the last one
	every   time.Duration // from that on until the next
	soon    bool          // the next is not to wait for as long
	pause   time.Duration // until that is taken for lost
	retryAt time.Time     // names that cannot be asked about before
	flying  bool
}

func (c *check) add(name wire.Name) {
	if !c.queued[name] {
		c.queued[name] = true
		c.names = append(c.names, name)
	}
}

// lost puts back what was asked in vain.
func (c *check) lost() {
	for _, name := range c.asked {
		if name != (wire.Name{}) {
			c.add(name)
		}
	}
	c.asked, c.flying = nil, false
}

// plan has the check sent, or repeated, in time.
func (d *Directory) plan(c *check) {
	at := time.Time{}
	switch {
	case c.flying:
		at = c.sent.Add(c.pause)
	case c.root.IsZero() || len(c.names) == 0: // ViewChanged finds a root
	default:
		at = c.next()
	}
	d.checking.set(c, at)
}

// next returns when the next check is due.
func (c *check) next() time.Time {
	at := c.sent.Add(c.every)
	if c.soon {
		at = c.sent.Add(checkEvery)
	}
	if at.Before(c.retryAt) {
		at = c.retryAt
	}
	return at
}

// Published says that a name was published to since its last check. The caller
// watches it.
func (d *Directory) Published(now time.Time, name wire.Name, out *Output) {
	owner := d.ring.Owner(name.Key)
	c := d.checks[owner]
	if c == nil {
		c = &check{root: owner, queued: make(map[wire.Name]bool), pause: patience}
		d.checks[owner] = c
	}
	if len(c.names) == 0 && !c.flying && now.Sub(c.sent) >= checkSeldom {
		c.every = checkEvery / 2 // and twice that after this check
	}
	if c.add(name); !c.flying {
		d.plan(c)
	}
	d.sendChecks(now, out)
}

// Hurry has the check of a name that was published to leave as soon as one may.
func (d *Directory) Hurry(now time.Time, name wire.Name, out *Output) {
	c := d.checks[d.ring.Owner(name.Key)]
	if c == nil {
		return
	}
	if c.soon = true; !c.flying {
		d.plan(c)
	}
	d.sendChecks(now, out)
}

// sendChecks sends the checks that are due.
func (d *Directory) sendChecks(now time.Time, out *Output) {
	for c, ok := d.checking.pop(now); ok; c, ok = d.checking.pop(now) {
		if c.flying {
			c.lost()
			c.pause = min(2*c.pause, mostPatience)
		}
		if len(c.names) > 0 && !c.root.IsZero() {
			d.sendCheck(now, c, out)
		}
	}
}

func (d *Directory) sendCheck(now time.Time, c *check, out *Output) {
	n := min(len(c.names), perMessage)
	c.asked, c.names = slices.Clone(c.names[:n]), slices.Delete(c.names, 0, n)
	c.number, c.sent, c.flying = d.question(), now, true
	c.every = min(2*c.every, checkSeldom)
	c.soon = len(c.names) > 0 // there was no room for them
	m := wire.Check{Check: c.number}
	for _, name := range c.asked {
		delete(c.queued, name)
		h := wire.Held{Name: name}
		if w := d.watched[name]; w != nil {
			h.Ver = w.ver
			w.wait = waiting{} // an answer to what was asked before would confirm too much
		}
		m.Names = append(m.Names, h)
		out.step(Checked, Change{Name: name})
	}
	d.plan(c)
	d.send(now, c.root, m, out)
}

// question returns the number of the next question.
func (d *Directory) question() uint32 {
	d.query = d.query%(replicaQuery-1) + 1
	return d.query
}

// checked takes the answer to a check.
func (d *Directory) checked(now time.Time, from ring.ID, m wire.Checked, out *Output) {
	c := d.checks[from]
	if c == nil || !c.flying || c.number != m.Check {
		return
	}
	asked := c.asked
	c.asked, c.flying = nil, false
	c.pause = min(max(2*now.Sub(c.sent), patience), mostPatience) // an answer to what was asked before is none
	told := make(map[uint16]wire.CheckedName, len(m.Names))
	for _, n := range m.Names {
		told[n.Index] = n
	}
	for i, name := range asked {
		w := d.watched[name]
		n, listed := told[uint16(i)]
		switch {
		case name == (wire.Name{}): // is asked of another root
		case !listed: // what we know is all there is
			out.step(Confirmed, Change{Name: name})
		case n.State == wire.CheckNewer && w == nil:
			out.step(Confirmed, Change{Name: name})
		case n.State == wire.CheckNewer:
			w.wait = waiting{from, n.Ver}
			if d.confirm(w, out); w.wait != (waiting{}) && w.query == 0 {
				d.asking.set(w, now) // it was told before, and lost
			}
		default:
			c.add(name)
			c.retryAt = now.Add(5 * checkEvery)
			if w != nil && n.State == wire.CheckNotMine && w.root == from && w.query == 0 {
				d.asking.set(w, now)
			}
		}
	}
	d.plan(c)
	d.ask(now, out)
	d.sendChecks(now, out)
}

// A waiting is a check that was answered, while what it said is not applied yet.
type waiting struct {
	root ring.ID
	ver  wire.Ver
}

// confirm confirms a name if what its root said of it has been applied.
func (d *Directory) confirm(w *watch, out *Output) {
	if v := w.wait.ver; w.wait != (waiting{}) && w.ver.Epoch == v.Epoch && w.ver.Count >= v.Count {
		w.wait = waiting{}
		out.step(Confirmed, Change{Name: w.name})
	}
}

// moveChecks has names asked of the roots they have now.
func (d *Directory) moveChecks(now time.Time, out *Output) {
	var moved []wire.Name
	for _, root := range sortedIDs(d.checks) {
		c := d.checks[root]
		elsewhere := func(name wire.Name) bool {
			if name == (wire.Name{}) || d.ring.Owner(name.Key) == root {
				return false
			}
			moved = append(moved, name)
			delete(c.queued, name)
			return true
		}
		c.names = slices.DeleteFunc(c.names, elsewhere)
		for i, name := range c.asked {
			if elsewhere(name) {
				c.asked[i] = wire.Name{} // the others keep their places in the answer
			}
		}
		if !c.flying && len(c.names) == 0 {
			d.checking.set(c, time.Time{})
			delete(d.checks, root)
		}
	}
	for _, name := range those(d.watched, func(n wire.Name, w *watch) bool {
		return w.wait != (waiting{}) && w.wait.root != d.ring.Owner(n.Key)
	}) {
		d.watched[name].wait = waiting{}
		moved = append(moved, name)
	}
	for _, name := range moved {
		d.Published(now, name, out)
	}
}
