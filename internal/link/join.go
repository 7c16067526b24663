package link

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/wire"
)

const (
	joinPatience = 10 * time.Second // without a fragment
	mostJoins    = 4096             // messages of one link under way
)

// joins puts messages together that came in fragments. Their memory grows with what
// has come, whatever was announced. Only the reader of the data connection uses it,
// but for overdue.
type joins struct {
	m     *Manager
	parts map[uint32]*join
	held  int
	due   atomic.Int64 // when to look for those that have waited too long, in Unix nanoseconds; 0: never
}

// A join is one message under way. One that was given up has no memory, and stays
// until its last fragment has passed.
type join struct {
	frame wire.Frame // its first fragment's; the body is what has come
	got   int
	last  time.Time
	given bool
}

// add takes a fragment. It returns the message if that is whole now, and the caller
// frees it; or the start of it if it has to be given up, for want of memory.
func (j *joins) add(now time.Time, f *wire.Frame) (whole *join, given *wire.Frame, err error) {
	p := j.parts[f.Message]
	switch {
	case f.Total <= wire.MaxBody || uint64(f.Total) > uint64(j.m.MaxMessage):
		return nil, nil, fmt.Errorf("%v of %d octets in fragments, want %d to %d", f.Type, f.Total, wire.MaxBody+1, j.m.MaxMessage)
	case p == nil && f.Offset != 0:
		return nil, nil, fmt.Errorf("%v begins at %d", f.Type, f.Offset)
	case p != nil && (int(f.Offset) != p.got || f.Total != p.frame.Total || f.Type != p.frame.Type):
		return nil, nil, fmt.Errorf("fragment of %v at %d of %d, want of %v at %d of %d", f.Type, f.Offset, f.Total, p.frame.Type, p.got, p.frame.Total)
	case len(f.Body) != min(wire.MaxBody, int(f.Total-f.Offset)):
		return nil, nil, fmt.Errorf("fragment of %d octets at %d of %d", len(f.Body), f.Offset, f.Total)
	}
	if p == nil {
		if len(j.parts) >= mostJoins {
			return nil, nil, fmt.Errorf("more than %d messages under way", mostJoins)
		}
		p = &join{frame: *f}
		p.frame.Flags &^= wire.Fragment
		p.frame.Body = nil
		if j.parts == nil {
			j.parts = make(map[uint32]*join)
		}
		j.parts[f.Message] = p
	}
	p.got += len(f.Body)
	p.last = now
	if !p.given {
		if j.grow(p, len(f.Body)) {
			p.frame.Body = append(p.frame.Body, f.Body...)
		} else {
			start := p.frame
			if f.Offset == 0 {
				start.Body = f.Body
			}
			given = &start
			j.give(p)
		}
	}
	if p.got == int(f.Total) {
		delete(j.parts, f.Message)
	}
	j.watch(now)
	if p.got < int(f.Total) || p.given {
		return nil, given, nil
	}
	return p, nil, nil
}

// grow makes room for n octets more.
func (j *joins) grow(p *join, n int) bool {
	have := len(p.frame.Body)
	if have+n <= cap(p.frame.Body) {
		return true
	}
	size := min(max(2*cap(p.frame.Body), 2*wire.MaxBody), int(p.frame.Total))
	more := size - cap(p.frame.Body)
	if !j.m.Joining.Take(more, j.held) {
		return false
	}
	if !j.m.Budget.Take(more, j.held) {
		j.m.Joining.Give(more)
		return false
	}
	j.held += more
	body := make([]byte, have, size)
	copy(body, p.frame.Body)
	p.frame.Body = body
	return true
}

// give gives a message up.
func (j *joins) give(p *join) {
	j.free(p)
	p.given = true
}

// free gives back the memory of a message.
func (j *joins) free(p *join) {
	n := cap(p.frame.Body)
	j.held -= n
	j.m.Joining.Give(n)
	j.m.Budget.Give(n)
	p.frame.Body = nil
}

// abort gives up a message that its sender gave up. It returns the start of it, if
// anybody is to hear of it.
func (j *joins) abort(message uint32) *wire.Frame {
	p := j.parts[message]
	if p == nil {
		return nil
	}
	delete(j.parts, message)
	if p.given {
		return nil
	}
	f := p.frame
	j.give(p)
	return &f
}

// stalled gives up the messages of which nothing came for long, and returns the
// starts of them.
func (j *joins) stalled(now time.Time) (given []*wire.Frame) {
	first := now
	for _, p := range j.parts {
		if p.given {
			continue
		}
		if now.Sub(p.last) < joinPatience {
			if p.last.Before(first) {
				first = p.last
			}
		} else {
			f := p.frame
			given = append(given, &f)
			j.give(p)
		}
	}
	slices.SortFunc(given, func(a, b *wire.Frame) int { return cmp.Compare(a.Message, b.Message) })
	j.due.Store(0)
	if len(j.parts) > 0 {
		j.due.Store(first.Add(joinPatience).UnixNano())
	}
	return given
}

// watch notes when to look for messages that have waited too long.
func (j *joins) watch(now time.Time) {
	switch {
	case len(j.parts) == 0:
		j.due.Store(0)
	case j.due.Load() == 0:
		j.due.Store(now.Add(joinPatience).UnixNano())
	}
}

// overdue reports whether it is time to look for stalled messages. Safe for concurrent use.
func (j *joins) overdue(now time.Time) bool {
	due := j.due.Load()
	return due != 0 && now.UnixNano() >= due
}

// drop gives all memory back.
func (j *joins) drop() {
	for _, p := range j.parts {
		j.give(p)
	}
	j.parts = nil
	j.due.Store(0)
}
