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
	name := b.plane.Key(core.Topic, "news")
	receive := func(typ wire.Type, flags wire.Flags, body []byte) {
		t.Helper()
		b.receive(a, wire.Frame{Type: typ, Flags: wire.Named | flags, Name: name, Body: body})
	}
	publish := func(number uint64) { b.receive(a, published(name, number, string(rune('0'+number)))) }
	receive(wire.TypeDigest, wire.First, wire.Digest{Last: 0}.AppendBody(nil))
	publish(1)
	b.join(m, core.Topic, "news", false)
	b.join(m, core.Topic, "news", true)
	publish(3)
	receive(wire.TypeGap, 0, wire.Gap{From: 2, To: 2}.AppendBody(nil))
	receive(wire.TypeDigest, wire.First, wire.Digest{Last: 5}.AppendBody(nil))
	publish(6)
	net.pass(2 * holdTime)
	gap := func(lost uint64) delivery { return delivery{what: "gap", body: "news", id: lost} }
	b.expect(m, event("news", "1"), gap(1), event("news", "3"), gap(2), event("news", "6"))
	if n := b.plane.Drops.Gaps(); n != 3 {
		t.Errorf("%d are declared lost, want number 2 and, between messages that were heard, 4 and 5", n)
	}
}

// What is missing when nobody is left who would get it is not lost.
func TestWhoLeftIsDeclaredNothing(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Topic, "news")
	name := b.plane.Key(core.Topic, "news")
	publish := func(number uint64) { b.receive(a, published(name, number, string(rune('0'+number)))) }
	b.receive(a, wire.Frame{Type: wire.TypeDigest, Flags: wire.Named | wire.First, Name: name, Body: wire.Digest{}.AppendBody(nil)})
	publish(1)
	publish(3)
	b.receive(a, wire.Frame{Type: wire.TypeGap, Flags: wire.Named, Name: name, Body: wire.Gap{From: 4, To: 5}.AppendBody(nil)})
	b.join(m, core.Topic, "news", false)
	net.pass(2 * holdTime)
	b.expect(m, event("news", "1"))
	if drops := &b.plane.Drops; drops.Gaps()+drops.Waited.Load() > 0 || drops.Unwanted.Load() != 1 {
		t.Errorf("%d are declared lost, %d waited for too long, %d were unwanted, want number 3 alone", drops.Gaps(), drops.Waited.Load(), drops.Unwanted.Load())
	}
}
