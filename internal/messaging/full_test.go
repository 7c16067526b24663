package messaging

import (
	"fmt"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/core"
)

// A request finds the one node whose link has room, whatever the order in which the
// nodes are tried; with none it waits at its origin until one has.
func TestRequestFindsTheLinkThatHasRoom(t *testing.T) {
	for roomy := 1; roomy < 8; roomy++ {
		net := newNetwork(t, 8)
		a := net.nodes[0]
		c := a.client()
		members := make(map[*host]*program)
		for _, h := range net.nodes[1:] {
			members[h] = h.member(core.Cluster, "echo")
		}
		a.request(c, 0, "echo", "first", 1000) // the members become known
		net.run()
		for _, h := range net.nodes[1:] {
			members[h].read()
			a.links[h].full = h != net.nodes[roomy]
		}
		m := members[net.nodes[roomy]]
		for i := range uint64(3) {
			a.request(c, 1+i, "echo", fmt.Sprint(i), 1000)
			net.run()
			if ds := m.read(); len(ds) != 1 || ds[0].body != fmt.Sprint(i) {
				t.Fatalf("request %d came as %v to the node that has room", i, ds)
			}
		}
		a.links[net.nodes[roomy]].full = true
		a.request(c, 10, "echo", "patient", 1000)
		net.pass(100 * time.Millisecond)
		a.links[net.nodes[roomy]].full = false
		net.pass(2 * firstPause)
		if ds := m.read(); len(ds) != 1 || ds[0].body != "patient" {
			t.Fatalf("when there was room, %v came", ds)
		}
	}
}

// So does one that the members of its own node do not take.
func TestRequestLeavesANodeWhoseMembersAreFull(t *testing.T) {
	net := newNetwork(t, 4)
	a, b, d, e := net.nodes[0], net.nodes[1], net.nodes[2], net.nodes[3]
	c := a.client()
	for range 5 {
		a.member(core.Cluster, "echo").refuse = func() bool { return true }
	}
	b.member(core.Cluster, "echo")
	d.member(core.Cluster, "echo")
	m := e.member(core.Cluster, "echo")
	a.request(c, 0, "echo", "first", 1000)
	net.run()
	m.read()
	a.links[b].full, a.links[d].full = true, true
	for i := range uint64(5) {
		a.request(c, 1+i, "echo", fmt.Sprint(i), 1000)
		net.run()
		if ds := m.read(); len(ds) != 1 || ds[0].body != fmt.Sprint(i) {
			t.Fatalf("request %d came as %v", i, ds)
		}
	}
}
