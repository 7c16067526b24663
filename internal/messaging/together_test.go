package messaging

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wheel"
	"github.com/project-iris/iris/internal/wire"
)

// apart returns a publisher that has links to all nodes but the fourth and fifth, no
// hope of one to those, and members on them and some others.
func apart(t *testing.T, with ...int) (net *network, a *host, c *program, members []*program) {
	net = newNetwork(t, 6)
	a = net.nodes[0]
	for _, i := range with {
		members = append(members, net.nodes[i].member(core.Topic, "news"))
	}
	c = a.client()
	for _, far := range net.nodes[3:5] {
		net.cut(a, far)
	}
	c.Publish(net.now, &a.b, []byte("news"), []byte("first"))
	net.run()
	for _, far := range net.nodes[3:5] {
		a.plane.Unlinked(net.now, far.id)
	}
	net.pass(10 * time.Second) // and nobody asks any more where the stream stands
	for _, m := range members {
		a.expect(m, delivery{what: "event", body: "news:first"})
	}
	c.Publish(net.now, &a.b, []byte("news"), []byte("second")) // after a rest
	net.run()
	for _, far := range net.nodes[3:5] {
		a.plane.Unlinked(net.now, far.id)
	}
	net.pass(time.Millisecond)
	for _, m := range members {
		a.expect(m, delivery{what: "event", body: "news:second"})
	}
	return net, a, c, members
}

// Those that a router hands a message on to, and it itself, get it with one frame.
func TestRouterIsSentOneCopyForAll(t *testing.T) {
	for _, v := range []struct {
		with []int
		size int
		want string // frames to each other node
	}{
		{[]int{1, 2, 3, 4, 5}, 100, "[1 1 0 0 1]"},
		{[]int{1, 3, 4}, 100, "[1 1 0 0 1]"}, // the routers are no members
		{[]int{3}, 100, "[0 1 0 0 0]"},
		{[]int{2, 3}, wire.MaxBody, "[0 2 0 0 0]"}, // too long to be for many
	} {
		net, a, c, members := apart(t, v.with...)
		body := strings.Repeat("x", v.size)
		c.Publish(net.now, &a.b, []byte("news"), []byte(body))
		var sent []int
		for _, h := range net.nodes[1:] {
			n := 0
			if w := a.links[h]; w != nil {
				n = len(w.queued)
			}
			sent = append(sent, n)
		}
		if got := fmt.Sprint(sent); got != v.want {
			t.Errorf("members at %v: sent %v, want %v", v.with, got, v.want)
		}
		net.run()
		for _, m := range members {
			a.expect(m, delivery{what: "event", body: "news:" + body})
		}
		for _, h := range net.nodes {
			if n := h.plane.Drops.Doubled.Load() + h.plane.Drops.Gaps() + h.plane.Hops.Forged.Load(); n > 0 {
				t.Errorf("members at %v: %d came twice, were lost or made no sense", v.with, n)
			}
		}
	}
}

// What a full link does not take for some goes to all of them later.
func TestRouterThatIsFullGetsItLater(t *testing.T) {
	net, a, c, members := apart(t, 1, 2, 3, 4, 5)
	via := a.links[net.nodes[2]]
	via.full = true
	c.Publish(net.now, &a.b, []byte("news"), []byte("third"))
	net.run()
	third := delivery{what: "event", body: "news:third"}
	for i, m := range members {
		if i == 1 || i == 2 {
			a.expect(m)
		} else {
			a.expect(m, third)
		}
	}
	via.full = false
	a.plane.Peer(net.nodes[2].id).Room()
	net.run()
	net.pass(time.Second)
	a.expect(members[1], third)
	a.expect(members[2], third)
}

// Where not all can be linked, those that are lie around the whole ring.
func TestTheFirstLinksAreSpread(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	ids := make([]ring.ID, 1000)
	for i := range ids {
		ids[i] = ring.ID{Hi: r.Uint64(), Lo: r.Uint64()}
	}
	slices.SortFunc(ids, ring.ID.Compare)
	scatter(ids)
	var in [16]int
	for _, id := range ids[:200] {
		in[id.Hi>>60]++
	}
	if least := slices.Min(in[:]); least < 4 {
		t.Errorf("of 200 links in each sixteenth of the ring: %v", in)
	}
}

