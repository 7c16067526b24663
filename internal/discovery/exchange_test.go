package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// A node is an Exchange under test, with time and the network of its own.
type node struct {
	x     *Exchange
	now   time.Time
	out   Output
	other *sealer // of another node in the network
	known map[ring.ID]bool
}

func newNode(nodes int) *node {
	secret := []byte("secret of the network")
	own := &sealer{secret: secret}
	n := &node{
		now:   time.UnixMilli(1735689600000),
		other: &sealer{secret: secret, salt: salt{saltSize - 1: 1}},
		known: map[ring.ID]bool{},
	}
	n.x = New(Config{
		Self:  ring.ID{Lo: 1},
		Seed:  [32]byte{1},
		Seal:  own.seal,
		Open:  own.open,
		Knows: func(id ring.ID) bool { return n.known[id] },
	})
	n.x.Become(wire.Active, nodes, []wire.Addr{told("192.0.2.1:14142")})
	return n
}

func told(addr string) wire.Addr { return wire.Addr{AddrPort: netip.MustParseAddrPort(addr)} }

// away is the address of another host.
func away(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 14142)
}

// packet returns what node 9 says, at the address 192.0.2.9.
func (n *node) packet(kind Kind, nodes uint32, token byte) *Packet {
	return &Packet{Kind: kind, State: wire.Active, Nodes: nodes, Time: n.now, Node: ring.ID{Lo: 9}, Token: [16]byte{token},
		Addrs: []wire.Addr{told("192.0.2.9:14142")}}
}

// sealed returns p as it comes in.
func (n *node) sealed(p *Packet, from netip.AddrPort, group bool) Datagram {
	return Datagram{From: from, Group: group, Interface: "eth0", Octets: n.other.seal(p.Append(nil))}
}

// receive returns what comes of a datagram alone.
func (n *node) receive(d Datagram) Output {
	n.out = Output{}
	n.x.Receive(n.now, d, &n.out)
	return n.out
}

// refused fails unless d has no effect but a refusal.
func (n *node) refused(t testing.TB, d Datagram, want session.Code) {
	t.Helper()
	before := len(n.x.pending)
	out := n.receive(d)
	if len(out.Refused) != 1 || out.Refused[0].Code != want || out.Refused[0].From != d.From {
		t.Errorf("refusals %v, want one of %v with %s", out.Refused, d.From, want)
	}
	if len(out.Send) > 0 || len(out.Dial) > 0 || stranger(out) || len(n.x.pending) != before {
		t.Errorf("in spite of %s: %+v, %d answers waiting", want, out, len(n.x.pending))
	}
}

// stranger reports whether a node was heard that is not known.
func stranger(out Output) bool {
	return slices.ContainsFunc(out.Heard, func(h Heard) bool { return !h.Known })
}

// serves fails unless the node still answers others, a second later.
func (n *node) serves(t testing.TB) {
	t.Helper()
	n.now = n.now.Add(time.Second)
	out := n.receive(n.sealed(n.packet(Probe, 1, 77), away(77), false))
	if len(out.Send) != 1 || len(out.Refused) > 0 || !stranger(out) {
		t.Errorf("a probe led to %+v, want an answer", out)
	}
}

// opened returns what is in a packet that the node sends.
func (n *node) opened(t testing.TB, s Send) Packet {
	t.Helper()
	plain, _, ok := n.other.open(s.Packet)
	p, err := Parse(plain)
	if !ok || err != nil {
		t.Fatalf("a packet is sent that opens: %t, error %v", ok, err)
	}
	return p
}

