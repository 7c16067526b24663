package messaging

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/balance"
	"github.com/project-iris/iris/internal/wire"
)

// fewest is among how many members of this node one is chosen by load.
const fewest = 64

// cluster is the cell of a cluster: its members on this node, and the nodes that
// have others.
type cluster struct {
	everyone publication // of broadcasts to it

	load    atomic.Int32 // requests and builds that members of this node have in hand
	meter   meter
	used    atomic.Bool // somebody asked for a member since the loop looked last
	watched atomic.Bool // the loop keeps nodes up to date
	mixed   atomic.Bool // there are members here and elsewhere
	latency atomic.Pointer[Latency]
	refused atomic.Bool // a request was hopeless: parked ones are tried again when one of those in hand is done

	mu      sync.Mutex
	taken   uint64 // how often a member of this node was chosen for a request or build
	passed  uint64 // the same of other nodes, by this one
	members []*Conn
	turn    int // where the next choice begins, so that ties take turns
	away    int // the same among nodes, for those that are routed to

	// Where there are others: the choice between them and this node, itself one of
	// the pool while it has members.
	nodes []*memberNode
	own   *balance.Member[*Peer]
	pool  balance.Pool[*Peer]
	extra balance.Budget
	rng   *rand.Rand // under mu

	choices *choices // nil: nobody looks
}

func (cl *cluster) join(c *Conn) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.members = append(cl.members, c)
	if len(cl.nodes) > 0 {
		cl.weighOwn(c.plane)
	}
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
		cl.weighOwn(c.plane)
	}
	return len(cl.members)
}

// A memberNode is another node with members of a cluster. It takes part in choices
// while it can be reached.
type memberNode struct {
	peer    *Peer
	workers int
	chance  *balance.Member[*Peer] // nil: there is no link
}

// joinNode notes that another node has members; again, that they are others.
func (cl *cluster) joinNode(p *Peer, workers int) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	n := cl.node(p)
	if n == nil {
		n = &memberNode{peer: p}
		cl.nodes = append(cl.nodes, n)
	}
	n.workers = workers
	cl.weigh(n)
	cl.weighOwn(p.plane)
}

// leaveNode notes that another node has no members any more.
func (cl *cluster) leaveNode(p *Peer) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if n := cl.node(p); n != nil {
		cl.unweigh(n)
		cl.nodes = slices.DeleteFunc(cl.nodes, func(o *memberNode) bool { return o == n })
	}
}

// reach notes that the link to another node has come or gone.
func (cl *cluster) reach(p *Peer) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if n := cl.node(p); n != nil {
		cl.weigh(n)
	}
}

// weigh has a node in the pool exactly while it can be reached.
func (cl *cluster) weigh(n *memberNode) {
	switch linked := n.peer.linked() != nil; {
	case !linked:
		cl.unweigh(n)
	case n.chance == nil:
		n.chance = cl.pool.Add(n.peer, n.workers, n.peer.rtt())
	default:
		n.chance.Workers, n.chance.RTT = n.workers, n.peer.rtt()
	}
}

func (cl *cluster) unweigh(n *memberNode) {
	if n.chance != nil {
		cl.pool.Remove(n.chance)
		n.chance = nil
	}
}

func (cl *cluster) node(p *Peer) *memberNode {
	for _, n := range cl.nodes {
		if n.peer == p {
			return n
		}
	}
	return nil
}

// chance returns what the pool knows of a node; nil: it is not in it.
func (cl *cluster) chance(p *Peer) *balance.Member[*Peer] {
	if n := cl.node(p); n != nil {
		return n.chance
	}
	return nil
}

// weighOwn has this node in the pool exactly while it has members.
func (cl *cluster) weighOwn(plane *Plane) {
	switch {
	case len(cl.members) > 0 && cl.own == nil:
		cl.own = cl.pool.Add(nil, plane.workers, 0)
	case len(cl.members) == 0 && cl.own != nil:
		cl.pool.Remove(cl.own)
		cl.own = nil
	}
	cl.mixed.Store(cl.own != nil)
}

// A choice is who a call is offered to: a member of this node, or another node.
type choice struct {
	member *Conn
	peer   *Peer
	dated  bool // of what the peer said of its load, and there are others
}

// choose takes the member of this node, or the other node, that promises the
// earliest answer, and counts one more request for it. It passes over whom is in
// not, and other nodes that cannot be reached now or have just taken nothing. The zero
// choice says that there is no other.
func (cl *cluster) choose(now time.Time, not choice, again bool) choice {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if !again {
		cl.extra.Request()
	}
	to := cl.best(now, not)
	if to.peer != nil {
		cl.passed++
	}
	if cl.choices != nil {
		cl.note(now, to)
	}
	return to
}

