package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A world is one run.
type world struct {
	Scenario
	net      Network
	queue    events
	now      instant
	events   uint64
	rng      *rand.Rand // of the world: faults and delays. Nodes have their own
	salt     uint64     // of what pairs are apart
	trace    trace
	nodes    []*node // all there ever were
	alive    []*node // sorted by id
	byID     map[ring.ID]*node
	links    []*link
	cut      map[[2]int]bool // one way, by index
	started  instant         // when the last node of those at the start was
	quiet    instant         // since when nothing was broken any more
	found    findings
	clusters []string
	count    counters

	begin, cease instant // of traffic
	calls        []*call // all there ever were
	feed         feed
	work         work
	lates        lates
	mouths       []*mouth
	pipes        []*pipe // those that there are
}

func newWorld(s Scenario, seed uint64) *world {
	w := &world{
		Scenario: s, net: s.Network,
		rng:  rand.New(rand.NewPCG(seed, 0x1715)),
		salt: seed,
		byID: map[ring.ID]*node{}, cut: map[[2]int]bool{},
	}
	if w.Budget == 0 {
		w.Budget = overlay.DefaultBudget
	}
	for i := range s.Names {
		w.clusters = append(w.clusters, fmt.Sprintf("cluster-%d", i))
	}
	return w
}

func (w *world) after(d time.Duration, f func()) { w.at(w.now+d, f) }

func (w *world) at(t instant, f func()) { w.queue.push(event{at: t, do: f}) }

func (w *world) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.rng.Int64N(int64(d)))
}

// runUntil takes one event after the other up to a time.
func (w *world) runUntil(end instant) {
	for len(w.queue.heap) > 0 && w.queue.heap[0].at <= end {
		e := w.queue.pop()
		w.now = e.at
		w.events++
		if e.n != nil {
			e.n.wake()
		} else {
			e.do()
		}
	}
	w.now = end
}

// start starts a node that knows the addresses of some others.
func (w *world) start(seeds ...*node) *node {
	n := &node{
		w: w, index: len(w.nodes), id: ring.ID{Hi: w.rng.Uint64(), Lo: w.rng.Uint64()},
		x: w.rng.Float64(), y: w.rng.Float64(), alive: true, seeds: seeds,
		links: map[*node]*link{}, told: map[ring.ID]*link{}, dials: map[*node]bool{},
	}
	if w.Skew > 0 {
		n.offset = w.jitter(2*w.Skew) - w.Skew
		n.drift = (w.rng.Float64() - 0.5) / 1000
	}
	n.m = newMachine(n.clock(), n.id, addr(n.index), w.rng.Uint64(), w.Budget, w.talks())
	w.nodes = append(w.nodes, n)
	w.byID[n.id] = n
	i, _ := w.place(n.id)
	w.alive = slices.Insert(w.alive, i, n)
	n.turn(advance)
	n.seek()
	if len(w.clusters) > 0 {
		n.register()
		n.use()
	}
	if w.Traffic.For > 0 {
		n.populate()
	}
	if w.Feed.For > 0 {
		n.takePart()
	}
	if w.Work.For > 0 {
		n.employ()
	}
	return n
}

func (w *world) place(id ring.ID) (int, bool) {
	return slices.BinarySearchFunc(w.alive, id, func(n *node, id ring.ID) int { return n.id.Compare(id) })
}

// removed takes a dead node out of the living.
func (w *world) removed(n *node) {
	n.leavePart()
	if i, ok := w.place(n.id); ok {
		w.alive = slices.Delete(w.alive, i, i+1)
	}
}

// stop ends a node the polite way.
func (w *world) stop(n *node) {
	n.stopped = w.now
	n.leavePart()
	if w.talks() {
		n.drain()
		return
	}
	n.turn(func(now time.Time, m *machine) { m.leave(now) })
	n.withdraw()
	w.after(drain, func() {
		n.turn(func(now time.Time, m *machine) { m.depart(now) })
		w.after(10*time.Millisecond, func() {
			if n.alive {
				n.kill(false)
			}
		})
	})
}

// some returns one of the living nodes that are as f says, or nil.
func (w *world) some(f func(*node) bool) *node {
	var fit []*node
	for _, n := range w.alive {
		if f(n) {
			fit = append(fit, n)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	return fit[w.rng.IntN(len(fit))]
}

// sample returns n of the living nodes, drawn.
func (w *world) sample(n int) []*node {
	all := slices.Clone(w.alive)
	w.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n, len(all))]
}

func isActive(n *node) bool { return n.m.State() == wire.Active }

// arrived counts a message.
func (w *world) arrived(from, to *node, f *frame) {
	size := w.trace.message(w.now, to.id, f)
	w.count.message(f.msg.Type(), size)
}

// news takes note of what a node told the packages above it.
func (w *world) news(n *node, news overlay.News) {
	w.trace.add(uint64(w.now), n.id.Hi, uint64(news.Kind), news.ID.Hi)
	switch news.Kind {
	case overlay.NodeGone:
		w.found.lastGone(w, n, news.ID)
	case overlay.NodeJoined:
		w.found.changed(w, n, w.byID[news.ID].active)
	case overlay.NodeLeaving:
		w.found.changed(w, n, w.byID[news.ID].stopped)
	case overlay.StateChanged:
		w.found.activated(w, n)
	}
}
