package directory

import (
	"cmp"
	"container/heap"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A view is a Ring as one node sees it.
type view struct {
	self   ring.ID
	state  wire.State
	others map[ring.ID]wire.State
}

func (v *view) State() wire.State { return v.state }

// owners returns who is Active, around the ring.
func (v *view) owners() []ring.ID {
	var ids []ring.ID
	for id, s := range v.others {
		if s == wire.Active {
			ids = append(ids, id)
		}
	}
	if v.state == wire.Active {
		ids = append(ids, v.self)
	}
	slices.SortFunc(ids, ring.ID.Compare)
	return ids
}

func (v *view) Owner(key ring.ID) ring.ID {
	if v.state == wire.Solo {
		return v.self
	}
	var best ring.ID
	for _, id := range v.owners() {
		if best.IsZero() || ring.Closer(key, id, best) {
			best = id
		}
	}
	return best
}

func (v *view) Replicas(key ring.ID) []ring.ID {
	all := v.owners()
	if v.state == wire.Solo || len(all) == 0 {
		return nil
	}
	at := slices.Index(all, v.Owner(key))
	var found []ring.ID
	for _, by := range []int{-2, -1, 1, 2} {
		id := all[(at+by+2*len(all))%len(all)]
		if id != all[at] && !slices.Contains(found, id) {
			found = append(found, id)
		}
	}
	slices.SortFunc(found, ring.ID.Compare)
	return found
}

func (v *view) Knows(id ring.ID) bool     { _, ok := v.others[id]; return ok }
func (v *view) Addrs(ring.ID) []wire.Addr { return nil }

// A stream is what a publisher of the model publishes to one name.
type stream struct {
	next, covered, confirmed int
	root                     ring.ID // who was asked to confirm
	got                      map[ring.ID]map[int]bool
	owed                     map[int]map[ring.ID][]debt // number, root: whom it knew
}

// A debt is a member node that a root knew when a number was published.
type debt struct {
	node *node
	was  int // its registration, counted
}

// A node is a directory with its programs.
type node struct {
	*view
	d       *Directory
	dead    bool
	leaving bool
	heard   time.Time // when the last event of the view arrives
	members map[wire.Name]bool
	counted map[wire.Name]int    // changes of that
	since   map[wire.Name]uint64 // the announcement it had made before
	known   map[wire.Name]map[ring.ID]bool
	streams map[wire.Name]*stream
}

// A world is nodes, and what is under way between them.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	now    time.Time
	nodes  []*node
	queue  events
	serial int
	shared bool // all see a change of the view at once
	routed bool // some frames are lost, or late
	slow   bool // answers come later than what they answer is repeated
	quiet  bool
	links  map[[2]ring.ID]*cable
	names  []wire.Name
	sent   int
	log    uint64
	out    Output
}

type cable struct {
	last [2]time.Time // when the newest frame of a direction arrives
	life int
	down bool
}

type event struct {
	at     time.Time
	serial int
	do     func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return cmp.Or(q[i].at.Compare(q[j].at), cmp.Compare(q[i].serial, q[j].serial)) < 0
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func (w *world) at(t time.Time, do func()) {
	w.serial++
	heap.Push(&w.queue, event{t, w.serial, do})
}

func (w *world) in(pause time.Duration, do func()) { w.at(w.now.Add(pause), do) }

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d))) }

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%v: %s", w.now.Sub(start), fmt.Sprintf(format, args...))
}

var start = time.Unix(1_800_000_000, 0)

func newWorld(t *testing.T, seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 7))
	w := &world{
		t: t, rng: rng, now: start, links: make(map[[2]ring.ID]*cable),
		shared: seed%3 == 0, routed: seed%3 == 2, slow: seed%4 == 3,
	}
	for i := range 1 + rng.IntN(4) {
		w.names = append(w.names, wire.Name{Kind: wire.Kind(1 + i%2), Key: w.id()})
	}
	for range 3 + rng.IntN(6) {
		w.boot(seed)
	}
	return w
}

func (w *world) id() ring.ID { return ring.ID{Hi: w.rng.Uint64(), Lo: w.rng.Uint64()} }

