// Package wheel keeps deadlines. A Wheel is a hierarchical timing wheel
// (Varghese and Lauck, SOSP 1987, scheme 7): adding and removing cost the same
// however many deadlines there are, and nothing ticks while it is empty. Times
// are ticks, a number of milliseconds since a moment that the caller chose.
// Neither type reads a clock or starts a goroutine.
package wheel

import "math/bits"

const (
	width  = 6 // a level has 64 slots, each as long as the whole level below
	slots  = 1 << width
	levels = 8 // 64^8 ms: longer than anything waits
)

// An Entry is a deadline on a wheel, embedded in what it belongs to. Owner is
// the caller's.
type Entry struct {
	Owner      any
	prev, next *Entry
	due        int64
	level      int8
	on         bool
}

// A Wheel holds entries by when they are due. The zero value is an empty wheel
// at tick 0. Not safe for concurrent use.
type Wheel struct {
	now   int64
	count int
	used  [levels]uint64         // a bit for each slot that is not empty
	slot  [levels]*[slots]*Entry // made when a level is first needed
}

// Len returns the number of entries.
func (w *Wheel) Len() int { return w.count }

// Add puts e, which must not be on a wheel, where it comes due at tick due, or
// at the tick after the one last reached if that is later.
func (w *Wheel) Add(e *Entry, due int64) {
	e.due = max(due, w.now+1)
	e.on = true
	w.count++
	w.put(e)
}

// Remove takes e off the wheel if it is on it.
func (w *Wheel) Remove(e *Entry) {
	if !e.on {
		return
	}
	w.count--
	w.take(e)
	e.on = false
}

// Next returns the tick at which the wheel next wants to be advanced: never
// later than the first entry is due, and that very tick after a step for each
// level above the lowest at most.
func (w *Wheel) Next() (tick int64, ok bool) {
	for l := range levels {
		if w.used[l] == 0 {
			continue
		}
		at := w.now >> (width * l)
		// The slot of at itself is always empty: distances are 1 to 63.
		d := bits.TrailingZeros64(bits.RotateLeft64(w.used[l], -int(at&(slots-1))))
		if t := (at + int64(d)) << (width * l); !ok || t < tick {
			tick, ok = t, true
		}
	}
	return tick, ok
}

// Pop moves the wheel on, to tick now at most, and takes off the next entry due
// by then. It returns nil when there is none left.
func (w *Wheel) Pop(now int64) *Entry {
	for {
		if s := w.slot[0]; s != nil {
			if e := s[w.now&(slots-1)]; e != nil {
				w.Remove(e)
				return e
			}
		}
		tick, ok := w.Next()
		if !ok || tick > now {
			w.now = max(w.now, now)
			return nil
		}
		w.now = tick
		w.cascade()
	}
}

// All calls f for every entry, in no particular order; f must not change the
// wheel.
func (w *Wheel) All(f func(e *Entry)) {
	for _, s := range w.slot {
		if s == nil {
			continue
		}
		for _, e := range s {
			for ; e != nil; e = e.next {
				f(e)
			}
		}
	}
}

// cascade moves the entries of the slots that begin at the present tick to the
// levels below.
func (w *Wheel) cascade() {
	for l := levels - 1; l > 0; l-- {
		if w.now&(1<<(width*l)-1) != 0 || w.used[l] == 0 {
			continue
		}
		for s := w.slot[l]; ; {
			e := s[w.now>>(width*l)&(slots-1)]
			if e == nil {
				break
			}
			w.take(e)
			w.put(e)
		}
	}
}

// put links e at the lowest level whose 64 slots reach it.
func (w *Wheel) put(e *Entry) {
	l := 0
	for l < levels-1 && e.due>>(width*l)-w.now>>(width*l) >= slots {
		l++
	}
	i := e.due >> (width * l) & (slots - 1)
	if w.slot[l] == nil {
		w.slot[l] = new([slots]*Entry)
	}
	head := &w.slot[l][i]
	e.prev, e.next, e.level = nil, *head, int8(l)
	if *head != nil {
		(*head).prev = e
	}
	*head = e
	w.used[l] |= 1 << i
}

// take unlinks e.
func (w *Wheel) take(e *Entry) {
	l := e.level
	i := e.due >> (width * int(l)) & (slots - 1)
	if e.next != nil {
		e.next.prev = e.prev
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else if w.slot[l][i] = e.next; e.next == nil {
		w.used[l] &^= 1 << i
	}
	e.prev, e.next = nil, nil
}
