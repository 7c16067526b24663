package overlay

import (
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

func TestTheLowerOfTwoSoloNodesFoundsAndTheOtherJoins(t *testing.T) {
	n := newNet(t)
	n.add(10, 20)
	n.link(id(20), id(10))
	n.run(250 * time.Millisecond)
	for _, i := range n.ids {
		if s := n.nodes[i].State(); s != wire.Solo {
			t.Errorf("%v is %v while it listens, want solo", i.Short(), s)
		}
	}
	n.run(80 * time.Millisecond)
	if s := n.nodes[id(10)].State(); s != wire.Active {
		t.Errorf("the lower one is %v, want active", s)
	}
	n.run(100 * time.Millisecond)
	n.wantView()
}

func TestAThirdNodeJoinsAndOwnsItsKeys(t *testing.T) {
	n := newNet(t)
	n.add(10, 20)
	n.link(id(20), id(10))
	n.run(time.Second)
	n.add(30)
	n.link(id(30), id(10))
	n.run(100 * time.Millisecond)
	n.wantView()
	for key, want := range map[uint64]uint64{9: 10, 14: 10, 15: 10, 16: 20, 26: 30, 200: 10, 140: 30} {
		for _, i := range n.ids {
			if got := n.nodes[i].Owner(id(key)); got != id(want) {
				t.Errorf("%v says that %v owns %v, want %v", i.Short(), got.Short(), id(key).Short(), id(want).Short())
			}
		}
	}
}

func TestNodesThatAllDialTheSameOneHaveOneFounder(t *testing.T) {
	n := newNet(t)
	ids := []uint64{100, 90, 80, 70, 60, 50, 40, 30, 20, 10}
	n.add(ids...)
	for _, v := range ids[1:] {
		n.link(id(v), id(100))
		n.run(10 * time.Millisecond)
	}
	n.run(230 * time.Millisecond)
	var founders []ring.ID
	for range 200 {
		n.run(time.Millisecond)
		for _, i := range n.ids {
			if o := n.nodes[i]; o.State() == wire.Active && len(founders) == 0 {
				founders = append(founders, i)
			}
		}
		if len(founders) > 0 && !slices.Equal(founders, []ring.ID{id(10)}) {
			t.Fatalf("%v founded, want the lowest", founders)
		}
	}
	n.run(2 * time.Second)
	n.wantView()
}

func TestASoloNodeOwnsAllAndIsInNoView(t *testing.T) {
	o := New(start, Config{Self: id(7)})
	if o.Owner(id(200)) != id(7) || len(o.View()) != 0 || o.State() != wire.Solo {
		t.Errorf("owner %v, view %v, %v", o.Owner(id(200)), o.View(), o.State())
	}
	if got := o.Replicas(id(200)); got != nil {
		t.Errorf("replicas %v, want none", got)
	}
}

func TestAJoiningNodeOwnsNothing(t *testing.T) {
	n := grown(t, 10, 20)
	n.add(30)
	n.still[id(20)] = true // so that it is not in step at once
	n.link(id(30), id(10))
	n.run(20 * time.Millisecond)
	o := n.nodes[id(30)]
	if o.State() != wire.Joining || o.Owner(id(30)) != id(20) {
		t.Fatalf("%v, says that %v owns its own place; want joining, 20", o.State(), o.Owner(id(30)).Short())
	}
	if got := n.nodes[id(10)].Replicas(id(30)); !slices.Contains(got, id(30)) {
		t.Errorf("replicas of its future keys are %v, want it among them", got)
	}
}

func TestOfManyThatJoinAtOnceOnlyThoseNextToAKeyAreReplicas(t *testing.T) {
	o := New(start, Config{Self: id(10)})
	var out Output
	o.Up(start, Peer{ID: id(20), State: wire.Active}, &out)
	o.Receive(start, id(20), wire.ViewEvent{Events: []wire.Event{{Node: id(20), Kind: wire.EventJoin, Seq: 1}}}, &out)
	for i := range 100 {
		o.Up(start, Peer{ID: id(uint64(100 + i)), State: wire.Joining}, &out)
	}
	want := []ring.ID{id(147), id(148), id(149), id(150), id(151), id(152)}
	if got := o.Replicas(id(150)); !slices.Equal(got, want) {
		t.Errorf("replicas %v, want %v", got, want)
	}
}

func TestAJoiningNodeWhoseContactDiesIsSoloAgain(t *testing.T) {
	n := newNet(t)
	n.add(30)
	n.do(id(30), func(o *Overlay, out *Output) { o.Up(n.now, Peer{ID: id(9), State: wire.Active}, out) })
	if s := n.nodes[id(30)].State(); s != wire.Joining {
		t.Fatalf("%v after it met an active node", s)
	}
	n.do(id(30), func(o *Overlay, out *Output) { o.Down(n.now, id(9), out) })
	n.run(1100 * time.Millisecond)
	if s := n.nodes[id(30)].State(); s != wire.Solo {
		t.Errorf("%v a second after its only contact went, want solo", s)
	}
}

func TestAStoppedProcessJoinsAgainBeforeItOwns(t *testing.T) {
	n := grown(t, 10, 20, 30)
	n.still[id(20)] = true
	n.run(5 * time.Second)
	if slices.Contains(n.nodes[id(10)].View(), id(20)) {
		t.Error("others still see it after 5 s")
	}
	delete(n.still, id(20))
	o := n.nodes[id(20)]
	n.do(id(20), func(o *Overlay, out *Output) { o.Advance(n.now, out) })
	if o.State() != wire.Joining || o.Owner(id(20)) == id(20) {
		t.Errorf("%v, and %v owns its place; want joining, and another", o.State(), o.Owner(id(20)).Short())
	}
	n.run(3 * time.Second)
	n.wantView()
	if !slices.Contains(n.news[id(20)], News{Kind: Mourned}) {
		t.Error("it does not know that others dropped what it had said")
	}
	for _, v := range []uint64{10, 30} {
		if n.had(20, NodeGone, v) {
			t.Errorf("it held %d for dead, which was well", v)
		}
	}
}

func TestLeavingEndsOwnershipAndLeaveTheNode(t *testing.T) {
	n := grown(t, 10, 20, 30)
	n.do(id(20), func(o *Overlay, out *Output) { o.Leave(n.now, out) })
	n.run(50 * time.Millisecond)
	for _, i := range n.ids {
		if got := n.nodes[i].Owner(id(20)); got == id(20) {
			t.Errorf("%v says that a leaving node owns", i.Short())
		}
	}
	if !n.had(10, NodeLeaving, 20) || n.had(10, NodeGone, 20) {
		t.Errorf("news are %v, want that it leaves and no more", n.news[id(10)])
	}
	if !n.nodes[id(10)].Knows(id(20)) {
		t.Error("a leaving node is not known any more")
	}
	n.do(id(20), func(o *Overlay, out *Output) { o.Depart(n.now, out) })
	n.run(10 * time.Millisecond)
	if next := n.nodes[id(20)].Next(); !next.IsZero() {
		t.Errorf("it wants to be called at %v after its end", next)
	}
	n.kill(20)
	n.run(100 * time.Millisecond)
	n.wantView()
	if !n.had(10, NodeGone, 20) || !n.had(30, NodeGone, 20) {
		t.Error("no news that it is gone")
	}
	n.run(10 * time.Second)
	if g := n.nodes[id(10)].graves; len(g) != 0 {
		t.Errorf("a node that left is in the graveyard: %v", g)
	}
}
