package discovery

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A bus is nodes that hear each other's packets to the group, and are linked a while
// after they were to dial each other.
type bus struct {
	t     *testing.T
	now   time.Time
	nodes []*onBus
	deaf  bool // nothing that is sent to the group comes
	sent  int
}

type onBus struct {
	*Seeker
	id    ring.ID
	addr  netip.Addr
	known map[ring.ID]bool
}

func (b *bus) add(i int) *onBus {
	secret := []byte("secret of the network")
	own := &sealer{secret: secret, salt: salt{0: 1, 1: byte(i)}}
	n := &onBus{
		id: ring.ID{Lo: uint64(i + 1)}, addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}),
		known: map[ring.ID]bool{},
	}
	n.Seeker = NewSeeker(Config{
		Self: n.id, Seed: [32]byte{byte(i)}, Seal: own.seal, Open: own.open,
		Knows: func(id ring.ID) bool { return n.known[id] },
	}, SeekerConfig{Multicast: true, Scan: true, Port: Port, Lowest: func(netip.Prefix) bool {
		for id := range n.known {
			if id.Compare(n.id) < 0 {
				return false
			}
		}
		return true
	}})
	b.nodes = append(b.nodes, n)
	b.become(n)
	var out Output
	n.Move(b.now, []netip.Prefix{netip.PrefixFrom(n.addr, 24)}, true, &out)
	b.carryOut(n, &out)
	return n
}

func (b *bus) become(n *onBus) {
	state := State{State: wire.Active, Nodes: 1 + len(n.known), Alone: len(n.known) == 0}
	if state.Alone {
		state.State = wire.Solo
	}
	state.Addrs = []wire.Addr{{AddrPort: netip.AddrPortFrom(n.addr, Port)}}
	n.Become(b.now, state)
}

// link makes one network of those of two nodes.
func (b *bus) link(n, m *onBus) {
	var all []*onBus
	for _, o := range b.nodes {
		if o == n || o == m || n.known[o.id] || m.known[o.id] {
			all = append(all, o)
		}
	}
	for _, o := range all {
		for _, p := range all {
			if o != p {
				o.known[p.id] = true
			}
		}
		b.become(o)
	}
}

func (b *bus) carryOut(n *onBus, out *Output) {
	for _, s := range out.Send {
		b.sent++
		for _, m := range b.nodes {
			if m == n || s.To.IsValid() && s.To.Addr() != m.addr || b.deaf && !s.To.IsValid() {
				continue
			}
			var heard Output
			m.Receive(b.now, Datagram{From: netip.AddrPortFrom(n.addr, Port), Group: !s.To.IsValid(), Octets: s.Packet}, &heard)
			b.carryOut(m, &heard)
		}
	}
	for _, d := range out.Dial {
		i := slices.IndexFunc(b.nodes, func(m *onBus) bool { return m.id == d.Node })
		if !slices.Equal(d.Addrs, []netip.AddrPort{netip.AddrPortFrom(b.nodes[i].addr, Port)}) {
			b.t.Errorf("node %v is dialled at %v", d.Node, d.Addrs)
		}
		b.link(n, b.nodes[i])
	}
}

// run lets time pass, and returns how many packets were sent.
func (b *bus) run(d time.Duration) int {
	before, end := b.sent, b.now.Add(d)
	for {
		var first *onBus
		var at time.Time
		for _, n := range b.nodes {
			if next := n.Next(); !next.IsZero() && (at.IsZero() || next.Before(at)) {
				first, at = n, next
			}
		}
		if first == nil || !at.Before(end) {
			b.now = end
			return b.sent - before
		}
		if at.After(b.now) {
			b.now = at
		}
		var out Output
		first.Advance(b.now, &out)
		b.carryOut(first, &out)
	}
}

func (b *bus) joined() bool {
	for _, n := range b.nodes {
		if len(n.known) != len(b.nodes)-1 {
			return false
		}
	}
	return true
}

func newBus(t *testing.T) *bus { return &bus{t: t, now: time.UnixMilli(1735689600000)} }

// Twenty idle hosts send five packets a second at most, all together, and far fewer
// once nothing was new for a while; a newcomer is found at once all the same.
func TestIdleNodesAreQuiet(t *testing.T) {
	b := newBus(t)
	for i := range 20 {
		b.add(i)
		b.run(10 * time.Millisecond)
	}
	b.run(2 * time.Second)
	if !b.joined() {
		t.Fatal("twenty nodes that start together do not find each other within two seconds")
	}
	for i := range 60 {
		if n := b.run(10 * time.Second); n > 50 {
			t.Errorf("20 nodes send %d packets in the %dth 10 s", n, i)
		}
	}
	if n := b.run(time.Hour); n > 40 {
		t.Errorf("20 idle nodes send %d packets an hour", n)
	}
	b.add(20)
	b.run(time.Second)
	if !b.joined() {
		t.Error("a newcomer is not found within a second")
	}
	if n := b.run(time.Minute); n > 60 {
		t.Errorf("after a newcomer 21 nodes send %d packets a minute", n)
	}
}

// Where nothing comes of multicast, a scan finds the other hosts, and in the end one
// of all the nodes scans on.
func TestScanFindsWhatMulticastDoesNot(t *testing.T) {
	b := newBus(t)
	b.deaf = true
	for _, i := range []int{4, 90, 200} {
		b.add(i)
	}
	b.run(5 * time.Second)
	if !b.joined() {
		t.Fatal("a scan of a /24 does not find others within 5 s")
	}
	b.run(time.Hour)
	if n := b.run(time.Minute); n < 100 || n > 160 {
		t.Errorf("%d packets a minute, want 2 probes a second of one node, and few beacons", n)
	}
}

// Two halves of a network that were apart find each other again.
func TestHalvesFindEachOther(t *testing.T) {
	b := newBus(t)
	var first, second []*onBus
	for i := range 4 {
		first = append(first, b.add(i))
	}
	b.run(time.Hour)
	all := b.nodes
	b.nodes = nil
	for i := range 4 {
		second = append(second, b.add(10+i))
	}
	b.run(time.Hour)
	b.nodes = append(all, b.nodes...)
	b.run(2 * beaconMost)
	if !b.joined() {
		t.Errorf("the halves have %d and %d nodes still", len(first[0].known)+1, len(second[0].known)+1)
	}
}

// A node that cannot be linked to does not keep all others busy.
func TestUnreachableNodeIsNoLongerNews(t *testing.T) {
	n := newNode(3)
	s := &Seeker{Exchange: n.x, trickle: trickle{random: n.x.random}, met: map[ring.ID]*met{}}
	news := 0
	for range 3600 {
		if s.news(n.now, ring.ID{Lo: 9}) {
			news++
		}
		n.now = n.now.Add(time.Second)
	}
	if news < 8 || news > 20 {
		t.Errorf("in an hour it was news %d times", news)
	}
	for i := range 2 * mostMet {
		if !s.news(n.now, ring.ID{Hi: 1, Lo: uint64(i)}) {
			t.Fatalf("node %d is no news", i)
		}
	}
	if len(s.met) > mostMet {
		t.Errorf("%d nodes are remembered", len(s.met))
	}
}
