package messaging

import (
	"testing"
	"time"

	"github.com/project-iris/iris/internal/core"
)

// A member hears of what is left of a request's time, not only of what it was.
func TestMemberIsToldWhatIsLeftOfTheTime(t *testing.T) {
	w := newWorld(t)
	c := w.program("")
	w.request(c, 1, "echo", "ping", 1000)
	w.pass(300 * time.Millisecond)
	m := w.program("echo")
	w.expect(m, handed(0, "ping", 1000))
	if m.left < 699 || m.left > 701 {
		t.Errorf("%d ms are left after 300 of 1000", m.left)
	}
	w.rest(m, c)

	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	far := a.client()
	a.request(far, 1, "echo", "ping", 1000)
	net.pass(300 * time.Millisecond)
	m = b.member(core.Cluster, "echo")
	net.run()
	b.expect(m, handed(0, "ping", 1000))
	if m.left < 699 || m.left > 702 {
		t.Errorf("%d ms are left on the other host after 300 of 1000", m.left)
	}
}

// A request that waits with a member that goes is not handed on when its time has
// passed meanwhile, though the word that nobody waits was lost with the link.
func TestExpiredRequestIsNotHandedOn(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	c, m := a.client(), b.member(core.Cluster, "echo")
	a.request(c, 1, "echo", "ping", 100)
	net.run()
	if m.Load() != 1 {
		t.Fatal("the member was not handed the request")
	}
	net.cut(a, b)
	net.pass(103 * time.Millisecond) // each host rounds up
	a.expect(c, answered(1, TimedOut, ""))
	other := b.member(core.Cluster, "echo")
	b.join(m, core.Cluster, "echo", false)
	m.seal()
	m.Conn.Close(net.now, &b.b)
	net.settle()
	b.expect(other)
	if n := b.plane.Drops.Expired.Load(); n != 1 {
		t.Errorf("%d expired are counted, want 1", n)
	}
}

// So with one of the same node: the deadline has come, and its timer has not.
func TestExpiredRequestIsNotTakenOutOfWaiting(t *testing.T) {
	w := newWorld(t)
	c := w.program("")
	w.request(c, 1, "echo", "ping", 100)
	w.now = w.now.Add(101 * time.Millisecond)
	m := w.program("echo")
	w.expect(m)
	if n := w.plane.Drops.Expired.Load(); n != 1 {
		t.Errorf("%d expired are counted, want 1", n)
	}
	w.pass(0)
	w.expect(c, answered(1, Unreached, ""))
	w.rest(m, c)
}