func TestOnlyAPublisherHasItHandedOn(t *testing.T) {
	net := newNetwork(t, 3)
	a, b, o := net.nodes[0], net.nodes[1], net.nodes[2]
	m, n := b.member(core.Topic, "news"), o.member(core.Topic, "news")
	frame := func(h wire.PublishHead, ids ...ring.ID) *wire.Frame {
		h.Others = len(ids)
		f := &wire.Frame{Type: wire.TypePublish, Flags: wire.Named | wire.First, Name: b.plane.Key(core.Topic, "news"), Body: h.AppendBody(nil)}
		for _, id := range ids {
			f.Body = id.Append(f.Body)
		}
		f.Body = append(f.Body, "hi"...)
		return f
	}
	f := frame(wire.PublishHead{Number: 1}, a.id, b.id) // itself, and the router
	room := cap(f.Body)
	if err := b.plane.Peer(a.id).Receive(net.now, &b.b, f); err != nil {
		t.Error(err)
	}
	if n := cap(f.Body); n != room { // the link would take that much less to be free again
		t.Errorf("of the %d octets of the frame %d are left", room, n)
	}
	a.expect(m, delivery{what: "event", body: "news:hi"})
	if n := b.plane.Hops.Forged.Load(); n != 2 {
		t.Errorf("%d were not taken, want 2", n)
	}
	f = frame(wire.PublishHead{Number: 1, Pass: true}, ring.ID{Lo: 9}) // nobody, and beyond the publisher
	if err := b.plane.Peer(a.id).Receive(net.now, &b.b, f); err != nil {
		t.Error(err)
	}
	if n := b.plane.Hops.Undelivered.Load(); n != 1 {
		t.Errorf("%d could not be handed on, want 1", n)
	}
	f = frame(wire.PublishHead{Number: 1}, o.id)
	f.Flags |= wire.Routed
	f.Hops, f.Origin, f.Target = 3, ring.ID{Hi: 8}, b.id
	if err := b.plane.Peer(a.id).Receive(net.now, &b.b, f); err != nil {
		t.Errorf("the router is blamed: %v", err)
	}
	if n := b.plane.Hops.Forged.Load(); n != 3 {
		t.Errorf("%d were not taken, want 3", n)
	}
	f = frame(wire.PublishHead{Number: 1}, o.id)
	f.Body = append(f.Body, make([]byte, wire.MaxBody)...)
	if err := b.plane.Peer(a.id).Receive(net.now, &b.b, f); err == nil {
		t.Error("a long one would be sent to many")
	}
	net.run()
	a.expect(m)
	a.expect(n)
}

// star returns a publisher with links to 64 nodes, and members on them and 192 others.
func star() (c *null) {
	p := New(Config{Timers: wheel.NewTimers(start, func() {}), Budget: queue.NewBudget(1 << 30), Wake: func() {}, Network: "test", Workers: 2})
	p.Self = ring.ID{Hi: 1}
	p.Join()
	var b queue.Batch
	var asks Asks
	var routes []overlay.Route
	c = attach(p, core.Cluster, "")
	c.Publish(start, &b, []byte("news"), nil)
	p.Attend(start, &b, &asks)
	for i := range uint64(256) {
		id := ring.ID{Hi: i + 2}
		if i%4 == 0 {
			p.LinkUp(start, &b, id, new(last))
			routes = append(routes, overlay.Route{ID: id, Via: id, Hands: true})
		}
		p.Member(&b, directory.Change{Name: p.Key(core.Topic, "news"), Node: id, Members: 1}, &asks)
		p.Peer(id).roams.Store(true)
	}
	p.Route(start, &b, routes)
	p.publish()
	return c
}

func TestHandingOnDoesNotAlloc(t *testing.T) {
	p, from, f := hub()
	var b queue.Batch
	body := wire.PublishHead{Pass: true, Others: 2}.AppendBody(nil)
	body = ring.ID{Hi: 41 << 56}.Append(ring.ID{Hi: 40 << 56}.Append(body))
	body = append(body, make([]byte, 128)...)
	room := make([]byte, len(body))
	n := testing.AllocsPerRun(1000, func() {
		copy(room, body)
		*f = wire.Frame{Type: wire.TypePublish, Flags: wire.Named, Body: room}
		from.Receive(start, &b, f)
	})
	if sent := p.Hops.Forwarded.Load(); n > 0 || sent != 2*1001 {
		t.Errorf("%v allocations, %d handed on", n, sent)
	}
}

func BenchmarkPublishByRouters(b *testing.B) {
	c := star()
	var batch queue.Batch
	topic, event := []byte("news"), make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		c.Publish(start, &batch, topic, event)
	}
}
