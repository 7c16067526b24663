package messaging

import (
	"sync"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wheel"
)

// Bounds of what a connection may have under way.
const (
	MaxPending = 4096      // calls; one more is refused at once
	maxHeld    = 16 << 20  // octets of bodies held for another attempt, one body, and those pinned; the oldest are let go
	maxTimeout = 1<<31 - 1 // milliseconds; longer ones end then (R25)
	callCost   = 256       // octets a call is charged, beside its body
	spareBody  = 1 << 10   // octets of a body's buffer that a call keeps for the next body
)

// kind is what a call is about.
type kind byte

const (
	request kind = iota
	build
)

// calls is the cell of what a connection has asked for: every call from its
// start to its one answer. Whoever removes a call answers it, so exactly one
// does.
type calls struct {
	mu     sync.Mutex
	sealed bool
	wheel  wheel.Wheel // every call, by deadline
	timer  wheel.Entry // of the connection among the node's timers
	armed  int64       // tick for which timer is set; 0: not set
	free   *call
	made   int // calls that exist, free ones included
	held   int // octets of buffers for bodies, those of free calls included
	seq    uint64
}

// A term is the time that a call has.
type term struct {
	timeout uint64 // milliseconds, as the program said
	due     int64  // tick of the deadline
}

// remains returns the milliseconds that are left.
func (t term) remains(tick int64) uint64 { return uint64(max(0, t.due-tick)) }

// A call is a request or tunnel build under way. Calls are reused; gen tells one
// life from the next, and also what comes after a retry from what came before.
type call struct {
	entry wheel.Entry
	next  *call
	gen   uint32
	kind  kind
	id    uint64 // the program's own
	at    int64  // when it was taken in
	term
	attempt attempt

	// What another attempt needs, while it is held.
	holds bool
	pins  bool   // it must: its attempt may be turned down
	seq   uint64 // tells the oldest
	name  string // of the cluster
	named int    // octets of name that are the call's own
	body  []byte // in a buffer that outlives the call
	lent  bool   // somebody may read body without the lock: the buffer is not used again

	waits  bool  // for a member, with the loop
	busy   bool  // it waits because all members refused it
	backed uint8 // how often it was put back
}

// An attempt is who a call was handed to: a member of this node, or another
// node, and its id there.
type attempt struct {
	member *Conn
	peer   *Peer
	id     uint64
}

// A ticket names one life of a call, up to a retry. The zero value names none.
type ticket struct {
	conn *Conn
	call *call
	gen  uint32
	kind kind

	turned uint8 // how often members have turned it down
}

// An end is what is left to do, outside the cell's lock, for a call that ended
// without an answer.
type end struct {
	kind kind
	attempt
	parked string // the name under which the loop knows it
	waits  bool
}