// boot starts a node that is alone for a moment, joins, and becomes Active.
func (w *world) boot(seed uint64) {
	v := &view{self: w.id(), state: wire.Solo, others: make(map[ring.ID]wire.State)}
	n := &node{
		view: v, d: New(w.now, v.self, seed, v), heard: w.now,
		members: make(map[wire.Name]bool), counted: make(map[wire.Name]int), since: make(map[wire.Name]uint64),
		known: make(map[wire.Name]map[ring.ID]bool), streams: make(map[wire.Name]*stream),
	}
	w.nodes = append(w.nodes, n)
	w.in(w.upTo(time.Second), func() { w.join(n) })
}

func (w *world) live() (ns []*node) {
	for _, n := range w.nodes {
		if !n.dead {
			ns = append(ns, n)
		}
	}
	return ns
}

// join lets a node meet the others.
func (w *world) join(n *node) {
	if n.dead || n.leaving {
		return
	}
	founder := true
	for _, o := range w.live() {
		if o != n && o.state != wire.Solo {
			founder = false
			n.others[o.self] = o.state
			w.tell(o, func() {
				if _, ok := o.others[n.self]; !ok {
					o.others[n.self] = wire.Joining
				}
			})
		}
	}
	n.state = wire.Joining
	if founder {
		n.state = wire.Active
	}
	w.do(n, func() { n.d.ViewChanged(w.now, &w.out) })
	for _, o := range w.live() {
		if o != n && o.state != wire.Solo {
			w.do(n, func() { n.d.Linked(w.now, o.self, &w.out) })
			w.do(o, func() { o.d.Linked(w.now, n.self, &w.out) })
		}
	}
	w.in(w.upTo(time.Second), func() { w.activate(n) })
}

func (w *world) activate(n *node) {
	if n.dead || n.leaving {
		return
	}
	n.state = wire.Active
	w.do(n, func() { n.d.ViewChanged(w.now, &w.out) })
	w.spread(n, func(o *node) {
		o.others[n.self] = wire.Active
		o.d.Again(w.now, &w.out, n.self)
	})
}

// spread changes the view of all others.
func (w *world) spread(n *node, change func(*node)) {
	for _, o := range w.live() {
		if o != n && o.state != wire.Solo {
			w.tell(o, func() { change(o) })
		}
	}
}

// tell changes the view of one node, in order with other changes.
func (w *world) tell(o *node, change func()) {
	at := w.now
	if !w.shared {
		at = at.Add(w.upTo(500 * time.Millisecond))
	}
	if at.Before(o.heard) {
		at = o.heard
	}
	o.heard = at
	w.at(at, func() {
		w.do(o, func() {
			change()
			o.d.ViewChanged(w.now, &w.out)
		})
	})
}

// leave drains a node, and ends it.
func (w *world) leave(n *node) {
	n.leaving = true
	for _, name := range w.names {
		w.register(n, name, false)
	}
	w.do(n, func() { n.d.Withdraw(w.now, &w.out) })
	n.state = wire.InLeaving
	w.do(n, func() { n.d.ViewChanged(w.now, &w.out) })
	w.spread(n, func(o *node) { o.others[n.self] = wire.InLeaving })
	w.in(time.Second+w.upTo(time.Second), func() { w.die(n, 0) })
}

// die ends a node; the others notice after a while.
func (w *world) die(n *node, notice time.Duration) {
	n.dead = true
	w.in(notice, func() { w.bury(n, w.live()) })
}

func (w *world) bury(n *node, whom []*node) {
	for _, o := range whom {
		if o != n && o.state != wire.Solo {
			w.tell(o, func() {
				delete(o.others, n.self)
				o.d.NodeGone(w.now, n.self, &w.out)
				w.void(o, n)
			})
		}
	}
}

// void ends what a node that o holds for dead is owed: by o, and on its word.
func (w *world) void(o, gone *node) {
	for _, p := range w.nodes {
		for _, s := range p.streams {
			if p == o {
				delete(s.got, gone.self)
			}
			for _, roots := range s.owed {
				for r := range roots {
					if p == o || r == o.self {
						roots[r] = slices.DeleteFunc(roots[r], func(d debt) bool { return d.node == gone })
					}
				}
			}
		}
	}
}

