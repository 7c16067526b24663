package messaging

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wheel"
	"github.com/project-iris/iris/internal/wire"
)

// around returns hosts of which the first two are not linked.
func around(t *testing.T, n int) (net *network, a, b *host) {
	net = newNetwork(t, n)
	a, b = net.nodes[0], net.nodes[1]
	net.cut(a, b)
	return net, a, b
}

func TestRequestGoesByARouterWithoutALink(t *testing.T) {
	net, a, b := around(t, 3)
	c, m := a.client(), b.member(core.Cluster, "echo")
	for i, size := range []int{0, 100, 20_000, 60_000} {
		body := string(make([]byte, size))
		a.request(c, uint64(i), "echo", body, 1000)
		net.run()
		a.expect(m, handed(uint64(i), body, 1000))
		m.Reply(net.now, &b.b, uint64(i), false, []byte(body))
		net.run()
		a.expect(c, answered(uint64(i), Replied, body))
	}
	a.request(c, 9, "echo", "slow", 10)
	net.run()
	a.expect(m, handed(4, "slow", 10))
	net.pass(11 * time.Millisecond)
	a.expect(c, answered(9, TimedOut, ""))
	net.pass(streamSweep)
	if m.Load() != 0 {
		t.Errorf("the member has %d in hand though it was told that nobody waits", m.Load())
	}
	if h := &net.nodes[2].plane.Hops; h.Forwarded.Load() != 10 || h.Undelivered.Load() != 0 {
		t.Errorf("%d frames were handed on, %d were not, want 10 and 0", h.Forwarded.Load(), h.Undelivered.Load())
	}
}

// Whoever is linked is asked first, however far the others are.
func TestRequestsAreRoutedOnlyIfNobodyIsLinked(t *testing.T) {
	net, a, b := around(t, 3)
	c, m, n := a.client(), b.member(core.Cluster, "echo"), net.nodes[2].member(core.Cluster, "echo")
	a.request(c, 99, "echo", "to learn of them", 1)
	net.run()
	net.pass(10 * time.Millisecond)
	m.read()
	n.read()
	sent := a.plane.Hops.Sent.Load()
	for i := range uint64(20) {
		a.request(c, i, "echo", "", 1000)
		net.run()
		if got := len(n.read()); got != 1 || len(m.read()) != 0 {
			t.Fatalf("request %d: %d came to the node that is linked", i, got)
		}
		n.Reply(net.now, &net.nodes[2].b, i, false, nil)
		net.run()
	}
	if n := a.plane.Hops.Sent.Load() - sent; n != 0 {
		t.Errorf("%d frames were routed", n)
	}
}

// What went by routers goes over the link before anything else when that comes up,
// or its number would be below the window by the time that it arrives.
func TestLinkOvertakesRouters(t *testing.T) {
	net, a, b := around(t, 3)
	c, m := a.client(), b.member(core.Cluster, "echo")
	a.request(c, 0, "echo", "stuck", 5000)
	net.settle()
	net.link(a, b)
	for i := range uint64(10) {
		a.request(c, 1+i, "echo", fmt.Sprint(i), 5000)
	}
	w := a.links[b]
	w.write(1 << 30)
	w.arrive(1 << 30)
	if ds := m.read(); len(ds) != 11 || ds[0].body != "stuck" {
		t.Fatalf("over the link came %v", ds)
	}
	net.run() // the copy at the router
	a.expect(m)
	if n := b.plane.Drops.Repeated.Load(); n != 1 {
		t.Errorf("%d attempts came again, want 1", n)
	}
}

// A router that has no link to the member node either says so, and another is taken:
// the third one has it.
func TestWhatComesBackGoesAnotherWay(t *testing.T) {
	net, a, b := around(t, 5)
	c, m := a.client(), b.member(core.Cluster, "echo")
	last := a.plane.routes.Load().first(b.id, 2)
	for _, r := range net.nodes[2:] {
		if r.id != last.ID {
			net.cut(b, r)
		}
	}
	a.request(c, 1, "echo", "ping", 1000)
	net.run()
	a.expect(m, handed(0, "ping", 1000))
	if n := a.plane.Hops.Returned.Load(); n != 2 {
		t.Errorf("it came back %d times, want 2", n)
	}
	m.Reply(net.now, &b.b, 0, false, []byte("pong"))
	net.run()
	a.expect(c, answered(1, Replied, "pong"))
}

