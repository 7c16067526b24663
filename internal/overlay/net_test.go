package overlay

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A net is a few overlays whose messages take a millisecond.
type net struct {
	t     *testing.T
	now   time.Time
	nodes map[ring.ID]*Overlay
	ids   []ring.ID
	news  map[ring.ID][]News
	links map[[2]ring.ID]bool
	cut   map[[2]ring.ID]bool // pairs that do not hear each other
	still map[ring.ID]bool    // nodes that stand still
	shut  map[[2]ring.ID]bool // the first cannot dial the second
	queue []func()
}

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func newNet(t *testing.T) *net {
	return &net{t: t, now: start, nodes: map[ring.ID]*Overlay{}, news: map[ring.ID][]News{},
		links: map[[2]ring.ID]bool{}, cut: map[[2]ring.ID]bool{}, still: map[ring.ID]bool{}, shut: map[[2]ring.ID]bool{}}
}

func id(n uint64) ring.ID { return ring.ID{Hi: n << 56} }

func addrOf(n ring.ID) []wire.Addr {
	port := uint16(n.Hi >> 56)
	return []wire.Addr{{AddrPort: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port)}}
}

func (n *net) add(ids ...uint64) {
	for _, v := range ids {
		id := id(v)
		n.nodes[id] = New(n.now, Config{Self: id, Addrs: addrOf(id), Seed: v})
		n.ids = append(n.ids, id)
	}
}

func pair(a, b ring.ID) [2]ring.ID {
	if b.Less(a) {
		a, b = b, a
	}
	return [2]ring.ID{a, b}
}

// do calls a node and carries out what comes of it, in the next millisecond.
func (n *net) do(id ring.ID, f func(o *Overlay, out *Output)) {
	o := n.nodes[id]
	if o == nil {
		return
	}
	if n.still[id] {
		n.later(func() { n.do(id, f) })
		return
	}
	var out Output
	f(o, &out)
	n.news[id] = append(n.news[id], out.News...)
	for _, d := range out.Dial {
		n.later(func() { n.link(id, d.ID) })
	}
	for _, d := range out.Drop {
		n.later(func() { n.reset(id, d.ID) })
	}
	for _, s := range out.Send {
		if hop, ok := o.FirstHop(s.To); ok {
			n.later(func() { n.deliver(id, id, hop, s, wire.MaxHops) })
		}
	}
}

func (n *net) deliver(origin, from, to ring.ID, s Send, hops int) {
	if !n.links[pair(from, to)] || n.cut[pair(from, to)] || n.nodes[to] == nil || hops == 0 {
		return
	}
	if s.To == to {
		n.do(to, func(o *Overlay, out *Output) { o.Receive(n.now, origin, s.Msg, out) })
		return
	}
	if hop, ok := n.nodes[to].NextHop(s.To); ok {
		n.later(func() { n.deliver(origin, to, hop, s, hops-1) })
	}
}

func (n *net) later(f func()) { n.queue = append(n.queue, f) }

func (n *net) link(from, to ring.ID) {
	switch {
	case n.links[pair(from, to)]:
	case n.nodes[to] == nil || n.cut[pair(from, to)] || n.shut[[2]ring.ID{from, to}]:
		n.do(from, func(o *Overlay, out *Output) { o.DialFailed(n.now, to, out) })
	default:
		n.links[pair(from, to)] = true
		a, b := n.nodes[from].State(), n.nodes[to].State()
		n.do(to, func(o *Overlay, out *Output) { o.Up(n.now, Peer{from, a, addrOf(from), false}, out) })
		n.do(from, func(o *Overlay, out *Output) { o.Up(n.now, Peer{to, b, addrOf(to), true}, out) })
	}
}

func (n *net) reset(a, b ring.ID) {
	if n.links[pair(a, b)] {
		delete(n.links, pair(a, b))
		n.do(a, func(o *Overlay, out *Output) { o.Down(n.now, b, out) })
		n.do(b, func(o *Overlay, out *Output) { o.Down(n.now, a, out) })
	}
}

func (n *net) kill(v uint64) {
	dead := id(v)
	delete(n.nodes, dead)
	n.ids = slices.DeleteFunc(n.ids, func(i ring.ID) bool { return i == dead })
	for _, i := range slices.Clone(n.ids) {
		n.reset(i, dead)
	}
}

// run lets time pass, a millisecond at a time.
func (n *net) run(d time.Duration) {
	for end := n.now.Add(d); n.now.Before(end); n.now = n.now.Add(time.Millisecond) {
		queue := n.queue
		n.queue = nil
		for _, f := range queue {
			f()
		}
		for _, id := range slices.Clone(n.ids) {
			o := n.nodes[id]
			if o == nil || o.departed || n.still[id] || o.Next().After(n.now) {
				continue
			}
			n.do(id, func(o *Overlay, out *Output) { o.Advance(n.now, out) })
		}
	}
}

// wantView fails unless all nodes are Active and have each other in their views.
func (n *net) wantView() {
	n.t.Helper()
	want := slices.Clone(n.ids)
	slices.SortFunc(want, ring.ID.Compare)
	for _, id := range n.ids {
		o := n.nodes[id]
		if o.State() != wire.Active || !slices.Equal(o.View(), want) {
			n.t.Errorf("%v is %v and sees %v; want active, %v", id.Short(), o.State(), o.View(), want)
		}
	}
}

// grown returns a net of nodes that have all joined.
func grown(t *testing.T, ids ...uint64) *net {
	t.Helper()
	n := newNet(t)
	n.add(ids...)
	for _, v := range ids[1:] {
		n.link(id(v), id(ids[0]))
	}
	n.run(3 * time.Second)
	n.wantView()
	if t.Failed() {
		t.FailNow()
	}
	return n
}

func (n *net) had(at uint64, kind NewsKind, about uint64) bool {
	return slices.Contains(n.news[id(at)], News{kind, id(about)})
}
