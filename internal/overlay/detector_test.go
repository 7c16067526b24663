package overlay

import (
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

func TestADeadNodeIsOutOfTheViewWithinASecond(t *testing.T) {
	for _, ids := range [][]uint64{{10, 20}, {10, 20, 30}, {10, 20, 30, 40, 50}} {
		n := newNet(t)
		n.add(ids...)
		for _, v := range ids[1:] {
			n.link(id(v), id(ids[0]))
		}
		n.run(3 * time.Second)
		n.wantView()
		n.kill(ids[1])
		n.run(time.Second)
		n.wantView()
		for _, i := range n.ids {
			if !slices.Contains(n.news[i], News{NodeGone, id(ids[1])}) {
				t.Errorf("%v had no news of the death", i.Short())
			}
		}
	}
}

func TestASilentNodeIsOutOfTheViewWithinThreeSeconds(t *testing.T) {
	for _, ids := range [][]uint64{{10, 20}, {10, 20, 30}, {10, 20, 30, 40, 50, 60, 70}} {
		n := grown(t, ids...)
		n.still[id(20)] = true
		for took := time.Duration(0); ; took += 10 * time.Millisecond {
			if took > 3*time.Second {
				t.Errorf("of %d nodes some choose it after 3 s", len(ids))
				break
			}
			n.run(10 * time.Millisecond)
			seen := slices.ContainsFunc(n.ids, func(i ring.ID) bool {
				return i != id(20) && slices.Contains(n.nodes[i].View(), id(20))
			})
			if !seen {
				break
			}
		}
	}
}

func TestOfTwoThatDoNotHearEachOtherBothGoOnOwning(t *testing.T) {
	n := grown(t, 10, 20, 30, 40, 50)
	n.cut[pair(id(20), id(30))] = true // neighbours on the ring
	n.run(20 * time.Second)
	n.wantView()
	for _, i := range []uint64{10, 40, 50} {
		if n.had(i, NodeGone, 20) || n.had(i, NodeGone, 30) {
			t.Errorf("%d held one of them for dead", i)
		}
	}
	o := n.nodes[id(20)]
	if o.Linked(id(30)) {
		t.Error("the silent link is still there")
	}
	hop, ok := o.NextHop(id(30))
	if !ok || hop == id(30) || !n.nodes[hop].Linked(id(30)) {
		t.Errorf("next hop is %v, %t; want a node that is linked to it", hop.Short(), ok)
	}
	if !slices.Contains(o.leaves[1], id(30)) {
		t.Error("an indirect node is no leaf")
	}
	delete(n.cut, pair(id(20), id(30)))
	n.run(12 * time.Second)
	if !o.Linked(id(30)) {
		t.Error("the link was not tried again")
	}
}

func TestWhoWasLateJudgesNobody(t *testing.T) {
	n := grown(t, 10, 20, 30)
	n.still[id(20)] = true
	n.run(1900 * time.Millisecond) // not long enough to join again
	delete(n.still, id(20))
	before := len(n.news[id(20)])
	n.run(5 * time.Second)
	for _, news := range n.news[id(20)][before:] {
		if news.Kind == NodeGone {
			t.Errorf("it held %v for dead", news.ID.Short())
		}
	}
	n.wantView()
}

func TestADeathIsObjectedTo(t *testing.T) {
	n := grown(t, 10, 20, 30)
	lie := wire.ViewEvent{Events: []wire.Event{{Node: id(20), Kind: wire.EventDead, Seq: 7}}}
	n.do(id(10), func(o *Overlay, out *Output) { o.Receive(n.now, id(30), lie, out) })
	if n.nodes[id(10)].Owner(id(20)) != id(20) {
		t.Error("the death of a linked node was believed at once")
	}
	n.run(time.Second)
	n.wantView()
	if e := n.nodes[id(10)].view.get(id(20)); e.seq != 8 {
		t.Errorf("number of the event is %d, want 8", e.seq)
	}
	if n.had(10, NodeGone, 20) {
		t.Error("there was news of the death")
	}
}

func TestADeathThatNobodyObjectsToIsBelieved(t *testing.T) {
	n := grown(t, 10, 20, 30)
	n.still[id(20)] = true
	truth := wire.ViewEvent{Events: []wire.Event{{Node: id(20), Kind: wire.EventDead, Seq: 7}}}
	n.do(id(10), func(o *Overlay, out *Output) { o.Receive(n.now, id(30), truth, out) })
	n.run(directDoubt + 10*time.Millisecond)
	if slices.Contains(n.nodes[id(10)].View(), id(20)) {
		t.Error("it is still in the view")
	}
}

func TestAnswersAreLateByWhatWasMeasured(t *testing.T) {
	var e estimate
	if got := e.timeout(); got != firstTimeout {
		t.Errorf("unmeasured: %v, want %v", got, firstTimeout)
	}
	for range 50 {
		e.sample(time.Millisecond)
	}
	if got := e.timeout(); got != floorTimeout {
		t.Errorf("at 1 ms: %v, want %v", got, floorTimeout)
	}
	for range 50 {
		e.sample(150 * time.Millisecond)
	}
	if got := e.timeout(); got < 150*time.Millisecond || got > 200*time.Millisecond {
		t.Errorf("at a steady 150 ms: %v", got)
	}
	e.sample(time.Minute)
	if got := e.timeout(); got != maxTimeout {
		t.Errorf("after an outlier: %v, want %v", got, maxTimeout)
	}
	var h health
	for range 20 {
		h.worse()
	}
	if got := h.stretch(time.Second); got != 8*time.Second {
		t.Errorf("unhealthy: %v, want 8 s", got)
	}
	for range 20 {
		h.better()
	}
	if got := h.stretch(time.Second); got != time.Second {
		t.Errorf("healthy again: %v, want 1 s", got)
	}
}

func TestAnObjectionThatGotLostIsRepeated(t *testing.T) {
	n := grown(t, 10, 20, 30)
	o := n.nodes[id(10)]
	lie := wire.Event{Node: id(10), Kind: wire.EventDead, Seq: o.seq + 1}
	var lost Output
	o.Receive(n.now, id(20), wire.ViewEvent{Events: []wire.Event{lie}}, &lost)
	var out Output
	o.Receive(n.now, id(30), wire.ViewEvent{Events: []wire.Event{lie}}, &out)
	if len(out.Send) != 1 || out.Send[0].To != id(30) || out.Send[0].Msg.(wire.ViewEvent).Events[0].Seq != lie.Seq+1 {
		t.Errorf("answers %v, want the objection again", out.Send)
	}
}
