package overlay

import (
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

func (n *net) split(left, right []uint64, cut bool) {
	for _, a := range left {
		for _, b := range right {
			n.cut[pair(id(a), id(b))] = cut
			if cut {
				n.reset(id(a), id(b))
			}
		}
	}
}

func TestTwoHalvesOfANetworkFindEachOther(t *testing.T) {
	left, right := []uint64{10, 30, 50, 70}, []uint64{20, 40, 60, 80}
	n := grown(t, append(slices.Clone(left), right...)...)
	n.split(left, right, true)
	n.run(5 * time.Second)
	for _, v := range left {
		if got := len(n.nodes[id(v)].View()); got != len(left) {
			t.Fatalf("%d sees %d nodes of its half, want %d", v, got, len(left))
		}
	}
	before := map[ring.ID]int{}
	for i, news := range n.news {
		before[i] = len(news)
	}
	n.split(left, right, false)
	n.run(10 * time.Second)
	n.wantView()
	for i, news := range n.news {
		for _, v := range news[before[i]:] {
			if v.Kind == NodeGone {
				t.Errorf("%v held %v for dead while the halves met", i.Short(), v.ID.Short())
			}
		}
	}
}

func TestALoneNodeSaysSoAndComesBack(t *testing.T) {
	n := grown(t, 10, 20)
	n.split([]uint64{10}, []uint64{20}, true)
	n.run(3 * time.Second)
	for _, i := range n.ids {
		if !slices.ContainsFunc(n.news[i], func(v News) bool { return v.Kind == Alone }) {
			t.Errorf("%v is alone and does not say so", i.Short())
		}
	}
	n.split([]uint64{10}, []uint64{20}, false)
	n.run(8 * time.Second)
	n.wantView()
}

// A link that comes about and breaks before anything has been said over it leaves the
// way back.
func TestALostNodeIsNotForgottenForALinkThatBreaks(t *testing.T) {
	n := grown(t, 10, 20)
	n.split([]uint64{10}, []uint64{20}, true)
	n.run(3 * time.Second)
	for i, other := range map[ring.ID]ring.ID{id(10): id(20), id(20): id(10)} {
		var out Output
		n.nodes[i].Up(n.now, Peer{ID: other, State: wire.Active}, &out)
		n.nodes[i].Down(n.now, other, &out)
	}
	n.split([]uint64{10}, []uint64{20}, false)
	n.run(8 * time.Second)
	n.wantView()
}

func TestTheGraveyardIsBoundedAndLessAndLessVisited(t *testing.T) {
	o, ids := among(500, Config{Self: id(100)})
	for _, i := range ids {
		o.graves.bury(start, o.view.get(i), 1, o.rng)
	}
	if len(o.graves) != graves {
		t.Errorf("%d graves, want %d", len(o.graves), graves)
	}
	for after, want := range map[time.Duration]time.Duration{0: knock, time.Minute: 7500 * time.Millisecond, time.Hour: lastKnock} {
		if got := o.graves.interval(start.Add(after)); got != want {
			t.Errorf("after %v one is visited every %v, want %v", after, got, want)
		}
	}
	var out Output
	o.visit(start.Add(graveLife+time.Second), &out)
	if len(o.graves) != 0 || len(out.Dial) != 0 {
		t.Error("the dead are visited for ever")
	}
}
