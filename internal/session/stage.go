package session

import (
	"net"
	"sync"

	"github.com/project-iris/iris/internal/nonblock"
)

// TLS hands the system every record by itself. What is written at once is collected
// here and handed over as one, which the system and the other side then handle as one:
// a long message costs a fourth of the calls and wake-ups. It also lets a writer try
// without waiting: what the system does not take is kept here.

// recordMost is how many octets of a write TLS makes one record of, as it is set here.
const recordMost = 16 << 10

// stageMost is how many octets of records are collected at most.
const stageMost = 80 << 10

var stages = sync.Pool{New: func() any { return new([stageMost]byte) }}

// A stage is where records wait for the system.
type stage struct {
	mu      sync.Mutex
	holding bool             // records are collected
	room    *[stageMost]byte // nil: nothing waits
	r, w    int              // room[r:w] waits
	try     *nonblock.Writer // nil: this connection cannot be tried
}

// Write hands b to the system, or keeps it if more is to come or something waits.
func (s *stage) write(nc net.Conn, b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.holding && s.room == nil {
		return nc.Write(b)
	}
	for n < len(b) {
		if s.room == nil {
			s.room = stages.Get().(*[stageMost]byte)
		}
		if s.w == len(s.room) {
			if err := s.finish(nc); err != nil {
				return n, err
			}
			continue
		}
		k := copy(s.room[s.w:], b[n:])
		s.w += k
		n += k
	}
	return n, nil
}

// hold has what is written be collected.
func (s *stage) hold() {
	s.mu.Lock()
	s.holding = true
	s.mu.Unlock()
}

// release hands the system what was collected.
func (s *stage) release(nc net.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holding = false
	return s.finish(nc)
}

// finish hands the system what waits. The caller has the lock.
func (s *stage) finish(nc net.Conn) error {
	if s.room == nil {
		return nil
	}
	n, err := nc.Write(s.room[s.r:s.w])
	s.took(n)
	return err
}

// attempt hands the system what it takes at once of what was collected, and reports
// whether that was all.
func (s *stage) attempt() (all bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holding = false
	if s.room == nil {
		return true, nil
	}
	n, err := s.try.Write(s.room[s.r:s.w])
	s.took(n)
	if err == nonblock.ErrAgain {
		err = nil
	}
	return s.room == nil, err
}

// took notes that the system has n octets more.
func (s *stage) took(n int) {
	if s.r += n; s.r == s.w {
		stages.Put(s.room)
		s.room, s.r, s.w = nil, 0, 0
	}
}

// Write writes p, and what a TryWrite left before it.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) > recordMost {
		c.raw.stage.hold()
	}
	n, err := c.Conn.Write(p)
	if e := c.raw.stage.release(c.raw.Conn); err == nil {
		err = e
	}
	return n, err
}

// CanTry reports whether TryWrite is of use.
func (c *Conn) CanTry() bool { return c.raw.stage.try != nil }

// TryWrite writes p without waiting. What the system does not take at once is kept,
// and all is false: the caller then sees to it that Finish is called before more is
// written. p may have 64 KiB.
func (c *Conn) TryWrite(p []byte) (all bool, err error) {
	c.raw.stage.hold()
	_, err = c.Conn.Write(p)
	all, e := c.raw.stage.attempt()
	if err == nil {
		err = e
	}
	return all, err
}

// Finish writes what a TryWrite has left.
func (c *Conn) Finish() error { return c.raw.stage.release(c.raw.Conn) }
