package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// maxViolations bounds what a report lists: one broken rule breaks often.
const maxViolations = 20

// A Violation is a rule that did not hold.
type Violation struct {
	At   time.Duration
	Node string // or empty
	What string
}

func (v Violation) String() string {
	return fmt.Sprintf("%v %s: %s", v.At.Round(time.Millisecond), v.Node, v.What)
}

func (w *world) violated(n *node, format string, args ...any) {
	w.found.broken++
	if len(w.found.violations) < maxViolations {
		v := Violation{At: w.now, What: fmt.Sprintf(format, args...)}
		if n != nil {
			v.Node = n.id.Short()
		}
		w.found.violations = append(w.found.violations, v)
	}
}

// checkNode looks at what must hold of a node after every event that touched it.
func (w *world) checkNode(n *node) {
	for i, half := range n.m.Leaves() {
		// S1: at most 8 a side, sorted, not itself, nobody it only heard of.
		if len(half) > 8 {
			w.violated(n, "S1: %d leaves on a side", len(half))
		}
		var last ring.ID
		for _, id := range half {
			d := id.Sub(n.id)
			if i == 0 {
				d = n.id.Sub(id)
			}
			if !last.Less(d) {
				w.violated(n, "S1: leaves are not in order, or one is the node itself")
			}
			last = d
			if n.told[id] == nil && n.m.Linked(id) {
				w.violated(n, "S1: leaf %s was never linked", id.Short())
			}
		}
	}
}

// checkHop looks at a routed frame's next hop: S4, it gains distance, but for the
// last hop to an indirect node; the hops are never used up.
func (w *world) checkHop(from *node, to ring.ID, f *frame) {
	if f.hops == 1 {
		w.violated(from, "S4: the hops of a %v to %s are used up", f.msg.Type(), f.target.Short())
	}
	if f.target.Distance(to).Less(f.target.Distance(from.id)) {
		return
	}
	if n := w.byID[to]; !n.m.Linked(f.target) {
		w.found.detours++
	}
}

// look looks at the whole, every 100 ms.
func (w *world) look() {
	owners := w.active()
	w.checkAgreement(owners)
	w.measureOverlap(owners)
	if len(owners) > 0 {
		for range max(w.Lookups, lookupsPerLook) {
			w.lookup(owners)
		}
	}
	if w.now >= w.quiet && !w.namesAreRight() {
		w.found.namesWrong = w.now
	}
	if !w.isIdeal(owners) {
		w.found.notIdeal = w.now
	}
}

// active returns the nodes that may own keys: alive, not frozen, Active. They
// are sorted by id.
func (w *world) active() []*node {
	var active []*node
	for _, n := range w.alive {
		if isActive(n) && !n.frozen {
			active = append(active, n)
		}
	}
	return active
}

// ownerAmong returns the node closest to key.
func ownerAmong(nodes []*node, key ring.ID) *node {
	i, _ := slices.BinarySearchFunc(nodes, key, func(n *node, id ring.ID) int { return n.id.Compare(id) })
	a, b := nodes[(i+len(nodes)-1)%len(nodes)], nodes[i%len(nodes)]
	if ring.Closer(key, a.id, b.id) {
		return a
	}
	return b
}

// checkAgreement is S3 of stage 1: two Active nodes whose views agree name the
// same owner.
func (w *world) checkAgreement(active []*node) {
	if len(active) < 2 {
		return
	}
	for range 4 {
		a, b := active[w.rng.IntN(len(active))], active[w.rng.IntN(len(active))]
		key := w.key()
		if *a.m.Sums() == *b.m.Sums() && a.m.Owner(key) != b.m.Owner(key) {
			w.violated(a, "S3: sees the same as %s, but another owner of %s", b.id.Short(), key.Short())
		}
	}
}

func (w *world) key() ring.ID { return ring.ID{Hi: w.rng.Uint64(), Lo: w.rng.Uint64()} }

// measureOverlap finds out which of some keys, the same for all of a run, have
// two Active owners, and for how long.
func (w *world) measureOverlap(active []*node) {
	claims := make([]claim, len(active))
	for i, n := range active {
		claims[i].self = n.id
		claims[i].before, claims[i].after = n.m.Neighbours()
	}
	for i := range w.found.keys {
		k := &w.found.keys[i]
		if k.id.IsZero() {
			k.id = w.key()
		}
		owners := 0
		for j := range claims {
			if claims[j].has(k.id) {
				owners++
			}
		}
		if owners < 2 {
			k.since = 0
			continue
		}
		if k.since == 0 {
			k.since = w.now
		}
		w.found.overlap += look
		w.found.worstOverlap = max(w.found.worstOverlap, w.now-k.since)
		if w.Overlap > 0 && w.now-k.since > w.Overlap && w.now-k.since <= w.Overlap+look {
			w.violated(nil, "overlap: key %s has %d owners for %v", k.id.Short(), owners, w.now-k.since)
		}
	}
}

