package hosts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/discovery/discoverytest"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
	"github.com/project-iris/iris/node"
)

// Nodes find each other with nothing configured but the network's name and key: a
// service of the first host answers on the second within a second of the start of the
// node there. A machine that is busy with other things makes it longer, so the best
// of three counts.
func TestNodesFindEachOther(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(*LAN) error
		most    time.Duration
	}{
		{"BothFamilies", func(*LAN) error { return nil }, time.Second},
		{"IPv4", func(l *LAN) error { return l.without("IPv6") }, time.Second},
		{"IPv6", func(l *LAN) error { return l.without("IPv4") }, time.Second},
		{"MulticastBlocked", func(l *LAN) error { return errors.Join(l.blockMulticast(), l.spread()) }, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			best := time.Hour
			for range 3 {
				n := &network{lan: newLAN(t, 2)}
				if err := c.prepare(n.lan); err != nil {
					t.Fatal(err)
				}
				n.startAll(t, 1)
				n.member(t, 0, secret, newService("found", newLedger()))
				began := time.Now()
				n.start(t, 1)
				reply, err := n.client(t, 1).Request(withLimit(t), secret, nil)
				took := time.Since(began)
				if err != nil || string(reply) != "found" {
					t.Fatalf("the reply is %q, %v", reply, err)
				}
				t.Logf("a service of the first host answered %v after the start of the second node", took.Round(time.Millisecond))
				best = min(best, took)
				kinds := []string{"beacons"}
				if c.name == "MulticastBlocked" {
					kinds = []string{"probes", "answers"}
				}
				a, b := n.status(t, 0).Discovery, n.status(t, 1).Discovery
				for _, kind := range kinds {
					if a.Sent[kind]+b.Sent[kind] == 0 || a.Heard[kind]+b.Heard[kind] == 0 {
						t.Errorf("of %s the nodes count %v and %v sent, %v and %v heard", kind, a.Sent, b.Sent, a.Heard, b.Heard)
					}
				}
			}
			if best > c.most {
				t.Errorf("it took more than %v", c.most)
			}
		})
	}
}

// TestNewcomersAskAtOnce starts nodes one right after the other, each of which is asked
// for a service of the first host before it is at home in the network.
func TestNewcomersAskAtOnce(t *testing.T) {
	t.Parallel()
	const newcomers = 4
	n := &network{lan: newLAN(t, 1+newcomers)}
	n.startAll(t, 1)
	n.member(t, 0, secret, newService("found", newLedger()))
	for i := range newcomers {
		n.start(t, 1+i)
		if reply, err := n.client(t, 1+i).Request(withLimit(t), secret, nil); err != nil || string(reply) != "found" {
			t.Fatalf("the reply to newcomer %d is %q, %v", 1+i, reply, err)
		}
	}
}

// without takes the addresses of a family from all hosts.
func (l *LAN) without(family string) error {
	for _, h := range l.Hosts {
		address := fmt.Sprintf("%v/24", h.IPv4)
		if family == "IPv6" {
			address = fmt.Sprintf("%v/64", h.IPv6)
		}
		if err := h.thread.ip("addr del " + address + " dev eth0"); err != nil {
			return err
		}
	}
	return nil
}

// spread gives all hosts addresses that are far from each other, in the same /24.
func (l *LAN) spread() error {
	for i, h := range l.Hosts {
		former := h.IPv4
		h.IPv4 = netip.AddrFrom4([4]byte{10, 77, 0, byte(1 + 120*i)})
		if err := h.thread.ip(fmt.Sprintf("addr del %v/24 dev eth0", former), fmt.Sprintf("addr add %v/24 dev eth0", h.IPv4)); err != nil {
			return err
		}
	}
	return nil
}

// blockMulticast has the bridge drop what is sent to groups, as some networks do.
func (l *LAN) blockMulticast() error {
	for _, h := range l.Hosts {
		if err := l.bridge.ip("link set " + h.port + " type bridge_slave mcast_flood off"); err != nil {
			return err
		}
	}
	return nil
}

