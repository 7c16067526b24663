package messaging

import (
	"strings"
	"testing"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wire"
)

// A message larger than what a stream keeps is kept until as much has followed it: a
// link that had no room for it gets it later.
func TestReplayKeepsALargeMessageUntilMuchHasFollowed(t *testing.T) {
	r := replay{small: queue.Records{Budget: queue.NewBudget(64 << 20)}}
	r.push(0, queue.Payload{Data: make([]byte, 2*maxReplay)})
	for n := range uint64(10) {
		r.push(1+n, queue.Payload{Data: []byte("small")})
	}
	if r.first != 0 {
		t.Errorf("what is below %d is no longer kept", r.first)
	}
	r.push(11, queue.Payload{Data: make([]byte, maxReplay)})
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
	a.b.Crowd = nil
	publish("small")
	if a.b.Crowd == nil {
		t.Error("a link that is full is not waited for")
	}
}
