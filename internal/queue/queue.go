package queue

import (
	"errors"
	"math"
	"sync"
)

// What an append may be refused with.
var (
	ErrSealed = errors.New("queue is sealed")
	ErrFull   = errors.New("queue is full")
	ErrMemory = errors.New("the node's memory budget is used up")
	ErrNoRoom = errors.New("queue has no room") // AppendIfRoom: Wrote tells when there is
)

// A Queue is the write queue of one connection or session: octets in the order
// in which they were appended, bounded in bytes. It is corked at first: it takes
// frames but asks nobody to write them. After Open it asks; after Seal it takes
// nothing more.
//
// Any goroutine may append. Writing is done by whoever holds the claim: Claim,
// then Next and Wrote in turn until Next returns nothing, which ends the claim.
type Queue struct {
	budget *Budget
	limit  int

	mu          sync.Mutex
	first, last *block
	fill        *block // where the next octet goes, if its block is there
	bytes       int    // appended and not yet written
	total       uint64 // octets ever appended
	passed      uint64 // octets ever handed out by Next, and so perhaps written, or kept
	held        int    // memory charged to the budget
	shared      int    // octets of shared bodies, which are charged by themselves
	frame, rest int    // octets of the frame (or its part around a shared body) being written, and left

	// Frames that Seal took out, from position cutFrom on, and where CutAt was
	// last.
	cutFrom, cutPos    uint64
	cutFirst, cutBlock *block
	open               bool
	sealed             bool
	ended              bool // Farewell was called
	discarded          bool
	claimed            bool // somebody writes
	owed               bool // somebody was asked to flush and has not claimed yet
	wantRoom           bool // an append was refused since Wrote last told of room
}

// New returns a corked queue that refuses an append while more than limit
// octets wait: it holds at most limit and one frame.
func New(budget *Budget, limit int) *Queue {
	return &Queue{budget: budget, limit: limit}
}

// Append appends one frame made of head, payload and tail, whole or not at all.
// It returns the frame's position in the stream of octets, and flush when nobody
// has been asked to flush the queue since it was last claimed: the caller then
// owes it, also beside an error. After ErrFull, and after ErrMemory if octets wait,
// a later Wrote says when to try again.
func (q *Queue) Append(head []byte, p Payload, tail []byte) (pos uint64, flush bool, err error) {
	return q.append(q.limit, false, head, p, tail)
}

// AppendAnyway is Append for frames that memory must not refuse, up to a limit
// of their own.
func (q *Queue) AppendAnyway(limit int, head []byte, p Payload, tail []byte) (pos uint64, flush bool, err error) {
	return q.append(limit, true, head, p, tail)
}

func (q *Queue) append(limit int, force bool, head []byte, p Payload, tail []byte) (pos uint64, flush bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(head) + len(p.Data) + len(tail)
	switch {
	case q.sealed:
		return 0, false, ErrSealed
	case q.bytes > limit:
		q.wantRoom = true
		return 0, q.ask(), ErrFull
	case p.Shared == nil && !q.reserve(n, force):
		q.wantRoom = true
		return 0, q.ask(), ErrMemory
	case p.Shared != nil && !force && !q.budget.Allows(len(p.Data), q.held+q.shared):
		q.wantRoom = true
		return 0, q.ask(), ErrMemory
	}
	pos = q.total
	if p.Shared == nil {
		q.begin(n)
		q.write(head)
		q.write(p.Data)
	} else {
		q.reserve(len(head), true)
		q.begin(len(head))
		q.write(head)
		q.share(p.Shared)
		q.reserve(len(tail), true)
		q.goOn(len(tail))
	}
	q.write(tail)
	return pos, q.ask(), nil
}

// AppendIfRoom is Append for frames that wait elsewhere while room octets or
// more wait in the queue, or memory is short: it refuses with ErrNoRoom, and a
// later Wrote says when to try again. Until then it refuses everybody, so that
// who waits is not passed by. An empty queue takes what it is given.
func (q *Queue) AppendIfRoom(room int, head, body []byte) (flush bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sealed {
		return false, ErrSealed
	}
	if q.bytes >= room || q.wantRoom && q.bytes > 0 {
		q.wantRoom = true
		return false, ErrNoRoom
	}
	if n := len(head) + len(body); !q.reserve(n, q.bytes == 0) {
		q.wantRoom = true
		return false, ErrNoRoom
	}
	q.begin(len(head) + len(body))
	q.write(head)
	q.write(body)
	return q.ask(), nil
}

// Keep has Seal leave in the queue what has been appended so far.
func (q *Queue) Keep() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.passed = q.total
}

// Open uncorks the queue. It reports true when octets wait: the caller flushes.
func (q *Queue) Open() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open = true
	return q.bytes > 0
}

