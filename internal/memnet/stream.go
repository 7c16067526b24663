package memnet

import (
	"sync"
	"time"
)

// Buffer is how many bytes one direction of a connection holds unread before
// Write blocks.
const Buffer = 256 << 10

// minBuffer is the memory a direction takes with its first byte; it doubles as
// needed up to Buffer, which is a multiple by a power of two.
const minBuffer = 512

// A stream carries the bytes of one direction. The lock of its link guards it.
type stream struct {
	buf     []byte // ring of size bytes from head; nil until the first byte
	head    int
	size    int
	writing bool // a Write is under way, others wait their turn
	ended   bool // the writer closed its half: after the last byte comes EOF
	refused bool // the reader is closed: bytes have nowhere to go

	readable, writable          sync.Cond
	readDeadline, writeDeadline deadline
}

// put appends what fits of p and returns how much that was.
func (s *stream) put(p []byte) int {
	p = p[:min(len(p), Buffer-s.size)]
	if len(p) == 0 {
		return 0
	}
	s.grow(s.size + len(p))
	tail := (s.head + s.size) % len(s.buf)
	n := copy(s.buf[tail:], p)
	copy(s.buf, p[n:])
	s.size += len(p)
	return len(p)
}

// take moves up to len(p) bytes into p and returns how many.
func (s *stream) take(p []byte) int {
	p = p[:min(len(p), s.size)]
	n := copy(p, s.buf[s.head:])
	copy(p[n:], s.buf)
	s.size -= len(p)
	s.head = (s.head + len(p)) % len(s.buf)
	if s.size == 0 {
		s.head = 0 // the next bytes lie in one piece
	}
	return len(p)
}

// grow makes room for need bytes in all.
func (s *stream) grow(need int) {
	if need <= len(s.buf) {
		return
	}
	room := max(len(s.buf), minBuffer)
	for room < need {
		room *= 2
	}
	buf := make([]byte, room)
	n := copy(buf, s.buf[s.head:min(s.head+s.size, len(s.buf))])
	copy(buf[n:s.size], s.buf)
	s.buf, s.head = buf, 0
}

// drop forgets the bytes and frees their memory.
func (s *stream) drop() {
	s.buf, s.head, s.size = nil, 0, 0
}

// wake makes every waiting call look at the stream again.
func (s *stream) wake() {
	s.readable.Broadcast()
	s.writable.Broadcast()
}

// A deadline is a time after which calls fail; zero means never.
type deadline struct {
	at    time.Time
	timer *time.Timer // wakes those who wait when at comes; nil until needed
}

// expired reports whether the time has come.
func (d *deadline) expired() bool {
	return !d.at.IsZero() && !time.Now().Before(d.at)
}

// set moves the deadline to t and makes those who wait on c look at it. The
// caller holds c.L.
func (d *deadline) set(t time.Time, c *sync.Cond) {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at = t
	c.Broadcast()
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		return
	}
	// From here on only the monotonic clock counts, which is the timer's: a
	// wall clock set back must not make the one wake-up come too early.
	d.at = time.Now().Add(left)
	if d.timer != nil {
		d.timer.Reset(left)
		return
	}
	d.timer = time.AfterFunc(left, func() {
		// With the lock held, no caller is between its look at the deadline
		// and its wait.
		c.L.Lock()
		defer c.L.Unlock()
		c.Broadcast()
	})
}
