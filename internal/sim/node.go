package sim

import (
	"math"
	"net/netip"
	"time"

	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// epoch is what the clock of a node shows at the start of a run, but for its
// skew.
var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// A node is a process on a host of its own.
type node struct {
	w     *world
	index int
	id    ring.ID
	x, y  float64 // where the host is
	m     *machine

	offset instant // of its clock
	drift  float64

	alive   bool
	refuses bool // its host answers for it once it is dead
	frozen  bool
	paused  bool              // it stood still for so long that it must join again
	backlog []func()          // what happens to a frozen process when it goes on
	group   int               // nodes of different groups do not reach each other
	links   map[*node]*link   // open ones
	told    map[ring.ID]*link // those the machine believes in
	dials   map[*node]bool
	planned instant // when its next turn is, in the queue
	active  instant // since when it is, or was
	stopped instant // when it was told to end
	seeds   []*node
	names   names
	part
	programs
	splices
}

// addr returns where a node is dialled: its index says who it is.
func addr(index int) []wire.Addr {
	ip := netip.AddrFrom4([4]byte{10, byte(index >> 16), byte(index >> 8), byte(index)})
	return []wire.Addr{{AddrPort: netip.AddrPortFrom(ip, 7070)}}
}

// clock returns what the node's clock shows.
func (n *node) clock() time.Time {
	return epoch.Add(n.offset + n.w.now + instant(float64(n.w.now)*n.drift))
}

// when returns when the node's clock will show t, or has.
func (n *node) when(t time.Time) instant {
	local := t.Sub(epoch) - n.offset
	return instant(math.Ceil(float64(local)/(1+n.drift))) + 1
}

// turn calls the node's machine and carries out what comes of it. What happens to
// a frozen node waits.
func (n *node) turn(f func(now time.Time, m *machine)) {
	if !n.alive {
		return
	}
	if n.frozen {
		n.backlog = append(n.backlog, func() { n.turn(f) })
		return
	}
	f(n.clock(), n.m)
	if n.paused && isActive(n) {
		n.w.violated(n, "it stood still for long, and owns keys before it has joined again")
	}
	n.paused = false
	n.carryOut()
	for n.m.woken {
		n.carryOut()
	}
	n.plan()
	n.w.checkNode(n)
}

// run does something of the process that concerns no loop: it waits while that is
// frozen.
func (n *node) run(f func()) {
	switch {
	case !n.alive:
	case n.frozen:
		n.backlog = append(n.backlog, func() { n.run(f) })
	default:
		f()
	}
}

// carryOut does what the machine puts out.
func (n *node) carryOut() {
	m := n.m
	for _, d := range m.settle(n.clock()) {
		if ask, ok := d.Msg.(wire.DialBack); ok {
			n.dialBack(d.From, ask.Tunnel)
		}
	}
	for _, s := range m.Out.Send {
		f := &frame{s.Origin, s.Target, s.Hops, s.Msg}
		if f.isRouted() {
			n.w.checkHop(n, s.To, f)
		}
		if l := n.links[n.w.byID[s.To]]; l != nil {
			l.send(n, f)
		}
	}
	for _, d := range m.Out.Dial {
		if to := n.w.byID[d.ID]; to != nil && len(d.Addrs) > 0 {
			n.dial(to)
		} else {
			n.w.after(0, func() { n.turn(func(now time.Time, m *machine) { m.dialFailed(now, d.ID) }) })
		}
	}
	for _, d := range m.Out.Drop {
		if l := n.links[n.w.byID[d.ID]]; l != nil {
			l.close(n)
		}
	}
	for _, news := range m.Out.News {
		n.w.news(n, news)
	}
	for _, s := range m.Out.Steps {
		n.learn(s)
	}
	m.Out.Reset()
}

// plan puts the node's next turn into the queue, unless an earlier one is there:
// that one will plan anew.
func (n *node) plan() {
	next := n.m.next(n.clock())
	if next.IsZero() {
		return
	}
	at := max(n.when(next), n.w.now)
	if n.planned > n.w.now && n.planned <= at {
		return
	}
	n.planned = at
	n.w.queue.push(event{at: at, n: n})
}

// wake is a turn that was planned.
func (n *node) wake() {
	if !n.alive || n.planned != n.w.now {
		return // planned anew since
	}
	n.planned = 0
	if n.frozen {
		n.backlog = append(n.backlog, func() { n.turn(advance) })
		return
	}
	if next := n.m.next(n.clock()); next.IsZero() || next.After(n.clock()) {
		n.plan()
		return
	}
	n.turn(advance)
}

func advance(now time.Time, m *machine) { m.advance(now) }

// freeze stops the process for a while: its host goes on.
func (n *node) freeze(d time.Duration) {
	n.frozen, n.paused = true, d > longPause
	n.w.after(d, n.thaw)
}

func (n *node) thaw() {
	if !n.alive || !n.frozen {
		return
	}
	n.frozen = false
	n.thawed = n.clock()
	backlog := n.backlog
	n.backlog = nil
	if n.w.rng.IntN(2) == 0 { // the timer comes first, or what is in the sockets
		n.turn(advance)
	}
	for _, f := range backlog {
		f()
	}
	n.turn(advance)
}

// kill ends the process. Its host says so to everybody, or is dead too.
func (n *node) kill(host bool) {
	n.alive, n.refuses = false, !host
	n.backlog = nil
	n.loseTunnels()
	if !host {
		n.w.closeAll(n)
	}
	n.w.removed(n)
}

// seek has the node dial the addresses it was given, until it has met somebody.
func (n *node) seek() {
	if !n.alive || len(n.links) > 0 || n.m.State() != wire.Solo {
		return
	}
	for _, s := range n.seeds {
		if s.alive {
			n.dial(s)
		}
	}
	n.w.after(time.Second+n.w.jitter(time.Second), n.seek)
}

func (n *node) hello(p *node, dialled bool) overlay.Peer {
	return overlay.Peer{ID: p.id, State: p.m.State(), Addrs: addr(p.index), Dialled: dialled}
}
