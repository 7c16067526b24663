package overlay

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// settled returns n Active nodes that all see each other and have the links they
// want.
func settled(n int) map[ring.ID]*Overlay {
	r := rand.New(rand.NewPCG(6, 6))
	nodes := map[ring.ID]*Overlay{}
	var ids []ring.ID
	var all view
	for range n {
		ids = append(ids, drawn(r))
		all.put(start, &wire.Event{Node: ids[len(ids)-1], Kind: wire.EventJoin, Seq: 1, Addrs: addrOf(id(1))})
	}
	for _, self := range ids {
		o := New(start, Config{Self: self, Addrs: addrOf(id(1)), Seed: 1})
		o.state, o.seq = wire.Active, 1
		o.view = view{live: slices.Clone(all.live), sums: all.sums}
		nodes[self] = o
	}
	for _, self := range ids {
		connect(nodes, self, start.Add(2*time.Second))
	}
	return nodes
}

// connect has a node make its links, and those it links to theirs.
func connect(nodes map[ring.ID]*Overlay, self ring.ID, now time.Time) {
	outs := map[ring.ID]*Output{self: {}}
	nodes[self].Advance(now, outs[self])
	for todo := []ring.ID{self}; len(todo) > 0; todo = todo[1:] {
		at := todo[0]
		dials := outs[at].Dial
		outs[at].Dial = nil
		for _, d := range dials {
			if nodes[at].Linked(d.ID) {
				continue
			}
			if outs[d.ID] == nil {
				outs[d.ID] = &Output{}
			}
			nodes[d.ID].Up(now, Peer{ID: at, State: wire.Active}, outs[d.ID])
			nodes[at].Up(now, Peer{ID: d.ID, State: wire.Active, Dialled: true}, outs[at])
			todo = append(todo, at, d.ID)
		}
	}
}

// The bounds are gates of docs/overlay.md.
func TestRoutesAreShort(t *testing.T) {
	for _, want := range []struct {
		nodes      int
		mean       float64
		p99, links int
	}{{100, 1.7, 2, 99}, {1000, 2.4, 3, 105}} {
		nodes := settled(want.nodes)
		r := rand.New(rand.NewPCG(7, 7))
		var ids []ring.ID
		var links []int
		for id, o := range nodes {
			ids = append(ids, id)
			links = append(links, o.Links())
		}
		slices.SortFunc(ids, ring.ID.Compare)
		var hops []int
		sum := 0
		for range 20_000 {
			at := ids[r.IntN(len(ids))]
			target := nodes[at].Owner(drawn(r))
			n := 0
			for ; at != target; n++ {
				hop, ok := nodes[at].NextHop(target)
				if !ok || n > wire.MaxHops {
					t.Fatalf("no way from %v to %v", at, target)
				}
				at = hop
			}
			hops = append(hops, n)
			sum += n
		}
		slices.Sort(hops)
		slices.Sort(links)
		mean, p99, most := float64(sum)/float64(len(hops)), hops[len(hops)*99/100], links[len(links)*99/100]
		t.Logf("%d nodes: hops mean %.2f, p99 %d, max %d; links p99 %d, max %d", want.nodes, mean, p99, hops[len(hops)-1], most, links[len(links)-1])
		if mean > want.mean || p99 > want.p99 || most > want.links {
			t.Errorf("%d nodes: hops %.2f in the mean, p99 %d, links p99 %d; want at most %+v", want.nodes, mean, p99, most, want)
		}
	}
}
