package node

import (
	"slices"
	"strings"
	"testing"
)

// ways are those of finding others; this file has no node on any network use them.
var ways = []string{Multicast, Scan, Cache, Etcd, GCE}

func TestWaysToFindOthersAreChecked(t *testing.T) {
	for _, c := range []struct {
		dev   bool
		ways  []string
		state string
		want  string // part of the error
	}{
		{ways: ways, state: "/nowhere"},
		{ways: []string{Multicast}},
		{ways: []string{Etcd, GCE, "etcd:http://[fd77::1]", "etcd:http://etcd.example:4001/"}},
		{ways: []string{"etcd:10.0.0.1:2379"}, want: "give http://HOST:2379, or https"},
		{ways: []string{"etcd:http://root:secret@10.0.0.1"}, want: "the etcd at 10.0.0.1 has a user"},
		{ways: []string{"etcd:http://10.0.0.1/v3"}, want: "leave out what"},
		{ways: []string{"etcd:http://10.0.0.1", "etcd:https://10.0.0.2"}, want: "give the same of all"},
		{ways: []string{"gossip"}, want: `"gossip" is not a way`},
		{ways: []string{Cache}, want: "give State"},
		{dev: true, ways: []string{Scan}, want: "a dev node has no others"},
	} {
		config := Config{Dev: c.dev, State: c.state}
		if !c.dev {
			config.Network, config.Key = "test", testKey
		}
		config.Discover = c.ways
		err := config.check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, dev %t: %v, want %q", c.ways, c.dev, err, c.want)
		}
	}
}

// A node discovers only when asked, and one on loopback not at all: no packet leaves
// the host.
func TestNodeOnLoopbackAsksNobodyOnTheNetwork(t *testing.T) {
	for _, asked := range [][]string{nil, {Multicast, Scan, Etcd, GCE}} {
		config := Config{Network: "test", Key: testKey, Listen: "127.0.0.1:0", Peers: []string{"127.0.0.1:1"}}
		config.Discover = asked
		n, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		if n.network.search.lan != nil {
			t.Fatalf("discovering by %v, a node on loopback would open the network", asked)
		}
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		s, err := n.Status()
		if err != nil || s.Discovery == nil || !slices.Equal(sources(s), []string{"peers"}) {
			t.Errorf("discovering by %v: %+v, %v", asked, s.Discovery, err)
		}
		n.Close()
	}
}

func sources(s *Status) (names []string) {
	for _, one := range s.Discovery.Sources {
		names = append(names, one.Name)
	}
	return names
}
