package messaging

import (
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

// leaveUsed has nodes come, be used, and be gone.
func (h *host) leaveUsed(from, to int) {
	for i := from; i < to; i++ {
		peer := h.plane.Peer(ring.ID{Hi: 99, Lo: uint64(i)})
		peer.seen.mark(0)
		peer.open[0].next++
		peer.used.Store(true)
		h.plane.NodeGone(h.now, &h.b, peer.ID)
	}
}

func (h *host) sweepAt(now time.Time) {
	h.now = now
	h.plane.Advance(h.now, &h.b, &Asks{})
}

// What is known of a node that is gone is kept for a day, or as long as there is room.
func TestNodesThatAreGoneAreForgotten(t *testing.T) {
	h := newNetwork(t, 2).nodes[0]
	first := h.now
	h.leaveUsed(0, 10)
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{interestIdle, 11}, {2 * interestIdle, 11}, {peerIdle, 11}, {peerIdle + 3*interestIdle, 1}} {
		h.sweepAt(first.Add(c.after))
		if n := len(h.plane.peers); n != c.want {
			t.Errorf("after %v %d nodes are known, want %d", c.after, n, c.want)
		}
	}
	if n := h.plane.Drops.Forgotten.Load(); n != 0 {
		t.Errorf("%d are forgotten early", n)
	}
}

func TestNodesThatAreGoneAreLimited(t *testing.T) {
	h := newNetwork(t, 2).nodes[0]
	h.leaveUsed(0, 10)
	h.plane.Peer(ring.ID{Hi: 99, Lo: 3}).open[1].next = 70
	h.sweepAt(h.now.Add(interestIdle))
	h.sweepAt(h.now.Add(interestIdle))
	h.leaveUsed(10, maxPeers+5)
	h.sweepAt(h.now.Add(interestIdle))
	h.sweepAt(h.now.Add(interestIdle))
	if n := len(h.plane.peers); n != maxPeers || h.plane.Drops.Forgotten.Load() != 6 {
		t.Fatalf("%d nodes are known, %d forgotten early", n, h.plane.Drops.Forgotten.Load())
	}
	for i, want := range []bool{false, false, false, false, false, false, true, true, true, true} {
		if _, ok := h.plane.peers[ring.ID{Hi: 99, Lo: uint64(i)}]; ok != want {
			t.Errorf("node %d is known: %t", i, ok)
		}
	}
	if h.plane.peers[ring.ID{Hi: 2}] == nil {
		t.Error("a node that is linked is forgotten")
	}
	peer := h.plane.Peer(ring.ID{Hi: 99, Lo: 3}) // comes back
	if long, short := peer.open[1].next, peer.open[0].next; long != 70 || short != 1 {
		t.Errorf("attempts at it begin with %d and %d: they were used before", long, short)
	}
}
