package discovery

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// identity returns a member of a network with the network key of that seed, who accepts
// those of others.
func identity(t *testing.T, now time.Time, key byte, network string, also ...byte) *session.Identity {
	t.Helper()
	var keys []*session.Key
	for _, seed := range append([]byte{key}, also...) {
		k, err := session.KeyOf(ed25519.NewKeyFromSeed(append(make([]byte, 31), seed)))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	c, err := session.NewCredential(network, keys[0], keys[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	id, err := session.NewIdentity(c, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestMembersOfANetworkFindEachOther(t *testing.T) {
	now := time.UnixMilli(1735689600000)
	exchange := func(id *session.Identity) *Exchange {
		x := New(Config{Self: id.ID(), Seal: id.SealPacket, Open: id.OpenPacket, Knows: func(ring.ID) bool { return false }})
		x.Become(wire.Solo, 1, []wire.Addr{told("192.0.2.9:14142")})
		return x
	}
	asker := identity(t, now, 1, "net")
	var out Output
	exchange(asker).Beacon(now, &out)
	if len(out.Send) != 1 || len(out.Send[0].Packet) != PacketSize {
		t.Fatalf("a beacon is %+v", out.Send)
	}
	beacon := Datagram{From: away(1), Group: true, Interface: "eth0", Octets: out.Send[0].Packet}
	hear := func(id *session.Identity) (out Output) {
		x := exchange(id)
		x.Become(wire.Solo, 1, nil)
		x.Receive(now, beacon, &out)
		return out
	}
	if out := hear(identity(t, now, 1, "net")); len(out.Dial) != 1 || out.Dial[0].Node != asker.ID() {
		t.Errorf("a member of the network does %+v, want to dial %v", out, asker.ID())
	}
	if out := hear(asker); len(out.Refused) != 1 || out.Refused[0].Code != session.PacketSelf {
		t.Errorf("the sender does %+v", out)
	}
	for _, id := range []*session.Identity{identity(t, now, 1, "other"), identity(t, now, 2, "net")} {
		if out := hear(id); len(out.Refused) != 1 || out.Refused[0].Code != session.PacketKey || stranger(out) || len(out.Dial) > 0 {
			t.Errorf("a member of another network does %+v", out)
		}
	}
}
