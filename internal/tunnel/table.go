package tunnel

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/queue"
)

// A Table is the cell of one connection's tunnels, by the ids that its program
// chose for its ends.
type Table struct {
	sink   Sink
	budget *queue.Budget
	stats  *Stats

	mu     sync.Mutex // may be taken under a tunnel's
	sealed bool
	ends   map[uint64]*End // nil: a build under way

	// The ends that wait for room in the program's queue, in turn. A lock of
	// its own, taken under a tunnel's.
	turn struct {
		sync.Mutex
		ends []*End
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
	return &Table{sink: sink, budget: budget, stats: stats}
}

// Building reserves id for a tunnel that the program is building or confirming. It
// reports false when the id is in use (R58, R60).
func (t *Table) Building(id uint64) bool { return t.add(id, nil) }

// Failed frees the id of a build that came to nothing.
func (t *Table) Failed(id uint64) { t.remove(id, nil) }

// End finds the program's end of an open tunnel; nil: there is none.
func (t *Table) End(id uint64) *End {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ends[id]
}

// Len returns how many tunnels are open or being built.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.ends)
}

// Close ends all tunnels because the program's connection does: their peers get
// what it sent before, and then the reason.
func (t *Table) Close(now time.Time, b *queue.Batch, reason string) {
	t.mu.Lock()
	t.sealed = true
	ends := make([]*End, 0, len(t.ends))
	for _, e := range t.ends { //iris:unordered tunnels do not depend on each other
		if e != nil {
			ends = append(ends, e)
		}
	}
	t.budget.Give(endCost * len(t.ends))
	t.ends = nil
	t.mu.Unlock()
	for _, e := range ends {
		e.cut(now, b, reason)
	}
}

// Room tries again to deliver what found no room in the program's queue, each
// tunnel in turn. The writer of that queue calls it, without a lock.
func (t *Table) Room(b *queue.Batch) {
	t.turn.Lock()
	n := len(t.turn.ends)
	t.turn.Unlock()
	for range n {
		t.turn.Lock()
		if len(t.turn.ends) == 0 {
			t.turn.Unlock()
			return
		}
		e := t.turn.ends[0]
		t.turn.ends = append(t.turn.ends[:0], t.turn.ends[1:]...)
		t.turn.Unlock()
		e.room(b)
	}
}

// chunk hands a chunk of e to the program. When there is no room, e is in the
// list before the queue is asked again, so that room cannot come unseen.
func (t *Table) chunk(b *queue.Batch, e *End, size uint64, octets []byte) bool {
	if t.sink.TunnelChunk(b, e.id, size, octets) {
		return true
	}
	t.turn.Lock()
	listed := false
	for _, w := range t.turn.ends {
		listed = listed || w == e
	}
	if !listed {
		t.turn.ends = append(t.turn.ends, e)
	}
	t.turn.Unlock()
	return t.sink.TunnelChunk(b, e.id, size, octets)
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
	return true
}

// remove frees id if it is still e's.
func (t *Table) remove(id uint64, e *End) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cur, ok := t.ends[id]; ok && cur == e {
		delete(t.ends, id)
		t.budget.Give(endCost)
	}
}
