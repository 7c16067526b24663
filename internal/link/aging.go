package link

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wire"
)

const (
	agingStep = 10 * time.Millisecond // how exactly it is known how long frames have waited
	agingMost = 1024                  // marks; what is appended when there are as many does not age
)

// An aging knows how long what is in a lane of requests has waited there, takes that
// off the life that they have left, and those out that have none. Who sent them has
// heard by then that time is up.
type aging struct {
	busy    atomic.Bool // the writer waits for the system: who sends notes when
	expired *atomic.Uint64

	mu    sync.Mutex
	marks []mark // oldest first

	skip int // octets of an expired frame that are still to be taken out; the writer's
}

// A mark says that what is in front of end was there a step after that time.
type mark struct {
	end uint64
	at  time.Time
}

// note has what was appended so far age from now on.
func (a *aging) note(q *queue.Queue) {
	now := time.Now()
	taken, appended := q.Position()
	a.mu.Lock()
	defer a.mu.Unlock()
	passed := 0
	for passed < len(a.marks) && a.marks[passed].end <= taken {
		passed++
	}
	a.marks = slices.Delete(a.marks, 0, passed)
	switch n := len(a.marks); {
	case appended == taken:
	case n > 0 && now.Sub(a.marks[n-1].at) < agingStep:
		a.marks[n-1].end = appended
	case n < agingMost:
		a.marks = append(a.marks, mark{appended, now})
	}
}

// age returns how long what is at pos has waited at least.
func (a *aging) age(pos uint64) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.marks {
		if pos < m.end {
			return time.Since(m.at) - agingStep
		}
	}
	return 0
}

// look looks at octets that are at pos in the lane, which start with a frame or go on
// with one that is taken out. It returns how many of them are dealt with, and whether
// they are to be left out.
func (a *aging) look(p []byte, pos uint64) (n int, out bool) {
	if a.skip > 0 {
		n = min(a.skip, len(p))
		a.skip -= n
		return n, true
	}
	age := a.age(pos)
	if age < agingStep || len(p) < wire.HeaderSize {
		return len(p), false
	}
	size := 4 + int(binary.BigEndian.Uint32(p))
	n = min(size, len(p))
	life := wire.Life(p[:n])
	if life == nil {
		return n, false
	}
	left := int64(binary.BigEndian.Uint32(life)) - age.Milliseconds()
	if left > 0 {
		binary.BigEndian.PutUint32(life, uint32(left))
		return n, false
	}
	a.expired.Add(1)
	a.skip = size - n
	return n, true
}
