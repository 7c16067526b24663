package sim

import (
	"slices"
	"time"
)

const (
	drainPause    = 10 * time.Millisecond // between two looks at what is still open
	withdrawLimit = time.Second           // until everybody knows that a node has no members
)

// drain ends a node with programs as the daemon does: nobody sends it anything new,
// what its programs work on is finished, and then they end, and the links.
func (n *node) drain() {
	if n.leaving || !n.alive || n.w.Traffic.Lossless && !n.replaceable() {
		return
	}
	n.leaving = true
	n.turn(func(now time.Time, m *machine) {
		m.Plane.Drain()
		m.leave(now)
	})
	n.until(withdrawLimit, func() bool { return n.m.Core.Withdrawn() }, func() {
		n.until(drain, func() bool { return n.m.Plane.Open() == 0 }, n.end)
	})
}

// replaceable reports whether another node has a member of the same cluster for good.
func (n *node) replaceable() bool {
	return slices.ContainsFunc(n.w.alive, func(o *node) bool {
		return o != n && !o.leaving && o.index%clusters == n.index%clusters
	})
}

// until calls then as soon as done says yes, but within a limit.
func (n *node) until(limit time.Duration, done func() bool, then func()) {
	n.run(func() {
		if limit <= 0 || done() {
			then()
			return
		}
		n.w.after(drainPause, func() { n.until(limit-drainPause, done, then) })
	})
}

// end ends the programs, takes leave of the others, and closes the links in order.
func (n *node) end() {
	for _, p := range n.all {
		if !p.closed {
			p.close()
		}
	}
	n.closeTunnels(func() {
		n.turn(func(now time.Time, m *machine) { m.depart(now) })
		w := n.w
		w.after(drainPause, func() {
			w.closeAll(n)
			w.after(closeLimit, func() {
				if n.alive {
					n.kill(false)
				}
			})
		})
	})
}
