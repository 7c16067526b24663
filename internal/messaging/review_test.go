package messaging

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// The last member leaves and another comes in one turn of the loop: the cell that
// was closed is not taken over.
func TestNameChangesHandsInOneTurn(t *testing.T) {
	net := newNetwork(t, 2)
	a := net.nodes[0]
	for _, kind := range []core.Kind{core.Topic, core.Cluster} {
		m := a.member(kind, "news")
		n := a.client()
		a.plane.Apply(net.now, &a.b, []core.Change{
			{Kind: kind, Name: "news", Conn: m.ID},
			{Kind: kind, Name: "news", Conn: n.ID, Join: true},
		})
		c := a.client()
		if kind == core.Topic {
			c.Publish(net.now, &a.b, []byte("news"), []byte("hello"))
		} else {
			c.Conn.Broadcast(net.now, &a.b, []byte("news"), []byte("hello"))
		}
		if got := n.read(); len(got) != 1 {
			t.Errorf("kind %d: the new member got %v", kind, got)
		}
	}
}

// What was published to a cell that is closed before the loop has heard of it is not
// lost for other nodes.
func TestPublishedBeforeTheCellIsClosedArrives(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := a.member(core.Topic, "news")
	there := b.member(core.Topic, "news")
	c := a.client()
	c.Publish(net.now, &a.b, []byte("news"), []byte("hello"))
	a.plane.Apply(net.now, &a.b, []core.Change{{Kind: core.Topic, Name: "news", Conn: m.ID}})
	net.run()
	if got := there.read(); len(got) != 1 {
		t.Errorf("the subscriber on the other host got %v", got)
	}
}

// A cell that a reader made is the only one of its name, whatever the loop does.
func TestFreshCellIsTheOnlyOne(t *testing.T) {
	net := newNetwork(t, 1)
	a := net.nodes[0]
	c := a.client()
	const names = 1000
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		var b queue.Batch
		for i := range names {
			name := fmt.Appendf(nil, "topic %d", i)
			for range 20 {
				c.Publish(net.now, &b, name, []byte("x"))
			}
			b.Flush()
		}
	})
	for more := true; more; {
		var asks Asks
		a.plane.Attend(net.now, &a.b, &asks)
		select {
		case <-done:
			more = false
		default:
			runtime.Gosched()
		}
	}
	wg.Wait()
	a.plane.Attend(net.now, &a.b, &Asks{})
	for i := range names {
		name := fmt.Sprintf("topic %d", i)
		if n := a.plane.topic([]byte(name)).next; n != 20 {
			t.Fatalf("%s: its stream is at %d, want 20", name, n)
		}
	}
}

// A node that says that it has no member gets no broadcasts any more either.
func TestNodeThatIsGoneGetsNoBroadcasts(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Cluster, "echo")
	c := a.client()
	c.Conn.Broadcast(net.now, &a.b, []byte("echo"), []byte("1"))
	net.run()
	a.expect(m, delivery{what: "broadcast", body: "1"})
	b.plane.Apply(net.now, &b.b, []core.Change{{Kind: core.Cluster, Name: "echo", Conn: m.ID}})
	a.request(c, 1, "echo", "", 100)
	net.run()
	key := a.plane.Key(core.Cluster, "echo")
	if n := len(a.plane.cell(key).pub.nodes); n != 0 {
		t.Errorf("broadcasts go to %d nodes", n)
	}
}

// receive gives a host a frame as another sent it.
func (h *host) receive(from *host, f wire.Frame) {
	h.t.Helper()
	if err := h.plane.Peer(from.id).Receive(h.net.now, &h.b, &f); err != nil {
		h.t.Fatal(err)
	}
}

func published(name wire.Name, n uint64, body string) wire.Frame {
	return wire.Frame{Type: wire.TypePublish, Flags: wire.Named, Name: name, Body: append(wire.PublishHead{Number: n}.AppendBody(nil), body...)}
}

