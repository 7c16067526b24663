package messaging

import (
	"fmt"
	"strings"
	"testing"

	"github.com/project-iris/iris/internal/core"
)

// Who subscribes is told of what is lost in the place of it, once.
func TestGapIsToldInItsPlace(t *testing.T) {
	for _, kind := range []core.Kind{core.Topic, core.Cluster} {
		net := newNetwork(t, 2)
		a, b := net.nodes[0], net.nodes[1]
		m := b.member(kind, "news")
		c := a.client()
		what, topic := "broadcast", ""
		publish := func(body string) { c.Conn.Broadcast(net.now, &a.b, []byte("news"), []byte(body)) }
		if kind == core.Topic {
			what, topic = "event", "news"
			publish = func(body string) { c.Publish(net.now, &a.b, []byte("news"), []byte(body)) }
		}
		said := func(body string) delivery {
			if topic != "" {
				body = topic + ":" + body
			}
			return delivery{what: what, body: body}
		}
		publish("before")
		net.run()
		a.links[b].full = true
		const many = 50
		for i := range many {
			publish(fmt.Sprint(i) + strings.Repeat("x", 30<<10)) // more than is kept
		}
		a.links[b].full = false
		publish("last")
		net.run()
		got := m.read()
		if len(got) < 4 || got[1].what != "gap" || got[1].body != topic {
			t.Fatalf("%d deliveries: %.200v", len(got), got)
		}
		lost := got[1].id
		if lost == 0 || lost != b.plane.Drops.Gaps() || uint64(len(got))+lost != 1+many+2 {
			t.Errorf("%d of %d are told as lost, %d are delivered", lost, many, len(got)-1)
		}
		first, next := got[0], fmt.Sprint(lost)
		if want := said("before"); first.body != want.body || first.what != want.what {
			t.Errorf("first came %v", first)
		}
		if body := strings.TrimPrefix(got[2].body, topic+":"); !strings.HasPrefix(body, next+"x") {
			t.Errorf("after %d lost comes %.10s", lost, body)
		}
		if end := got[len(got)-1]; end.body != said("last").body {
			t.Errorf("last came %.100v", end)
		}
	}
}

// So when it is the receiver that gives up, who may not know how much is missing.
func TestGapOfUnknownLengthIsTold(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Topic, "news")
	for _, n := range []uint64{5, 8} {
		b.receive(a, published(b.plane.Key(core.Topic, "news"), n, ""))
	}
	net.pass(2*holdTime + 2*streamSweep)
	b.expect(m, delivery{what: "gap", body: "news", id: 0}, event("news", ""), delivery{what: "gap", body: "news", id: 2}, event("news", ""))
	if n := b.plane.Drops.Gaps(); n != 3 {
		t.Errorf("%d lost are counted, want 3", n)
	}
}
