package tunnel

import (
	"math"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wheel"
)

// Constants of the protocol.
const (
	Window     = 4 << 20   // octets a program may first send
	MaxMessage = 1<<31 - 1 // octets of one message

	// step is how many octets that went on are granted again together.
	step = Window / 8

	// patience is how long the rest of a closed peer's data waits for a program
	// that neither gives credit nor reads.
	patience = 60 * time.Second
)

// Reasons of a close that is not orderly.
const (
	Undelivered = "peer closed, and the rest of its data was not taken within 60 s"
	Gone        = "initiator is gone"
	Left        = "acceptor is gone"
	NoMemory    = "the node's memory budget is used up"
	BadChunk    = "continuation without a message in progress"
	BadSize     = "announced message size exceeds 2^31-1 octets"
	BadSum      = "chunks exceed the announced message size"
	TooLarge    = "message is larger than the program at the other end takes"
)

// What a program, or another node, did that breaks the protocol.
const (
	ErrCredit = violation("tunnel allowance exceeded") // sent more than it was allowed to
	ErrAck    = violation("acknowledged a tunnel message that was not sent")
	ErrFinal  = violation("tunnel does not end where its close said")
)

type violation string

func (v violation) Error() string { return string(v) }

// A Sink takes what is due to the program at one end, under that program's id of
// the tunnel. The methods are called under the tunnel's lock: they append to the
// program's queue, add themselves to the batch if a flush is owed, and never
// block or call back.
type Sink interface {
	TunnelOpen(b *queue.Batch, id uint64)          // to the initiator only
	TunnelAllow(b *queue.Batch, id, octets uint64) // the program may send more, or messages
	TunnelClose(b *queue.Batch, id uint64, reason string)

	// TunnelChunk hands over a chunk: size is that of the message it starts,
	// or 0; Empty does not come to programs that count octets. It reports false when
	// there is no room; Table.Room then says when to try again.
	TunnelChunk(b *queue.Batch, id, size uint64, octets []byte) bool
}

// A Wire is the Sink of a connection to another node, where the program at the
// other end of the tunnel is. What goes out there waits for the credit of that
// node, to the octet; news of the end do not wait behind it.
type Wire interface {
	Sink

	// TunnelFinal says that the program here has ended, or the tunnel has, and
	// that final octets go out in all: those that have not yet still follow. It
	// comes once, and not at all after the other node has said the same of
	// itself. TunnelClose comes later or at once, when nothing follows any more.
	TunnelFinal(b *queue.Batch, id, final uint64, reason string)
}

// A Tunnel is two ends on one node: two programs, or a program and a Wire.
type Tunnel struct {
	since  time.Time
	timers *wheel.Timers

	mu    sync.Mutex
	ends  [2]End
	limit wheel.Entry // while an end is owed the rest of a closed peer's data
	until int64       // when that is due
	moved bool        // a chunk was delivered since it was set
}

// An End is one program's side of a tunnel.
type End struct {
	tunnel *Tunnel
	peer   *End
	table  *Table
	id     uint64

	closed   bool   // nothing more to or from the program
	draining bool   // the peer has ended; what it sent is still owed, and comes if it is a Wire
	reason   string // of the close that ends the draining

	// Of a Wire only.
	told   bool   // one side has told the other of its end
	ending bool   // it was the other side, which
	final  uint64 // sends so many octets in all

	// From the program; window and owed in messages, if it counts those.
	taken   uint64 // octets accepted from it
	window  int64  // octets it may still send
	owed    int64  // octets that went on and were not granted again
	missing uint64 // octets of the message it is sending

	// To the program; credit and most likewise.
	credit int64  // octets it still takes; below 0 after forced chunks
	most   int64  // the most credit ever was: nothing is outstanding then
	left   uint64 // octets missing of the message being delivered
	waits  queue.Records
	starts int // how many messages begin in waits
	pace   queue.Pace

	// Its place among the ends that wait for room; under the table's turn.
	before, after *End
	listed        bool
}

