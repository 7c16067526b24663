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
	names   []wire.Name // published to since they were last asked about
	asked   []wire.Name // in the one under way
	waits   []waiting   // answered, but what was said is not applied yet
	number  uint32
	sent    time.Time // of the last one
	retryAt time.Time // names that cannot be asked about before
	flying  bool
}

type waiting struct {
	name wire.Name
	ver  wire.Ver
}

func (c *check) due() time.Time {
	switch {
	case c.flying:
		return c.sent.Add(patience)
	case len(c.names) == 0:
		return time.Time{}
	case c.retryAt.After(c.sent.Add(checkEvery)):
		return c.retryAt
	}
	return c.sent.Add(checkEvery)
}

func (c *check) all() []wire.Name {
	all := append(slices.Clone(c.names), c.asked...)
	for _, w := range c.waits {
		all = append(all, w.name)
	}
	return all
}

func (c *check) remove(name wire.Name) {
	is := func(n wire.Name) bool { return n == name }
	c.names = slices.DeleteFunc(c.names, is)
	c.asked = slices.DeleteFunc(c.asked, is)
	c.waits = slices.DeleteFunc(c.waits, func(w waiting) bool { return w.name == name })
}

func (c *check) empty() bool { return len(c.names)+len(c.asked)+len(c.waits) == 0 }

// lost puts back what was asked in vain.
func (c *check) lost() {
	for _, name := range c.asked {
		c.add(name)
	}
	c.asked, c.flying = nil, false
}

func (c *check) add(name wire.Name) {
	if !slices.Contains(c.names, name) {
		c.names = append(c.names, name)
	}
}

// Published says that a name was published to since its last check. The caller
// watches it.
func (d *Directory) Published(now time.Time, name wire.Name, out *Output) {
	owner := d.ring.Owner(name.Key)
	c := d.checks[owner] // of nobody, while there is no owner
	if c == nil {
		c = new(check)
		d.checks[owner] = c
	}
	c.add(name)
	d.sendChecks(now, out)
}

// sendChecks sends the checks that are due.
func (d *Directory) sendChecks(now time.Time, out *Output) {
	for _, to := range sortedIDs(d.checks) {
		c := d.checks[to]
		if c == nil {
			continue
		}
		if c.flying && now.Sub(c.sent) >= patience {
			for _, name := range c.asked {
				if w := d.watched[name]; w != nil {
					w.pause, w.at = 0, now
				}
			}
			c.lost()
		}
		if to.IsZero() {
			d.reroute(now, c, out)
			continue
		}
		if c.flying || len(c.names) == 0 || now.Before(c.due()) {
			continue
		}
		d.query = d.query%(replicaQuery-1) + 1
		n := min(len(c.names), perMessage)
		c.asked, c.names = slices.Clone(c.names[:n]), c.names[n:]
		c.number, c.sent, c.flying = d.query, now, true
		c.waits = slices.DeleteFunc(c.waits, func(w waiting) bool { // this check covers more: its answer counts
			return slices.Contains(c.asked, w.name)
		})
		m := wire.Check{Check: c.number}
		for _, name := range c.asked {
			h := wire.Held{Name: name}
			if w := d.watched[name]; w != nil {
				h.Ver = w.ver
			}
			m.Names = append(m.Names, h)
		}
		for _, name := range c.asked {
			out.step(Checked, Change{Name: name})
		}
		d.send(now, to, m, out)
	}
}

// reroute finds a root for names that had none.
func (d *Directory) reroute(now time.Time, c *check, out *Output) {
	for _, name := range slices.Clone(c.names) {
		if owner := d.ring.Owner(name.Key); !owner.IsZero() {
			c.remove(name)
			d.Published(now, name, out)
		}
	}
	c.sent = now
	if c.empty() {
		delete(d.checks, ring.ID{})
	}
}

// checked takes the answer to a check.
func (d *Directory) checked(now time.Time, from ring.ID, m wire.Checked, out *Output) {
	c := d.checks[from]
	if c == nil || !c.flying || c.number != m.Check {
		return
	}
	asked := c.asked
	c.asked, c.flying = nil, false
	for i, name := range asked {
		at := slices.IndexFunc(m.Names, func(n wire.CheckedName) bool { return int(n.Index) == i })
		switch {
		case at < 0: // what we know is all there is
			out.step(Confirmed, Change{Name: name})
		case m.Names[at].State == wire.CheckNewer:
			c.waits = append(c.waits, waiting{name, m.Names[at].Ver})
			d.confirmAll(now, name, out)
		default:
			c.add(name)
			c.retryAt = now.Add(5 * checkEvery)
			if w := d.watched[name]; w != nil && m.Names[at].State == wire.CheckNotMine {
				w.pause, w.at = 0, now
			}
		}
	}
	d.sendChecks(now, out)
}

// confirmAll confirms a name if what a root said of it has been applied.
func (d *Directory) confirmAll(now time.Time, name wire.Name, out *Output) {
	w := d.watched[name]
	for _, root := range sortedIDs(d.checks) {
		c := d.checks[root]
		c.waits = slices.DeleteFunc(c.waits, func(wt waiting) bool {
			if wt.name != name || w != nil && (w.ver.Epoch != wt.ver.Epoch || w.ver.Count < wt.ver.Count) {
				return false
			}
			out.step(Confirmed, Change{Name: name})
			return true
		})
	}
}
