package sim

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/overlay"
)

const (
	dialTimeout = 3 * time.Second
	userTimeout = 15 * time.Second // of a connection with something unacknowledged
)

// Network is how far hosts are from each other: they lie in a square, and
// messages take Near plus a share of Far that grows with the distance.
type Network struct {
	Near, Far time.Duration
}

// delay returns how long a message takes from a to b: up to a tenth more than
// the distance says.
func (w *world) delay(a, b *node) time.Duration {
	d := w.distance(a, b)
	return d + w.jitter(d/10)
}

func (w *world) distance(a, b *node) time.Duration {
	return w.net.Near + time.Duration(float64(w.net.Far)*math.Hypot(a.x-b.x, a.y-b.y)/math.Sqrt2)
}

// reaches reports whether what a sends comes to b.
func (w *world) reaches(a, b *node) bool {
	return a.group == b.group && !w.cut[[2]int{a.index, b.index}] && (b.alive || b.refuses) && !w.apart(a, b, w.Apart)
}

// apart reports whether two nodes are one of a share of the pairs.
func (w *world) apart(a, b *node, share float64) bool {
	if share == 0 || slices.Contains(a.seeds, b) || slices.Contains(b.seeds, a) {
		return false
	}
	if b.index < a.index {
		a, b = b, a
	}
	return rand.New(rand.NewPCG(w.salt, uint64(a.index)<<32|uint64(b.index))).Float64() < share
}

// shut reports whether a cannot dial b, though b can dial a.
func (w *world) shut(a, b *node) bool { return a.index < b.index && w.apart(a, b, w.Apart+w.Shut) }

// A link is a connection. One that is cut does not break at once: what is sent
// waits, until the way is free or the kernel gives up.
type link struct {
	w       *world
	ends    [2]*node // the dialler first
	open    bool
	last    [2]instant
	stalled [2][]*frame // by sender
	since   instant     // of the stall; 0: none
	place   int
	data    [2]*wires // by sender
	orderly bool      // it was closed by a living node: nothing is lost
	broken  bool      // what is under way is lost
}

func (l *link) end(n *node) int {
	if l.ends[0] == n {
		return 0
	}
	return 1
}

// dial opens a connection, which takes one and a half round trips: to connect,
// to prove who one is, and to say hello.
func (n *node) dial(to *node) {
	if n.dials[to] || n.links[to] != nil || to == n {
		return
	}
	n.dials[to] = true
	rtt := n.w.delay(n, to) + n.w.delay(to, n)
	began := n.w.now
	n.w.after(rtt+rtt/2, func() { n.handshake(to, began) })
}

func (n *node) handshake(to *node, began instant) {
	w := n.w
	left := began + dialTimeout - w.now
	switch {
	case !n.alive:
	case n.links[to] != nil: // the other one dialled too
		delete(n.dials, to)
	case left > 0 && (n.ending(to) || to.ending(n)): // who comes next waits
		w.after(time.Millisecond, func() { n.handshake(to, began) })
	case !w.reaches(n, to) || !w.reaches(to, n) || w.shut(n, to):
		w.after(max(left, 0), func() { n.dialFailed(to) })
	case !to.alive || to.m.Overlay.Next().IsZero():
		n.dialFailed(to)
	case len(n.links) >= w.Budget || !to.admits(n):
		n.dialFailed(to)
	case to.frozen && left > 0:
		w.after(min(left, 50*time.Millisecond), func() { n.handshake(to, began) })
	case to.frozen:
		n.dialFailed(to)
	default:
		delete(n.dials, to)
		w.connect(n, to)
	}
}

// admits reports whether the node has room for a link that another one dials, as its
// link manager does.
func (n *node) admits(from *node) bool {
	return overlay.Admits(n.id, from.id, n.m.View(), len(n.links), n.w.Budget)
}

func (n *node) dialFailed(to *node) {
	delete(n.dials, to)
	if n.links[to] == nil {
		n.turn(func(now time.Time, m *machine) { m.dialFailed(now, to.id) })
	}
}

// connect makes the link. The acceptor has it first.
func (w *world) connect(from, to *node) {
	l := w.join(from, to)
	d := w.delay(to, from)
	l.last[1], l.data[1].last = w.now+d, w.now+d
	w.trace.add(uint64(w.now), from.id.Hi, to.id.Hi)
	welcome := from.hello(to, true)
	w.after(d, func() { l.tellUp(0, welcome) }) // before anything the acceptor sends
	l.tellUp(1, to.hello(from, false))
}