// A claim is what a node holds for its own.
type claim struct{ self, before, after ring.ID }

func (c *claim) has(key ring.ID) bool {
	return c.before.IsZero() || ring.Closer(key, c.self, c.before) && ring.Closer(key, c.self, c.after)
}

// lookup sends a question in thought from a node to the owner of a key, and sees
// where it ends: whoever gets it and knows of a closer node says so.
func (w *world) lookup(active []*node) {
	from, key := active[w.rng.IntN(len(active))], w.key()
	found := &w.found.lookups
	found.all++
	to, hops, redirects, ok := w.seekOwner(from, key)
	found.redirected += redirects
	switch {
	case !ok:
		found.lost++
		w.after(askAgain, func() {
			if _, _, _, ok := w.seekOwner(from, key); !ok && from.alive && !from.frozen {
				found.lostAgain++
			}
		})
	case w.byID[to] != ownerAmong(active, key):
		found.wrong++
	default:
		found.hops.add(float64(hops))
	}
}

// seekOwner follows a question from a node to who takes itself for the owner of key.
func (w *world) seekOwner(from *node, key ring.ID) (to ring.ID, hops, redirects int, ok bool) {
	to = from.m.Owner(key)
	if to.IsZero() {
		return to, 0, 0, false
	}
	hops, ok = w.route(from, to)
	for range maxRedirects {
		next := w.byID[to].m.Owner(key)
		if !ok || next == to || next.IsZero() {
			break
		}
		redirects++
		to = next
		hops, ok = w.route(from, to)
	}
	return to, hops, redirects, ok
}

// route follows the hops to a node.
func (w *world) route(from *node, to ring.ID) (hops int, ok bool) {
	for at := from; at.id != to; hops++ {
		next, ok := at.m.NextHop(to)
		if at == from {
			next, ok = at.m.FirstHop(to)
		}
		n := w.byID[next]
		if !ok || hops == wire.MaxHops || !n.alive || n.frozen || at.links[n] == nil || !w.reaches(at, n) {
			return hops, false
		}
		at = n
	}
	return hops, w.byID[to].alive && !w.byID[to].frozen
}

// isIdeal reports whether all is as it should be with nothing broken: all nodes
// are Active and have the nearest eight on each side for leaves, but for those they
// never hear.
func (w *world) isIdeal(active []*node) bool {
	if len(active) != len(w.alive) {
		return false
	}
	for i, n := range active {
		leaves := n.m.Leaves()
		for side, step := range [...]int{-1, 1} {
			have := leaves[side]
			for d := 1; d < len(active) && len(leaves[side])-len(have) < 8; d++ {
				m := active[(i+step*d%len(active)+len(active))%len(active)]
				switch {
				case len(have) > 0 && have[0] == m.id:
					have = have[1:]
				case !w.apart(n, m, w.Apart):
					return false
				}
			}
			if len(have) > 0 {
				return false
			}
		}
	}
	return true
}

// checkQuiet looks at what must hold 15 s after the last fault: one ring, ideal
// leaf sets, equal views, and the true owner of every key.
func (w *world) checkQuiet() {
	active := w.active()
	if len(active) != len(w.alive) || len(active) == 0 {
		w.violated(nil, "liveness: %d of %d nodes are active", len(active), len(w.alive))
		for _, n := range w.alive {
			if !isActive(n) {
				w.violated(n, "liveness: is %v", n.m.State())
			}
		}
		return
	}
	if !w.isIdeal(active) {
		w.violated(nil, "S5, liveness: leaf sets are not ideal")
	}
	want := make([]ring.ID, len(active))
	for i, n := range active {
		want[i] = n.id
	}
	for _, n := range active {
		if got := n.m.View(); !slices.Equal(got, want) {
			w.violated(n, "liveness: sees %d of %d nodes, or others", len(got), len(want))
		}
		if *n.m.Sums() != *active[0].m.Sums() {
			w.violated(n, "liveness: views have different sums")
		}
		if n.m.Links() > w.Budget {
			w.violated(n, "S9: %d links", n.m.Links())
		}
	}
	for _, n := range active {
		w.checkNames(n)
	}
	var lost []func()
	for range 10_000 {
		n, key := active[w.rng.IntN(len(active))], w.key()
		if owner := n.m.Owner(key); owner != ownerAmong(active, key).id {
			w.violated(n, "liveness: says that %s owns %s", owner.Short(), key.Short())
		} else if _, ok := w.route(n, owner); !ok {
			lost = append(lost, func() {
				if _, ok := w.route(n, owner); !ok {
					w.violated(n, "liveness: does not reach %s", owner.Short())
				}
			})
		}
	}
	if len(lost) > 0 { // it may have met a link that is just being closed, as idle ones are
		w.runUntil(w.now + time.Second)
		for _, again := range lost {
			again()
		}
	}
}
