package messaging

import (
	"slices"

	"github.com/project-iris/iris/internal/queue"
)

// Attempts that go by the lane of long messages have odd numbers, the others even
// ones, each counted by itself: short ones that pass a long one would push it out of
// the window of its receiver.

// open is the attempts at another node, by number.
type open [2]table

func split(number uint64) (long int, id uint64) { return int(number & 1), number >> 1 }

// reserve makes room for one more attempt, and returns its number.
func (o *open) reserve(budget *queue.Budget, long bool) (number uint64, ok bool) {
	t, odd := &o[0], uint64(0)
	if long {
		t, odd = &o[1], 1
	}
	return t.next<<1 | odd, t.reserve(budget)
}

// add stores g under the number that room was reserved for.
func (o *open) add(number uint64, g grant) { o[number&1].add(g) }

func (o *open) find(number uint64) (grant, bool) {
	long, id := split(number)
	return o[long].find(id)
}

// set replaces the attempt of a number that is there.
func (o *open) set(number uint64, g grant) {
	long, id := split(number)
	o[long].set(id, g)
}

func (o *open) remove(number uint64) (grant, bool) {
	long, id := split(number)
	return o[long].remove(id)
}

// numbered returns all attempts, those of each lane in order.
func (o *open) numbered() []numbered {
	out := o[0].numbered(nil)
	short := len(out)
	out = append(out, o[1].numbered(nil)...)
	for i := range out {
		out[i].id <<= 1
		if i >= short {
			out[i].id |= 1
		}
	}
	return out
}

// made returns the number of the next attempt of each lane: it grows with every one.
func (o *open) made() [2]uint64 { return [2]uint64{o[0].next, o[1].next} }

// since returns those that were made after.
func (o *open) since(made [2]uint64) []numbered {
	if o.made() == made {
		return nil
	}
	return slices.DeleteFunc(o.numbered(), func(n numbered) bool {
		long, id := split(n.id)
		return id < made[long]
	})
}

func (o *open) outlive() {
	o[0].outlive()
	o[1].outlive()
}

func (o *open) shrink(budget *queue.Budget) {
	o[0].shrink(budget)
	o[1].shrink(budget)
}

// windows are those of the attempts of another node.
type windows [2]window

func (w *windows) mark(number uint64) verdict {
	long, n := split(number)
	return w[long].mark(n)
}

// takeEvicted returns how many numbers have become too old since it was last called
// without having been marked.
func (w *windows) takeEvicted() (n uint64) {
	n = w[0].evicted + w[1].evicted
	w[0].evicted, w[1].evicted = 0, 0
	return n
}

func (w *windows) shrink() {
	w[0].shrink()
	w[1].shrink()
}

// used reports whether any number was ever marked.
func (w *windows) used() bool { return w[0].top+w[1].top > 0 }
