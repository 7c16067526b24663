package queue

import (
	"sync"
	"time"
)

// paceTime is how long it takes to see whether a queue moves.
const paceTime = time.Second

// A Pace is how a full queue moves. The zero value is ready. Safe for concurrent use.
type Pace struct {
	mu     sync.Mutex
	at     time.Time // of the last look
	moved  uint64    // by then
	stands bool
}

// Stands reports whether the queue, of which moved octets have ever gone, moved by less
// than least octets a second while it was looked at last, for a second or more. What
// began less than a second ago moves.
func (p *Pace) Stands(now time.Time, moved uint64, least float64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch gone := now.Sub(p.at); {
	case gone > 4*paceTime || moved < p.moved: // long ago, or another queue
		p.at, p.moved, p.stands = now, moved, false
	case gone >= paceTime:
		p.stands = float64(moved-p.moved) < least*gone.Seconds()
		p.at, p.moved = now, moved
	}
	return p.stands
}
