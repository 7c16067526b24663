package tunnel

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/queue"
)

// A Table is the cell of one connection's tunnels, by the ids that its program
// chose for its ends.
type Table struct {
	sink   Sink
	wire   Wire // sink, if it is one
	budget *queue.Budget
	stats  *Stats

	messages bool   // the program counts messages, where others count octets
	largest  uint64 // octets of a message that it takes

	mu     sync.Mutex // may be taken under a tunnel's
	sealed bool
	ends   map[uint64]*End  // nil: a build under way
	takes  map[uint64]int64 // what Takes said, of builds under way

	// The ends that wait for room in the program's queue, in turn. A lock of
	// its own, taken under a tunnel's.
	turn struct {
		sync.Mutex
		first, last *End
	}
}

// Stats counts the tunnels of a node. Safe for concurrent use.
type Stats struct {
	Open   atomic.Int64  // now
	Opened atomic.Uint64 // ever
	Broken atomic.Uint64 // ended for what a program did or failed to do
}

// endCost is the memory one end is charged, beside what waits for it.
const endCost = 1 << 10

// NewTable returns a table whose program takes what is due to it through sink.
func NewTable(sink Sink, budget *queue.Budget, stats *Stats) *Table {
	return &Table{sink: sink, budget: budget, stats: stats, largest: MaxMessage}
}

// NewMessages returns a table whose program sends whole messages with End.Message, and
// takes such of largest octets at most. Its windows and allowances, which End.Ack gives,
// are messages and not octets. What is due to it comes in chunks all the same; those of
// one message cost its allowance once.
func NewMessages(sink Sink, largest int, budget *queue.Budget, stats *Stats) *Table {
	return &Table{sink: sink, messages: true, largest: uint64(largest), budget: budget, stats: stats}
}

// NewWire returns a table for the tunnel, one or more, of a connection to another
// node.
func NewWire(wire Wire, budget *queue.Budget, stats *Stats) *Table {
	return &Table{sink: wire, wire: wire, budget: budget, stats: stats, largest: MaxMessage}
}

// Building reserves id for a tunnel that the program is building or confirming. It
// reports false when the id is in use (R58, R60).
func (t *Table) Building(id uint64) bool { return t.add(id, nil) }

// Takes says how many messages the program takes at first of the tunnel of a build
// under way.
func (t *Table) Takes(id uint64, messages int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return
	}
	if t.takes == nil {
		t.takes = make(map[uint64]int64)
	}
	t.takes[id] = messages
}

// Failed frees the id of a build that came to nothing.
func (t *Table) Failed(id uint64) { t.remove(id, nil) }

// End finds the program's end of an open tunnel; nil: there is none.
func (t *Table) End(id uint64) *End {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ends[id]
}

// Close ends all tunnels because the program's connection does: their peers get
// what it sent before, and then the reason.
func (t *Table) Close(now time.Time, b *queue.Batch, reason string) {
	t.mu.Lock()
	t.sealed = true
	ends := make([]*End, 0, len(t.ends))
	for _, e := range t.ends { //iris:unordered sorted below
		if e != nil {
			ends = append(ends, e)
		}
	}
	slices.SortFunc(ends, func(a, b *End) int { return cmp.Compare(a.id, b.id) }) // two runs of a simulation are alike
	t.budget.Give(endCost * len(t.ends))
	t.ends, t.takes = nil, nil
	t.mu.Unlock()
	for _, e := range ends {
		e.cut(now, b, reason)
	}
}

// Room tries again to deliver what found no room in the program's queue, each
// tunnel in turn until there is none again. The writer of that queue calls it,
// without a lock.
func (t *Table) Room(b *queue.Batch) {
	for {
		t.turn.Lock()
		e := t.turn.first
		if e != nil {
			t.unlist(e)
		}
		t.turn.Unlock()
		if e == nil || e.Room(b) {
			return
		}
	}
}

// chunk hands a chunk of e to the program. When there is no room, e is in the
// list before the queue is asked again, so that room cannot come unseen.
func (t *Table) chunk(b *queue.Batch, e *End, size uint64, octets []byte) bool {
	if t.sink.TunnelChunk(b, e.id, size, octets) {
		return true
	}
	t.turn.Lock()
	if !e.listed {
		e.listed = true
		if e.before = t.turn.last; e.before == nil {
			t.turn.first = e
		} else {
			e.before.after = e
		}
		t.turn.last = e
	}
	t.turn.Unlock()
	if !t.sink.TunnelChunk(b, e.id, size, octets) {
		return false
	}
	t.forget(e)
	return true
}

// forget takes e off the list.
func (t *Table) forget(e *End) {
	t.turn.Lock()
	t.unlist(e)
	t.turn.Unlock()
}

// unlist is forget with the list's lock held.
func (t *Table) unlist(e *End) {
	if !e.listed {
		return
	}
	if e.before == nil {
		t.turn.first = e.after
	} else {
		e.before.after = e.after
	}
	if e.after == nil {
		t.turn.last = e.before
	} else {
		e.after.before = e.before
	}
	e.listed, e.before, e.after = false, nil, nil
}

// add stores an end under a free id.
func (t *Table) add(id uint64, e *End) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, used := t.ends[id]; used {
		return false
	}
	if t.sealed {
		return true // the connection is closing: nobody will ask for it
	}
	if t.ends == nil {
		t.ends = make(map[uint64]*End)
	}
	t.ends[id] = e
	t.budget.Force(endCost)
	return true
}

// open replaces a build under way by its end. It reports false when the
// connection has closed meanwhile.
func (t *Table) open(id uint64, e *End) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return false
	}
	t.ends[id] = e
	e.credit = t.takes[id]
	e.most = e.credit
	delete(t.takes, id)
	return true
}

// remove frees id if it is still e's.
func (t *Table) remove(id uint64, e *End) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cur, ok := t.ends[id]; ok && cur == e {
		delete(t.ends, id)
		delete(t.takes, id)
		t.budget.Give(endCost)
	}
}