// A router that has no room is asked once for a request, and again after a pause.
func TestRouterWithoutRoomIsAskedOnce(t *testing.T) {
	net, a, b := around(t, 3)
	c, m := a.client(), b.member(core.Cluster, "echo")
	a.request(c, 0, "echo", "to learn of it", 1)
	net.run()
	net.pass(10 * time.Millisecond)
	m.read()
	w := a.links[net.nodes[2]]
	w.full = true
	a.request(c, 1, "echo", "ping", 1000)
	if w.refused != 1 {
		t.Errorf("the router refused it %d times", w.refused)
	}
	w.full = false
	net.pass(2 * firstPause)
	if ds := m.read(); len(ds) != 1 || ds[0].body != "ping" {
		t.Errorf("handed over: %v", ds)
	}
}

// An answer goes back by the router that the request came by: others may not have a
// link to a newcomer yet that has just made its first.
func TestAnswerGoesBackWhereTheRequestCameFrom(t *testing.T) {
	for routers := range 4 {
		net, a, b := around(t, 6)
		c, m := a.client(), b.member(core.Cluster, "echo")
		for i, r := range net.nodes[2:] {
			if i != routers {
				net.cut(a, r)
			}
		}
		a.request(c, 1, "echo", "ping", 1000)
		net.run()
		a.expect(m, handed(0, "ping", 1000))
		m.Reply(net.now, &b.b, 0, false, []byte("pong"))
		net.run()
		a.expect(c, answered(1, Replied, "pong"))
	}
}

// What came back from every router was provably not started: it goes to another node
// as soon as there is one, though the first is not heard of any more.
func TestWhatComesBackFromAllGoesToAnotherNode(t *testing.T) {
	net, a, b := around(t, 4)
	c, m := a.client(), b.member(core.Cluster, "echo")
	for _, r := range net.nodes[2:] {
		net.cut(r, b)
	}
	a.request(c, 1, "echo", "ping", 5000)
	net.run()
	n := net.nodes[3].member(core.Cluster, "echo")
	net.pass(300 * time.Millisecond)
	a.expect(m)
	a.expect(n, handed(0, "ping", 5000))
	for _, r := range net.nodes[2:] {
		net.link(r, b)
	}
	net.link(a, b)
	net.pass(time.Second)
	a.expect(m)
}

// One copy may have arrived, so that another came back proves nothing.
func TestWhatMayHaveArrivedIsNotTriedElsewhere(t *testing.T) {
	net, a, b := around(t, 3)
	router := net.nodes[2]
	c, m := a.client(), b.member(core.Cluster, "echo")
	a.request(c, 1, "echo", "ping", 3000)
	net.run() // the answer is owed
	a.expect(m, handed(0, "ping", 3000))
	net.cut(router, b)
	n := router.member(core.Cluster, "echo")
	net.link(a, b)
	net.cut(a, b)
	net.pass(2 * time.Second)
	a.expect(m)
	a.expect(n)
	net.pass(2 * time.Second)
	a.expect(c, answered(1, TimedOut, ""))
}

func TestStreamIsRoutedWhenTheLinkDoesNotCome(t *testing.T) {
	net, a, b := around(t, 3)
	c, m := a.client(), b.member(core.Topic, "news")
	publish := func(s string) { c.Publish(net.now, &a.b, []byte("news"), []byte(s)); net.run() }
	publish("one")
	net.pass(roamAfter - 10*time.Millisecond)
	a.expect(m)
	publish("two")
	net.pass(20 * time.Millisecond)
	event := func(s string) delivery { return delivery{what: "event", body: "news:" + s} }
	a.expect(m, event("one"), event("two"))
	publish("three")
	a.expect(m, event("three"))

	// The router loses one, and nobody says so.
	via := a.links[net.nodes[2]]
	c.Publish(net.now, &a.b, []byte("news"), []byte("four"))
	net.settle()
	via.queued = nil
	net.pass(time.Second)
	a.expect(m, event("four"))

	// What is under way by the router comes behind what the link brings.
	c.Publish(net.now, &a.b, []byte("news"), []byte("five"))
	net.settle()
	net.link(a, b)
	c.Publish(net.now, &a.b, []byte("news"), []byte("six"))
	w := a.links[b]
	w.write(1 << 30)
	w.arrive(1 << 30)
	net.run()
	net.pass(time.Second)
	a.expect(m, event("five"), event("six"))
	if n := b.plane.Drops.Gaps(); n > 0 {
		t.Errorf("%d messages were declared lost", n)
	}
}

