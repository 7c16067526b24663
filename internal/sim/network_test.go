package sim

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/wire"
)

func TestEventsComeByTimeAndThenAsTheyWerePlanned(t *testing.T) {
	var q events
	r := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		q.push(event{at: instant(r.IntN(50))})
	}
	last := q.pop()
	for range 999 {
		e := q.pop()
		if e.at < last.at || e.at == last.at && e.seq < last.seq {
			t.Fatalf("event %d at %v came after %d at %v", e.seq, e.at, last.seq, last.at)
		}
		last = e
	}
}

// linkedPair returns a world of two nodes, 10 ms apart, with a link.
func linkedPair(t *testing.T) (w *world, a, b *node) {
	t.Helper()
	w = newWorld(Scenario{Network: Network{Near: 10 * time.Millisecond}}, 1)
	a = w.start()
	b = w.start(a)
	w.runUntil(40 * time.Millisecond)
	if a.links[b] == nil {
		t.Fatal("no link after 40 ms")
	}
	return w, a, b
}

func TestADialCostsOneAndAHalfRoundTrips(t *testing.T) {
	w := newWorld(Scenario{Network: Network{Near: 10 * time.Millisecond}}, 1)
	a := w.start()
	b := w.start(a)
	w.runUntil(30*time.Millisecond - 1)
	if a.m.Linked(b.id) || b.m.Linked(a.id) {
		t.Error("linked in less than 30 ms")
	}
	w.runUntil(44 * time.Millisecond)
	if !a.m.Linked(b.id) || !b.m.Linked(a.id) {
		t.Error("not linked after 44 ms")
	}
}

func TestWhatAStoppedProcessMissedItGetsLater(t *testing.T) {
	w, a, b := linkedPair(t)
	b.freeze(time.Second)
	a.links[b].send(a, &frame{msg: wire.Leave{}})
	w.runUntil(900 * time.Millisecond)
	if len(b.backlog) == 0 {
		t.Error("nothing waits for it")
	}
	w.runUntil(1100 * time.Millisecond)
	if len(b.backlog) != 0 || b.frozen {
		t.Errorf("%d things still wait", len(b.backlog))
	}
}

func TestACutLinkStallsAndThenBreaks(t *testing.T) {
	w, a, b := linkedPair(t)
	l := a.links[b]
	w.cut[[2]int{a.index, b.index}] = true
	l.send(a, &frame{msg: wire.Leave{}})
	w.runUntil(time.Second)
	if !l.open || len(l.stalled[0])+len(l.stalled[1]) == 0 {
		t.Error("the link is closed, or what was sent got through")
	}
	w.mend()
	w.runUntil(3 * time.Second)
	if !l.open || len(l.stalled[0])+len(l.stalled[1]) != 0 {
		t.Error("the link is closed, or still stalled")
	}
	w.cut[[2]int{a.index, b.index}] = true
	l.send(a, &frame{msg: wire.Leave{}})
	w.runUntil(w.now + userTimeout + time.Second)
	if l.open {
		t.Error("the link is open after the kernel gave up")
	}
}

// What was sent before a link is closed in order comes first, in a large network that
// heals too, where links are closed by the thousand (split, 300 nodes, seed 1).
func TestALinkThatIsClosedDeliversWhatWasSent(t *testing.T) {
	w := newWorld(find(t, "static", 2), 1)
	w.planAll()
	w.runUntil(5 * time.Second)
	l := w.links[0]
	before := w.count.digests.messages
	l.send(l.ends[0], &frame{msg: wire.DigestDir{}})
	l.close(l.ends[0])
	w.runUntil(w.now + 2*time.Millisecond)
	if w.count.digests.messages == before {
		t.Error("what was under way is lost")
	}
}
