package messaging

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/balance"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wheel"
)

const (
	// maxLoad is how many requests and builds one member may have been handed
	// and not ended; a full member is not chosen.
	maxLoad = 1 << 16

	// confirmLimit is how long a program may take to confirm a tunnel
	// (relay-v1, Tunnels, construction).
	confirmLimit = 3 * time.Second
)

// served is the cell of what a connection has been handed to answer, under ids
// that count from 0 for each kind.
type served struct {
	mu     sync.Mutex
	sealed bool
	tables [2]table // by kind
}

// A grant is a call in somebody's hands: a member's of this node, or another
// node's.
type grant struct {
	ticket        // of a program's call, or
	origin *Peer  // the node whose attempt number it is
	number uint64 //
	term          //
	at     int64  // when it was handed over
	pos    uint64 // in the queue it was handed over with
	limit  *limit // of a build: until when it must be confirmed

	cluster *cluster // in the hands of another node: of which name
	bulk    bool     // it is on the lane of long messages
	alone   bool     // the member had nothing else in hand
	left    bool     // it may have been written
	copies  uint8    // that were sent, all by routers; unprovable: not all
	back    uint8    // of them, those that came back
}

// A limit is the time a program has to confirm a build.
type limit struct {
	timer wheel.Entry
	conn  *Conn
	id    uint64
}

// Expire ends the connection of a program that did not confirm in time.
func (l *limit) Expire(time.Time, *queue.Batch) {
	l.conn.served.mu.Lock()
	_, late := l.conn.served.tables[build].find(l.id)
	l.conn.served.mu.Unlock()
	if late {
		l.conn.sink.Fail("tunnel was not confirmed within " + confirmLimit.String())
	}
}

// hand gives a call to the member under a new id. It reports false when the
// member takes nothing more.
func (c *Conn) hand(now time.Time, b *queue.Batch, g grant, k kind, body []byte) (id uint64, ok bool) {
	s := &c.served
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed {
		return 0, false
	}
	if !s.tables[k].reserve(c.plane.Budget) {
		c.refused.Store(true)
		return 0, false
	}
	id = s.tables[k].next
	left := g.remains(c.plane.Timers.Tick(now))
	if k == request && c.load.Load() > 1 && c.home.hopeless(left) {
		c.home.refused.Store(true) // there is more room whenever any member answers something
		if c.home.hopeless(left) {
			return 0, false
		} // what was answered before refused was set has told nobody
	}
	pos, err := c.pass(b, k, id, body, g.timeout, left)
	if err != nil && !c.refused.Swap(true) {
		// Room that came before refused was set has told nobody.
		pos, err = c.pass(b, k, id, body, g.timeout, left)
	}
	if err != nil {
		return 0, false
	}
	g.pos, g.at, g.alone = pos, c.plane.nanos(now), c.load.Load() == 1
	if k == build {
		g.limit = &limit{conn: c, id: id}
		g.limit.timer.Owner = g.limit
		c.plane.Timers.Set(&g.limit.timer, c.plane.Timers.Due(now, confirmLimit))
	}
	s.tables[k].add(g)
	return id, true
}

// pass hands a call to the program.
func (c *Conn) pass(b *queue.Batch, k kind, id uint64, body []byte, timeout, left uint64) (pos uint64, err error) {
	if k == build {
		return c.sink.Offer(b, id)
	}
	return c.sink.Request(b, id, body, timeout, left)
}

// remove takes a grant out, if it is there.
func (s *served) remove(k kind, id uint64) (grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tables[k].remove(id)
}

// answer takes out the grant of a request that was answered, if it is there, and says
// whether that was among those that came first.
func (s *served) answer(id uint64) (g grant, inTurn, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.tables[request]
	first := t.oldest()
	g, ok = t.remove(id)
	return g, balance.InTurn(id-first, t.next-first), ok
}

