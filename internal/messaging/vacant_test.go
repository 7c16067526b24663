package messaging

import (
	"testing"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/wire"
)

// Who subscribes again misses without a word only what came before the first message:
// also if that had been held back, and the rest behind it is not kept any more when
// the publisher begins anew with this node.
func TestWhoCameBackMissesNothingInSilence(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Topic, "news")
	p, name := b.plane.Peer(a.id), b.plane.Key(core.Topic, "news")
	receive := func(typ wire.Type, flags wire.Flags, body []byte) {
		t.Helper()
		if err := p.Receive(net.now, &b.b, &wire.Frame{Type: typ, Flags: wire.Named | flags, Name: name, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(number uint64) {
		receive(wire.TypePublish, 0, append(wire.PublishHead{Number: number}.AppendBody(nil), byte('0'+number)))
	}
	receive(wire.TypeDigest, wire.First, wire.Digest{Last: 0}.AppendBody(nil))
	publish(1)
	b.join(m, core.Topic, "news", false)
	b.join(m, core.Topic, "news", true)
	publish(3)
	receive(wire.TypeGap, 0, wire.Gap{From: 2, To: 2}.AppendBody(nil))
	receive(wire.TypeDigest, wire.First, wire.Digest{Last: 5}.AppendBody(nil))
	publish(6)
	net.pass(2 * holdTime)
	event := func(body string) delivery { return delivery{what: "event", body: "news:" + body} }
	gap := func(lost uint64) delivery { return delivery{what: "gap", body: "news", id: lost} }
	b.expect(m, event("1"), gap(1), event("3"), gap(2), event("6"))
	if n := b.plane.Drops.Gaps.Load(); n != 3 {
		t.Errorf("%d are declared lost, want number 2 and, between messages that were heard, 4 and 5", n)
	}
}
