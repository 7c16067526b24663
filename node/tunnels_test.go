package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/project-iris/iris/internal/relaywire"
)

// TestTunnelsAreListed looks at tunnels within a node, and at both sides of one between
// nodes, before and after octets went through.
func TestTunnelsAreListed(t *testing.T) {
	nodes := joined(t, 2)
	a, b := nodes[0], nodes[1]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	accepted := make(chan *Tunnel, 2)
	takes := &handler{tunnel: func(tun *Tunnel) { accepted <- tun }}
	attached(t, a, "local", takes)
	web := attached(t, a, "web", takes)
	one, err := web.Tunnel(ctx, "local")
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Send(ctx, make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	from, to := tunnelled(t, b, a, "far") // of programs that have not allowed anything yet
	from.send(relaywire.Message{Op: relaywire.TunnelTransfer, ID: 3, Size: 5, Body: []byte("hello")})

	shows := func(n *Node, want ...string) {
		t.Helper()
		var got []string
		eventually(t, "the octets", func() bool {
			l, err := n.Tunnels()
			if err != nil || l.Open != len(want) {
				return false
			}
			got = nil
			for _, s := range l.Tunnels {
				got = append(got, fmt.Sprintf("%s by %q here %v, %s, %d/%d/%d %d/%d/%d", s.Cluster, s.Builder, s.Here, s.Node,
					s.ToMember.Octets, s.ToMember.Waiting, s.ToMember.Credit, s.FromMember.Octets, s.FromMember.Waiting, s.FromMember.Credit))
				if age := s.Since.Sub(n.started); age < 0 || age > patience {
					t.Errorf("%s is open since %v", s.Cluster, s.Since)
				}
			}
			return fmt.Sprint(got) == fmt.Sprint(want)
		})
		if t.Failed() {
			t.Errorf("the tunnels are %q, want %q", got, want)
		}
	}
	idA, idB := a.network.identity.ID(), b.network.identity.ID()
	shows(a,
		fmt.Sprintf(`local by "web" here true, , 100000/0/%d 0/0/%d`, tunnelWindow-100_000, tunnelWindow),
		fmt.Sprintf(`far by "" here false, %v, 5/5/0 0/0/4194304`, idB))
	shows(b, fmt.Sprintf(`far by "" here true, %v, 5/0/4194299 0/0/0`, idA))

	to.send(relaywire.Message{Op: relaywire.TunnelAllow, ID: 9, Size: 1000})
	if m := to.want(relaywire.TunnelTransfer); !bytes.Equal(m.Body, []byte("hello")) {
		t.Errorf("came %q", m.Body)
	}
	tun := <-accepted
	if _, err := tun.Recv(ctx); err != nil {
		t.Error(err)
	}
	one.Close()
	if _, err := tun.Recv(ctx); err != io.EOF {
		t.Error(err)
	}
	tun.Close()
	shows(a, fmt.Sprintf(`far by "" here false, %v, 5/0/995 0/0/4194304`, idB))
	from.nc.Close()
	shows(b)
	shows(a)
}

// TestNamesCountWhatTheyCarry sends requests, events and broadcasts between two nodes.
func TestNamesCountWhatTheyCarry(t *testing.T) {
	nodes := joined(t, 2)
	a, b := nodes[0], nodes[1]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	got := make(chan string, 3)
	m := attached(t, a, "echo", &handler{
		request:   func(r *Request) { r.Reply(r.Body) },
		broadcast: func([]byte) { got <- "broadcast" },
	})
	if err := m.Subscribe("news", func([]byte) { got <- "event" }); err != nil {
		t.Fatal(err)
	}
	c := attached(t, b, "", nil)
	for range 3 {
		if _, err := c.Request(ctx, "echo", nil, patience); err != nil {
			t.Fatal(err)
		}
	}
	c.Broadcast("echo", nil)
	c.Publish("news", nil)
	c.Publish("news", nil)
	for range 3 {
		<-got
	}
	for i, want := range []string{"3 0 0 1, 0 0 0 2 on [], false", "0 3 1 0, 0 0 2 0 on [" + a.network.identity.ID().String() + "], true"} {
		s, err := nodes[i].Status()
		if err != nil || len(s.Clusters) != 1 || len(s.Topics) != 1 {
			t.Fatalf("%v: %+v, %+v", err, s.Clusters, s.Topics)
		}
		x, y := s.Clusters[0], s.Topics[0]
		if got := fmt.Sprintf("%d %d %d %d, %d %d %d %d on %v, %v", x.Taken, x.Passed, x.Sent, x.Arrived, y.Taken, y.Passed, y.Sent, y.Arrived, y.On, y.Watched); got != want {
			t.Errorf("node %d says %s, want %s", i, got, want)
		}
	}
}
