package overlay

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

func drawn(r *rand.Rand) ring.ID { return ring.ID{Hi: r.Uint64(), Lo: r.Uint64()} }

// Whatever the order in which events arrive, all nodes end with the same view.
func TestTheOrderOfEventsDoesNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var events []wire.Event
	for range 40 {
		node := drawn(r)
		for range r.IntN(5) {
			events = append(events, wire.Event{Node: node, Kind: wire.EventKind(1 + r.IntN(4)), Seq: uint64(r.IntN(4))})
		}
	}
	var first view
	for round := range 20 {
		var v view
		r.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		for i := range events {
			if e := v.get(events[i].Node); e == nil || e.olderThan(&events[i]) {
				v.put(start, &events[i])
			}
		}
		if round == 0 {
			first = v
		}
		same := func(a, b entry) bool { return a.id == b.id && a.seq == b.seq && a.kind == b.kind }
		if !slices.EqualFunc(v.live, first.live, same) || !slices.EqualFunc(v.gone, first.gone, same) || v.sums != first.sums {
			t.Fatal("another order gave another view")
		}
	}
	for i := range first.live {
		first.remove(first.live[0].id)
		_ = i
	}
	if first.sums != [256]uint64{} {
		t.Error("the sums of an empty view are not zero")
	}
}

func TestTheClosestActiveNodeOwns(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for n := range 30 {
		var v view
		var active []ring.ID
		for i := range n {
			ev := wire.Event{Node: drawn(r), Kind: wire.EventJoin, Seq: 1}
			if i%3 == 2 {
				ev.Kind = wire.EventLeaving
			} else {
				active = append(active, ev.Node)
			}
			v.put(start, &ev)
		}
		for range 100 {
			key := drawn(r)
			if r.IntN(4) == 0 && n > 0 {
				key = v.live[r.IntN(n)].id
			}
			var except, want ring.ID
			if r.IntN(2) == 0 && len(active) > 0 {
				except = active[r.IntN(len(active))]
			}
			for _, a := range active {
				if a != except && (want.IsZero() || ring.Closer(key, a, want)) {
					want = a
				}
			}
			if got := v.owner(key, except); got != want {
				t.Fatalf("of %d nodes %v owns %v without %v, want %v", n, got, key, except, want)
			}
		}
	}
}

func TestTheGoneAreBoundedAndForgotten(t *testing.T) {
	var v view
	for i := range uint64(2 * maxGone) {
		ev := wire.Event{Node: ring.ID{Hi: i, Lo: 1}, Kind: wire.EventDead, Seq: 1}
		v.put(start.Add(time.Duration(i)), &ev)
	}
	if len(v.gone) != maxGone || v.get(ring.ID{Hi: 0, Lo: 1}) != nil {
		t.Errorf("%d are remembered, want the last %d", len(v.gone), maxGone)
	}
	v.forget(start.Add(goneMemory + time.Second))
	if len(v.gone) != 0 {
		t.Errorf("%d are remembered for ever", len(v.gone))
	}
}

func TestViewsThatDifferAreMadeEqual(t *testing.T) {
	n := grown(t, 10, 20, 30, 40)
	// 40 loses two nodes without having heard anything, and one never heard of.
	o := n.nodes[id(40)]
	o.view.remove(id(20))
	o.view.remove(id(30))
	n.run(12 * time.Second)
	n.wantView()
}

func TestEventsAreCutToFrames(t *testing.T) {
	var events []wire.Event
	for i := range uint64(3000) {
		events = append(events, wire.Event{Node: ring.ID{Hi: i}, Kind: wire.EventJoin, Seq: i, Addrs: addrOf(id(9))})
	}
	var out Output
	sendEvents(id(1), events, &out)
	var got []wire.Event
	for _, s := range out.Send {
		m := s.Msg.(wire.ViewEvent)
		if size := len(m.AppendBody(nil)); size > wire.MaxBody {
			t.Errorf("a body of %d octets", size)
		}
		got = append(got, m.Events...)
	}
	if len(got) != len(events) || got[2999].Seq != 2999 || len(out.Send) > 6 {
		t.Errorf("%d events in %d messages, want %d", len(got), len(out.Send), len(events))
	}
}

// A node that has moved tells all others where it may be dialled now.
func TestNodeThatMovesTellsTheOthers(t *testing.T) {
	n := newNet(t)
	n.add(1, 2, 3, 4, 5, 6)
	for _, v := range []uint64{2, 3, 4, 5, 6} {
		n.link(id(v), id(1))
	}
	n.run(5 * time.Second)
	moved := []wire.Addr{{AddrPort: netip.MustParseAddrPort("192.0.2.77:14142")}}
	n.do(id(3), func(o *Overlay, out *Output) { o.Move(n.now, moved, out) })
	n.run(2 * time.Second)
	for other, o := range n.nodes {
		if got := o.Addrs(id(3)); !slices.Equal(got, moved) {
			t.Errorf("node %v knows of node 3 at %v, want %v", other, got, moved)
		}
	}
}