// Short messages and gaps that are held back count too.
func TestHeldBackIsBoundedWithoutBodies(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	b.member(core.Topic, "news")
	key := b.plane.Key(core.Topic, "news")
	for i := range uint64(100_000) {
		b.receive(a, published(key, 1+2*i, ""))
	}
	st := b.plane.Peer(a.id).streams.byName[key]
	if n := len(st.held); n > 40_000 {
		t.Errorf("%d messages are held back", n)
	}
	if b.budget.Used() < int64(len(st.held))*heldCost {
		t.Errorf("%d messages that are held back are charged %d octets", len(st.held), b.budget.Used())
	}
}

// Hints of a peer do not pile up for a loop that is busy.
func TestHintsDoNotPileUp(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	key := b.plane.Key(core.Topic, "news")
	for i := range uint64(100_000) {
		b.receive(a, published(key, i, ""))
		b.receive(a, wire.Frame{Type: wire.TypeCancel, Body: wire.Cancel{Number: i}.AppendBody(nil)})
	}
	if n := len(b.plane.notes); n > mostHints {
		t.Errorf("%d notes wait for the loop", n)
	}
	var asks Asks
	b.plane.Attend(net.now, &b.b, &asks)
	if n := len(asks.Unwanted); n != 1 {
		t.Errorf("the node is told %d times in one turn that it publishes in vain", n)
	}
}

// A request that everybody refuses is tried less and less often.
func TestRefusedRequestBacksOff(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Cluster, "echo")
	tries := 0
	m.refuse = func() bool { tries++; return true }
	c := a.client()
	a.request(c, 1, "echo", "", 2000)
	net.run()
	net.pass(2100 * time.Millisecond)
	a.expect(c, answered(1, Busy, ""))
	if tries > 60 {
		t.Errorf("it was tried %d times in two seconds", tries)
	}
}

// A member that left and came back when nothing was published meanwhile is no reason
// to forget the stream.
func TestStreamOfAMemberThatCameBackIsNotForgotten(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Topic, "news")
	c := a.client()
	say := func(body string) {
		c.Publish(net.now, &a.b, []byte("news"), []byte(body))
		net.run()
	}
	say("1")
	b.join(m, core.Topic, "news", false)
	b.join(m, core.Topic, "news", true)
	net.run()
	say("2")
	a.expect(m, delivery{what: "event", body: "news:1"}, delivery{what: "event", body: "news:2"})
	net.now = net.now.Add(streamIdle + time.Second)
	b.plane.Peer(a.id).forget(net.now)
	say("3")
	net.pass(3 * time.Second)
	a.expect(m, delivery{what: "event", body: "news:3"})
}

// A stream keeps no more of empty messages than of others.
func TestReplayOfEmptyMessagesIsBounded(t *testing.T) {
	net := newNetwork(t, 1)
	a := net.nodes[0]
	c := a.client()
	for range 400_000 {
		c.Publish(net.now, &a.b, []byte("news"), nil)
	}
	if n := a.budget.Used(); n > 1<<20 {
		t.Errorf("%d octets are kept of it", n)
	}
}

// What a stream keeps is let go of when it has rested, also where it has members.
func TestRestingStreamKeepsNothing(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	here, there := a.member(core.Topic, "news"), b.member(core.Topic, "news")
	used := a.budget.Used()
	c := a.client()
	body := make([]byte, 1000)
	for range 500 {
		c.Publish(net.now, &a.b, []byte("news"), body)
	}
	net.run()
	net.pass(3 * interestIdle)
	if n := a.budget.Used() - used; n > 0 {
		t.Errorf("%d octets stay charged", n)
	}
	here.read()
	there.read()
	c.Publish(net.now, &a.b, []byte("news"), []byte("hello"))
	net.run()
	net.pass(3 * time.Second)
	a.expect(here, delivery{what: "event", body: "news:hello"})
	a.expect(there, delivery{what: "event", body: "news:hello"})
	if n := b.plane.Drops.Gaps(); n > 0 {
		t.Errorf("%d messages were declared lost", n)
	}
}