// mourn has some hold a node for dead until it objects.
func (w *world) mourn(n *node) {
	if n.state != wire.Active || n.leaving {
		return
	}
	var some []*node
	for _, o := range w.live() {
		if o != n && w.rng.IntN(2) == 0 {
			some = append(some, o)
		}
	}
	w.bury(n, some)
	w.in(w.upTo(2*time.Second)+600*time.Millisecond, func() {
		if n.dead || n.leaving {
			return
		}
		w.do(n, func() { n.d.Mourned(w.now, &w.out) })
		w.spread(n, func(o *node) {
			o.others[n.self] = n.state
			o.d.Again(w.now, &w.out, n.self)
		})
	})
}

// cable returns what connects two nodes, and which direction it is from a.
func (w *world) cable(a, b ring.ID) (*cable, int) {
	dir := 0
	if b.Less(a) {
		a, b, dir = b, a, 1
	}
	c := w.links[[2]ring.ID{a, b}]
	if c == nil {
		c = new(cable)
		w.links[[2]ring.ID{a, b}] = c
	}
	return c, dir
}

// cut loses the link of two nodes, and what is under way on it.
func (w *world) cut(a, b *node) {
	c, _ := w.cable(a.self, b.self)
	if c.down {
		return
	}
	c.life++
	c.down = true
	w.in(10*time.Millisecond+w.upTo(300*time.Millisecond), func() {
		c.down = false
		if a.dead || b.dead {
			return
		}
		w.do(a, func() { a.d.Linked(w.now, b.self, &w.out) })
		w.do(b, func() { b.d.Linked(w.now, a.self, &w.out) })
	})
}

func (w *world) find(id ring.ID) *node {
	return w.nodes[slices.IndexFunc(w.nodes, func(n *node) bool { return n.self == id })]
}

// do calls into a directory and carries out what follows.
func (w *world) do(n *node, call func()) {
	if n.dead {
		return
	}
	w.out.Reset()
	call()
	for _, s := range w.out.Steps {
		w.step(n, s)
	}
	for _, s := range w.out.Send {
		w.note(n.self, s)
		w.transmit(n, s)
	}
}

// note adds to the log what must be the same whenever a seed is played.
func (w *world) note(from ring.ID, what any) {
	h := fnv.New64a()
	fmt.Fprint(h, w.log, w.now.UnixNano(), from, what)
	w.log = h.Sum64()
}

func (w *world) transmit(n *node, s Send) {
	w.sent++
	if s.To == n.self {
		w.fail("a message to itself: %v", s)
	}
	if s.To.IsZero() {
		w.fail("a message to nobody: %v", s)
	}
	c, dir := w.cable(n.self, s.To)
	o := w.find(s.To)
	if c.down || o.dead {
		return
	}
	at := w.now.Add(100*time.Microsecond + w.upTo(5*time.Millisecond))
	if w.slow {
		at = at.Add(200*time.Millisecond + w.upTo(800*time.Millisecond))
	}
	if !w.quiet && w.rng.IntN(50) == 0 {
		at = at.Add(w.upTo(300 * time.Millisecond))
	}
	switch {
	case !w.routed || w.rng.IntN(4) > 0:
		if at.Before(c.last[dir]) {
			at = c.last[dir]
		}
		c.last[dir] = at
	case !w.quiet && w.rng.IntN(10) == 0:
		return
	}
	life := c.life
	w.at(at, func() {
		if c.life == life {
			w.receive(o, n.self, s.Msg)
		}
	})
}

// receive delivers a message. Who is not Active must not answer questions.
func (w *world) receive(n *node, from ring.ID, m wire.Message) {
	w.do(n, func() { n.d.Receive(w.now, from, m, &w.out) })
	if n.dead || n.state == wire.Active {
		return
	}
	for _, s := range w.out.Send {
		switch a := s.Msg.(type) {
		case wire.Members:
			w.fail("M10: a node that is %v answers %v with %v", n.state, m, a)
		case wire.Checked:
			for _, c := range a.Names {
				if c.State != wire.CheckNotMine {
					w.fail("M10: a node that is %v answers %v with %v", n.state, m, a)
				}
			}
			if q, ok := m.(wire.Check); ok && len(a.Names) != len(q.Names) {
				w.fail("M10: a node that is %v answers %v with %v", n.state, m, a)
			}
		}
	}
}

