package messaging

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wheel"
)

// A Plane is the data plane of one node.
type Plane struct {
	Timers *wheel.Timers
	Budget *queue.Budget
	Drops  Drops

	wake func() // tells the loop that Attend has work

	ids    atomic.Uint64
	seed   maphash.Seed
	shards [shards]atomic.Pointer[shard]

	mu    sync.Mutex
	notes []note // for the loop

	// The loop's own.
	next    [shards]*shard // parts changed in this turn, not yet published
	changed []uint64       // which those are
	conns   map[core.Conn]*Conn
	waiting map[string]*waiting // tickets parked for clusters without a member
	gone    Totals              // of connections that are closed
}

// Drops counts what was let go of, by reason. Safe for concurrent use.
type Drops struct {
	Pending     atomic.Uint64 // calls refused: MaxPending were under way
	Parked      atomic.Uint64 // bodies of parked calls let go: no member before the deadline
	LateReplies atomic.Uint64 // replies nobody waits for any more
	Lost        atomic.Uint64 // requests whose member was lost while serving them
	Tunnels     atomic.Uint64 // tunnel builds refused: memory is short
	Expired     atomic.Uint64 // requests whose deadline passed before an in-process client got to them
	Retried     atomic.Uint64 // calls handed to another member: the first had provably not started
}

// shards is how many parts the snapshot has: a name that comes or goes costs a
// copy of its own part only, and that of a few dozen names even when a node has
// 100,000.
const shards = 4096

// A shard is an immutable part of the snapshot: names to cells.
type shard struct {
	clusters map[string]*cluster
	topics   map[string]*publication
}

// A note is what the data plane has to say to the loop about a cluster: that a
// call waits for a member, that one has given up waiting, or, with neither, that
// a member which refused may take calls again.
type note struct {
	name   string
	ticket ticket
	gone   bool
}

// waiting is the list of calls parked for one cluster. Those that have ended are
// taken out once they make up half of it.
type waiting struct {
	tickets []ticket
	gone    int
}

// New returns a data plane without names. It calls wake, which must not block,
// when Attend has work.
func New(timers *wheel.Timers, budget *queue.Budget, wake func()) *Plane {
	p := &Plane{
		Timers:  timers,
		Budget:  budget,
		wake:    wake,
		seed:    maphash.MakeSeed(),
		conns:   make(map[core.Conn]*Conn),
		waiting: make(map[string]*waiting),
	}
	empty := &shard{}
	for i := range p.shards {
		p.shards[i].Store(empty)
	}
	return p
}

// cluster finds the cell of a name without allocating; nil: it has no members.
func (p *Plane) cluster(name []byte) *cluster {
	return p.shards[maphash.Bytes(p.seed, name)%shards].Load().clusters[string(name)]
}

func (p *Plane) topic(name []byte) *publication {
	return p.shards[maphash.Bytes(p.seed, name)%shards].Load().topics[string(name)]
}

// place hands a call to a member of the cluster. It reports false when there is
// none that would take it.
func (p *Plane) place(now time.Time, b *queue.Batch, t ticket, name, body []byte, timeout uint64) bool {
	var refused *Conn
	for range 3 {
		cl := p.cluster(name)
		if cl == nil {
			return false
		}
		m := cl.choose(refused)
		if m == nil {
			return false
		}
		id, ok := m.hand(now, b, t, body, timeout)
		if !ok {
			m.load.Add(-1)
			refused = m
			continue
		}
		if !t.attempted(attempt{m, id}) && t.kind == request {
			m.drop(id) // it ended while it was being handed over
		}
		m.Relieved()
		return true
	}
	return false
}

// drop takes back the request that was handed over under id, if it still is.
func (c *Conn) drop(id uint64) {
	if _, ok := c.served.remove(request, id); ok {
		c.unload()
	}
}

// settle does what calls that ended without an answer leave to do. A build that
// ended stays with the program it was offered to, which may still confirm it.
func (p *Plane) settle(ends []end) {
	for _, e := range ends {
		if e.member != nil && e.kind == request {
			e.member.drop(e.id)
		}
		if e.waits {
			p.post(note{name: e.parked, gone: true})
		}
	}
}

// again finds another member for a call that its member provably did not start.
func (p *Plane) again(now time.Time, b *queue.Batch, t ticket, name string, body []byte) {
	t, timeout, ok := t.retry()
	if !ok {
		return
	}
	p.Drops.Retried.Add(1)
	if !p.place(now, b, t, []byte(name), body, timeout) {
		p.park(t, []byte(name), body)
	}
}

// park keeps a call until its cluster has a member, and tells the loop.
func (p *Plane) park(t ticket, name, body []byte) {
	k, let, ok := t.keep(name, body)
	if ok {
		p.post(note{name: k.name, ticket: t})
	}
	for _, name := range let {
		p.post(note{name: name, gone: true})
	}
}

func (p *Plane) post(n note) {
	p.mu.Lock()
	p.notes = append(p.notes, n)
	first := len(p.notes) == 1
	p.mu.Unlock()
	if first {
		p.wake()
	}
}

// Register makes the connection known to the loop's side, before core's word
// about it is applied. Loop.
func (p *Plane) Register(c *Conn) { p.conns[c.ID] = c }

// Forget is the opposite of Register. Loop.
func (p *Plane) Forget(c *Conn) {
	p.gone.add(&c.Counts)
	delete(p.conns, c.ID)
}

