package main

import (
	"cmp"
	"maps"
	"slices"

	"github.com/project-iris/iris/node"
)

// A picture is who talks to whom, as far as some nodes say.
type picture struct {
	Network  string      `json:"network"`
	Nodes    []mapNode   `json:"nodes"`
	Links    []mapLink   `json:"links"`
	Clusters []*mapName  `json:"clusters"`
	Topics   []*mapName  `json:"topics"`
	Tunnels  []mapTunnel `json:"tunnels"` // of programs of the node that was asked

	nodes            map[string]mapNode
	links            map[[2]string]mapLink
	clusters, topics map[string]*mapName
}

// mapNode is a node. Of those that did not tell themselves it is not known how many
// programs they have.
type mapNode struct {
	Node     string   `json:"node"` // empty: the only one, of a network that is not one
	State    string   `json:"state"`
	Address  []string `json:"address"`
	Told     bool     `json:"told"`
	Programs int      `json:"programs"`
}

// mapLink is a link, with the octets that passed in both directions.
type mapLink struct {
	A       string `json:"a"` // the lower id
	B       string `json:"b"`
	FromA   uint64 `json:"from_a"`
	FromB   uint64 `json:"from_b"`
	Tunnels int    `json:"tunnels"` // beside it, between programs of the two
}

// mapName is a cluster or a topic.
type mapName struct {
	Name    string      `json:"name"`
	Members []mapMember `json:"members"`
	More    int         `json:"more"`  // nodes with members that nobody named
	Users   []string    `json:"users"` // nodes with programs that send to it

	members map[string]int
	most    int // on how many nodes there are members
}

// mapMember is the members on one node; 0: nobody said how many.
type mapMember struct {
	Node    string `json:"node"`
	Members int    `json:"members"`
}

// mapTunnel is the tunnels from programs of a node to members of a cluster on another.
type mapTunnel struct {
	From       string `json:"from"`
	To         string `json:"to"`
	Cluster    string `json:"cluster"`
	Tunnels    int    `json:"tunnels"`
	ToMember   uint64 `json:"to_member"`
	FromMember uint64 `json:"from_member"`
}

func newPicture(s *node.Status) *picture {
	return &picture{
		Network: s.Network, nodes: make(map[string]mapNode), links: make(map[[2]string]mapLink),
		clusters: make(map[string]*mapName), topics: make(map[string]*mapName),
	}
}

// see adds what a node says.
func (p *picture) see(s *node.Status) {
	p.nodes[s.Node] = mapNode{s.Node, s.State, s.Address, true, s.Programs}
	for _, o := range s.Peers {
		if !p.nodes[o.Node].Told {
			p.nodes[o.Node] = mapNode{Node: o.Node, State: o.State, Address: o.Address}
		}
		if o.Tunnels > 0 {
			p.link(s.Node, o.Node, 0, 0, o.Tunnels)
		}
	}
	for _, l := range s.Links {
		p.link(s.Node, l.Node, l.Sent, l.Received, 0)
	}
	join(p.clusters, s, s.Clusters)
	join(p.topics, s, s.Topics)
}

// link adds what passes between two nodes. Who counted more looked later.
func (p *picture) link(a, b string, fromA, fromB uint64, tunnels int) {
	if a > b {
		a, b, fromA, fromB = b, a, fromB, fromA
	}
	key := [2]string{a, b}
	l := p.links[key]
	p.links[key] = mapLink{a, b, max(l.FromA, fromA), max(l.FromB, fromB), max(l.Tunnels, tunnels)}
	for _, id := range key { // one that is not known as a peer yet is a node too
		if _, known := p.nodes[id]; !known {
			p.nodes[id] = mapNode{Node: id, State: "unknown", Address: []string{}}
		}
	}
}

// join adds the names that a node knows.
func join(to map[string]*mapName, s *node.Status, names []node.NameStatus) {
	for _, n := range names {
		m := named(to, n.Name)
		nodes := n.Nodes
		if n.Members > 0 {
			m.members[s.Node] = n.Members
			nodes++
		}
		m.most = max(m.most, nodes)
		for _, id := range n.On {
			m.members[id] = max(m.members[id], 0)
		}
		if n.Watched || n.Sent+n.Passed > 0 || s.Dev && n.Taken > 0 {
			m.Users = append(m.Users, s.Node)
		}
	}
}

// named returns what is known of a name.
func named(of map[string]*mapName, name string) *mapName {
	m := of[name]
	if m == nil {
		m = &mapName{Name: name, Members: []mapMember{}, Users: []string{}, members: make(map[string]int)}
		of[name] = m
	}
	return m
}

// dig adds the tunnels that a node has.
func (p *picture) dig(s *node.Status, tunnels []node.TunnelStatus) {
	type ends struct{ from, to, cluster string }
	of := make(map[ends]mapTunnel)
	for _, t := range tunnels {
		e := ends{s.Node, s.Node, t.Cluster}
		switch {
		case t.Node == "":
		case t.Here:
			e.to = t.Node
		default:
			e.from = t.Node
		}
		named(p.clusters, t.Cluster)
		m := of[e]
		of[e] = mapTunnel{e.from, e.to, e.cluster, m.Tunnels + 1, m.ToMember + t.ToMember.Octets, m.FromMember + t.FromMember.Octets}
	}
	p.Tunnels = slices.SortedFunc(maps.Values(of), func(a, b mapTunnel) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
}

// sorted fills in the lists, in order.
func (p *picture) sorted() *picture {
	p.Nodes = slices.SortedFunc(maps.Values(p.nodes), func(a, b mapNode) int { return cmp.Compare(a.Node, b.Node) })
	p.Links = slices.SortedFunc(maps.Values(p.links), func(a, b mapLink) int { return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B)) })
	p.Clusters, p.Topics = sortedNames(p.clusters), sortedNames(p.topics)
	return p
}

func sortedNames(of map[string]*mapName) []*mapName {
	names := slices.SortedFunc(maps.Values(of), func(a, b *mapName) int { return cmp.Compare(a.Name, b.Name) })
	for _, n := range names {
		n.Members = n.Members[:0]
		for _, id := range slices.Sorted(maps.Keys(n.members)) {
			n.Members = append(n.Members, mapMember{id, n.members[id]})
		}
		n.More = max(0, n.most-len(n.Members))
		slices.Sort(n.Users)
		n.Users = slices.Compact(n.Users)
	}
	return names
}