// Seal has the queue take nothing more but a Farewell; what waits is still
// written. With cut set it takes out every frame of which no octet was handed to a
// writer: CutAt reads them, Uncut frees them. Only the first call has an effect.
func (q *Queue) Seal(cut bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sealed {
		return
	}
	q.cutFrom = q.total
	if cut {
		q.cut()
	}
	q.sealed, q.open = true, true
}

// Farewell appends the last frame of a sealed queue; nil: there is none. The
// queue is drained once it is written.
func (q *Queue) Farewell(last []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return
	}
	q.ended = true
	if len(last) > 0 && !q.discarded {
		q.reserve(len(last), true)
		q.begin(len(last))
		q.write(last)
	}
}

// CutAt appends up to n octets of the frames taken out, from position pos on, to
// b. It reports false when pos was not taken out. Calls with growing pos cost the
// least.
func (q *Queue) CutAt(b []byte, pos uint64, n int) ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if pos < q.cutFrom || q.cutFirst == nil {
		return b, false
	}
	if q.cutBlock == nil || pos < q.cutPos {
		q.cutBlock, q.cutPos = q.cutFirst, q.cutFrom
	}
	for pos >= q.cutPos+uint64(len(q.cutBlock.b)) {
		q.cutPos += uint64(len(q.cutBlock.b))
		if q.cutBlock = q.cutBlock.next; q.cutBlock == nil {
			return b, false
		}
	}
	skip := pos - q.cutPos
	for k := q.cutBlock; k != nil && n > 0; k = k.next {
		part := k.b[skip:]
		part = part[:min(n, len(part))]
		b = append(b, part...)
		n -= len(part)
		skip = 0
	}
	return b, true
}

// Restore puts back a frame of those that Seal took out, behind what it left. Before
// Farewell.
func (q *Queue) Restore(frame []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.ended && !q.discarded {
		q.reserve(len(frame), true)
		q.begin(len(frame))
		q.write(frame)
	}
}

// Uncut frees the frames that Seal took out.
func (q *Queue) Uncut() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.uncut()
}

// Discard seals the queue and frees what it holds, save what Seal took out. A
// writer that holds the claim gets nothing more from Next.
func (q *Queue) Discard() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed, q.open, q.ended, q.discarded = true, true, true, true
	if !q.claimed {
		q.drop()
	}
}

// Claim makes the caller the queue's writer, unless there is one, it is corked
// or nothing waits.
func (q *Queue) Claim() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.owed = false
	if q.claimed || !q.open || q.bytes == 0 {
		return false
	}
	q.claimed = true
	return true
}

// Next returns octets to write, valid until Wrote, or nothing when none wait:
// the claim has then ended. Only the holder of the claim calls it.
func (q *Queue) Next() []byte { return q.NextUpTo(math.MaxInt) }

// NextUpTo is Next for a writer that has room for n octets only. As it may end
// within a frame, Seal cannot cut the queue of one that uses it: Handed tells such
// a writer's callers as much. What begins a frame may be written over.
func (q *Queue) NextUpTo(n int) []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.discarded {
		q.drop()
	}
	if q.bytes == 0 {
		q.claimed = false
		return nil
	}
	b := q.first.b[q.first.r:]
	b = b[:min(n, len(b))]
	q.passed = max(q.passed, q.total-uint64(q.bytes)+uint64(len(b)))
	return b
}

// Wrote takes n octets of what Next returned off the queue. It reports true
// when less than room octets wait and an append was refused before. Only the
// holder of the claim calls it.
func (q *Queue) Wrote(n, room int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= n
	k := q.first
	k.r += n
	if k.r == len(k.b) {
		q.shift()
	}
	if q.wantRoom && q.bytes < room {
		q.wantRoom = false
		return true
	}
	return false
}

// Unclaim ends a claim with octets still waiting.
func (q *Queue) Unclaim() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.claimed = false
	if q.discarded {
		q.drop()
	}
}

// Waiting returns how many octets wait.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

// Handed returns up to where the stream of octets was ever handed to a writer:
// no octet of a frame appended there or behind was.
func (q *Queue) Handed() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.passed
}

// Position returns how many octets were ever taken off the queue, or cut out, and how
// many were ever appended.
func (q *Queue) Position() (taken, appended uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total - uint64(q.bytes), q.total
}

// Appended returns how many octets were ever appended.
func (q *Queue) Appended() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}

// Sealed reports that the queue takes nothing more.
func (q *Queue) Sealed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.sealed
}

// Drained reports that everything is written, the farewell included.
func (q *Queue) Drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ended && q.bytes == 0 && !q.claimed
}

// ask reports whether the caller is the first to owe a flush.
func (q *Queue) ask() bool {
	if q.owed || !q.open {
		return false
	}
	q.owed = true
	return true
}