// add starts a call. It reports false when there are too many.
func (s *calls) add(c *Conn, now time.Time, k kind, id, timeout uint64) (ticket, term, bool) {
	d := time.Duration(min(timeout, maxTimeout)) * time.Millisecond
	due := c.plane.Timers.Due(now, d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed || s.wheel.Len() >= MaxPending {
		return ticket{}, term{}, false
	}
	a := s.free
	if a == nil {
		if !c.plane.Budget.Take(callCost, s.made*callCost) {
			return ticket{}, term{}, false
		}
		a = new(call)
		a.entry.Owner = a
		s.made++
	} else {
		s.free = a.next
	}
	a.kind, a.id, a.at, a.term = k, id, c.plane.nanos(now), term{timeout, due}
	s.wheel.Add(&a.entry, due)
	if s.armed == 0 || due < s.armed {
		s.arm(c, due)
	}
	return ticket{conn: c, call: a, gen: a.gen, kind: k}, a.term, true
}

// arm sets the connection's timer. It takes the timers' lock under the cell's,
// or two settings could overtake each other; only when the earliest deadline
// changes, not for every call.
func (s *calls) arm(c *Conn, due int64) {
	s.armed = due
	c.plane.Timers.Set(&s.timer, due)
}

// release ends a life of a and makes it fit for the next.
func (s *calls) release(c *Conn, a *call) {
	s.wheel.Remove(&a.entry)
	s.let(c, a)
	a.gen++
	a.attempt = attempt{}
	a.busy, a.backed = false, 0
	a.next, s.free = s.free, a
}

// let ends the holding of a body.
func (s *calls) let(c *Conn, a *call) {
	if a.named > 0 {
		s.held -= a.named
		c.plane.Budget.Give(a.named)
	}
	a.holds, a.pins, a.waits, a.name, a.named = false, false, false, "", 0
	if a.lent || cap(a.body) > spareBody {
		s.drop(c, a)
	}
}

// drop gives back the buffer of a body.
func (s *calls) drop(c *Conn, a *call) {
	s.held -= cap(a.body)
	c.plane.Budget.Give(cap(a.body))
	a.body, a.lent = nil, false
}

// expire ends calls due by tick, at most as many as ends has room for, and
// returns how many those were.
func (s *calls) expire(c *Conn, b *queue.Batch, tick int64, ends []end) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range ends {
		e := s.wheel.Pop(tick)
		if e == nil {
			s.armed = 0
			if due, ok := s.wheel.Next(); ok && !s.sealed {
				s.arm(c, due)
			}
			return n
		}
		a := e.Owner.(*call)
		ends[n] = a.end()
		out, count := TimedOut, &c.plane.Drops.TimedOut
		switch {
		case a.busy && a.waits:
			out, count = Busy, &c.plane.Drops.Busy
		case a.waits:
			out, count = Unreached, &c.plane.Drops.Unreached
		}
		k, id := a.kind, a.id
		if k == request {
			count.Add(1)
		}
		s.release(c, a)
		c.end(b, k, id, out, nil)
	}
	return len(ends)
}

// seal ends all calls, unanswered, and refuses further ones.
func (s *calls) seal(c *Conn) []end {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
	c.plane.Timers.Stop(&s.timer)
	ends := make([]end, 0, s.wheel.Len())
	s.wheel.All(func(e *wheel.Entry) {
		a := e.Owner.(*call)
		ends = append(ends, a.end())
		a.gen++
		a.holds, a.waits = false, false
	})
	c.plane.Budget.Give(s.made*callCost + s.held)
	s.wheel, s.free, s.made, s.held = wheel.Wheel{}, nil, 0, 0
	return ends
}

func (a *call) end() end {
	return end{kind: a.kind, attempt: a.attempt, parked: a.name, waits: a.waits}
}

// locked runs f with the call, if it still has the ticket's life, under its cell's
// lock.
func (t ticket) locked(f func(s *calls, a *call)) bool {
	s := &t.conn.calls
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.call.gen != t.gen {
		return false
	}
	f(s, t.call)
	return true
}

// answer ends the call with an outcome for the program, if it still waits, and returns
// when it was taken in.
func (t ticket) answer(b *queue.Batch, out Outcome, body []byte) (at int64, ok bool) {
	s := &t.conn.calls
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.call.gen != t.gen {
		return 0, false
	}
	id, at := t.call.id, t.call.at
	s.release(t.conn, t.call)
	t.conn.end(b, t.kind, id, out, body)
	return at, true
}

// take ends the call without a word, if it still waits: the caller answers it.
func (t ticket) take() (id uint64, ok bool) {
	ok = t.locked(func(s *calls, a *call) {
		id = a.id
		s.release(t.conn, a)
	})
	return id, ok
}

// attempted notes who has been handed the call. It reports false when the call
// has ended meanwhile, or been taken back.
func (t ticket) attempted(to attempt) bool {
	s := &t.conn.calls
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.call.gen != t.gen {
		return false
	}
	t.call.attempt = to
	t.call.waits, t.call.busy = false, false
	if to.peer == nil { // its queue gives the body back if need be
		s.let(t.conn, t.call)
	}
	return true
}

