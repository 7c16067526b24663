package messaging

import (
	"cmp"
	"maps"
	"slices"

	"github.com/project-iris/iris/internal/ring"
)

// A Name is what a status says of a cluster or topic. The counters are those of its
// cell: they begin at 0 again when a name that nobody used is used again.
type Name struct {
	Name    string
	Members int
	Load    int       // of a cluster: requests and builds its members have in hand
	Nodes   int       // other nodes with members
	On      []ring.ID // some of them
	Watched bool      // Nodes is kept up to date: programs of this node use the name

	Taken   uint64 // of a cluster: how often members here were chosen for a request or build
	Passed  uint64 // the same of other nodes, by this one
	Sent    uint64 // events, or broadcasts, that programs of this node published
	Arrived uint64 // those that came from other nodes
}

// mostOn is how many nodes a Name names.
const mostOn = 16

// publishes fills in what is counted of publications.
func (n *Name) publishes(p *publication) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n.Sent, n.Arrived = p.sent, p.arrived
	if p.topic {
		n.Members, n.Nodes = len(p.targets), len(p.nodes)
		for _, t := range p.nodes[:min(mostOn, len(p.nodes))] {
			n.On = append(n.On, t.peer.ID)
		}
	}
}

// Totals counts the messages that programs sent, by primitive.
type Totals struct {
	Requests, Replies, Broadcasts, Events, Tunnels uint64
}

func (t *Totals) add(c *Counts) {
	t.Requests += c.Requests.Load()
	t.Replies += c.Replies.Load()
	t.Broadcasts += c.Broadcasts.Load()
	t.Events += c.Events.Load()
	t.Tunnels += c.Tunnels.Load()
}

// Report returns the names that have members here or are used, in no order, and what
// all programs have sent so far. Loop.
func (p *Plane) Report() (clusters, topics []Name, totals Totals) {
	totals = p.gone
	for _, c := range p.conns { //iris:unordered a sum
		totals.add(&c.Counts)
	}
	for i := range p.shards {
		s := p.shards[i].Load()
		for name, cl := range s.clusters { //iris:unordered the caller sorts
			cl.mu.Lock()
			n := Name{Name: name, Members: len(cl.members), Nodes: len(cl.nodes), Watched: cl.watched.Load(), Taken: cl.taken, Passed: cl.passed}
			for _, m := range cl.members {
				n.Load += m.Load()
			}
			for _, o := range cl.nodes[:min(mostOn, len(cl.nodes))] {
				n.On = append(n.On, o.peer.ID)
			}
			cl.mu.Unlock()
			n.publishes(&cl.everyone)
			clusters = append(clusters, n)
		}
		for name, t := range s.topics { //iris:unordered the caller sorts
			n := Name{Name: name, Watched: p.names[t.key] != nil}
			n.publishes(t)
			topics = append(topics, n)
		}
	}
	return clusters, topics, totals
}

// Conns returns the connections of programs, by id. Loop.
func (p *Plane) Conns() []*Conn {
	return slices.SortedFunc(maps.Values(p.conns), func(a, b *Conn) int { return cmp.Compare(a.ID, b.ID) }) //iris:unordered sorted here
}
