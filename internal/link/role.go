package link

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// A role is one of the two connections of a link, over all those that take each
// other's place in it: whoever writes goes on with the next where a frame ends, and
// whoever reads when the one before has ended, so nothing is lost, doubled or out
// of order.
type role struct {
	l     *Link
	name  string
	most  int // octets written at a time
	lanes lanes

	wake    chan struct{} // to the writer
	due     atomic.Bool   // somebody has found writing taken
	writing sync.Mutex    // whoever has it writes: the writer, or a sender for a moment
	to      *conn         // what is written to; nil: nothing may be; with writing
	left    bool          // to has kept something back; with writing
	nextIn  chan *conn    // to the reader
	nextOut atomic.Pointer[conn]
	final   atomic.Pointer[[]byte] // the last frame, when the link is to end; may be none

	// Under the lock of the link.
	started   bool
	replacing bool // a new connection is about to take the place of the one there is
	in, out   *conn

	// Of the reader.
	input input
	frame wire.Frame
	batch queue.Batch
}

// What is written at a time. The buffers of TLS on the other side grow with the
// records and stay so: those of control connections are kept small.
const (
	controlWrite = 4 << 10
	dataWrite    = 64 << 10
)

func newRole(l *Link, name string, most int, all ...lane) *role {
	return &role{l: l, name: name, most: most, lanes: lanes{all: all}, wake: make(chan struct{}, 1), nextIn: make(chan *conn, 1)}
}

// tryMost is how many octets a sender writes itself. More are better left to the
// writer, beside which the sender then goes on.
const tryMost = 16 << 10

// Flush implements queue.Flusher: little is written at once, as far as that does not
// wait, which saves the way to the writer. The rest is left to that.
func (r *role) Flush(b *queue.Batch) {
	for r.due.Store(true); r.due.Load() && r.writing.TryLock(); {
		r.due.Store(false)
		done, err := r.tryWrite(b)
		r.writing.Unlock()
		if err != nil {
			r.broken(err)
		}
		if !done {
			r.poke()
			return
		}
	}
}

// tryWrite writes what waits, if it is little, and nothing waits for the writer. It
// reports whether that was all.
func (r *role) tryWrite(b *queue.Batch) (done bool, err error) {
	if r.to == nil || r.left || !r.to.CanTry() || r.nextOut.Load() != nil || r.final.Load() != nil || r.lanes.waiting() > tryMost {
		return false, nil
	}
	buf := buffers.Get().(*[dataWrite]byte)
	defer buffers.Put(buf)
	room := buf[:min(tryMost, r.most)]
	n := r.lanes.fill(room, false)
	if n == 0 {
		return true, nil
	}
	all, err := r.to.TryWrite(buf[:n])
	if err != nil {
		r.to = nil
		return false, err
	}
	r.left = !all
	if r.told() {
		r.l.m.Handler.Room(r.l, b)
	}
	return all && n < len(room), nil
}

// poke wakes the writer.
func (r *role) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// last has the writer end after what waits, with a word if there is one. The caller
// has the lock of the link.
func (r *role) last(why Reason, text string) {
	var word []byte
	if text != "" || why != 0 {
		word = farewell(why, text)
	}
	r.final.CompareAndSwap(nil, &word)
}

// has reports whether c is in use. The caller has the lock of the link.
func (r *role) has(c *conn) bool { return c == r.in || c == r.out }

// begin has the role use its first connection. It reports false if the link is at
// its end.
func (r *role) begin(sc *session.Conn) bool {
	l, c := r.l, &conn{Conn: sc}
	sc.SetDeadline(time.Time{})
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.phase != open {
		return false
	}
	r.started, r.in, r.out = true, c, c
	l.conns = append(l.conns, c)
	l.running += 2
	for _, f := range []func(){r.read, r.write} {
		go func() {
			defer l.exit()
			f()
		}()
	}
	return true
}

// expect announces a connection that is to take the place of the one there is. It
// reports false if there is none, or one is announced already.
func (r *role) expect() bool {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if !r.started || r.replacing || r.l.phase != open {
		return false
	}
	r.replacing = true
	return true
}