// Open makes the tunnel that the acceptor confirmed under id, between the
// initiator's build from and it; both ids have been reserved with Building. An
// end whose connection is gone leaves the other with a tunnel that is closed at
// once.
func Open(now time.Time, b *queue.Batch, timers *wheel.Timers, initiator *Table, from uint64, acceptor *Table, id uint64) {
	t := &Tunnel{since: now, timers: timers}
	t.limit.Owner = t
	x, y := &t.ends[0], &t.ends[1]
	*x = End{tunnel: t, peer: y, table: initiator, id: from}
	*y = End{tunnel: t, peer: x, table: acceptor, id: id}
	x.waits.Budget, y.waits.Budget = initiator.budget, acceptor.budget
	t.mu.Lock()
	defer t.mu.Unlock()
	x.closed = !initiator.open(from, x)
	y.closed = !acceptor.open(id, y)
	if x.closed && y.closed {
		return
	}
	acceptor.stats.Open.Add(1)
	switch {
	case x.closed:
		y.finish(b, Gone)
		return
	case y.closed:
		x.table.sink.TunnelOpen(b, from)
		x.finish(b, Left)
		return
	}
	acceptor.stats.Opened.Add(1)
	x.table.sink.TunnelOpen(b, from)
	x.begin(b)
	y.begin(b)
}

// begin gives the program its first window. One that counts messages knows it.
func (e *End) begin(b *queue.Batch) {
	if e.table.messages {
		e.window = Messages
		return
	}
	e.window = Window
	e.table.sink.TunnelAllow(b, e.id, Window)
}

// Chunk takes a chunk from the program: size is that of the message it starts, 0
// for a continuation. It fails when the program was not allowed to send it.
func (e *End) Chunk(now time.Time, b *queue.Batch, size uint64, octets []byte) error {
	e.tunnel.mu.Lock()
	defer e.tunnel.mu.Unlock()
	if e.closed || len(octets) == 0 {
		return nil // R40, R41
	}
	n := int64(len(octets))
	if n > e.window {
		return ErrCredit
	}
	if e.draining {
		if e.table.wire == nil {
			e.table.sink.TunnelAllow(b, e.id, uint64(n)) // so that it is not stuck in a send
		} else {
			e.window -= n // the other node has its own way out of that: TunnelFinal
		}
		return nil
	}
	if e.ending && e.taken+uint64(n) > e.final {
		return ErrFinal
	}
	e.window -= n
	switch {
	case size == 0 && e.missing == 0:
		e.abort(now, b, BadChunk)
		return nil
	case size == Empty && e.table.wire != nil:
		e.missing = 1
	case size > MaxMessage:
		e.abort(now, b, BadSize)
		return nil
	case size > e.peer.table.largest:
		e.abort(now, b, TooLarge)
		return nil
	case size > 0:
		e.missing = size // what was missing of the one before is abandoned
	}
	if uint64(n) > e.missing {
		e.abort(now, b, BadSum)
		return nil
	}
	e.missing -= uint64(n)
	e.pass(now, b, size, octets)
	return nil
}

// pass passes a chunk on that the program was allowed to send.
func (e *End) pass(now time.Time, b *queue.Batch, size uint64, octets []byte) {
	n := int64(len(octets))
	p := e.peer
	switch {
	case p.waits.Empty() && p.may(size, n) && p.deliver(b, size, octets):
		if !e.table.messages { // else that is for Acknowledge
			e.regrant(b, n)
		}
	case !p.waits.Push(size, octets):
		e.abort(now, b, NoMemory)
		return
	case size > 0:
		p.starts++
	}
	e.taken += uint64(n)
	if e.ending && e.taken == e.final {
		e.end(now, b)
	}
}

// Allow adds to what the program takes. Credit never overflows (R45).
func (e *End) Allow(now time.Time, b *queue.Batch, octets uint64) {
	e.tunnel.mu.Lock()
	defer e.tunnel.mu.Unlock()
	if e.closed || octets == 0 {
		return
	}
	e.credit += int64(min(octets, uint64(math.MaxInt64/2-max(e.credit, 0))))
	e.most = max(e.most, e.credit)
	e.allowed(now, b)
}