// Idle hosts send few packets: five a second at most, in all.
func TestIdleHostsAreQuiet(t *testing.T) {
	const hosts, seconds = 6, 10
	n := newDiscovering(t, hosts, 0)
	for i := range hosts {
		n.await(t, i, "it knows all", has(hosts-1))
	}
	c, err := n.lan.Capture(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(seconds * time.Second) // what is measured is a rate
	sent := c.UDP(discovery.Port)
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	t.Logf("%d hosts sent %d packets in %d s", hosts, sent, seconds)
	if sent > 5*seconds {
		t.Errorf("%d hosts sent %d packets in %d s, want 5 a second at most", hosts, sent, seconds)
	}
}

// Nodes with different keys do not meet, and each says once that it is alone, and why.
func TestNetworksOnOneBridgeDoNotMeet(t *testing.T) {
	t.Parallel()
	n := &network{lan: newLAN(t, 2)}
	n.startAll(t, 1)
	n.key = newKey(t)
	n.start(t, 1)
	for i := range n.nodes {
		line := n.line(t, i, "no other node was found yet")
		if !strings.Contains(line, "another key or network name") || !strings.Contains(line, "key=SHA256:") {
			t.Errorf("a node that is alone says %q", line)
		}
		s := n.status(t, i)
		if len(s.Peers) > 0 || len(s.Links) > 0 || s.Discovery.Heard["beacons"] > 0 || s.Discovery.Refused["packet_key"] == 0 || !s.Discovery.Alone {
			t.Errorf("host %d: %d other nodes, discovery %+v", i, len(s.Peers), s.Discovery)
		}
	}
}

// Two nodes of one host share the group, and are found like those of two.
func TestNodesOfOneHostFindEachOther(t *testing.T) {
	t.Parallel()
	n := &network{lan: newLAN(t, 2)}
	n.startAll(t, 1)
	n.lan.Hosts[0], n.lan.Hosts[1] = n.lan.Hosts[1], n.lan.Hosts[0]
	n.start(t, 0)
	n.start(t, 0, "--port", "55556")
	for i := range n.nodes {
		n.await(t, i, "it knows all", has(2))
	}
}

// Addresses come and go, and systems refuse: local programs are served all the while,
// the log says so once, and others are found when they can be.
func TestHostWithoutANetworkServesItsPrograms(t *testing.T) {
	t.Parallel()
	n := &network{lan: newLAN(t, 2)}
	lost := n.lan.Hosts[1]
	if err := lost.thread.ip("link set eth0 down"); err != nil {
		t.Fatal(err)
	}
	n.startAll(t, 2)
	n.member(t, 1, secret+" here", newService("served", newLedger()))
	c := n.client(t, 1)
	served := func() {
		t.Helper()
		if reply, err := c.Request(withLimit(t), secret+" here", nil); string(reply) != "served" {
			t.Fatalf("a local request is answered %q, %v", reply, err)
		}
	}
	n.line(t, 1, "no network was found to look for other nodes on")
	served()

	// The network comes, but there is no descriptor for it.
	pid := n.nodes[1].PID()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &all); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(len(open)), Max: all.Max}, nil); err != nil {
		t.Fatal(err)
	}
	if err := lost.thread.ip("link set eth0 up"); err != nil {
		t.Fatal(err)
	}
	if line := n.line(t, 1, "the system refuses"); !strings.Contains(line, "too many open files") {
		t.Errorf("the log says %q", line)
	}
	served()
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &all, nil); err != nil {
		t.Fatal(err)
	}
	n.await(t, 1, "it knows the other", has(1))
	n.await(t, 0, "it knows where the other is", func(s *node.Status) bool { return len(s.Peers) == 1 && len(s.Peers[0].Address) > 0 })
	for _, text := range []string{"no network was found", "the system refuses"} {
		if times := strings.Count(n.nodes[1].Output(), text); times != 1 {
			t.Errorf("the log says %d times %q", times, text)
		}
	}
}

// An address with no others beside it, as in a cloud, leaves nothing to scan.
func TestHostsWithLoneAddresses(t *testing.T) {
	t.Parallel()
	n := &network{lan: newLAN(t, 2)}
	if err := n.lan.without("IPv6"); err != nil {
		t.Fatal(err)
	}
	if err := n.lan.mask("32"); err != nil {
		t.Fatal(err)
	}
	n.startAll(t, 2)
	for i := range n.nodes {
		n.await(t, i, "it knows the other", has(1)) // by multicast
	}
}