// What stands for nodes that are gone is given back.
func TestGoneNodesCostNothing(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Cluster, "echo")
	c := a.client()
	used := a.budget.Used()
	for i := range uint64(100) {
		a.request(c, i, "echo", "", 100)
	}
	net.run()
	for _, d := range m.read() {
		m.Reply(net.now, &b.b, d.id, false, nil)
	}
	net.run()
	net.cut(a, b)
	a.plane.NodeGone(net.now, &a.b, b.id)
	a.tell(directoryGone(a.plane.Key(core.Cluster, "echo"), b.id))
	net.pass(3 * interestIdle)
	c.seal()
	c.Close(net.now, &a.b)
	if n := a.budget.Used() - used; n > 0 {
		t.Errorf("%d octets stay charged", n)
	}
}

// A question for what nobody has published to it makes nobody known.
func TestStrangersQuestionsAreNotRemembered(t *testing.T) {
	net := newNetwork(t, 2)
	a := net.nodes[0]
	a.member(core.Topic, "news")
	key := a.plane.Key(core.Topic, "news")
	for i := range uint64(1000) {
		a.plane.Nack(&a.b, ring.ID{Hi: 1 << 40, Lo: i}, wire.Nack{Name: key, From: 0, To: 9})
	}
	if n := len(a.plane.peers); n > 1 {
		t.Errorf("%d peers are known", n)
	}
}

func directoryGone(key wire.Name, id ring.ID) directory.Change {
	return directory.Change{Name: key, Node: id}
}

// Nodes that somebody told of, and that never had to do with this one, are forgotten.
func TestNodesThatWereOnlyToldOfAreForgotten(t *testing.T) {
	net := newNetwork(t, 1)
	a := net.nodes[0]
	c := a.client()
	a.request(c, 1, "echo", "", 100)
	key := a.plane.Key(core.Cluster, "echo")
	for i := range uint64(100) {
		id := ring.ID{Hi: 1 << 40, Lo: i}
		a.tell(directory.Change{Name: key, Node: id, Members: 1, Workers: 1})
		a.tell(directoryGone(key, id))
	}
	net.pass(3 * interestIdle)
	if n := len(a.plane.peers); n > 0 {
		t.Errorf("%d peers are known", n)
	}
}

// A link that refused a message for want of memory, with nothing in it, is tried again
// though nobody says that it has room.
func TestStreamGoesOnWhenThereIsMemoryAgain(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Topic, "news")
	c := a.client()
	c.Publish(net.now, &a.b, []byte("news"), []byte("1"))
	net.run()
	a.links[b].scarce = true
	c.Publish(net.now, &a.b, []byte("news"), []byte("2"))
	net.run()
	a.links[b].scarce = false
	net.pass(time.Second)
	a.expect(m, delivery{what: "event", body: "news:1"}, delivery{what: "event", body: "news:2"})
}

// Attempts that a new link had no room for go when it has some.
func TestAttemptsThatANewLinkRefusedGoLater(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Cluster, "echo")
	c := a.client()
	a.request(c, 1, "echo", "patient", 5000)
	a.links[b].write(1 << 30)
	net.cut(a, b) // it is lost on its way
	ab, ba := &wires{from: a, to: b, full: true}, &wires{from: b, to: a}
	a.links[b], b.links[a] = ab, ba
	a.plane.LinkUp(net.now, &a.b, b.id, ab)
	b.plane.LinkUp(net.now, &b.b, a.id, ba)
	net.run()
	ab.full = false
	net.pass(time.Second)
	a.expect(m, handed(0, "patient", 5000))
}

