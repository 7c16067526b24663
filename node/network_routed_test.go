package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

// apart starts n nodes, all of which know the first. Those that shut says cannot dial
// one another.
func apart(t *testing.T, n int, shut func(from, to int) bool) []*Node {
	t.Helper()
	var nodes []*Node
	places := make(map[netip.AddrPort]int)
	for i := range n {
		c := Config{Network: "test", Key: testKey, Listen: "127.0.0.1:0"}
		if i > 0 {
			c.Peers = []string{nodes[0].network.listener.Addr().String()}
		}
		nd, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		places[nd.network.listener.Addr().(*net.TCPAddr).AddrPort()] = i
		nd.network.dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			if shut(i, places[a]) {
				return nil, errors.New("this way is shut")
			}
			return dialTCP(ctx, a)
		}
		nodes = append(nodes, nd)
	}
	for _, nd := range nodes {
		t.Cleanup(func() { nd.Close() })
		if err := nd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	return nodes
}

// known waits until all nodes know each other.
func known(t *testing.T, nodes []*Node) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, "all nodes know each other", func() bool {
			return loopSays(n, func() bool { return len(n.loop.Core.View()) == len(nodes) })
		})
	}
}

func (n *Node) isLinked(to *Node) bool {
	return loopSays(n, func() bool { return n.network.linked[to.network.identity.ID()] != nil })
}

// Of any two nodes but the first one can dial the other, which is asked to if it must.
func TestNetworkAsksToBeDialled(t *testing.T) {
	nodes := apart(t, 4, func(from, to int) bool { return from > 0 && from < to })
	settled(t, nodes...)
	a, b := nodes[1], nodes[2]
	for range 3 { // a is told of the loss first, and b does not care
		before := b.network.links.Link(a.network.identity.ID())
		var to ring.ID = b.network.identity.ID()
		a.network.links.Close(to, "for a test")
		eventually(t, "they are linked again", func() bool {
			l := b.network.links.Link(a.network.identity.ID())
			return l != nil && l != before && a.isLinked(b)
		})
	}
}

// Nodes that nobody can dial are linked to all others that can be dialled, and ask each
// other by way of these.
func TestNetworkOfNodesBehindFirewalls(t *testing.T) {
	nodes := apart(t, 5, func(from, to int) bool { return to >= 3 })
	known(t, nodes)
	ctx := inTime(t)
	for i, n := range nodes {
		attached(t, n, fmt.Sprint("node ", i), &handler{request: func(r *Request) { r.Reply(fmt.Appendf(nil, "%d", i)) }})
		for _, l := range nodes[:3] {
			if l != n {
				eventually(t, "who can be dialled is linked to all", func() bool { return n.isLinked(l) && l.isLinked(n) })
			}
		}
	}
	for from, n := range nodes {
		c := attached(t, n, "", nil)
		for to := range nodes {
			if got, err := c.Request(ctx, fmt.Sprint("node ", to), nil, 10*time.Second); err != nil || string(got) != fmt.Sprint(to) {
				t.Errorf("from %d to %d: %q, %v", from, to, got, err)
			}
		}
	}
	if nodes[3].isLinked(nodes[4]) || nodes[4].plane.Hops.Arrived.Load() == 0 {
		t.Error("two nodes that nobody can dial are linked, or nothing was routed")
	}
	if nodes[0].plane.Hops.Arrived.Load()+nodes[1].plane.Hops.Arrived.Load() > 0 {
		t.Error("something was routed to nodes that are linked")
	}
}

// Two nodes that cannot dial each other talk by way of the third, but for tunnels.
func TestNetworkRoutesAroundAMissingLink(t *testing.T) {
	nodes := apart(t, 3, func(from, to int) bool { return from > 0 && to > 0 })
	known(t, nodes)
	ctx := inTime(t)
	a, b := nodes[1], nodes[2]
	const messages = 200
	l := newListener(t, "the far node", messages)
	tunnels := make(chan *Tunnel, 1)
	s := attached(t, b, "far", &handler{request: func(r *Request) { r.Reply(r.Body) }, tunnel: func(tun *Tunnel) { tunnels <- tun }})
	if err := s.Subscribe("news", l.hear); err != nil {
		t.Fatal(err)
	}
	c := attached(t, a, "", nil)
	for i, size := range []int{0, 100, 16 << 10, 17 << 10, 100_000, 3 << 20} {
		began := time.Now()
		body := bytes.Repeat([]byte{byte(i)}, size)
		if got, err := c.Request(ctx, "far", body, 10*time.Second); err != nil || !bytes.Equal(got, body) {
			t.Errorf("request of %d octets: %d came back, %v", size, len(got), err)
		}
		t.Logf("request of %d octets: %v", size, time.Since(began))
	}
	open(t, 0, func(m []byte) error { return c.Publish("news", m) }, l)
	for k := range uint32(messages) {
		size := 10
		if k%50 == 49 {
			size = 100_000
		}
		if err := c.Publish("news", numbered(0, k, size)); err != nil {
			t.Fatal(err)
		}
	}
	l.wait()
	if a.isLinked(b) {
		t.Fatal("there is a link")
	}
	hops := func(n *Node) string {
		h := &n.plane.Hops
		return fmt.Sprint(h.Sent.Load(), h.Arrived.Load(), h.Forwarded.Load(), h.Undelivered.Load(), h.Returned.Load())
	}
	for i, n := range nodes {
		t.Logf("node %d: sent, arrived, forwarded, undelivered, returned: %s", i, hops(n))
	}
	if n := nodes[0].plane.Hops.Forwarded.Load(); n < messages {
		t.Errorf("%d frames were handed on", n)
	}
	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	began := time.Now()
	_, err := c.Tunnel(short, "far")
	t.Logf("tunnel: %v after %v", err, time.Since(began))
	if err == nil {
		t.Error("a tunnel opened")
	}
	if tun := <-tunnels; tun != nil {
		_, err := tun.Recv(ctx)
		t.Logf("its other end: %v", err)
	}
	if st := &a.network.splice.Stats; st.Dial.Load() == 0 {
		t.Error("nobody tried to dial for the tunnel")
	}
	if st := &b.network.splice.Stats; st.DialBack.Load() == 0 {
		t.Error("the other node was not asked to dial for the tunnel")
	}
	lossless(t, nodes...)
}