// best is choose with the lock held.
func (cl *cluster) best(now time.Time, not choice) choice {
	if len(cl.nodes) == 0 {
		return choice{member: cl.member(not.member)}
	}
	if cl.own != nil {
		cl.own.SetInFlight(int(cl.load.Load()))
	}
	passed := cl.chance(not.peer)
	if n := cl.pool.Choose(now, cl.rng, passed); n != nil && n.Value != nil {
		return choice{peer: n.Value, dated: cl.pool.Len() > 1 && n.Dated(now)}
	} else if n == nil {
		return choice{peer: cl.detour(now, not.peer)}
	}
	if m := cl.member(not.member); m != nil {
		return choice{member: m}
	}
	if n := cl.pool.Choose(now, cl.rng, cl.own, passed); n != nil { // the members here are full
		return choice{peer: n.Value}
	}
	return choice{peer: cl.detour(now, not.peer)}
}

// detour returns a node with members that there is no link to and that can be reached
// by others, each in turn: it is for requests that nobody else takes. With the lock
// held; nil: there is none.
func (cl *cluster) detour(now time.Time, not *Peer) *Peer {
	for range cl.nodes {
		cl.away = (cl.away + 1) % len(cl.nodes)
		if p := cl.nodes[cl.away].peer; p != not && p.detours(now) {
			return p
		}
	}
	return nil
}

// full notes that another node, or with nil this one, took no call now.
func (cl *cluster) full(now time.Time, p *Peer) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	n := cl.own
	if p != nil {
		n = cl.chance(p)
	}
	switch {
	case n != nil:
		n.Full(now)
	case p != nil: // it was sent by a router, and is no choice
		p.cut.Store(p.plane.nanos(now.Add(balance.Pause)))
	}
}

// has reports whether there are members on this node.
func (cl *cluster) has() bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return len(cl.members) > 0
}

// elsewhere reports whether there are members on other nodes.
func (cl *cluster) elsewhere() bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return len(cl.nodes) > 0
}

// mayRetry takes one more attempt of a request out of the budget.
func (cl *cluster) mayRetry() bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.extra.Take()
}

// signal notes what another node said of its load, beside an answer.
func (cl *cluster) signal(now time.Time, p *Peer, l wire.Load) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if n := cl.chance(p); n != nil {
		n.Signal(now, int(l.InFlight), int(l.Workers), l.HandlerTime())
		n.Succeeded()
	}
}

// failed notes that another node did not answer, or was lost.
func (cl *cluster) failed(now time.Time, p *Peer) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if n := cl.chance(p); n != nil {
		n.Failed(now)
	}
}

// pick takes a member of this node for a request of another one.
func (cl *cluster) pick(not *Conn) *Conn {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.member(not)
}

// member takes the member of this node with the fewest requests in hand, of the
// next 64 in turn where there are more, and counts one more for it. Members that
// are full are passed over, and so is one that has just refused; nil: there is no
// other. With the lock held.
func (cl *cluster) member(refused *Conn) *Conn {
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
		cl.taken++
		best.load.Add(1)
		cl.load.Add(1)
		if cl.turn = at + 1; cl.turn >= n {
			cl.turn = 0
		}
	}
	return best
}

// served notes that a member answered a request that it was handed; see balance.Meter.
func (cl *cluster) served(now time.Time, p *Plane, g *grant, inTurn bool) {
	at := p.nanos(now)
	cl.meter.answered(at, time.Duration(at-g.at), g.alone, inTurn)
	if !cl.mixed.Load() {
		return
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.own != nil {
		is := cl.meter.is()
		workers, handler := is.Speed(p.workers)
		cl.own.Signal(now, int(cl.load.Load()), workers, handler)
	}
}

// leastQueue is how many requests a node takes for members that already have some,
// however long those may have to wait.
const leastQueue = 16

// hopeless reports whether a request that is to be handed to a member, and counted
// already, would wait for more than half of the milliseconds it has: those that come
// in time are answered, instead of all too late. It is not started, and may be later
// (docs/messaging.md, Balancing).
func (cl *cluster) hopeless(left uint64) bool {
	n := int(cl.load.Load()) - 1
	if n < leastQueue {
		return false
	}
	is := cl.meter.is()
	wait, _ := is.Wait(n)
	return is.Sure() && uint64(wait) > left*uint64(time.Millisecond)/2
}

// turnsDown reports whether a request that may be turned down is: it would wait, for
// much longer than it takes to ask another node.
func (cl *cluster) turnsDown(rtt time.Duration) bool {
	is := cl.meter.is()
	wait, long := is.Wait(int(cl.load.Load()))
	return long && wait > max(4*rtt, time.Millisecond)
}

// says returns what this node says of its load to others.
func (cl *cluster) says(plane *Plane) wire.Load {
	is := cl.meter.is()
	workers, handler := is.Speed(plane.workers)
	return wire.Load{
		InFlight: uint16(min(max(cl.load.Load(), 0), 1<<16-1)),
		Workers:  uint16(min(workers, 1<<16-1)),
		Handler:  wire.PackHandler(handler),
	}
}