// retry takes the call back from whom it was handed to, with a new ticket:
// whoever handed it over may be about to note so, and comes too late now. It also
// returns the call's term, and what it holds: the body is nil if it holds none. It
// reports false when the call has ended.
func (t ticket) retry() (next ticket, name string, body []byte, given term, ok bool) {
	ok = t.locked(func(_ *calls, a *call) {
		a.gen++
		a.attempt = attempt{}
		next, given = t, a.term
		next.gen = a.gen
		if a.holds {
			a.lent = true
			name, body = a.name, a.body
			if body == nil {
				body = []byte{}
			}
		}
	})
	return next, name, body, given, ok
}

// hold copies what the call needs to be handed to another node, and to another
// member if that one does not start it, within the bounds of the connection and
// the node. It reports false when the call has ended. Without room for its body
// it goes on, but will have no next attempt. To make room the oldest bodies are
// let go, but those that are pinned; let names what those of them wait for that wait.
func (t ticket) hold(name string, body []byte, pin bool) (let []string, pinned, ok bool) {
	ok = t.locked(func(s *calls, a *call) {
		let, a.pins = s.hold(t.conn, a, name, 0, body)
		a.pins = a.pins && pin
		pinned = a.pins
	})
	return let, pinned, ok
}

// park is hold for a call that waits for a member. It reports false when the
// call has ended, or there is no room for its body: it then waits for its
// deadline.
func (t ticket) park(name, body []byte, busy bool) (parked string, let []string, backed uint8, ok bool) {
	t.locked(func(s *calls, a *call) {
		a.busy = busy
		if a.holds {
			ok = true
		} else {
			let, ok = s.hold(t.conn, a, string(name), len(name), body)
		}
		if ok {
			a.waits = true
			parked, backed = a.name, a.backed
			if busy && a.backed < 10 {
				a.backed++
			}
		}
	})
	return parked, let, backed, ok
}

// hold is the same with the lock held; own are the octets of name to be charged.
func (s *calls) hold(c *Conn, a *call, name string, own int, body []byte) (let []string, ok bool) {
	if a.holds {
		return nil, true
	}
	size := cap(a.body)
	if len(body) > size {
		size = max(len(body), spareBody)
	}
	if grow := own + size - cap(a.body); grow > 0 {
		if !c.plane.Budget.Take(grow, s.held) {
			c.plane.Drops.Parked.Add(1)
			return nil, false
		}
		s.held += grow
	}
	if size > cap(a.body) {
		a.body = make([]byte, 0, size)
	}
	a.body = append(a.body[:0], body...)
	s.seq++
	a.holds, a.seq, a.name, a.named = true, s.seq, name, own
	if s.held-a.named-cap(a.body) > maxHeld {
		let = s.makeRoom(c, a)
	}
	return let, true
}

// makeRoom lets the oldest bodies go, but that of a, until no more than maxHeld
// octets are held beside it.
func (s *calls) makeRoom(c *Conn, a *call) (let []string) {
	for f := s.free; f != nil; f = f.next {
		s.drop(c, f)
	}
	for s.held-a.named-cap(a.body) > maxHeld {
		var oldest *call
		s.wheel.All(func(e *wheel.Entry) {
			if o := e.Owner.(*call); o != a && o.holds && !o.pins && o.named+cap(o.body) > 0 && (oldest == nil || o.seq < oldest.seq) {
				oldest = o
			}
		})
		if oldest == nil {
			break
		}
		if oldest.waits {
			let = append(let, oldest.name)
		}
		s.let(c, oldest)
		s.drop(c, oldest)
		c.plane.Drops.Parked.Add(1)
	}
	return let
}

// parked returns what the call waits with, if it still waits for a member.
func (t ticket) parked() (body []byte, given term, ok bool) {
	t.locked(func(_ *calls, a *call) {
		if a.waits {
			a.lent = true
			body, given, ok = a.body, a.term, true
		}
	})
	return body, given, ok
}