// reserve links blocks for n more octets, as one charge that the budget may
// refuse unless it is forced.
func (q *Queue) reserve(n int, force bool) bool {
	if q.fill != nil {
		n -= q.fill.room()
	}
	if n <= 0 || q.widen(n, force) {
		return true
	}
	large := n > SmallBlock || q.first != nil && q.last.body == nil // the head of a shared body is short
	cost := SmallBlock
	if large {
		cost = (n + LargeBlock - 1) / LargeBlock * LargeBlock
	}
	if force {
		q.budget.Force(cost)
	} else if !q.budget.Take(cost, q.held) {
		return false
	}
	q.held += cost
	for ; n > 0; n -= LargeBlock {
		k := newBlock(large)
		q.push(k)
		if q.fill == nil {
			q.fill = k
		}
	}
	return true
}

// widen replaces the only block by a large one if it is small, n more octets would
// go beyond it, and nobody has begun to write it: a burst of small frames then
// leaves by one system call instead of two. Copying is far cheaper than a call.
func (q *Queue) widen(n int, force bool) bool {
	k := q.fill
	if k == nil || q.first != k || k.next != nil || cap(k.b) != SmallBlock || k.r > 0 || q.claimed || len(k.b)+k.room()+n > LargeBlock {
		return false
	}
	const cost = LargeBlock - SmallBlock
	if force {
		q.budget.Force(cost)
	} else if !q.budget.Take(cost, q.held) {
		return false
	}
	q.held += cost
	wide := newBlock(true)
	wide.b, wide.lead = append(wide.b, k.b...), k.lead
	k.free()
	q.first, q.last, q.fill = wide, wide, wide
	return true
}

// begin notes that the first n octets of a frame follow, up to a shared body if it
// has one.
func (q *Queue) begin(n int) { q.frame, q.rest = n, n }

// goOn notes that n more octets of the same frame follow.
func (q *Queue) goOn(n int) { q.frame, q.rest = n+1, n }

// write copies p, a part of the frame begun, into reserved blocks.
func (q *Queue) write(p []byte) {
	q.bytes += len(p)
	q.total += uint64(len(p))
	for len(p) > 0 {
		if q.fill.room() == 0 {
			q.fill = q.fill.next
		}
		if len(q.fill.b) == 0 && q.rest < q.frame {
			q.fill.lead = min(q.rest, cap(q.fill.b))
		}
		n := min(len(p), q.fill.room())
		q.fill.b = append(q.fill.b, p[:n]...)
		p = p[n:]
		q.rest -= n
	}
}

// share links the octets of y as a part of the frame begun.
func (q *Queue) share(y *Body) {
	k := bodyBlocks.Get().(*block)
	y.refs.Add(1)
	k.body, k.b, k.lead = y, y.b, len(y.b)
	q.bytes += len(y.b)
	q.shared += len(y.b)
	q.total += uint64(len(y.b))
	q.push(k)
	q.fill = nil
}

// cut takes out the frames no octet of which was handed to a writer. A writer
// is handed all that a block holds, so what it was handed ends where a frame does,
// or where a block does and the lead of the next tells where that frame ends.
func (q *Queue) cut() {
	var before *block
	at := q.total - uint64(q.bytes) // position of k.b[k.r]
	for k := q.first; k != nil; before, k = k, k.next {
		b := k.b[k.r:]
		keep := 0 // octets of b that stay
		switch {
		case at < q.passed:
			keep = int(min(q.passed-at, uint64(len(b))))
		case k.r == 0:
			keep = k.lead
		}
		at += uint64(keep)
		if keep == len(b) {
			continue
		}
		out := k
		if keep > 0 { // the end of the block moves to one of its own
			out = newBlock(true)
			out.b = append(out.b, b[keep:]...)
			out.next = k.next
			q.budget.Force(cap(out.b))
			q.held += cap(out.b)
			k.b = k.b[:k.r+keep]
			before = k
		} else { // what of it was written goes
			k.b = k.b[:copy(k.b, b)]
			k.r = 0
		}
		q.last, q.fill = before, nil
		if before == nil {
			q.first = nil
		} else if before.next = nil; before.body == nil {
			q.fill = before
		}
		q.bytes -= int(q.total - at)
		q.total = at
		q.cutFrom, q.cutFirst = at, out
		return
	}
}

func (q *Queue) uncut() {
	for k := q.cutFirst; k != nil; k = q.cutFirst {
		q.cutFirst = k.next
		q.release(k)
	}
	q.cutBlock = nil
}

func (q *Queue) push(k *block) {
	if q.first == nil {
		q.first = k
	} else {
		q.last.next = k
	}
	q.last = k
}

// shift frees the first block.
func (q *Queue) shift() {
	k := q.first
	q.first = k.next
	if q.first == nil {
		q.last = nil
	}
	if q.fill == k {
		q.fill = nil
	}
	q.release(k)
}

// release frees an unlinked block.
func (q *Queue) release(k *block) {
	if k.body != nil {
		q.shared -= len(k.body.b)
	}
	n := k.free()
	q.held -= n
	q.budget.Give(n)
}

// drop frees everything.
func (q *Queue) drop() {
	q.bytes = 0
	for q.first != nil {
		q.shift()
	}
}
