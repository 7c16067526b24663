package messaging

import (
	"slices"
	"sync"

	"github.com/project-iris/iris/internal/queue"
)

// fewest is among how many members one is chosen by load.
const fewest = 64

// cluster is the cell of a cluster's members.
type cluster struct {
	everyone publication // of broadcasts to it

	mu      sync.Mutex
	members []*Conn
	turn    int // where the next choice begins, so that ties take turns
}

func (cl *cluster) join(c *Conn) {
	cl.mu.Lock()
	cl.members = append(cl.members, c)
	cl.mu.Unlock()
}

// leave returns how many members are left.
func (cl *cluster) leave(c *Conn) int {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if i := slices.Index(cl.members, c); i >= 0 {
		cl.members = slices.Delete(cl.members, i, i+1)
		if i < cl.turn {
			cl.turn--
		}
		if cl.turn == len(cl.members) {
			cl.turn = 0
		}
	}
	return len(cl.members)
}

// choose takes the member with the fewest requests in hand, of the next 64 in
// turn where there are more, and counts one more for it. Members that are full
// are passed over, and so is one that has just refused; nil: there is no other.
func (cl *cluster) choose(refused *Conn) *Conn {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	var best *Conn
	var least int32 = maxLoad
	n, at := len(cl.members), 0
	for i := range min(n, fewest) {
		j := cl.turn + i
		if j >= n {
			j -= n
		}
		if m := cl.members[j]; m != refused {
			load := m.load.Load()
			if load >= maxLoad {
				m.refused.Store(true)
			}
			if load < least {
				best, least, at = m, load, j
				if load == 0 {
					break
				}
			}
		}
	}
	if best != nil {
		best.load.Add(1)
		if cl.turn = at + 1; cl.turn >= n {
			cl.turn = 0
		}
	}
	return best
}

// publication is the cell of what is sent to everybody: the events of a topic,
// the broadcasts of a cluster. Its lock covers the appends to all targets, so all
// of them get the same order.
type publication struct {
	topic bool

	mu      sync.Mutex
	targets []*Conn
}

func (p *publication) join(c *Conn) {
	p.mu.Lock()
	p.targets = append(p.targets, c)
	p.mu.Unlock()
}

// leave returns how many targets are left.
func (p *publication) leave(c *Conn) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.targets = slices.DeleteFunc(p.targets, func(t *Conn) bool { return t == c })
	return len(p.targets)
}

// spread hands body to every target. One that will not take it, because it is
// full or closing, has its own connection ended for it; the others get it.
func (p *publication) spread(b *queue.Batch, budget *queue.Budget, topic, body []byte) {
	load := queue.Payload{Data: body}
	if len(body) >= queue.ShareAbove {
		load.Shared = queue.NewBody(budget, body)
		defer load.Shared.Release()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	b.Octets += len(body) * len(p.targets)
	for _, t := range p.targets {
		if p.topic {
			t.sink.Event(b, topic, load)
		} else {
			t.sink.Broadcast(b, load)
		}
	}
}
