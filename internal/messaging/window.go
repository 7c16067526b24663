package messaging

import "math/bits"

// windowBits is how many numbers below the highest a window tells apart.
const windowBits = 8192

// A window remembers which attempts of another node have been acted on: none is
// ever acted on twice. It is the anti-replay window of RFC 6479, by number alone:
// frames can lie in a paused router for minutes.
type window struct {
	top  uint64   // one more than the highest number marked
	bits []uint64 // a ring of windowBits bits; nil: all below top count as marked

	evicted uint64 // numbers that went below it and were not marked, but for those that it leapt over
}

// A verdict is what a window says of a number.
type verdict byte

const (
	fresh  verdict = iota // marked now, and never before
	marked                // acted on before
	below                 // too old to tell
)

// mark marks n.
func (w *window) mark(n uint64) verdict {
	switch {
	case n >= w.top:
		w.advance(n + 1)
	case w.bits == nil || n+windowBits < w.top:
		return below
	case w.bits[n/64%(windowBits/64)]&(1<<(n%64)) != 0:
		return marked
	}
	w.bits[n/64%(windowBits/64)] |= 1 << (n % 64)
	return fresh
}

// advance moves the window up to top; what comes in is not marked.
func (w *window) advance(top uint64) {
	if w.bits == nil {
		// What was there is forgotten: all of it counts as marked.
		w.bits = make([]uint64, windowBits/64)
		for i := range w.bits {
			w.bits[i] = ^uint64(0)
		}
	}
	from := w.top
	if top-from > windowBits {
		from = top - windowBits
	}
	for n := from; n < top; {
		i := n / 64 % (windowBits / 64)
		if n%64 == 0 && top-n >= 64 {
			w.evicted += uint64(bits.OnesCount64(^w.bits[i]))
			w.bits[i] = 0
			n += 64
			continue
		}
		w.evicted += ^w.bits[i] >> (n % 64) & 1
		w.bits[i] &^= 1 << (n % 64)
		n++
	}
	w.top = top
}

// shrink gives the memory back: all numbers below the highest count as marked.
func (w *window) shrink() { w.bits = nil }
