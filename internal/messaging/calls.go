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
	maxParked  = 16 << 20  // octets of bodies waiting for a member, and one body; the oldest are let go
	maxTimeout = 1<<31 - 1 // milliseconds; longer ones end then (R25)
	callCost   = 256       // octets a call is charged, and a parked one beside name and body
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
	parked int // octets kept for parked calls
	seq    uint64
}

// A call is a request or tunnel build under way. Calls are reused; gen tells one
// life from the next, and also what comes after a retry from what came before.
type call struct {
	entry   wheel.Entry
	next    *call
	gen     uint32
	kind    kind
	id      uint64 // the program's own
	timeout uint64
	attempt attempt
	kept    *kept // set while parked
}

// An attempt is the member a call was handed to, and its id there.
type attempt struct {
	member *Conn
	id     uint64
}

// kept is what a call needs to be handed to a member that appears later.
type kept struct {
	seq  uint64
	name string
	body []byte
}

func (k *kept) cost() int { return len(k.name) + len(k.body) + callCost }

// A ticket names one life of a call, up to a retry. The zero value names none.
type ticket struct {
	conn *Conn
	call *call
	gen  uint32
	kind kind
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
func (s *calls) add(c *Conn, now time.Time, k kind, id, timeout uint64) (ticket, bool) {
	d := time.Duration(min(timeout, maxTimeout)) * time.Millisecond
	due := c.plane.Timers.Due(now, d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed || s.wheel.Len() >= MaxPending {
		return ticket{}, false
	}
	a := s.free
	if a == nil {
		if !c.plane.Budget.Take(callCost, s.made*callCost) {
			return ticket{}, false
		}
		a = new(call)
		a.entry.Owner = a
		s.made++
	} else {
		s.free = a.next
	}
	a.kind, a.id, a.timeout = k, id, timeout
	s.wheel.Add(&a.entry, due)
	if s.armed == 0 || due < s.armed {
		s.arm(c, due)
	}
	return ticket{c, a, a.gen, k}, true
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
	if a.kept != nil {
		s.unkeep(c, a)
	}
	a.gen++
	a.attempt = attempt{}
	a.next, s.free = s.free, a
}

func (s *calls) unkeep(c *Conn, a *call) {
	s.parked -= a.kept.cost()
	c.plane.Budget.Give(a.kept.cost())
	a.kept = nil
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
		out := TimedOut
		if a.kept != nil {
			out = Unreached
		}
		k, id := a.kind, a.id
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
		if a.kept != nil {
			s.unkeep(c, a)
		}
	})
	c.plane.Budget.Give(s.made * callCost)
	s.wheel, s.free, s.made = wheel.Wheel{}, nil, 0
	return ends
}

func (a *call) end() end {
	e := end{kind: a.kind, attempt: a.attempt}
	if a.kept != nil {
		e.parked, e.waits = a.kept.name, true
	}
	return e
}

// answer ends the call with an outcome for the program, if it still waits.
func (t ticket) answer(b *queue.Batch, out Outcome, body []byte) bool {
	s := &t.conn.calls
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.call.gen != t.gen {
		return false
	}
	id := t.call.id
	s.release(t.conn, t.call)
	t.conn.end(b, t.kind, id, out, body)
	return true
}

// take ends the call without a word, if it still waits: the caller answers it.
func (t ticket) take() (id uint64, ok bool) {
	s := &t.conn.calls
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.call.gen != t.gen {
		return 0, false
	}
	id = t.call.id
	s.release(t.conn, t.call)
	return id, true
}

// attempted notes who has been handed the call. It reports false when the call
// has ended meanwhile, or been taken back.
func (t ticket) attempted(a attempt) bool {
	s := &t.conn.calls
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.call.gen != t.gen {
		return false
	}
	t.call.attempt = a
	if t.call.kept != nil {
		s.unkeep(t.conn, t.call)
	}
	return true
}

// retry takes the call back from the member it was handed to, with a new ticket:
// whoever handed it over may be about to note so, and comes too late now. It also
// returns the program's timeout, and false when the call has ended.
func (t ticket) retry() (next ticket, timeout uint64, ok bool) {
	s := &t.conn.calls
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.call.gen != t.gen {
		return ticket{}, 0, false
	}
	t.call.gen++
	t.gen = t.call.gen
	t.call.attempt = attempt{}
	if t.call.kept != nil {
		s.unkeep(t.conn, t.call)
	}
	return t, t.call.timeout, true
}

// keep copies what the call needs to wait for a member, within the bounds of
// the connection and the node, and returns the copy. It reports false when the
// call has ended, or there is no room for its body: it then waits for its
// deadline. To make room the oldest bodies are let go, and theirs do so too; let
// names what they waited for.
func (t ticket) keep(name, body []byte) (k *kept, let []string, ok bool) {
	c, s := t.conn, &t.conn.calls
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.call.gen != t.gen {
		return nil, nil, false
	}
	if !c.plane.Budget.Take(len(name)+len(body)+callCost, s.parked) {
		c.plane.Drops.Parked.Add(1)
		return nil, nil, false
	}
	s.seq++
	k = &kept{seq: s.seq, name: string(name), body: append([]byte(nil), body...)}
	t.call.kept = k
	s.parked += k.cost()
	for s.parked-k.cost() > maxParked {
		var oldest *call
		s.wheel.All(func(e *wheel.Entry) {
			a := e.Owner.(*call)
			if a.kept != nil && (oldest == nil || a.kept.seq < oldest.kept.seq) {
				oldest = a
			}
		})
		let = append(let, oldest.kept.name)
		s.unkeep(c, oldest)
		c.plane.Drops.Parked.Add(1)
	}
	return k, let, true
}

// parked returns what the call was kept with, if it still waits for a member.
func (t ticket) parked() (body []byte, timeout uint64, ok bool) {
	s := &t.conn.calls
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.call.gen != t.gen || t.call.kept == nil {
		return nil, 0, false
	}
	return t.call.kept.body, t.call.timeout, true
}