// replace has the role go on with another connection.
func (r *role) replace(sc *session.Conn) {
	c := &conn{Conn: sc}
	sc.SetDeadline(time.Time{})
	r.l.mu.Lock()
	free := r.l.phase == open && len(r.nextIn) == 0 && r.nextOut.Load() == nil
	if free {
		r.l.conns = append(r.l.conns, c)
		r.nextIn <- c
		r.nextOut.Store(c)
		r.replacing = false
	}
	r.l.mu.Unlock()
	if !free {
		sc.NetConn().Close()
		r.l.fail(Lost, "one "+r.name+" connection too many")
		return
	}
	r.poke()
}

// turn makes c the connection that is read, or written.
func (r *role) turn(which **conn, c *conn) {
	r.l.mu.Lock()
	*which = c
	r.l.mu.Unlock()
}

// buffers are what writers collect octets in; idle ones have none.
var buffers = sync.Pool{New: func() any { return new([dataWrite]byte) }}

// write is the writer.
func (r *role) write() {
	r.writing.Lock()
	r.to = r.out
	r.writing.Unlock()
	r.poke() // for who found writing taken
	var b queue.Batch
	for range r.wake {
		r.writing.Lock()
		r.due.Store(false)
		more := r.writeAll(&b)
		if !more {
			r.to = nil
		}
		r.writing.Unlock()
		if !more {
			break
		}
		if r.due.Load() {
			r.poke()
		}
	}
	for i := range r.lanes.all {
		r.lanes.all[i].leave()
	}
	if r == r.l.data {
		r.l.closeWritten()
		r.l.control.poke()
	}
	r.l.leave(r.out) // which nobody else changes
}

// writeAll writes what waits. It reports false when there will be no more.
func (r *role) writeAll(b *queue.Batch) bool {
	if r.to == nil { // a sender has met an error
		return false
	}
	if r.left {
		r.waits(true)
		err := r.to.Finish()
		r.waits(false)
		if err != nil {
			r.broken(err)
			return false
		}
		r.left = false
	}
	buf := buffers.Get().(*[dataWrite]byte)
	defer buffers.Put(buf)
	for {
		next := r.nextOut.Load()
		n := r.lanes.fill(buf[:r.most], next != nil)
		if n > 0 {
			r.waits(true)
			_, err := r.to.Write(buf[:n])
			r.waits(false)
			if err != nil {
				r.broken(err)
				return false
			}
			r.room(b)
			continue
		}
		switch word := r.final.Load(); {
		case next != nil && r.lanes.left() == 0:
			r.to.CloseWrite()
			r.l.leave(r.to)
			r.to = next
			r.turn(&r.out, next)
			r.nextOut.CompareAndSwap(next, nil)
		case word == nil:
			return true
		default:
			return r.sayLast(r.to, *word)
		}
	}
}

// waits says whether the writer may be waiting for the system.
func (r *role) waits(yes bool) {
	if r != r.l.data {
		return
	}
	r.l.aging.busy.Store(yes)
	if yes {
		r.l.aging.note(r.l.requests) // who appends from here on notes it
	}
}

// sayLast ends what is written, once the data role has ended. It reports true when
// it is not yet time for that.
func (r *role) sayLast(c *conn, word []byte) bool {
	if r == r.l.control {
		select {
		case <-r.l.written:
		default:
			return true
		}
	}
	if len(word) > 0 && r.lanes.left() == 0 {
		c.SetWriteDeadline(time.Now().Add(toldLimit))
		c.Write(word)
	}
	c.CloseWrite()
	return false
}

// room tells the handler of lanes that have room again.
func (r *role) room(b *queue.Batch) {
	if r.told() {
		r.l.m.Handler.Room(r.l, b)
		b.Flush()
	}
}

// told reports, once, that lanes of the data connection have room again.
func (r *role) told() bool {
	told := false
	for i := range r.lanes.all {
		told = r.lanes.all[i].roomy() || told
	}
	return told && r == r.l.data
}

// broken ends the link because a connection of it does not work.
func (r *role) broken(err error) { r.l.fail(Lost, r.name+" connection: "+err.Error()) }
