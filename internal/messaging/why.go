package messaging

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/balance"
	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/ring"
)

const (
	keptChoices = 16          // of a cluster
	keptFor     = time.Minute // after somebody looked
)

// A Why is what the choice of who serves a request is made of.
type Why struct {
	Members int  // on this node
	Load    int  // requests and builds that they have in hand
	Waiting int  // calls of programs of this node that nobody takes for now
	Watched bool // Nodes is kept up to date

	Nodes   []Candidate // with members, by id, this one included
	Choices []Choice    // since somebody looked last, the newest first
	Looking bool        // somebody did, within the last minute
}

// A Candidate is a node with members of a cluster.
type Candidate struct {
	Node   ring.ID
	Linked bool    // or it is this node: the others are chosen only if none of these takes a call
	Via    ring.ID // who hands on what is for it, if there is no link
	balance.Candidate[*Peer]
}

// A Choice is who was given a request.
type Choice struct {
	At       time.Time
	Node     ring.ID // zero: nobody took it
	How      string
	Expected time.Duration // until the answer; 0: nothing was known
}

// choices are the last of them, while somebody looks.
type choices struct {
	until time.Time
	n     int // ever
	ring  [keptChoices]Choice
}

func (c *choices) newest() []Choice {
	var out []Choice
	for i := c.n - 1; i >= max(c.n-keptChoices, 0); i-- {
		out = append(out, c.ring[i%keptChoices])
	}
	return out
}

// note remembers a choice that was made. With the lock held.
func (cl *cluster) note(now time.Time, to choice) {
	kept := cl.choices
	if now.After(kept.until) {
		cl.choices = nil
		return
	}
	c := Choice{At: now, How: "nobody takes it now"}
	m := cl.own
	switch {
	case to.peer != nil:
		c.Node, c.How = to.peer.ID, "by a router: there is no link"
		m = cl.chance(to.peer)
	case to.member != nil:
		c.Node, c.How = to.member.plane.Self, "members here only"
	default:
		m = nil
	}
	if m != nil {
		c.How, c.Expected = cl.pool.How().String(), m.Promised()
	}
	kept.ring[kept.n%keptChoices] = c
	kept.n++
}

// Why returns what the next choice among the members of a cluster is made of, and the
// last ones; with keep set those are kept from now on, for a minute. Loop.
func (p *Plane) Why(now time.Time, name string, keep bool) Why {
	w := Why{}
	if kept := p.waiting[name]; kept != nil {
		w.Waiting = len(kept.tickets) - kept.gone
	}
	cl := p.shard(name).clusters[name]
	if cl == nil {
		return w
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	w.Members, w.Load, w.Watched = len(cl.members), int(cl.load.Load()), cl.watched.Load()
	if w.Looking = cl.choices != nil && !now.After(cl.choices.until); w.Looking {
		w.Choices = cl.choices.newest()
	} else if keep {
		cl.choices = new(choices)
	}
	if keep {
		cl.choices.until = now.Add(keptFor)
	}
	w.Nodes = cl.candidates(now, p)
	return w
}

// candidates returns the nodes with members, by id. With the lock held.
func (cl *cluster) candidates(now time.Time, p *Plane) (out []Candidate) {
	if len(cl.nodes) == 0 { // nothing is chosen among nodes
		if len(cl.members) > 0 {
			out = []Candidate{{Node: p.Self, Linked: true}}
			out[0].InFlight, out[0].Chance = int(cl.load.Load()), 1
		}
		return out
	}
	if cl.own != nil {
		cl.own.SetInFlight(int(cl.load.Load()))
	}
	chosen, detours := false, 0.0
	for _, c := range cl.pool.Explain(now, p.compare) {
		chosen = chosen || c.Chance != 0
		out = append(out, Candidate{Node: p.id(c.Value), Linked: true, Candidate: c})
	}
	for _, n := range cl.nodes {
		if n.chance != nil {
			continue
		}
		c := Candidate{Node: n.peer.ID, Via: n.peer.router()}
		if n.peer.detours(now) {
			c.Chance = 1
			detours++
		}
		out = append(out, c)
	}
	for i := range out { // they take turns, where nobody else is to be had
		if c := &out[i]; !c.Linked && chosen {
			c.Chance = 0
		} else if !c.Linked {
			c.Chance /= max(detours, 1)
		}
	}
	slices.SortFunc(out, func(a, b Candidate) int { return a.Node.Compare(b.Node) })
	return out
}

// id returns the node that a pool knows as a peer, or as nil.
func (p *Plane) id(peer *Peer) ring.ID {
	if peer == nil {
		return p.Self
	}
	return peer.ID
}

func (p *Plane) compare(a, b *Peer) int { return p.id(a).Compare(p.id(b)) }

// Ask has the control plane find out who has members of a cluster, as if a program used
// it; it is told of changes for a minute. It reports false if too many names are in use.
// What follows is effective after Settle. Loop.
func (l *Loop) Ask(now time.Time, name string) bool {
	return l.Plane.network == "" || l.Plane.watch(now, core.Cluster, name, &l.Plane.asked, &l.asks) != nil
}