// matching returns the ids of the requests that f picks.
func (s *served) matching(f func(g *grant) bool) (ids []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.tables[request]
	for i := range t.ring {
		if o := &t.ring[i]; o.used && f(&o.grant) {
			ids = append(ids, o.id)
		}
	}
	for id, g := range t.old { //iris:unordered sorted below
		if f(&g) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// seal empties the cell for good.
func (s *served) seal(budget *queue.Budget) []grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
	var out []grant
	for k := range s.tables {
		for _, n := range s.tables[k].numbered(nil) {
			out = append(out, n.grant)
		}
		budget.Give(len(s.tables[k].ring) * slotCost)
		s.tables[k] = table{}
	}
	return out
}

// A table maps ids given out in sequence to grants. Each has its place in a
// ring by the low bits of its id; one that outlives a whole turn of the ring
// moves to a map, so a few slow answers do not make it large.
type table struct {
	next uint64
	low  uint64 // no id below it is there
	live int
	ring []slot
	old  map[uint64]grant
}

type slot struct {
	grant
	id   uint64
	used bool
}

// add stores g under the next id; room was reserved.
func (t *table) add(g grant) {
	id := t.next
	t.next++
	s := &t.ring[id&uint64(len(t.ring)-1)]
	if s.used {
		if t.old == nil {
			t.old = make(map[uint64]grant)
		}
		t.old[s.id] = s.grant
	}
	*s = slot{g, id, true}
	t.live++
}

// slotCost is the memory one place of a ring is charged.
const slotCost = 128

// reserve makes room for one more, as far as the budget allows.
func (t *table) reserve(budget *queue.Budget) bool {
	if t.live*2 < len(t.ring) {
		return true
	}
	more := max(16, len(t.ring))
	if !budget.Take(more*slotCost, len(t.ring)*slotCost) {
		return false
	}
	ring := make([]slot, len(t.ring)+more)
	for _, s := range t.ring {
		if s.used {
			// Ids that differ in the smaller ring's low bits differ in these.
			ring[s.id&uint64(len(ring)-1)] = s
		}
	}
	t.ring = ring
	return true
}

// shrink gives the memory of an empty table back.
func (t *table) shrink(budget *queue.Budget) {
	if t.live == 0 {
		budget.Give(len(t.ring) * slotCost)
		t.ring, t.old = nil, nil
	}
}

func (t *table) find(id uint64) (grant, bool) {
	if len(t.ring) > 0 {
		if s := &t.ring[id&uint64(len(t.ring)-1)]; s.used && s.id == id {
			return s.grant, true
		}
	}
	g, ok := t.old[id]
	return g, ok
}

// mostLooks is how many ids are looked for at a time: very many may have gone while the
// oldest was there.
const mostLooks = 64

// oldest returns the lowest id that is there, or next; or a lower one that has gone, and
// a higher one the next time.
func (t *table) oldest() uint64 {
	if len(t.old) == 0 { // the ring has room for no lower ones
		t.low = max(t.low, t.next-min(t.next, uint64(len(t.ring))))
	}
	for end := min(t.low+mostLooks, t.next); t.low < end; t.low++ {
		if _, ok := t.find(t.low); ok {
			break
		}
	}
	return t.low
}

// set replaces the grant of an id that is there.
func (t *table) set(id uint64, g grant) {
	if s := &t.ring[id&uint64(len(t.ring)-1)]; s.used && s.id == id {
		s.grant = g
	} else {
		t.old[id] = g
	}
}

func (t *table) remove(id uint64) (grant, bool) {
	g, ok := t.find(id)
	if !ok {
		return grant{}, false
	}
	t.live--
	if s := &t.ring[id&uint64(len(t.ring)-1)]; s.used && s.id == id {
		*s = slot{}
	} else {
		delete(t.old, id)
	}
	return g, true
}

// outlive notes that all grants have outlived the queue they were handed over
// with: whatever becomes of the next, they may have left.
func (t *table) outlive() {
	for i := range t.ring {
		t.ring[i].left = true
	}
	for id, g := range t.old { //iris:unordered each by itself
		g.left = true
		t.old[id] = g
	}
}

// A numbered is a grant with its id.
type numbered struct {
	grant
	id uint64
}

// numbered appends every grant to out, by id.
func (t *table) numbered(out []numbered) []numbered {
	for i := range t.ring {
		if t.ring[i].used {
			out = append(out, numbered{t.ring[i].grant, t.ring[i].id})
		}
	}
	for id, g := range t.old { //iris:unordered sorted below
		out = append(out, numbered{g, id})
	}
	slices.SortFunc(out, func(a, b numbered) int { return cmp.Compare(a.id, b.id) })
	return out
}