// step is what the data plane does of a Step, and where M6 is looked at.
func (w *world) step(n *node, s Step) {
	w.note(n.self, s)
	st := n.streams[s.Name]
	switch {
	case s.What == Changed:
		known := n.known[s.Name]
		if known == nil {
			return // not watched any more
		}
		if s.Members == 0 {
			delete(known, s.Node)
			return
		}
		if !known[s.Node] && st != nil {
			for i := st.confirmed; i < st.next; i++ {
				st.give(s.Node, i)
			}
		}
		known[s.Node] = true
	case st == nil:
	case s.What == Checked:
		st.covered, st.root = st.next, n.Owner(s.Name.Key)
	case s.What == Confirmed:
		for i := st.confirmed; i < st.covered; i++ {
			for _, d := range st.owed[i][st.root] {
				if !d.node.dead && d.was == d.node.counted[s.Name] && !st.got[d.node.self][i] {
					w.fail("M6: %d of %v is confirmed to %v by %v, but %v did not get it",
						i, s.Name, n.self.Short(), st.root.Short(), d.node.self.Short())
				}
			}
			delete(st.owed, i)
		}
		st.confirmed = max(st.confirmed, st.covered)
	}
}

func (s *stream) give(to ring.ID, number int) {
	if s.got[to] == nil {
		s.got[to] = make(map[int]bool)
	}
	s.got[to][number] = true
}

// publish publishes one message to who is known.
func (w *world) publish(n *node, name wire.Name) {
	if n.leaving {
		return
	}
	w.watch(n, name)
	s := n.streams[name]
	if s == nil {
		s = &stream{got: make(map[ring.ID]map[int]bool), owed: make(map[int]map[ring.ID][]debt)}
		n.streams[name] = s
	}
	for id := range n.known[name] {
		s.give(id, s.next)
	}
	roots := make(map[ring.ID][]debt)
	for _, r := range w.live() {
		l := r.d.lists[name]
		if l == nil {
			continue
		}
		for id, e := range l.entries {
			if m := w.find(id); m != n && e.Members > 0 && m.members[name] && e.Seq > m.since[name] && n.Knows(id) {
				roots[r.self] = append(roots[r.self], debt{m, m.counted[name]})
			}
		}
	}
	s.owed[s.next] = roots
	s.next++
	for _, id := range slices.SortedFunc(maps.Keys(n.known[name]), ring.ID.Compare) {
		m := w.find(id)
		switch {
		case m.dead || m.members[name]:
		case w.rng.IntN(2) == 0:
			w.in(w.upTo(20*time.Millisecond), func() { w.do(m, func() { m.d.Refuse(w.now, name, n.self, &w.out) }) })
		default:
			w.in(w.upTo(20*time.Millisecond), func() { w.do(n, func() { n.d.Gone(w.now, name, id, &w.out) }) })
		}
	}
	w.do(n, func() { n.d.Published(w.now, name, &w.out) })
}

func (w *world) watch(n *node, name wire.Name) {
	if n.known[name] == nil {
		n.known[name] = make(map[ring.ID]bool)
		w.do(n, func() { n.d.Watch(w.now, name, &w.out) })
	}
}

func (w *world) register(n *node, name wire.Name, is bool) {
	if n.members[name] == is {
		return
	}
	n.members[name] = is
	n.counted[name]++
	n.since[name] = n.d.seq
	count := 0
	if is {
		count = 1 + w.rng.IntN(3)
	}
	w.do(n, func() { n.d.SetLocal(w.now, name, count, 4, &w.out) })
}

// act does one thing at random.
func (w *world) act(seed uint64, faults bool) {
	ns := w.live()
	n := ns[w.rng.IntN(len(ns))]
	name := w.names[w.rng.IntN(len(w.names))]
	stays := 0
	for _, o := range ns {
		if !o.leaving {
			stays++
		}
	}
	switch k := w.rng.IntN(40); {
	case k < 6:
		if !n.leaving {
			w.register(n, name, !n.members[name])
		}
	case k < 10:
		w.watch(n, name)
	case k < 11:
		if n.known[name] != nil {
			delete(n.known, name)
			delete(n.streams, name)
			n.d.Unwatch(name)
		}
	case k < 32:
		w.publish(n, name)
	case !faults:
	case k < 36:
		if o := ns[w.rng.IntN(len(ns))]; o != n {
			w.cut(n, o)
		}
	case k < 37:
		if len(ns) < 8 {
			w.boot(seed)
		}
	case k < 38:
		if stays > 3 && !n.leaving && n.state == wire.Active {
			w.leave(n)
		}
	case k < 39:
		if stays > 3 && !n.leaving && n.state == wire.Active {
			w.die(n, time.Second+w.upTo(2*time.Second))
		}
	default:
		w.mourn(n)
	}
}