// A loop that is busy looks after streams no later than one that is not.
func TestBusyLoopPutsNothingOff(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	b.member(core.Topic, "news")
	b.receive(a, published(b.plane.Key(core.Topic, "news"), 5, ""))
	first, _ := b.plane.Next(net.now)
	if again, ok := b.plane.Next(net.now.Add(10 * time.Millisecond)); !ok || again.After(first) {
		t.Errorf("it is to look at %v, and a turn later at %v", first, again)
	}
}

// A long request that many short ones pass is not too old when it is complete.
func TestLongRequestIsNotPushedOutOfTheWindow(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Cluster, "echo")
	c := a.client()
	a.request(c, 0, "echo", "", 60_000)
	net.run()
	for _, d := range m.read() {
		m.Reply(net.now, &b.b, d.id, false, nil)
	}
	long := string(make([]byte, 2*wire.MaxBody))
	a.request(c, 1, "echo", long, 60_000)
	w := a.links[b]
	slow := w.queued
	w.queued = nil
	for i := range uint64(windowBits + 10) {
		a.request(c, 2+i, "echo", "", 60_000)
		net.run()
		for _, d := range m.read() {
			m.Reply(net.now, &b.b, d.id, false, nil)
		}
		net.run()
	}
	w.queued = slow
	net.run()
	if ds := m.read(); len(ds) != 1 || ds[0].body != long {
		t.Errorf("%d requests came, want the long one", len(ds))
	}
}

// Requests that wait because everybody refused them are not tried sooner because more
// come to wait.
func TestRefusedRequestsDoNotHasteEachOther(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Cluster, "echo")
	tries := 0
	m.refuse = func() bool { tries++; return true }
	c := a.client()
	for i := range uint64(100) {
		a.request(c, i, "echo", "", 1000)
		net.run()
		net.pass(10 * time.Millisecond)
	}
	if tries > 2000 {
		t.Errorf("100 requests were tried %d times in a second", tries)
	}
}

// A request that nobody will take does not hold up the others of its name.
func TestHopelessRequestHoldsUpNoOther(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Cluster, "echo")
	refuse := true
	m.refuse = func() bool { return refuse }
	c := a.client()
	a.request(c, 1, "echo", "hopeless", 60_000)
	net.run()
	net.pass(5 * time.Second)
	a.request(c, 2, "echo", "fresh", 60_000)
	net.run()
	net.pass(5 * time.Millisecond)
	refuse = false
	net.pass(50 * time.Millisecond)
	for _, d := range m.read() {
		if d.body == "fresh" {
			return
		}
	}
	t.Error("the other waits")
}

// A link to a node with members that was lost or let go of is wanted again by the
// first call that waits for it, and while the name is in use.
func TestLinkToAMemberNodeIsWantedAgain(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	b.member(core.Cluster, "echo")
	c := a.client()
	a.request(c, 1, "echo", "", 1000)
	net.cut(a, b)
	var asks Asks
	c.Conn.Request(net.now, &a.b, 2, []byte("echo"), nil, 1000)
	a.plane.Attend(net.now, &a.b, &asks)
	if !slices.Contains(asks.Wanted, b.id) {
		t.Error("not by a call")
	}
	asks.Reset()
	a.plane.sweep(net.now, &asks)
	if !slices.Contains(asks.Wanted, b.id) {
		t.Error("not while the name is in use")
	}
}

// The word that a node is gone may overtake its last answers: they count as long as
// there is a link.
func TestLastAnswersOfANodeThatLeaves(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Cluster, "echo")
	c := a.client()
	c.Early = true
	a.request(c, 1, "echo", "", 1000)
	a.request(c, 2, "echo", "", 1000)
	net.run()
	m.Reply(net.now, &b.b, m.read()[0].id, false, []byte("pong"))
	a.plane.NodeGone(net.now, &a.b, b.id)
	net.run()
	a.expect(c, answered(1, Replied, "pong"))
	net.cut(a, b)
	a.expect(c, answered(2, Lost, ""))
}
