package hosts

import (
	"strings"
	"testing"

	"github.com/project-iris/iris/internal/discovery/discoverytest"
	"github.com/project-iris/iris/node"
)

// Hosts become one network by an etcd alone. Programs are served while it is away, and
// nodes that start meanwhile are found when it is back.
func TestNodesFindEachOtherByEtcd(t *testing.T) {
	t.Parallel()
	n := &network{lan: newLAN(t, 4)}
	server := n.lan.Hosts[3]
	dir := t.TempDir()
	start := func() *Process {
		t.Helper()
		cmd, _ := discoverytest.Etcd(t, dir, server.IPv4.String(), "2379", "2380")
		p, err := server.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Line(withLimit(t), discoverytest.EtcdServes); err != nil {
			t.Fatal(err)
		}
		return p
	}
	_, url := discoverytest.Etcd(t, dir, server.IPv4.String(), "2379", "2380")
	etcd := start()
	thePlace.need(t)
	n.key = newKey(t)
	flags := []string{"--discover", "etcd:" + url}
	n.start(t, 0, flags...)
	n.start(t, 1, flags...)
	n.await(t, 0, "it knows the other", has(1))
	n.await(t, 1, "it knows the other", has(1))

	etcd.Kill()
	n.start(t, 2, flags...)
	n.member(t, 2, secret, newService("served", newLedger()))
	if reply, err := n.client(t, 2).Request(withLimit(t), secret, nil); err != nil || string(reply) != "served" {
		t.Errorf("without an etcd a local request is answered %q, %v", reply, err)
	}
	if line := n.line(t, 2, "by=etcd"); !strings.Contains(line, url) {
		t.Errorf("the log says %q", line)
	}
	start()
	for i := range n.nodes {
		n.await(t, i, "it knows the others", has(2))
	}
	n.await(t, 0, "it has found others in one way", func(s *node.Status) bool {
		return len(s.Discovery.Sources) == 1 && s.Discovery.Sources[0].Name == "etcd"
	})
}