// run lets time pass.
func (w *world) run(until time.Time) {
	for {
		at := until
		if len(w.queue) > 0 && w.queue[0].at.Before(at) {
			at = w.queue[0].at
		}
		var next *node
		for _, n := range w.live() {
			if t := n.d.Next(); !t.IsZero() && t.Before(at) {
				at, next = t, n
			}
		}
		if at.After(w.now) {
			w.now = at
		}
		switch {
		case next != nil:
			w.advance(next)
		case len(w.queue) > 0 && !w.queue[0].at.After(at) && at != until:
			heap.Pop(&w.queue).(event).do()
		default:
			return
		}
	}
}

// advance does what is due, which must not be due again at once for ever.
func (w *world) advance(n *node) {
	for range 3 {
		w.do(n, func() { n.d.Advance(w.now, &w.out) })
		if n.d.Next().After(w.now) {
			return
		}
	}
	w.fail("Next of %v is %v ago, and Advance does not change that", n.self.Short(), w.now.Sub(n.d.Next()))
}

// agree looks at M11.
func (w *world) agree() {
	ns := w.live()
	for _, name := range w.names {
		truth := make(map[ring.ID]bool)
		for _, n := range ns {
			if n.members[name] {
				truth[n.self] = true
			}
		}
		for _, n := range ns {
			if known := n.known[name]; known != nil {
				for id := range truth {
					if id != n.self && !known[id] {
						w.fail("M11: %v does not know %v of %v; root %v", n.self.Short(), id.Short(), name, n.Owner(name.Key).Short())
					}
				}
				for id := range known {
					if !truth[id] {
						w.fail("M11: %v takes %v for a member node of %v; root %v", n.self.Short(), id.Short(), name, n.Owner(name.Key).Short())
					}
				}
			}
			if l := n.d.lists[name]; n.d.keeps(name) && (l != nil || len(truth) > 0) {
				if l == nil {
					w.fail("M11: keeper %v has no list of %v", n.self.Short(), name)
				}
				for id := range truth {
					if e := l.entries[id]; e == nil || e.Members == 0 {
						w.fail("M11: keeper %v lacks %v of %v", n.self.Short(), id.Short(), name)
					}
				}
				for id, e := range l.entries {
					if e.Members > 0 && !truth[id] {
						w.fail("M11: keeper %v has %v of %v", n.self.Short(), id.Short(), name)
					}
				}
			}
		}
	}
	for _, n := range ns {
		if !n.d.Settled() {
			w.fail("%v still announces %v", n.self.Short(), n.d.repeating.heap)
		}
	}
}

// play plays a seed: programs and faults, then quiet; twice over.
func play(t *testing.T, seed uint64) *world {
	w := newWorld(t, seed)
	for range 3 {
		w.quiet = false
		for range 300 {
			w.act(seed, true)
			w.run(w.now.Add(w.upTo(40 * time.Millisecond)))
		}
		w.run(w.now.Add(4 * time.Second)) // for what has begun to end
		w.quiet = true
		calm := 15 * time.Second
		if w.routed {
			calm = renewal + 2*time.Second // a lost message of a root's is noticed then
		}
		w.run(w.now.Add(calm))
		w.agree()

		w.sent = 0
		w.run(w.now.Add(10 * time.Second))
		watches := 0
		for _, n := range w.live() {
			watches += len(n.known)
		}
		if most := 2*watches + 20*len(w.live()); w.sent > most {
			w.fail("%d messages in 10 quiet seconds, of %d nodes with %d watches", w.sent, len(w.live()), watches)
		}
		for _, n := range w.live() {
			for name, s := range n.streams {
				if s.confirmed != s.next {
					w.fail("%v: %d of %d of %v are confirmed", n.self.Short(), s.confirmed, s.next, name)
				}
			}
		}
		w.agree()
	}
	return w
}

func TestDirectoriesAgreeAndConfirmNothingTooEarly(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := play(t, seed)
			if seed%10 == 0 {
				if again := play(t, seed); again.log != w.log {
					t.Errorf("two runs differ")
				}
			}
		})
	}
}
