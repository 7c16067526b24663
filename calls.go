package iris

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

const (
	maxPending = 4096            // requests a node keeps for one connection
	guardTick  = time.Second     // how often calls are looked at that should have ended
	guardGrace = 5 * time.Second // how late the node's answer may be before it counts as stuck
)

// calls are the requests of a connection that the node has not answered. The id
// of a request is its place in the table. The node answers each exactly once, and
// until then the place stays taken, even if nobody waits for the answer any more.
type calls struct {
	mu      sync.Mutex
	places  []*call
	free    []uint64
	idle    []*call // without a place, to be used again
	pending int
	err     error         // set when the connection has ended: no call begins
	wanted  bool          // somebody waits for a free place
	room    chan struct{} // closed then
	guard   *time.Timer
	armed   bool
}

// A call is one request. Who waits for it receives from done; else fn is called.
type call struct {
	id    uint64
	due   time.Time
	given bool // nobody waits any more; of calls.mu
	done  chan struct{}
	reply []byte
	err   error

	fn   func(reply []byte, err error)
	stop func() bool // ends the watch over fn's context, nil: none; of calls.mu while c has a place
}

func (s *calls) init() {
	s.room = make(chan struct{})
	s.guard = time.AfterFunc(time.Hour, s.watch)
	s.guard.Stop()
}

// begin starts a call that is due then, or at once if due is zero. Where there is
// no place it waits until ctx is done or due has come, or fails with ErrBusy if
// there is fn to call. It tells whether other calls are under way.
func (s *calls) begin(ctx context.Context, due time.Time, fn func([]byte, error)) (c *call, others bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && s.pending >= maxPending {
		if fn != nil {
			return nil, false, ErrBusy
		}
		if err := s.await(ctx, due); err != nil {
			return nil, false, err
		}
	}
	if due.IsZero() {
		due = time.Now()
	}
	if s.err != nil {
		return nil, false, s.err
	}
	if n := len(s.idle); n > 0 {
		c, s.idle = s.idle[n-1], s.idle[:n-1]
	} else {
		c = new(call)
	}
	if fn == nil && c.done == nil {
		c.done = make(chan struct{}, 1)
	}
	c.fn, c.due = fn, due
	if n := len(s.free); n > 0 {
		c.id, s.free = s.free[n-1], s.free[:n-1]
		s.places[c.id] = c
	} else {
		c.id = uint64(len(s.places))
		s.places = append(s.places, c)
	}
	s.pending++
	if !s.armed {
		s.armed = true
		s.guard.Reset(guardTick)
	}
	return c, s.pending > 1, nil
}

// await waits for a free place; the caller holds s.mu.
func (s *calls) await(ctx context.Context, due time.Time) error {
	ctx, done := until(ctx, due)
	defer done()
	for s.err == nil && s.pending >= maxPending {
		s.wanted = true
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
			s.mu.Lock()
		case <-ctx.Done():
			s.mu.Lock()
			return contextError(ctx)
		}
	}
	return nil
}

// release takes back a call that has ended and that nobody knows any more.
func (s *calls) release(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.given { // else it still has its place
		c.reply, c.err, c.fn = nil, nil, nil
		s.idle = append(s.idle, c)
	}
}

// heed gives c up when ctx is done.
func (s *calls) heed(ctx context.Context, c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.given || c.id >= uint64(len(s.places)) || s.places[c.id] != c {
		return // it has ended
	}
	c.stop = context.AfterFunc(ctx, func() {
		if s.giveUp(c) {
			c.fn(nil, contextError(ctx))
		}
	})
}

// take ends the call with id for its answer. It returns nil if nobody waits, and
// false if there is no such call.
func (s *calls) take(id uint64) (c *call, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id >= uint64(len(s.places)) || s.places[id] == nil {
		return nil, false
	}
	c = s.places[id]
	s.vacate(id)
	if c.given {
		return nil, true
	}
	return c, true
}

// withdraw ends c, which was not sent. It reports false when c has ended, as
// giveUp does.
func (s *calls) withdraw(c *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.id >= uint64(len(s.places)) || s.places[c.id] != c {
		return false
	}
	s.vacate(c.id)
	return !c.given
}

// vacate makes the place with id free; the caller holds s.mu.
func (s *calls) vacate(id uint64) {
	s.places[id] = nil
	s.free = append(s.free, id)
	s.pending--
	if s.wanted {
		close(s.room)
		s.room, s.wanted = make(chan struct{}), false
	}
}

// give up lets the answer of c, if it still comes, go to nobody. It reports
// false when c has ended, so that done and fn have been or are being served.
func (s *calls) giveUp(c *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.given || c.id >= uint64(len(s.places)) || s.places[c.id] != c {
		return false
	}
	c.given = true
	return true
}

// watch gives up calls that a stuck node does not answer.
func (s *calls) watch() {
	var late []*call
	now := time.Now()
	s.mu.Lock()
	for _, c := range s.places {
		if c != nil && !c.given && now.Sub(c.due) > guardGrace {
			c.given = true
			late = append(late, c)
		}
	}
	s.armed = s.pending > 0 && s.err == nil
	if s.armed {
		s.guard.Reset(guardTick)
	}
	s.mu.Unlock()
	for _, c := range late {
		c.end(nil, fmt.Errorf("%w: the node is stuck: see \"iris status\", or restart it", ErrTimeout))
	}
}

// fail ends all calls, and those that would begin.
func (s *calls) fail(err error) {
	s.mu.Lock()
	s.err = err
	var open []*call
	for _, c := range s.places {
		if c != nil && !c.given {
			open = append(open, c)
		}
	}
	s.places, s.free, s.pending = nil, nil, 0
	close(s.room)
	s.room, s.wanted = make(chan struct{}), false
	s.guard.Stop()
	s.mu.Unlock()
	for _, c := range open {
		c.end(nil, err)
	}
}

// answer ends the call that m is the reply to. It reports false when there is
// none.
func (s *calls) answer(m *relaywire.Message) bool {
	c, ok := s.take(m.ID)
	if c == nil {
		return ok
	}
	var reply []byte
	var err error
	switch {
	case m.TimedOut:
		err = ErrTimeout
	case m.Fault:
		err = &RemoteError{string(m.Body)}
	case c.fn != nil:
		reply = m.Body
	default:
		reply = append(make([]byte, 0, len(m.Body)), m.Body...)
	}
	fn := c.fn
	if fn == nil || c.stop != nil { // where there is a watch, it knows c
		c.end(reply, err)
		return true
	}
	s.release(c)
	fn(reply, err)
	return true
}

// end tells who waits for c, once.
func (c *call) end(reply []byte, err error) {
	if c.fn == nil {
		c.reply, c.err = reply, err
		c.done <- struct{}{}
		return
	}
	if c.stop != nil {
		c.stop()
	}
	c.fn(reply, err)
}
