package messaging

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wire"
)

// A message larger than what a stream keeps is kept until as much has followed it: a
// link that had no room for it gets it later.
func TestReplayKeepsALargeMessageUntilMuchHasFollowed(t *testing.T) {
	const none = ^uint64(0)
	r := replay{small: queue.Records{Budget: queue.NewBudget(64 << 20)}}
	r.push(0, queue.Payload{Data: make([]byte, 2*maxReplay)}, none)
	for n := range uint64(10) {
		r.push(1+n, queue.Payload{Data: []byte("small")}, none)
	}
	if r.first != 0 {
		t.Errorf("what is below %d is no longer kept", r.first)
	}
	r.push(11, queue.Payload{Data: make([]byte, maxReplay)}, none)
	if r.first != 11 {
		t.Errorf("what is below %d is no longer kept, want 11", r.first)
	}
	r.drop()
}

// What follows a message that a link had no room for is not kept back once it has,
// whoever says so first.
func TestStreamGoesOnWithTheNextMessage(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Topic, "news")
	c := a.client()
	publish := func(body string) { c.Publish(net.now, &a.b, []byte("news"), []byte(body)) }
	publish("1")
	net.run()
	a.links[b].full = true
	publish("2")
	a.links[b].full = false
	publish("3") // the loop has not heard of the room yet
	if w := a.links[b]; len(w.queued) != 2 {
		t.Fatalf("%d frames are on their way, want 2", len(w.queued))
	}
	net.run()
	a.expect(m, delivery{what: "event", body: "news:1"}, delivery{what: "event", body: "news:2"}, delivery{what: "event", body: "news:3"})
}

// crowded has programs publish to two other hosts, as many as fill their links several
// times over, each only while no link is crowded. The links to them move as fast as
// said, in octets in a second. It returns what the others heard.
func crowded(t *testing.T, speeds ...int) (net *network, heard [2][]delivery) {
	const programs, batches, size, step = 500, 2, 30 << 10, 20 * time.Millisecond
	net = newNetwork(t, 3)
	a := net.nodes[0]
	var members [2]*program
	for i, h := range net.nodes[1:] {
		members[i] = h.member(core.Topic, "news")
	}
	var pubs []*program
	for range programs {
		pubs = append(pubs, a.client())
	}
	pubs[0].Publish(net.now, &a.b, []byte("news"), []byte("first"))
	net.run()
	left := make([]int, programs)
	crowds := make([][]queue.Crowd, programs)
	for _, h := range net.nodes[1:] {
		a.links[h].limit = 16 << 20
	}
	for i := range left {
		left[i] = batches
	}
	body := make([]byte, size)
	for open, rounds := programs, 0; open > 0; rounds++ {
		if rounds > 100_000 {
			t.Fatal("publishers wait for ever")
		}
		for i, p := range pubs {
			crowds[i] = slices.DeleteFunc(crowds[i], func(c queue.Crowd) bool { return !c.Crowded(net.now) })
			if len(crowds[i]) > 0 || left[i] == 0 {
				continue
			}
			p.Publish(net.now, &a.b, []byte("news"), body)
			p.Publish(net.now, &a.b, []byte("news"), body)
			crowds[i], a.b.Crowds = a.b.Crowds, nil
			if left[i]--; left[i] == 0 {
				open--
			}
		}
		net.now = net.now.Add(step)
		for i, h := range net.nodes[1:] {
			w := a.links[h]
			w.write(int(float64(speeds[i]) * step.Seconds() / size))
			w.arrive(1 << 30)
			if w.Waiting(wire.Publications) < w.limit/2 {
				a.plane.Peer(h.id).Room()
			}
			heard[i] = append(heard[i], members[i].read()...)
		}
		net.settle()
	}
	for i, h := range net.nodes[1:] {
		a.links[h].limit = 0
		a.plane.Peer(h.id).Room()
		net.run()
		heard[i] = append(heard[i], members[i].read()...)
		if n := len(heard[i]); n != 1+2*programs*batches && speeds[i] > paceLeast {
			t.Errorf("node %d: %d of %d are heard", i, n, 1+2*programs*batches)
		}
	}
	return net, heard
}

// However many publish, nothing is lost on links that move, and all are as slow as the
// slowest.
func TestLinksThatMoveLoseNothing(t *testing.T) {
	net, _ := crowded(t, 40<<20, 4<<20)
	if n := net.nodes[0].plane.Drops.Overrun.Load(); n > 0 {
		t.Errorf("%d were not kept", n)
	}
	if pub := net.nodes[0].plane.topic([]byte("news")); pub.kept.octets > maxReplay+maxReplay/10 {
		t.Errorf("%d octets are kept when all have arrived", pub.kept.octets)
	}
}

// A link that stands, or trickles, is not waited for: what it misses is a declared gap
// there, and the other loses nothing.
func TestLinkThatStandsIsPassedBy(t *testing.T) {
	for _, speed := range []int{0, paceLeast / 2} {
		net, heard := crowded(t, 40<<20, speed)
		gaps := 0
		for _, d := range heard[1] {
			if d.what == "gap" {
				gaps += int(d.id)
			}
		}
		if n := net.nodes[0].plane.Drops.Overrun.Load(); n == 0 || int(n) != gaps {
			t.Errorf("%d were not kept, %d are told of", n, gaps)
		}
	}
}

// Who publishes waits for a link that had no room for it.
func TestPublisherWaitsForALinkThatRefused(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	b.member(core.Topic, "news")
	c := a.client()
	publish := func(body string) { c.Publish(net.now, &a.b, []byte("news"), []byte(body)) }
	publish("first")
	net.run()
	for body := strings.Repeat("x", 32<<10); a.links[b].Waiting(wire.Publications) < crowd; {
		publish(body)
	}
	a.links[b].full = true
	a.b.Crowds = nil
	publish("small")
	if a.b.Crowds == nil {
		t.Error("a link that is full is not waited for")
	}
}