func TestProbeIsAnsweredToItsSource(t *testing.T) {
	n := newNode(7)
	out := n.receive(n.sealed(n.packet(Probe, 1, 5), away(1), false))
	if len(out.Send) != 1 || out.Send[0].To != away(1) || len(out.Dial) > 0 || len(out.Refused) > 0 {
		t.Fatalf("a probe led to %+v, want an answer alone", out)
	}
	p := n.opened(t, out.Send[0])
	if p.Kind != Answer || p.State != wire.Active || p.Nodes != 7 || p.Node != (ring.ID{Lo: 1}) ||
		p.Token != [16]byte{5} || !p.Time.Equal(n.now) || !slices.Equal(p.Addrs, []wire.Addr{told("192.0.2.1:14142")}) {
		t.Errorf("the answer says %+v", p)
	}
	// Of a node that is known, too: it does not know us.
	n.known[ring.ID{Lo: 9}] = true
	out = n.receive(n.sealed(n.packet(Probe, 1, 5), away(2), false))
	if len(out.Send) != 1 || stranger(out) {
		t.Errorf("a probe of a known node led to %+v", out)
	}
	n.x.Become(wire.InLeaving, 7, nil)
	out = n.receive(n.sealed(n.packet(Probe, 1, 5), away(3), false))
	if len(out.Send) > 0 {
		t.Errorf("a node that is leaving answers %+v", out)
	}
}

func TestPacketOfOtherNetwork(t *testing.T) {
	n := newNode(1)
	foreign := &sealer{secret: []byte("another")}
	n.refused(t, Datagram{From: away(1), Octets: foreign.seal(n.packet(Probe, 1, 1).Append(nil))}, session.PacketKey)
	n.refused(t, Datagram{From: away(1), Octets: make([]byte, PacketSize)}, session.PacketKey)
	changed := n.sealed(n.packet(Probe, 1, 1), away(1), false)
	changed.Octets[100] ^= 1
	n.refused(t, changed, session.PacketKey)
	n.serves(t)
}

func TestChecksComeInOrder(t *testing.T) {
	for _, v := range []struct {
		what   string
		change func(plain []byte)
		want   session.Code
	}{
		{"version", func(b []byte) { b[0], b[1], b[3] = 2, 1, 9 }, session.PacketVersion},
		{"kind", func(b []byte) { b[1], b[3] = 0, 9 }, session.PacketVersion},
		{"kind", func(b []byte) { b[1], b[3] = 5, 9 }, session.PacketVersion},
		{"kind", func(b []byte) { b[1], b[8] = byte(Entry), 1 }, session.PacketForm},
		{"count", func(b []byte) { b[3], b[8] = 9, 1 }, session.PacketForm},
		{"state", func(b []byte) { b[2], b[8] = 4, 1 }, session.PacketForm},
		{"time", func(b []byte) { b[8] = 1; clear(b[16:32]); b[31] = 1 }, session.PacketTime},
		{"time, far off", func(b []byte) { b[8] = 0x80 }, session.PacketTime},
		{"sender", func(b []byte) { clear(b[16:32]); b[31] = 1 }, session.PacketSelf},
	} {
		n := newNode(1)
		plain := n.packet(Probe, 1, 1).Append(nil)
		v.change(plain)
		n.refused(t, Datagram{From: away(1), Octets: n.other.seal(plain)}, v.want)
		n.serves(t)
	}
}

func TestClocksMayDiffer(t *testing.T) {
	for _, v := range []struct {
		skew time.Duration
		want bool
	}{{maxSkew, true}, {-maxSkew, true}, {maxSkew + time.Millisecond, false}, {-maxSkew - time.Millisecond, false}} {
		n := newNode(1)
		p := n.packet(Probe, 1, 1)
		p.Time = n.now.Add(v.skew)
		d := n.sealed(p, away(1), false)
		if v.want {
			if out := n.receive(d); len(out.Send) != 1 {
				t.Errorf("a clock off by %v: %+v", v.skew, out)
			}
		} else {
			n.refused(t, d, session.PacketTime)
		}
	}
}

func TestReplayedPacketHasNoEffect(t *testing.T) {
	n := newNode(1)
	for _, kind := range []Kind{Probe, Beacon, Answer} {
		d := n.sealed(n.packet(kind, 0, 1), away(int(kind)), true)
		if out := n.receive(d); !stranger(out) {
			t.Errorf("kind %d led to %+v", kind, out)
		}
		d.From = away(50)
		n.refused(t, d, session.PacketReplay)
	}
	d := n.sealed(n.packet(Probe, 1, 1), away(1), false)
	n.serves(t)
	n.receive(d)
	n.now = n.now.Add(saltsFor - 1)
	n.refused(t, d, session.PacketReplay)
	// Later one buys an answer, which is harmless.
	n.now = n.now.Add(1)
	if out := n.receive(d); len(out.Send) != 1 {
		t.Errorf("a repeated probe led to %+v", out)
	}
	n.refused(t, d, session.PacketReplay)
	n.serves(t)
}

