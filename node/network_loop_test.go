package node

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/queue"
)

// stand has a node's control loop do nothing until the channel is closed.
func stand(t *testing.T, n *Node, until chan struct{}) {
	t.Helper()
	standing := make(chan struct{})
	go n.do(func(time.Time, *queue.Batch) {
		close(standing)
		<-until
	})
	<-standing
}

// TestNetworkControlLoopsMayStand stops the control loops of both nodes for a second:
// requests, events and broadcasts between names that are known go on, and so does a
// tunnel.
func TestNetworkControlLoopsMayStand(t *testing.T) {
	nodes := joined(t, 2)
	ctx := inTime(t)
	var clients []*Client
	var heard []*listener
	var tunnels []*Tunnel
	const rounds = 50
	for i, n := range nodes {
		l := newListener(t, fmt.Sprint("node ", i), 2*rounds)
		s := attached(t, n, fmt.Sprint("service ", i), &handler{request: echo, broadcast: l.hear, tunnel: func(tun *Tunnel) { go (&member{}).HandleTunnel(tun) }})
		if err := s.Subscribe(fmt.Sprint("topic ", i), l.hear); err != nil {
			t.Fatal(err)
		}
		heard = append(heard, l)
	}
	for i, n := range nodes {
		c, other := attached(t, n, "", nil), 1-i
		open(t, 0, func(m []byte) error { return c.Publish(fmt.Sprint("topic ", other), m) }, heard[other])
		open(t, 1, func(m []byte) error { return c.Broadcast(fmt.Sprint("service ", other), m) }, heard[other])
		if _, err := c.Request(ctx, fmt.Sprint("service ", other), nil, patience); err != nil {
			t.Fatal(err)
		}
		tun, err := c.Tunnel(ctx, fmt.Sprint("service ", other))
		if err != nil {
			t.Fatal(err)
		}
		defer tun.Close()
		clients, tunnels = append(clients, c), append(tunnels, tun)
	}

	began, resume := time.Now(), make(chan struct{})
	for _, n := range nodes {
		stand(t, n, resume)
	}
	time.AfterFunc(time.Second, func() { close(resume) })
	for k := range uint32(rounds) {
		for i, c := range clients {
			other := 1 - i
			if err := c.Publish(fmt.Sprint("topic ", other), numbered(0, k, 10)); err != nil {
				t.Error(err)
			}
			if err := c.Broadcast(fmt.Sprint("service ", other), numbered(1, k, 10)); err != nil {
				t.Error(err)
			}
			msg := binary.BigEndian.AppendUint32(nil, k)
			if got, err := c.Request(ctx, fmt.Sprint("service ", other), msg, patience); err != nil || string(got) != string(msg) {
				t.Errorf("request %d: %x, %v", k, got, err)
			}
			if err := tunnels[i].Send(ctx, msg); err != nil {
				t.Error(err)
			}
			if got, err := tunnels[i].Recv(ctx); err != nil || string(got) != string(msg) {
				t.Errorf("tunnel %d: %x, %v", k, got, err)
			}
		}
	}
	for _, l := range heard {
		l.wait()
	}
	if took := time.Since(began); took >= time.Second {
		t.Errorf("it took %v: the loops were waited for", took)
	}
	<-resume
	lossless(t, nodes...)
}

// TestNetworkTakesOneHop has two of three nodes talk: nothing of it passes the third,
// and no control message is handed on.
func TestNetworkTakesOneHop(t *testing.T) {
	nodes := joined(t, 3)
	ctx := inTime(t)
	for from := range nodes {
		to, third := (from+1)%3, nodes[(from+2)%3]
		name := fmt.Sprint("from ", from)
		l := newListener(t, name, 100)
		s := attached(t, nodes[to], name, &handler{request: echo})
		if err := s.Subscribe(name, l.hear); err != nil {
			t.Fatal(err)
		}
		c := attached(t, nodes[from], "", nil)
		open(t, 0, func(m []byte) error { return c.Publish(name, m) }, l)
		if _, err := c.Request(ctx, name, nil, patience); err != nil {
			t.Fatal(err)
		}
		before, handed, routed := passed(third), forwarded(nodes), arrived(nodes)
		for k := range uint32(100) {
			if err := c.Publish(name, numbered(0, k, 1000)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Request(ctx, name, make([]byte, 1000), patience); err != nil {
				t.Fatal(err)
			}
		}
		l.wait()
		if n := passed(third) - before; n > 0 {
			t.Errorf("%d octets of payload passed a third node", n)
		}
		if n := forwarded(nodes) - handed; n > 0 {
			t.Errorf("%d messages were handed on", n)
		}
		if n := arrived(nodes) - routed; n > 0 {
			t.Errorf("%d frames of programs took more than one hop", n)
		}
		s.Close()
	}
}

// arrived counts the data frames that came to nodes by others.
func arrived(nodes []*Node) (sum uint64) {
	for _, n := range nodes {
		sum += n.plane.Hops.Arrived.Load()
	}
	return sum
}

// passed counts the octets that left a node's data lanes.
func passed(n *Node) (octets uint64) {
	for _, l := range n.network.links.Links() {
		for _, m := range l.Counters().Moved {
			octets += m
		}
	}
	return octets
}

// forwarded counts the control messages that nodes handed on to others.
func forwarded(nodes []*Node) (sum uint64) {
	for _, n := range nodes {
		n.do(func(time.Time, *queue.Batch) { sum += n.loop.Core.Forwarded })
	}
	return sum
}
