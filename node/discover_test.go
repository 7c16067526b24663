package node

import (
	"slices"
	"strings"
	"testing"

	"github.com/project-iris/iris"
)

func TestWaysToFindOthersAreChecked(t *testing.T) {
	for _, c := range []struct {
		dev   bool
		ways  []string
		state string
		want  string // part of the error
	}{
		{ways: []string{Multicast, Scan, Cache, Etcd, GCE}, state: "/nowhere"},
		{ways: []string{Multicast}},
		{ways: []string{Etcd, GCE, "etcd:http://[fd77::1]", "etcd:http://etcd.example:4001/"}},
		{ways: []string{"etcd:10.0.0.1:2379"}, want: "give http://HOST:2379, or https"},
		{ways: []string{"etcd:http://root:secret@10.0.0.1"}, want: "the etcd at 10.0.0.1 has a user"},
		{ways: []string{"etcd:http://10.0.0.1/v3"}, want: "leave out what"},
		{ways: []string{"etcd:http://10.0.0.1", "etcd:https://10.0.0.2"}, want: "give the same of all"},
		{ways: []string{Auto, "dns:nodes.example", "dns:nodes.example:7", "exec:echo 10.0.0.1, # why not"}},
		{ways: []string{"dns:"}, want: "neither an IP address nor a name"},
		{ways: []string{"dns:nodes.example:x"}, want: "no number from 1 to 65535"},
		{ways: []string{"dns:nodes.example:0"}, want: "no number from 1 to 65535"},
		{ways: []string{"dns:[fd77::1]:7"}, want: "give it as a peer"},
		{ways: []string{"dns:_iris._tcp.nodes.example:7"}, want: "leave out 7"},
		{ways: []string{"exec:"}, want: "is followed by no command"},
		{ways: []string{DNS}, want: `"dns" is no way`},
		{ways: []string{"none"}, want: `"none" is no way`},
		{ways: []string{"scan:10.0.0.0/8"}, want: `"scan:10.0.0.0/8" is no way`},
		{ways: []string{"gossip"}, want: `"gossip" is no way`},
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

func TestListsOfWaysAreReadAsTheyAreTyped(t *testing.T) {
	for _, c := range []struct {
		lists, want []string
	}{
		{[]string{"none"}, nil},
		{[]string{"auto"}, []string{Auto}},
		{[]string{"multicast,scan"}, []string{Multicast, Scan}},
		{[]string{"dns:a.example,etcd:http://10.0.0.1", "cache"}, []string{"dns:a.example", "etcd:http://10.0.0.1", Cache}},
		{[]string{"exec:echo a,b", "auto,exec:list --only a,b | sort"}, []string{"exec:echo a,b", Auto, "exec:list --only a,b | sort"}},
	} {
		if words, err := ParseDiscover(c.lists...); err != nil || !slices.Equal(words, c.want) {
			t.Errorf("%q: %q, %v, want %q", c.lists, words, err, c.want)
		}
	}
	for _, list := range []string{"", "auto,", "none,scan", "multicast,gossip"} {
		if words, err := ParseDiscover(list); err == nil {
			t.Errorf("%q: %q, want an error", list, words)
		}
	}
}

// A source that fails goes on, is named by the status, and leaves programs of the host
// as they are.
func TestSourceThatFailsKeepsTheNodeServing(t *testing.T) {
	config := Config{Network: "test", Key: testKey, Listen: "127.0.0.1:0"}
	config.Discover = []string{"exec:echo no permit >&2 && exit 3"}
	n := started(t, config)
	var last SourceStatus
	var relay []string
	eventually(t, "the source has trouble", func() bool {
		s, err := n.Status()
		if err != nil {
			t.Fatal(err)
		}
		last, relay = s.Discovery.Sources[len(s.Discovery.Sources)-1], s.Relay
		return last.Trouble != ""
	})
	if last.Name != Exec || last.Failed != 1 || last.Ended != "" || !strings.Contains(last.Trouble, "no permit") {
		t.Errorf("the source is %+v", last)
	}
	c, err := iris.Config{Address: relay[0]}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
}

func sources(s *Status) (names []string) {
	for _, one := range s.Discovery.Sources {
		names = append(names, one.Name)
	}
	return names
}