// What was lost with the link, and then the word about it by a router, is missed all the
// same.
func TestWhatALinkTookWithItIsToldMoreThanOnce(t *testing.T) {
	net := newNetwork(t, 3)
	a, b := net.nodes[0], net.nodes[1]
	c, m := a.client(), b.member(core.Topic, "news")
	c.Publish(net.now, &a.b, []byte("news"), []byte("one"))
	net.run()
	a.expect(m, delivery{what: "event", body: "news:one"})
	c.Publish(net.now, &a.b, []byte("news"), []byte("two"))
	net.settle()
	a.links[b].write(1)
	net.cut(a, b)
	net.pass(roamAfter - time.Millisecond)
	net.now = net.now.Add(time.Millisecond)
	a.plane.Advance(net.now, &a.b, &Asks{})
	via := a.links[net.nodes[2]]
	if len(via.queued) == 0 {
		t.Fatal("nothing is routed")
	}
	via.queued = nil
	net.pass(5 * time.Second)
	a.expect(m, delivery{what: "event", body: "news:two"})
}

func TestNoLinkIsAskedForWhereNothingIsMissed(t *testing.T) {
	net, a, b := around(t, 3)
	a.member(core.Topic, "news") // of which b publishes nothing
	for range 20 {
		var asks Asks
		net.now = net.now.Add(500 * time.Millisecond)
		a.plane.Advance(net.now, &a.b, &asks)
		if slices.Contains(asks.Wanted, b.id) {
			t.Fatal("a link is asked for")
		}
	}
}

// Where no link is to come, there is nothing to wait for.
func TestStreamIsRoutedAtOnceWhenNoLinkIsToCome(t *testing.T) {
	net, a, b := around(t, 3)
	c, m := a.client(), b.member(core.Topic, "news")
	for _, s := range []string{"one", "two"} {
		c.Publish(net.now, &a.b, []byte("news"), []byte(s))
		net.run()
		a.plane.Unlinked(net.now, b.id)
		net.pass(time.Millisecond)
		a.expect(m, delivery{what: "event", body: "news:" + s})
		net.pass(4 * roamReview) // nothing is for it any more
	}
}

// What came by a router is no reason to dial its publisher, who has links to as many as it
// can, or dials itself.
func TestReceiversOfWhatIsRoutedDoNotDial(t *testing.T) {
	net, a, b := around(t, 3)
	c, m := a.client(), b.member(core.Topic, "news")
	c.Publish(net.now, &a.b, []byte("news"), []byte("one"))
	net.run()
	net.pass(2 * roamAfter)
	a.expect(m, delivery{what: "event", body: "news:one"})
	var asks Asks
	b.plane.Advance(net.now.Add(interestIdle), &b.b, &asks)
	if slices.Contains(asks.Wanted, a.id) {
		t.Error("who received something dials the publisher")
	}
}

func TestStreamIsMendedWhenTheRouterHasNoWay(t *testing.T) {
	net, a, b := around(t, 3)
	router := net.nodes[2]
	c, m := a.client(), b.member(core.Topic, "news")
	c.Publish(net.now, &a.b, []byte("news"), []byte("one"))
	net.run()
	net.cut(router, b)
	net.pass(3 * time.Second)
	a.expect(m)
	if a.plane.Hops.Returned.Load() == 0 {
		t.Error("nothing came back")
	}
	net.link(router, b)
	net.pass(5 * time.Second)
	a.expect(m, delivery{what: "event", body: "news:one"})
}

func TestNobodySpeaksForThisNodeByARouter(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Cluster, "echo")
	head := wire.RequestHead{Number: 2, Life: 100, Timeout: 100}.AppendBody(nil)
	for _, origin := range []ring.ID{{}, b.id} {
		f := wire.Frame{Type: wire.TypeRequest, Flags: wire.Routed | wire.Named, Hops: 3, Origin: origin, Target: b.id, Name: b.plane.Key(core.Cluster, "echo"), Body: head}
		if err := b.plane.Peer(a.id).Receive(net.now, &b.b, &f); err != nil {
			t.Errorf("the router is blamed: %v", err)
		}
	}
	f := wire.Frame{Type: wire.TypeRequest, Flags: wire.Routed, Hops: 3, Origin: ring.ID{Hi: 9}, Target: b.id, Body: head[:3]}
	if err := b.plane.Peer(a.id).Receive(net.now, &b.b, &f); err != nil {
		t.Errorf("the router is blamed: %v", err)
	}
	a.expect(m)
	if n := b.plane.Hops.Forged.Load(); n != 3 {
		t.Errorf("%d frames were not taken, want 3", n)
	}
}

