package messaging

import (
	"fmt"
	"testing"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A node that publishes to many names leaves others the streams they need, and has its
// own room for new ones when old ones end.
func TestPublisherHasItsShareOfTheStreams(t *testing.T) {
	net := newNetwork(t, 3)
	greedy, b, modest := net.nodes[0], net.nodes[1], net.nodes[2]
	b.plane.cells = queue.NewBudget(10)
	topic := func(i int) string { return fmt.Sprint("t", i) }
	m := b.member(core.Topic, topic(0))
	for i := 1; i < 20; i++ {
		b.join(m, core.Topic, topic(i), true)
	}
	publish := func(h *host, c *program, i int) int {
		c.Publish(net.now, &h.b, []byte(topic(i)), []byte("x"))
		net.run()
		return len(m.read())
	}
	c := greedy.client()
	heard := 0
	for i := range 20 {
		heard += publish(greedy, c, i)
	}
	if heard != 5 {
		t.Errorf("%d of the names of one node are heard of, want half of 10", heard)
	}
	if n := b.plane.Drops.Streams.Load(); n == 0 {
		t.Error("what is refused is not counted")
	}
	if publish(modest, modest.client(), 19) != 1 {
		t.Error("another node is not heard")
	}
	b.join(m, core.Topic, topic(0), false)
	net.pass(2 * purgePause)
	if n := publish(greedy, c, 18); n != 2 { // with what was refused before
		t.Errorf("%d come, want 2: the stream of a name that nobody subscribes to any more is in the way of another", n)
	}
}

// What a node publishes to names that nobody here subscribes to costs nothing.
func TestUnwantedNamesCostNoStream(t *testing.T) {
	net := newNetwork(t, 2)
	p := net.nodes[1].plane.Peer(net.nodes[0].id)
	used := net.nodes[1].budget.Used()
	for i := range uint64(1000) {
		name := wire.Name{Kind: wire.Topic, Key: ring.ID{Lo: i}}
		for _, f := range []wire.Frame{
			{Type: wire.TypeDigest, Flags: wire.Named | wire.First, Name: name, Body: wire.Digest{Last: 7}.AppendBody(nil)},
			{Type: wire.TypePublish, Flags: wire.Named, Name: name, Body: wire.PublishHead{Number: 8}.AppendBody(nil)},
			{Type: wire.TypeGap, Flags: wire.Named, Name: name, Body: wire.Gap{From: 9, To: 10}.AppendBody(nil)},
		} {
			net.nodes[1].receive(net.nodes[0], f)
		}
	}
	if n := net.nodes[1].budget.Used() - used; n > 0 || len(p.streams.byName) > 0 {
		t.Errorf("%d streams, %d octets", len(p.streams.byName), n)
	}
}