func TestOldestSaltIsForgottenFirst(t *testing.T) {
	now := time.UnixMilli(0)
	var r salts
	number := func(i int) salt { return salt{byte(i), byte(i >> 8)} }
	for i := range saltsKept + 10 {
		if !r.add(now, number(i)) {
			t.Fatalf("salt %d is not new", i)
		}
	}
	for i := 10; i < saltsKept+10; i++ {
		if r.add(now, number(i)) {
			t.Fatalf("salt %d is forgotten", i)
		}
	}
	for i := range 10 {
		if !r.add(now, number(i)) {
			t.Fatalf("salt %d is remembered", i)
		}
	}
	if len(r.seen) != saltsKept || len(r.list) != saltsKept {
		t.Errorf("%d and %d are remembered, want %d", len(r.seen), len(r.list), saltsKept)
	}
}

func TestAnswerNeedsOurToken(t *testing.T) {
	n := newNode(1)
	answer := func(token [16]byte) Output {
		p := n.packet(Answer, 1, 0)
		p.Token = token
		return n.receive(n.sealed(p, away(1), false))
	}
	if out := answer([16]byte{1}); len(out.Dial) > 0 || !stranger(out) {
		t.Errorf("an answer to nothing led to %+v", out)
	}
	n.out = Output{}
	n.x.Probe(n.now, away(1), &n.out)
	n.x.Beacon(n.now, &n.out)
	if n.out.Send[0].To != away(1) || n.out.Send[1].To.IsValid() {
		t.Errorf("questions go to %v and %v", n.out.Send[0].To, n.out.Send[1].To)
	}
	probe, beacon := n.opened(t, n.out.Send[0]), n.opened(t, n.out.Send[1])
	if probe.Kind != Probe || beacon.Kind != Beacon || probe.Token == beacon.Token {
		t.Errorf("questions are %+v and %+v", probe, beacon)
	}
	want := Dial{Node: ring.ID{Lo: 9}, Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:14142")}}
	for _, token := range [][16]byte{probe.Token, beacon.Token} {
		out := answer(token)
		if len(out.Dial) != 1 || out.Dial[0].Node != want.Node || !slices.Equal(out.Dial[0].Addrs, want.Addrs) || len(out.Refused) > 0 {
			t.Errorf("an answer led to %+v, want to dial %v", out, want)
		}
	}
	n.known[ring.ID{Lo: 9}] = true
	if out := answer(probe.Token); len(out.Dial) > 0 {
		t.Errorf("an answer of a known node led to %+v", out)
	}
	clear(n.known)
	n.now = n.now.Add(tokenLife)
	if out := answer(probe.Token); len(out.Dial) != 1 {
		t.Errorf("an answer after %v led to %+v", tokenLife, out)
	}
	n.now = n.now.Add(1)
	if out := answer(probe.Token); len(out.Dial) > 0 {
		t.Errorf("an answer after more than %v led to %+v", tokenLife, out)
	}
	n.serves(t)
}

func TestQuestionsAreForgotten(t *testing.T) {
	n := newNode(1)
	for range 1000 {
		n.x.Probe(n.now, away(1), &n.out)
		n.now = n.now.Add(50 * time.Millisecond)
	}
	if got := len(n.x.asked); got > 101 {
		t.Errorf("%d questions are remembered", got)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	n := newNode(1)
	probe := func(from netip.AddrPort) Datagram { return n.sealed(n.packet(Probe, 1, 1), from, false) }
	n.receive(probe(away(0)))
	n.now = n.now.Add(time.Second - 1)
	out := n.receive(probe(netip.AddrPortFrom(away(0).Addr(), 9)))
	if len(out.Send) > 0 || len(out.Refused) != 1 || out.Refused[0].Code != session.AnswerRate {
		t.Errorf("a second probe within a second led to %+v", out)
	}
	n.now = n.now.Add(1)
	sent, refused := 0, 0
	for i := range 100 {
		out := n.receive(probe(away(i)))
		sent += len(out.Send)
		if len(out.Refused) == 1 && out.Refused[0].Code == session.AnswerRate {
			refused++
		}
	}
	if sent != answersAll || refused != 100-answersAll {
		t.Errorf("of 100 probes %d are answered, %d refused; want %d", sent, refused, answersAll)
	}
	n.serves(t)

	// Those to the group, too.
	n.now = n.now.Add(2 * time.Second)
	for i := range 100 {
		n.receive(n.sealed(n.packet(Beacon, 0, byte(i)), away(i), true))
	}
	n.now = n.now.Add(answerDelay)
	n.out = Output{}
	n.x.Advance(n.now, &n.out)
	if len(n.out.Send) != answersAll || !n.x.Next().IsZero() {
		t.Errorf("to 100 beacons %d answers, next at %v", len(n.out.Send), n.x.Next())
	}
	if out := n.receive(probe(away(1))); len(out.Send) > 0 || len(out.Refused) != 1 || out.Refused[0].Code != session.AnswerRate {
		t.Errorf("a probe beyond all answers led to %+v", out)
	}
	n.serves(t)
}

func TestBeaconIsAnsweredToTheGroup(t *testing.T) {
	n := newNode(1)
	n.x.Become(wire.Active, 2, []wire.Addr{told("192.0.2.1:14142")})
	out := n.receive(n.sealed(n.packet(Beacon, 1, 6), away(1), true))
	at := n.x.Next()
	if len(out.Send) > 0 || len(out.Dial) > 0 || at.Before(n.now) || !at.Before(n.now.Add(answerDelay)) {
		t.Fatalf("a beacon led to %+v, an answer at %v", out, at)
	}
	n.x.Advance(at.Add(-1), &n.out)
	if len(n.out.Send) > 0 {
		t.Error("the answer is early")
	}
	n.x.Advance(at, &n.out)
	if len(n.out.Send) != 1 || n.out.Send[0].To.IsValid() {
		t.Fatalf("answers %v, want one to the group", n.out.Send)
	}
	if p := n.opened(t, n.out.Send[0]); p.Kind != Answer || p.Token != [16]byte{6} {
		t.Errorf("the answer says %+v", p)
	}
	if !n.x.Next().IsZero() {
		t.Error("the answer is given again")
	}
}

func TestAnswerSilencesOthers(t *testing.T) {
	n := newNode(2)
	n.receive(n.sealed(n.packet(Beacon, 1, 6), away(1), true))
	n.receive(n.sealed(n.packet(Beacon, 1, 7), away(2), true))
	out := n.receive(n.sealed(n.packet(Answer, 1, 6), away(3), true))
	if len(out.Dial) > 0 {
		t.Errorf("an answer to somebody else led to %+v", out)
	}
	n.now = n.now.Add(answerDelay)
	n.out = Output{}
	n.x.Advance(n.now, &n.out)
	if len(n.out.Send) != 1 || n.opened(t, n.out.Send[0]).Token != [16]byte{7} {
		t.Errorf("answers %v, want one to the beacon that nobody answered", n.out.Send)
	}
	n.serves(t)
}

func TestSmallerNetworkDials(t *testing.T) {
	for _, v := range []struct {
		ours    int
		theirs  uint32
		known   bool
		dial    int
		pending int
	}{
		{1, 1, false, 1, 0},
		{1, 100, false, 1, 0},
		{2, 1, false, 0, 1},
		{2, 0, false, 0, 1},
		{2, 1, true, 0, 0},
		{1, 9, true, 0, 0},
	} {
		n := newNode(v.ours)
		n.known[ring.ID{Lo: 9}] = v.known
		out := n.receive(n.sealed(n.packet(Beacon, v.theirs, 1), away(1), true))
		if len(out.Dial) != v.dial || len(n.x.pending) != v.pending || stranger(out) == v.known {
			t.Errorf("%d nodes heard one of %d, known %t: %+v, %d answers", v.ours, v.theirs, v.known, out, len(n.x.pending))
		}
	}
	n := newNode(1)
	p := n.packet(Beacon, 1, 1)
	p.State = wire.InLeaving
	if out := n.receive(n.sealed(p, away(1), true)); len(out.Dial) > 0 {
		t.Errorf("a node that is leaving is dialled: %+v", out)
	}
}

// Of many nodes that hear a beacon a few act.
func TestFewActOnABeacon(t *testing.T) {
	for _, theirs := range []uint32{1, 5000} {
		acted := 0
		n := newNode(1000)
		for i := range 10000 {
			n.now = n.now.Add(time.Second)
			out := n.receive(n.sealed(n.packet(Beacon, theirs, byte(i)), away(i), true))
			acted += len(out.Dial) + len(n.x.pending)
			n.x.pending = nil
		}
		if acted < 15 || acted > 50 {
			t.Errorf("a beacon of %d nodes: acted on %d of 10,000, want about 30", theirs, acted)
		}
	}
}

// Everybody hears a newcomer; it hears from one or two, not from all.
func TestNewcomerIsAnsweredByFew(t *testing.T) {
	const members = 200
	newcomer := newNode(1)
	var network []*node
	for i := range members {
		n := newNode(members)
		n.x.c.Self, n.x.c.Seed = ring.ID{Lo: uint64(100 + i)}, [32]byte{byte(i), 1}
		n.x = New(n.x.c)
		n.x.Become(wire.Active, members, []wire.Addr{told("192.0.2.1:14142")})
		n.other.salt = salt{saltSize - 1: byte(i), saltSize - 2: 2}
		n.x.c.Seal = n.other.seal
		network = append(network, n)
	}
	answers, unanswered := 0, 0
	for i := range 40 {
		now := newcomer.now.Add(time.Duration(i) * 5 * time.Second)
		newcomer.out = Output{}
		newcomer.x.Beacon(now, &newcomer.out)
		beacon := Datagram{From: away(1), Group: true, Octets: newcomer.out.Send[0].Packet}
		for _, n := range network {
			n.x.Receive(now, beacon, &n.out)
		}
		heard := 0
		for range answerDelay / time.Millisecond {
			now = now.Add(time.Millisecond)
			var sent []Datagram
			for j, n := range network {
				n.out = Output{}
				n.x.Advance(now, &n.out)
				for _, s := range n.out.Send {
					sent = append(sent, Datagram{From: away(100 + j), Group: true, Octets: s.Packet})
				}
			}
			for _, d := range sent { // a millisecond later, with everybody
				heard++
				for _, n := range network {
					n.x.Receive(now, d, &n.out)
				}
			}
		}
		answers += heard
		if heard == 0 {
			unanswered++
		}
		if heard > 4 {
			t.Errorf("a beacon is answered %d times", heard)
		}
	}
	if answers > 60 || unanswered > 5 {
		t.Errorf("to 40 beacons %d answers, %d unanswered", answers, unanswered)
	}
}

func TestUndialableAddresses(t *testing.T) {
	for _, v := range []struct {
		addr  string
		group bool
		want  string // "": refused
	}{
		{"192.0.2.9:14142", true, "192.0.2.9:14142"},
		{"[2001:db8::9]:14142", false, "[2001:db8::9]:14142"},
		{"[fe80::9]:14142", true, "[fe80::9%eth0]:14142"},
		{"[fe80::9]:14142", false, ""},
		{"169.254.0.9:14142", true, ""},
		{"192.0.2.9:0", true, ""},
		{"127.0.0.1:14142", true, ""},
		{"[::1]:14142", true, ""},
		{"0.0.0.0:14142", true, ""},
		{"[::]:14142", true, ""},
		{"224.0.0.1:14142", true, ""},
		{"[ff02::1]:14142", true, ""},
		{"255.255.255.255:14142", true, ""},
		{"169.254.169.254:80", true, ""},
		{"[fd00:ec2::254]:80", true, ""},
		{"192.0.2.1:14143", true, "192.0.2.1:14143"},
	} {
		n := newNode(1)
		p := n.packet(Beacon, 1, 1)
		p.Addrs = []wire.Addr{told(v.addr)}
		out := n.receive(n.sealed(p, away(1), v.group))
		got := ""
		for _, d := range out.Dial {
			got += fmt.Sprint(d.Addrs[0])
		}
		if got != v.want {
			t.Errorf("%s, group %t: %q is dialled, want %q", v.addr, v.group, got, v.want)
		}
		refused := slices.ContainsFunc(out.Refused, func(r Refusal) bool {
			return r.Code == session.AddressRefused && r.Node == ring.ID{Lo: 9} && r.Err != nil
		})
		if refused != (v.want == "") {
			t.Errorf("%s: refusals %v", v.addr, out.Refused)
		}
		n.serves(t)
	}

	// One bad address does not spoil the others, and a UDP source is none.
	n := newNode(1)
	p := n.packet(Beacon, 1, 1)
	p.Addrs = append(p.Addrs, told("127.0.0.1:1"), told("192.0.2.10:14142"))
	out := n.receive(n.sealed(p, away(1), true))
	if len(out.Dial) != 1 || len(out.Dial[0].Addrs) != 2 || len(out.Refused) != 1 {
		t.Errorf("led to %+v", out)
	}
	p.Addrs = nil
	if out := n.receive(n.sealed(p, away(1), true)); len(out.Dial) > 0 {
		t.Errorf("a packet without addresses led to %+v", out)
	}

	// Two hosts may have the same addresses inside: nothing to tell anybody.
	p.Addrs = []wire.Addr{told("192.0.2.1:14142"), told("192.0.2.10:14142")}
	out = n.receive(n.sealed(p, away(1), true))
	if len(out.Dial) != 1 || len(out.Dial[0].Addrs) != 1 || len(out.Refused) > 0 {
		t.Errorf("our own address beside another led to %+v", out)
	}

	// On one host all are at loopback.
	n.x.c.Loopback = true
	p.Addrs = []wire.Addr{told("127.0.0.1:14143")}
	if out := n.receive(n.sealed(p, away(1), true)); len(out.Dial) != 1 {
		t.Errorf("loopback to loopback led to %+v", out)
	}
}

func TestPacketFlood(t *testing.T) {
	n := newNode(1)
	opened := 0
	open := n.x.c.Open
	n.x.c.Open = func(b []byte) ([]byte, int, bool) { opened++; return open(b) }
	flood := func(from func(i int) netip.AddrPort) (rated int) {
		for i := range 5000 {
			out := n.receive(Datagram{From: from(i), Octets: make([]byte, PacketSize)})
			if out.Refused[0].Code == session.PacketRate {
				rated++
			}
			if len(out.Send) > 0 {
				t.Fatal("a stranger is answered")
			}
		}
		return rated
	}
	for _, v := range []struct {
		what string
		from func(i int) netip.AddrPort
		want int
	}{
		{"one source", func(i int) netip.AddrPort { return netip.AddrPortFrom(away(1).Addr(), uint16(i)) }, openedSource},
		{"an IPv6 network", func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 14: byte(i >> 8), 15: byte(i)}), 1)
		}, openedSource},
		{"neighbours", func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 14: byte(i >> 8), 15: byte(i)}).WithZone("eth0"), 1)
		}, openedAll},
		{"many sources", away, openedAll},
	} {
		n.now = n.now.Add(time.Second)
		opened = 0
		if rated := flood(v.from); opened != v.want || rated != 5000-v.want {
			t.Errorf("from %s: %d of 5000 are opened, %d refused for the rate; want %d opened", v.what, opened, rated, v.want)
		}
		if got := len(n.x.opened.sources); got > openedAll {
			t.Errorf("from %s: %d sources are remembered", v.what, got)
		}
	}
	// One source alone keeps nobody else out.
	n.now = n.now.Add(time.Second)
	flood(func(int) netip.AddrPort { return away(1) })
	if out := n.receive(n.sealed(n.packet(Probe, 1, 1), away(2), false)); len(out.Send) != 1 {
		t.Errorf("beside a flood: %+v, want an answer", out)
	}
	n.serves(t)
}
