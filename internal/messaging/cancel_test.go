package messaging

import (
	"testing"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/wire"
)

// A node that sends nothing but CANCEL wakes the loop once, has it look once in a
// while, and makes it keep no more than so many.
func TestFloodOfCancelsCostsTheLoopLittle(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Cluster, "echo")
	c := a.client()
	a.request(c, 1, "echo", "ping", 1000)
	net.run()
	b.expect(m, handed(0, "ping", 1000))

	flood := func(from uint64, n int) {
		for i := range uint64(n) {
			b.receive(a, wire.Frame{Type: wire.TypeCancel, Flags: wire.Skip, Body: wire.Cancel{Number: from + i}.AppendBody(nil)})
		}
	}
	b.wakes = 0
	flood(0, 3*mostCanceled)
	if b.wakes != 1 {
		t.Errorf("the loop was woken %d times", b.wakes)
	}
	if n := b.plane.Drops.Hints.Load(); n != 2*mostCanceled {
		t.Errorf("%d hints are counted as let go, want %d", n, 2*mostCanceled)
	}
	if b.loop(); m.Load() != 1 {
		t.Error("the loop looked at once")
	}
	if net.pass(streamSweep); m.Load() != 0 {
		t.Errorf("the member has %d in hand that nobody waits for", m.Load())
	}
	if n := len(b.plane.Peer(a.id).seen.canceled); n != 0 {
		t.Errorf("%d hints are kept after the loop has looked", n)
	}
}

// What nobody waits for is not in hand for ever though nobody said so.
func TestLostCancelIsMadeUpFor(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Cluster, "echo")
	c := a.client()
	a.request(c, 1, "echo", "ping", 1000)
	net.run()
	a.links[b].full = true // the word is refused
	net.pass(2 * time.Second)
	a.expect(c, answered(1, TimedOut, ""))
	a.links[b].full = false
	if net.pass(interestIdle / 2); m.Load() != 0 {
		t.Errorf("the member has %d in hand", m.Load())
	}
}