// allowed goes on with what waited for credit.
func (e *End) allowed(now time.Time, b *queue.Batch) {
	e.pump(b)
	if e.draining && !e.closed && e.table.wire == nil {
		e.tunnel.wait(now)
	}
}

// Final is the word of the node at the other side of a Wire that its program has
// ended, having sent final octets in all. From now on what the program here sends
// is thrown away; it gets what is still to come, and then the close. It fails when
// that cannot be so.
func (e *End) Final(now time.Time, b *queue.Batch, final uint64, reason string) error {
	e.tunnel.mu.Lock()
	defer e.tunnel.mu.Unlock()
	if e.closed {
		return nil
	}
	if e.ending || !e.draining && final < e.taken {
		return ErrFinal
	}
	e.told, e.ending, e.final = true, true, final
	if e.draining { // neither program takes anything any more
		e.finish(b, reason)
		return nil
	}
	p := e.peer
	n := e.discard()
	e.table.forget(e)
	p.draining, p.reason = true, reason
	if e.taken == final {
		e.end(now, b)
	} else {
		e.tunnel.wait(now)
	}
	if !p.closed && n > 0 {
		p.regrant(b, n)
	}
	return nil
}

// end closes a Wire that has brought all there is.
func (e *End) end(now time.Time, b *queue.Batch) {
	e.finish(b, "")
	e.peer.drain(now, b, e.peer.reason)
}

// Fail closes both ends for a reason that lies with the connection of a Wire.
// The program gets what came before.
func (e *End) Fail(now time.Time, b *queue.Batch, reason string) {
	e.tunnel.mu.Lock()
	defer e.tunnel.mu.Unlock()
	if e.closed {
		return
	}
	e.finish(b, reason)
	e.peer.drain(now, b, reason)
}

// Close is the program's own close: it is confirmed at once, and the peer gets
// what was sent before.
func (e *End) Close(now time.Time, b *queue.Batch) {
	e.tunnel.mu.Lock()
	defer e.tunnel.mu.Unlock()
	if e.closed {
		return
	}
	e.finish(b, "")
	e.peer.drain(now, b, "")
}

// cut is the end of the program's whole connection, which is told nothing.
func (e *End) cut(now time.Time, b *queue.Batch, reason string) {
	e.tunnel.mu.Lock()
	defer e.tunnel.mu.Unlock()
	if e.closed {
		return
	}
	e.shut(b)
	e.peer.drain(now, b, reason)
}

// Room tries again to deliver after there was no room for it. It reports whether
// there is none again.
func (e *End) Room(b *queue.Batch) bool {
	e.tunnel.mu.Lock()
	defer e.tunnel.mu.Unlock()
	return !e.closed && e.pump(b)
}

// Expire ends the draining of an end that took nothing for too long.
func (t *Tunnel) Expire(now time.Time, b *queue.Batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timers.Tick(now) < t.until {
		return // set anew, on its way here
	}
	for i := range t.ends {
		switch e := &t.ends[i]; {
		case !e.draining || e.closed:
		case t.moved || e.waits.Empty(): // its program reads, if slowly
			t.wait(now)
		default:
			e.table.stats.Broken.Add(1)
			e.finish(b, Undelivered)
			e.peer.drain(now, b, Undelivered)
		}
	}
}

// wait begins the time within which a draining end must give credit, or read.
func (t *Tunnel) wait(now time.Time) {
	t.moved, t.until = false, t.timers.Due(now, patience)
	t.timers.Set(&t.limit, t.until)
}

// abort closes both ends because of what e's program did to the tunnel. The peer
// gets what was sent before.
func (e *End) abort(now time.Time, b *queue.Batch, reason string) {
	e.table.stats.Broken.Add(1)
	e.finish(b, reason)
	e.peer.drain(now, b, reason)
}

// finish closes e with a last word to its program.
func (e *End) finish(b *queue.Batch, reason string) {
	e.tell(b, uint64(e.waits.Len()), reason)
	e.shut(b)
	e.table.sink.TunnelClose(b, e.id, reason)
}

