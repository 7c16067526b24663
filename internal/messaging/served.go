package messaging

import (
	"sync"
	"time"

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

// A grant is a call in the hands of a member.
type grant struct {
	ticket
	pos   uint64 // in the member's queue
	limit *limit // of a build: until when it must be confirmed
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
func (c *Conn) hand(now time.Time, b *queue.Batch, t ticket, body []byte, timeout uint64) (id uint64, ok bool) {
	s := &c.served
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed {
		return 0, false
	}
	if !s.tables[t.kind].reserve(c.plane.Budget) {
		c.refused.Store(true)
		return 0, false
	}
	id = s.tables[t.kind].next
	pos, err := c.pass(b, t.kind, id, body, timeout)
	if err != nil && !c.refused.Swap(true) {
		// Room that came before refused was set has told nobody.
		pos, err = c.pass(b, t.kind, id, body, timeout)
	}
	if err != nil {
		return 0, false
	}
	g := grant{ticket: t, pos: pos}
	if t.kind == build {
		g.limit = &limit{conn: c, id: id}
		g.limit.timer.Owner = g.limit
		c.plane.Timers.Set(&g.limit.timer, c.plane.Timers.Due(now, confirmLimit))
	}
	s.tables[t.kind].add(g)
	return id, true
}

// pass hands a call to the program.
func (c *Conn) pass(b *queue.Batch, k kind, id uint64, body []byte, timeout uint64) (pos uint64, err error) {
	if k == build {
		return c.sink.Offer(b, id)
	}
	return c.sink.Request(b, id, body, timeout)
}

// remove takes a grant out, if it is there.
func (s *served) remove(k kind, id uint64) (grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tables[k].remove(id)
}

// seal empties the cell for good.
func (s *served) seal(budget *queue.Budget) []grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
	var out []grant
	for k := range s.tables {
		out = s.tables[k].all(out)
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
const slotCost = 80

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

func (t *table) find(id uint64) (grant, bool) {
	if len(t.ring) > 0 {
		if s := &t.ring[id&uint64(len(t.ring)-1)]; s.used && s.id == id {
			return s.grant, true
		}
	}
	g, ok := t.old[id]
	return g, ok
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

// all appends every grant to out.
func (t *table) all(out []grant) []grant {
	for i := range t.ring {
		if t.ring[i].used {
			out = append(out, t.ring[i].grant)
		}
	}
	for _, g := range t.old { //iris:unordered the caller's effects are independent of each other
		out = append(out, g)
	}
	return out
}
