package messaging

// A Name is what a status says of a cluster or topic.
type Name struct {
	Name    string
	Members int
	Load    int  // of a cluster: requests and builds its members have in hand
	Nodes   int  // other nodes with members
	Watched bool // Nodes is kept up to date: programs of this node use the name
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
			n := Name{Name: name, Members: len(cl.members), Nodes: len(cl.nodes), Watched: cl.watched.Load()}
			for _, m := range cl.members {
				n.Load += m.Load()
			}
			cl.mu.Unlock()
			clusters = append(clusters, n)
		}
		for name, t := range s.topics { //iris:unordered the caller sorts
			t.mu.Lock()
			topics = append(topics, Name{Name: name, Members: len(t.targets), Nodes: len(t.nodes), Watched: p.names[t.key] != nil})
			t.mu.Unlock()
		}
	}
	return clusters, topics, totals
}