// A scan keeps its pace where nobody is: what waits for addresses that nobody has does
// not hold it up.
func TestScanOfAnEmptySubnetKeepsItsPace(t *testing.T) {
	t.Parallel()
	n := newDiscovering(t, 1, 0)
	n.await(t, 0, "it has begun", func(s *node.Status) bool { return s.Discovery.Sent["probes"] > 0 })
	time.Sleep(5 * time.Second) // what is measured is a rate, with addresses unanswered
	s := n.status(t, 0)
	t.Logf("%d probes after 5 s", s.Discovery.Sent["probes"])
	if sent := s.Discovery.Sent["probes"]; sent < 250 || s.Discovery.Sent["failed"] > 10 {
		t.Errorf("the node sent %d probes in 5 s, and %d packets could not be sent; want 340 and none", sent, s.Discovery.Sent["failed"])
	}
}

// mask gives all hosts IPv4 addresses with another mask.
func (l *LAN) mask(bits string) error {
	for _, h := range l.Hosts {
		if err := h.thread.ip(
			fmt.Sprintf("addr del %v/24 dev eth0", h.IPv4),
			fmt.Sprintf("addr add %v/%s dev eth0", h.IPv4, bits),
			"route replace 10.77.0.0/16 dev eth0",
		); err != nil {
			return err
		}
	}
	return nil
}

// Where neither multicast nor a scan finds others, they are where they were before.
func TestOthersAreFoundWhereTheyWere(t *testing.T) {
	t.Parallel()
	n := &network{lan: newLAN(t, 2)}
	if err := n.lan.mask("16"); err != nil { // too large for a scan
		t.Fatal(err)
	}
	n.startAll(t, 1)
	dir := withinPlace(t)
	start := func() *Node {
		t.Helper()
		node, err := n.lan.Hosts[1].StartNode(withLimit(t), thePlace.iris(), dir, "--net", secret+" network", "--key", n.key)
		if err != nil {
			t.Fatal(err)
		}
		return node
	}
	n.nodes = append(n.nodes, start())
	n.await(t, 1, "it knows the other", has(1))
	if err := n.nodes[1].Stop(withLimit(t)); err != nil {
		t.Fatal(err)
	}
	if err := n.lan.blockMulticast(); err != nil {
		t.Fatal(err)
	}
	n.nodes[1] = start()
	n.await(t, 1, "it knows the other again", has(1))
	if s := n.status(t, 1); s.Discovery.Heard["answers"] > 0 {
		t.Errorf("it was found in another way: %+v", s.Discovery)
	}
	files, _ := filepath.Glob(filepath.Join(n.nodes[1].state, "*", "peers"))
	if len(files) != 1 {
		t.Errorf("the addresses are in %v", files)
	}
}

// What cannot be sent is counted, and programs of the host are served.
func TestHostThatMaySendNothing(t *testing.T) {
	t.Parallel()
	n := &network{lan: newLAN(t, 1)}
	if err := n.lan.Hosts[0].filter("output", "meta l4proto udp drop"); err != nil {
		t.Fatal(err)
	}
	n.startAll(t, 1)
	n.await(t, 0, "it counts what could not be sent", func(s *node.Status) bool { return s.Discovery.Sent["failed"] > 0 })
	n.member(t, 0, secret, newService("served", newLedger()))
	if reply, err := n.client(t, 0).Request(withLimit(t), secret, nil); string(reply) != "served" {
		t.Errorf("a request is answered %q, %v", reply, err)
	}
}