// Apply makes the snapshot and the cells what core says. When it returns every
// reader finds what it was told to find, and a cluster's parked calls are with
// its new member. Loop.
func (p *Plane) Apply(now time.Time, b *queue.Batch, changes []core.Change) {
	for _, ch := range changes {
		c := p.conns[ch.Conn]
		switch {
		case ch.Kind == core.Topic && ch.Join:
			p.joinTopic(ch.Name, c)
		case ch.Kind == core.Topic:
			p.leaveTopic(ch.Name, c)
		case ch.Join:
			p.joinCluster(ch.Name, c)
		default:
			p.leaveCluster(ch.Name, c)
		}
	}
	for _, i := range p.changed {
		p.shards[i].Store(p.next[i])
		p.next[i] = nil
	}
	p.changed = p.changed[:0]
	for _, ch := range changes {
		if ch.Kind == core.Cluster {
			p.unpark(now, b, ch.Name)
		}
	}
}

// Attend hears what the data plane has to say. Loop.
func (p *Plane) Attend(now time.Time, b *queue.Batch) {
	p.mu.Lock()
	notes := p.notes
	p.notes = nil
	p.mu.Unlock()
	var names []string
	try := make(map[string]bool)
	add := func(name string) {
		if !try[name] {
			try[name] = true
			names = append(names, name)
		}
	}
	for _, n := range notes {
		switch {
		case n.gone:
			p.giveUp(n.name)
		case n.ticket.conn == nil:
			add(n.name)
		default:
			if _, _, ok := n.ticket.parked(); !ok {
				continue // it gave up before it was heard of
			}
			w := p.waiting[n.name]
			if w == nil {
				w = &waiting{}
				p.waiting[n.name] = w
			}
			w.tickets = append(w.tickets, n.ticket)
			add(n.name)
		}
	}
	for _, name := range names {
		p.unpark(now, b, name)
	}
}

// unpark hands the calls that wait for the name to its members, in order, up to
// the first that they will not take: it and what follows wait on.
func (p *Plane) unpark(now time.Time, b *queue.Batch, name string) {
	w := p.waiting[name]
	if w == nil {
		return
	}
	n := 0
	for _, t := range w.tickets {
		body, timeout, ok := t.parked()
		if ok && !p.place(now, b, t, []byte(name), body, timeout) {
			break
		}
		n++
	}
	clear(w.tickets[:n])
	if w.tickets = w.tickets[n:]; len(w.tickets) == 0 {
		delete(p.waiting, name)
	}
}

// giveUp counts a call that no longer waits for the name.
func (p *Plane) giveUp(name string) {
	w := p.waiting[name]
	if w == nil {
		return
	}
	if w.gone++; w.gone*2 < len(w.tickets) {
		return
	}
	w.gone = 0
	w.tickets = slices.DeleteFunc(w.tickets, func(t ticket) bool {
		_, _, waits := t.parked()
		return !waits
	})
	if len(w.tickets) == 0 {
		delete(p.waiting, name)
	}
}

func (p *Plane) joinCluster(name string, c *Conn) {
	cl := p.shard(name).clusters[name]
	if cl == nil {
		cl = new(cluster)
		p.change(name).clusters[name] = cl
	}
	cl.join(c)
	cl.everyone.join(c)
}

func (p *Plane) leaveCluster(name string, c *Conn) {
	cl := p.shard(name).clusters[name]
	cl.everyone.leave(c)
	if cl.leave(c) == 0 {
		delete(p.change(name).clusters, name)
	}
}

func (p *Plane) joinTopic(name string, c *Conn) {
	c.names += NameCost(name)
	p.Budget.Force(NameCost(name))
	t := p.shard(name).topics[name]
	if t == nil {
		t = &publication{topic: true}
		p.change(name).topics[name] = t
	}
	t.join(c)
}

func (p *Plane) leaveTopic(name string, c *Conn) {
	c.names -= NameCost(name)
	p.Budget.Give(NameCost(name))
	if p.shard(name).topics[name].leave(c) == 0 {
		delete(p.change(name).topics, name)
	}
}

// NameCost is the memory that one membership of a topic is charged.
func NameCost(name string) int { return 2*len(name) + 256 }

// Affords reports whether the connection's share of memory allows it one more
// topic. Loop.
func (c *Conn) Affords(topic string) bool {
	return c.plane.Budget.Allows(NameCost(topic), c.names)
}

// shard returns the part of the snapshot that holds the name, with the changes of
// this turn.
func (p *Plane) shard(name string) *shard {
	i := maphash.String(p.seed, name) % shards
	if p.next[i] != nil {
		return p.next[i]
	}
	return p.shards[i].Load()
}

// change returns the same to be changed: a copy, made once a turn and published
// at its end.
func (p *Plane) change(name string) *shard {
	i := maphash.String(p.seed, name) % shards
	if p.next[i] == nil {
		s := p.shards[i].Load()
		n := &shard{make(map[string]*cluster, len(s.clusters)+1), make(map[string]*publication, len(s.topics)+1)}
		maps.Copy(n.clusters, s.clusters)
		maps.Copy(n.topics, s.topics)
		p.next[i] = n
		p.changed = append(p.changed, i)
	}
	return p.next[i]
}

// An Expirer owns an entry of the node's timers: the driver tells it when the
// entry has come due.
type Expirer interface {
	Expire(now time.Time, b *queue.Batch)
}

var _, _ Expirer = (*Conn)(nil), (*limit)(nil)
