package directory

import (
	"cmp"
	"time"
)

// A due is part of what waits for a time.
type due struct {
	at    time.Time // zero: it does not wait
	order uint64
	place int // in the heap, from 1
}

func (d *due) when() *due { return d }

// An agenda is what waits for a time, soonest first. What is due at the same time
// comes in the order it was set.
type agenda[T interface{ when() *due }] struct {
	heap  []T
	order uint64
}

// next returns when the first is due; the zero time says that nothing waits.
func (a *agenda[T]) next() time.Time {
	if len(a.heap) == 0 {
		return time.Time{}
	}
	return a.heap[0].when().at
}

// pop takes out the first if it is due.
func (a *agenda[T]) pop(now time.Time) (x T, ok bool) {
	if len(a.heap) == 0 || now.Before(a.next()) {
		return x, false
	}
	x = a.heap[0]
	a.set(x, time.Time{})
	return x, true
}

// set has x wait until a time, and no longer for another one; the zero time takes it
// out.
func (a *agenda[T]) set(x T, at time.Time) {
	d := x.when()
	a.order++
	d.at, d.order = at, a.order
	switch {
	case !at.IsZero() && d.place > 0:
		a.settle(d.place)
	case !at.IsZero():
		a.heap = append(a.heap, x)
		d.place = len(a.heap)
		a.settle(d.place)
	case d.place > 0:
		hole, last := d.place, len(a.heap)
		a.swap(hole, last)
		clear(a.heap[last-1:])
		a.heap = a.heap[:last-1]
		d.place = 0
		if hole < last {
			a.settle(hole)
		}
	}
}

// settle moves what is at a place up or down to where it belongs.
func (a *agenda[T]) settle(i int) {
	for i > 1 && a.less(i, i/2) {
		a.swap(i, i/2)
		i /= 2
	}
	for {
		child := 2 * i
		if child < len(a.heap) && a.less(child+1, child) {
			child++
		}
		if child > len(a.heap) || !a.less(child, i) {
			return
		}
		a.swap(i, child)
		i = child
	}
}

func (a *agenda[T]) less(i, j int) bool {
	x, y := a.heap[i-1].when(), a.heap[j-1].when()
	return cmp.Or(x.at.Compare(y.at), cmp.Compare(x.order, y.order)) < 0
}

func (a *agenda[T]) swap(i, j int) {
	a.heap[i-1], a.heap[j-1] = a.heap[j-1], a.heap[i-1]
	a.heap[i-1].when().place, a.heap[j-1].when().place = i, j
}