// A flood of datagrams costs little, is counted by why nothing comes of it, and does
// not keep nodes from finding and serving each other.
func TestFloodOfDatagrams(t *testing.T) {
	const seconds = 3
	n := &network{lan: newLAN(t, 3)}
	thePlace.need(t)
	flooder := n.lan.Hosts[2]
	var ear, mouth *net.UDPConn
	group := &net.UDPAddr{IP: net.IPv4(239, 192, 141, 42), Port: discovery.Port}
	if err := flooder.Do(func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		if ear, err = net.ListenMulticastUDP("udp4", eth0, group); err != nil {
			return err
		}
		if mouth, err = net.ListenUDP("udp4", nil); err != nil {
			return err
		}
		return ipv4.NewPacketConn(mouth).SetMulticastInterface(eth0)
	}); err != nil {
		t.Fatal(err)
	}
	defer ear.Close()
	defer mouth.Close()
	n.startAll(t, 1)
	recorded := make([]byte, discovery.PacketSize)
	ear.SetReadDeadline(time.Now().Add(limit))
	if _, err := ear.Read(recorded); err != nil {
		t.Fatal(err)
	}
	n.member(t, 0, secret, newService("served", newLedger()))
	c := n.client(t, 0)

	forged := make([]byte, discovery.PacketSize)
	rand.Read(forged)
	victim := &net.UDPAddr{IP: n.lan.Hosts[0].IPv4.AsSlice(), Port: discovery.Port}
	sent, end := 0, time.Now().Add(seconds*time.Second)
	before := processorTime(t, n.nodes[0].PID())
	for served := time.Now(); time.Now().Before(end); {
		for _, packet := range [][]byte{recorded, forged, forged[:255], nil, make([]byte, 1400)} {
			for _, to := range []*net.UDPAddr{victim, group} {
				if _, err := mouth.WriteTo(packet, to); err == nil {
					sent++
				}
			}
		}
		if time.Since(served) > 100*time.Millisecond {
			if reply, err := c.Request(withLimit(t), secret, nil); string(reply) != "served" {
				t.Fatalf("during the flood a request is answered %q, %v", reply, err)
			}
			served = time.Now()
		}
	}
	used := processorTime(t, n.nodes[0].PID()) - before
	s := n.status(t, 0)
	t.Logf("%d datagrams in %d s took %v of a processor; refused: %v", sent, seconds, used, s.Discovery.Refused)
	if share := used.Seconds() / seconds; share > 0.25 {
		t.Errorf("a flood takes %.0f %% of a processor", 100*share)
	}
	for _, code := range []session.Code{session.PacketSize, session.PacketKey, session.PacketReplay, session.PacketRate} {
		if s.Discovery.Refused[string(code)] == 0 {
			t.Errorf("%s was not counted", code)
		}
	}
	if s.Discovery.Refused["left to the system: too many at once"] == 0 {
		t.Error("it is not counted that the socket was not read for a moment")
	}
	if s.Discovery.Heard["beacons"] > 1 || len(s.Links) > 0 {
		t.Errorf("something came of the flood: %+v", s.Discovery)
	}
	n.start(t, 1)
	n.await(t, 1, "it knows the other", has(1))
}

// processorTime returns what a process has used.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	var user, system int
	fields := strings.Fields(rest)
	fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	return time.Duration(user+system) * 10 * time.Millisecond // ticks
}

// onHost runs a source in the namespace of a host.
type onHost struct {
	discovery.Source
	host *Host
}

func (s onHost) Run(ctx context.Context, found func(discovery.Found)) error {
	return s.host.Do(func() error { return s.Source.Run(ctx, found) })
}

func TestLANConforms(t *testing.T) {
	n := newDiscovering(t, 1, 1)
	key, err := session.LoadKey(n.key, true)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := session.NewCredential(secret+" network", key)
	if err != nil {
		t.Fatal(err)
	}
	host := n.lan.Hosts[1]
	for _, way := range []discovery.SeekerConfig{{Multicast: true}, {Scan: true, Port: discovery.Port}} {
		way.Lowest = func(netip.Prefix) bool { return true }
		discoverytest.Conform(t, func(t *testing.T) discovery.Source {
			id, err := session.NewIdentity(credential, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			return onHost{discovery.NewLAN(discovery.LANConfig{
				Config: discovery.Config{
					Self: id.ID(), Seal: id.SealPacket, Open: id.OpenPacket, Knows: func(ring.ID) bool { return false },
				},
				SeekerConfig: way,
				Log:          slog.New(slog.DiscardHandler),
				State:        func() discovery.State { return discovery.State{State: wire.Solo, Nodes: 1, Alone: true} },
				Moved:        func([]discovery.Interface) {},
				Refused:      func(discovery.Refusal) {},
			}), host}
		}, netip.AddrPortFrom(n.lan.Hosts[0].IPv4, discovery.Port))
	}
}

// A program that has the UDP port keeps a node from being found by a scan, and from
// nothing else; the log says so.
func TestUDPPortOfAnotherProgram(t *testing.T) {
	t.Parallel()
	n := &network{lan: newLAN(t, 2)}
	var other *net.UDPConn
	if err := n.lan.Hosts[0].Do(func() (err error) {
		other, err = net.ListenUDP("udp4", &net.UDPAddr{Port: discovery.Port})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	n.startAll(t, 2)
	n.line(t, 0, "another program has the UDP port")
	for i := range n.nodes {
		n.await(t, i, "it knows the other", has(1))
	}
}