// tell has a Wire say where the program's octets end: before the last so many.
func (e *End) tell(b *queue.Batch, without uint64, reason string) {
	if e.table.wire != nil && !e.told {
		e.told = true
		e.table.wire.TunnelFinal(b, e.id, e.peer.taken-without, reason)
	}
}

// shut makes e deaf and dumb. Its id is free before its program hears of it.
func (e *End) shut(b *queue.Batch) {
	e.closed = true
	e.table.remove(e.id, e)
	e.table.forget(e)
	if e.draining {
		e.tunnel.timers.Stop(&e.tunnel.limit)
	}
	if e.peer.closed {
		e.table.stats.Open.Add(-1)
	} else {
		// What the peer sent and e will not take no longer holds it up, nor does the
		// close that follows at once when nothing waits. Programs that count messages
		// had better hear that alone (relay-v0, V17).
		n, p := e.discard(), e.peer
		if n > 0 && !(p.table.messages && p.waits.Empty()) {
			p.regrant(b, n)
		}
	}
	e.discard()
}

// discard throws away what waits, and returns how many octets that were.
func (e *End) discard() int64 {
	n := e.waits.Len()
	e.waits.Drop()
	e.starts = 0
	return int64(n)
}

// drain closes e once it has got everything that its peer, now closed, sent.
func (e *End) drain(now time.Time, b *queue.Batch, reason string) {
	if e.closed {
		return
	}
	e.tell(b, 0, reason)
	if e.waits.Empty() {
		e.finish(b, reason)
		return
	}
	e.draining, e.reason = true, reason
	if e.table.wire == nil { // else the other node has this patience with its program
		e.tunnel.wait(now)
	}
}

// pump delivers what waits, as far as credit and room go. It reports whether it
// was for want of room that it stopped.
func (e *End) pump(b *queue.Batch) (full bool) {
	for !e.waits.Empty() {
		size, octets := e.waits.First()
		n := int64(len(octets))
		if !e.may(size, n) {
			return false
		}
		if !e.deliver(b, size, octets) {
			return true
		}
		e.waits.Pop()
		if size > 0 {
			e.starts--
		}
		if !e.peer.closed {
			e.peer.regrant(b, n)
		}
	}
	if e.draining && e.peer.closed {
		e.finish(b, e.reason)
	}
	return false
}

// may reports whether the program's credit allows it a chunk of n octets.
func (e *End) may(size uint64, n int64) bool {
	if e.table.wire != nil {
		return e.credit >= n
	}
	// A continuation, and a message after an abandoned one, go regardless of
	// credit: a program grants whole messages only (relay-v1, Flow control). So
	// does a chunk larger than all the program ever grants, and what costs nothing.
	cost := e.cost(size, n)
	return cost == 0 || size == 0 || e.left > 0 || e.credit >= cost || e.credit > 0 && e.credit == e.most
}

// cost is how much of the credit a chunk of n octets takes.
func (e *End) cost(size uint64, n int64) int64 {
	switch {
	case e.table.wire != nil:
	case e.table.messages && size > 0 && e.left == 0:
		return 1
	case e.table.messages, size == Empty:
		return 0
	}
	return n
}

// deliver hands a chunk that may go to the program, unless there is no room.
func (e *End) deliver(b *queue.Batch, size uint64, octets []byte) bool {
	if unknown := size == Empty && e.table.wire == nil && !e.table.messages; !unknown && !e.table.chunk(b, e, size, octets) {
		return false
	}
	e.credit -= e.cost(size, int64(len(octets)))
	e.tunnel.moved = true
	switch size {
	case 0:
	case Empty:
		e.left = 1
	default:
		e.left = size
	}
	e.left -= uint64(len(octets))
	return true
}

// regrant lets the program send n octets more, by and by: a grant for each chunk
// would wake it for each. It never runs dry for that, since what is owed is a
// small part of its window.
func (e *End) regrant(b *queue.Batch, n int64) {
	if e.table.messages {
		e.acknowledge(b)
		return
	}
	if e.owed += n; e.owed >= step {
		e.window += e.owed
		e.table.sink.TunnelAllow(b, e.id, uint64(e.owed))
		e.owed = 0
	}
}