// join makes a link of which neither end has been told.
func (w *world) join(from, to *node) *link {
	l := &link{w: w, ends: [2]*node{from, to}, open: true, place: len(w.links)}
	l.data = [2]*wires{{link: l, from: from, to: to}, {link: l, from: to, to: from}}
	w.links = append(w.links, l)
	from.links[to], to.links[from] = l, l
	return l
}

func (l *link) tellUp(end int, p overlay.Peer) {
	n := l.ends[end]
	n.turn(func(now time.Time, m *machine) {
		if !l.open {
			m.dialFailed(now, p.ID)
			return
		}
		if old := n.told[p.ID]; old != nil { // the end of the last link is still under way
			old.data[old.end(n)].seal()
			m.down(now, p.ID, old.data[old.end(n)])
		}
		n.told[p.ID] = l
		l.data[end].peer = m.up(now, p, l.data[end])
	})
}

// ending reports whether the last link to a node is still being closed.
func (n *node) ending(to *node) bool {
	l := n.told[to.id]
	return l != nil && l.orderly
}

// send puts a frame on its way to the other end.
func (l *link) send(from *node, f *frame) {
	if !l.open {
		return
	}
	side := l.end(from)
	to := l.ends[1-side]
	if len(l.stalled[side]) > 0 || !l.w.reaches(from, to) {
		l.stalled[side] = append(l.stalled[side], f)
		l.stall()
		return
	}
	at := max(l.w.now+l.w.delay(from, to), l.last[side])
	l.last[side] = at
	l.w.at(at, func() { l.arrive(side, f) })
}

// stall notes that the kernel has something that it cannot send.
func (l *link) stall() {
	if l.since == 0 {
		l.since = l.w.now
		l.w.after(userTimeout, l.giveUp)
	}
}

func (l *link) arrive(side int, f *frame) {
	from, to := l.ends[side], l.ends[1-side]
	if l.broken || !to.alive {
		return
	}
	l.w.arrived(from, to, f)
	l.w.feed.count(from, to, f.msg.Type())
	to.turn(func(now time.Time, m *machine) {
		if to.told[from.id] == l {
			m.receive(now, from.id, f)
		}
	})
}

// giveUp ends a connection that has been stalled for long.
func (l *link) giveUp() {
	if l.open && l.since > 0 && l.w.now-l.since >= userTimeout {
		l.reset()
	}
}

// resume sends what was stalled, after the time it takes the kernel to try again.
func (l *link) resume() {
	if !l.open || !l.w.reaches(l.ends[0], l.ends[1]) || !l.w.reaches(l.ends[1], l.ends[0]) {
		return
	}
	l.since = 0
	for side := range l.stalled {
		waiting := l.stalled[side]
		if len(waiting) == 0 {
			continue
		}
		l.stalled[side] = nil
		l.last[side] = max(l.last[side], l.w.now+l.w.jitter(time.Second))
		for _, f := range waiting {
			l.send(l.ends[side], f)
		}
	}
	for _, d := range l.data {
		d.resume()
	}
}

// close ends the link from one end. The other end learns of it when it gets
// there.
func (l *link) close(by *node) { l.finish(by) }

// reset breaks the link: what is under way is lost, and both ends learn of it.
func (l *link) reset() { l.finish(nil) }

func (l *link) finish(by *node) {
	if !l.open {
		return
	}
	l.open = false
	w := l.w
	last := w.links[len(w.links)-1]
	last.place = l.place
	w.links[l.place] = last
	w.links = w.links[:len(w.links)-1]
	l.broken = by == nil
	for end := range l.ends {
		delete(l.ends[end].links, l.ends[1-end])
	}
	if by != nil && by.alive {
		l.closeOrderly(l.end(by))
		return
	}
	for end, n := range l.ends {
		var d time.Duration
		if other := l.ends[1-end]; n != by && by != nil {
			d = w.delay(other, n)
			if !w.reaches(other, n) {
				d = userTimeout
			}
			d = max(d, l.data[1-end].last-w.now)
		}
		w.after(d, func() { l.tellDown(end) })
	}
}

// tellDown says at one end that the link is no more.
func (l *link) tellDown(end int) {
	n, id := l.ends[end], l.ends[1-end].id
	n.turn(func(now time.Time, m *machine) {
		if n.told[id] == l {
			l.data[end].seal()
			delete(n.told, id)
			m.down(now, id, l.data[end])
		}
	})
}

// closeAll ends all links of a node, in the order of its peers.
func (w *world) closeAll(n *node) {
	var all []*link
	for _, l := range n.links { //iris:unordered sorted below
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b *link) int { return a.place - b.place })
	for _, l := range all {
		l.close(n)
	}
}