func TestStrangersAreBounded(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	for i := range uint64(2 * maxStrangers) {
		f := wire.Frame{Type: wire.TypeCancel, Flags: wire.Routed, Hops: 3, Origin: ring.ID{Hi: 1000 + i}, Target: b.id, Body: wire.Cancel{Number: 1}.AppendBody(nil)}
		b.plane.Peer(a.id).Receive(net.now, &b.b, &f)
	}
	if n := len(b.plane.peers); n > maxStrangers+1 {
		t.Errorf("%d peers", n)
	}
	net.pass(time.Minute)
	if n := len(b.plane.peers); n > 1 {
		t.Errorf("%d peers after a minute", n)
	}
}

// The routes of the data plane are those of the control plane.
func TestRoutesAreThoseOfTheOverlay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		p := New(Config{Timers: wheel.NewTimers(start, func() {}), Budget: queue.NewBudget(1 << 20), Wake: func() {}, Network: "test"})
		p.Self = ring.ID{Hi: r.Uint64(), Lo: r.Uint64()}
		o := overlay.New(start, overlay.Config{Self: p.Self, Seed: 1})
		var out overlay.Output
		for range r.IntN(40) {
			o.Up(start, overlay.Peer{ID: ring.ID{Hi: r.Uint64()}, State: wire.State(r.IntN(4))}, &out)
		}
		var b queue.Batch
		p.Route(start, &b, o.Routes(nil))
		for range 50 {
			target := ring.ID{Hi: r.Uint64()}
			if all := o.Routes(nil); len(all) > 0 && r.IntN(4) == 0 {
				target = all[r.IntN(len(all))].ID
			}
			want, ok := o.NextHop(target)
			got := p.routes.Load().next(target)
			if ok != (got != nil) || ok && got.ID != want {
				t.Fatalf("next hop to %v: %v, want %v, %t", target, got, want, ok)
			}
			if want, ok = o.FirstHop(target); ok {
				if got = p.routes.Load().first(target, 0); got == nil || got.ID != want {
					t.Fatalf("first hop to %v: %v, want %v", target, got, want)
				}
			}
			tried := make(map[*Peer]bool)
			for i := range 3 {
				if via := p.routes.Load().first(target, i); via != nil {
					if tried[via] {
						t.Fatalf("way %d to %v was tried before", i, target)
					}
					tried[via] = true
				}
			}
		}
	}
}

// hub returns a plane that is linked to two others far from it, and a frame for one.
func hub() (p *Plane, from *Peer, f *wire.Frame) {
	p = New(Config{Timers: wheel.NewTimers(start, func() {}), Budget: queue.NewBudget(1 << 30), Wake: func() {}, Network: "test"})
	p.Self = ring.ID{Hi: 1}
	var b queue.Batch
	var routes []overlay.Route
	for i := range uint64(64) {
		id := ring.ID{Hi: (i + 1) << 56}
		p.LinkUp(start, &b, id, new(last))
		routes = append(routes, overlay.Route{ID: id, Via: id, Hands: true})
	}
	p.Route(start, &b, routes)
	f = &wire.Frame{Type: wire.TypeRequest, Flags: wire.Routed | wire.Named, Origin: ring.ID{Hi: 1 << 56}, Target: ring.ID{Hi: 40 << 56, Lo: 1}, Body: make([]byte, 128)}
	return p, p.Peer(ring.ID{Hi: 1 << 56}), f
}

func (l *last) SendRouted(*queue.Batch, *wire.Frame, []byte, []byte) error { return nil }

func TestForwardingDoesNotAlloc(t *testing.T) {
	p, from, f := hub()
	var b queue.Batch
	n := testing.AllocsPerRun(1000, func() {
		f.Hops = wire.MaxHops
		from.Receive(start, &b, f)
	})
	if n > 0 || p.Hops.Forwarded.Load() == 0 || p.Hops.Undelivered.Load() > 0 {
		t.Errorf("%v allocations, %d handed on, %d not", n, p.Hops.Forwarded.Load(), p.Hops.Undelivered.Load())
	}
}

func BenchmarkForward(b *testing.B) {
	_, from, f := hub()
	var batch queue.Batch
	b.ReportAllocs()
	for b.Loop() {
		f.Hops = wire.MaxHops
		from.Receive(start, &batch, f)
	}
}
