package relay

import (
	"sync"

	"github.com/project-iris/iris/internal/queue"
)

// Sizes of input buffers. A message larger than a buffer gets one of its own,
// grown as its octets arrive (R6).
const (
	smallInput = 4 << 10
	largeInput = queue.LargeBlock
)

var (
	smallInputs = sync.Pool{New: func() any { return new([smallInput]byte) }}
	largeInputs = sync.Pool{New: func() any { return new([largeInput]byte) }}
)

// input is what was read and not yet handled: buf[r:w]. It holds memory only
// while there is some, or while a read may bring some.
type input struct {
	budget *queue.Budget
	buf    []byte
	r, w   int
}

// bytes returns the octets not yet handled.
func (in *input) bytes() []byte { return in.buf[in.r:in.w] }

// take marks n of them as handled.
func (in *input) take(n int) { in.r += n }

// fill reads more from t, until need octets are there or some arrived.
func (in *input) fill(t transport, need int) error {
	have := in.w - in.r
	switch {
	case have == 0 && (len(in.buf) > largeInput || in.w < len(in.buf)):
		in.release() // it was large, or the last read did not fill it
	case in.r > 0 && len(in.buf) > largeInput && need <= largeInput && in.resize(largeInput) == nil:
		// What made it large is done with.
	case in.r > 0 && (have == 0 || len(in.buf)-in.r < need):
		copy(in.buf, in.buf[in.r:in.w])
		in.r, in.w = 0, have
	}
	if in.w == len(in.buf) && in.w > 0 {
		if err := in.grow(need); err != nil {
			return err
		}
	}
	n, err := t.read(in)
	in.w += n
	if n > 0 {
		return nil
	}
	return err
}

// grow makes room for a message of need octets, and the few that may follow its
// body: twice of what it has at most, so that memory follows what was received
// and not what was announced.
func (in *input) grow(need int) error {
	have := in.w - in.r
	return in.resize(max(largeInput, min(need+smallInput, 2*have)))
}

// resize moves the octets to a buffer of size.
func (in *input) resize(size int) error {
	var buf []byte
	switch {
	case size <= smallInput:
		in.budget.Force(smallInput) // one a connection: bounded by their number
		buf = smallInputs.Get().(*[smallInput]byte)[:]
	case !in.budget.Take(size, len(in.buf)):
		return queue.ErrMemory
	case size == largeInput:
		buf = largeInputs.Get().(*[largeInput]byte)[:]
	default:
		buf = make([]byte, size)
	}
	n := copy(buf, in.bytes())
	in.release()
	in.buf, in.w = buf, n
	return nil
}

// ready sees to it that there is room to read into: a buffer of size, or a small
// one when memory is short.
func (in *input) ready(size int) []byte {
	if in.buf == nil && in.resize(size) != nil {
		in.resize(smallInput)
	}
	return in.buf[in.w:]
}

// park gives back what is not needed while the transport waits for input.
func (in *input) park() {
	switch have := in.w - in.r; {
	case have == 0:
		in.release()
	case have <= smallInput/2 && len(in.buf) > smallInput:
		in.resize(smallInput)
	}
}

// release gives the buffer back, with what is in it.
func (in *input) release() {
	if in.buf != nil {
		in.budget.Give(len(in.buf))
	}
	switch len(in.buf) {
	case smallInput:
		smallInputs.Put((*[smallInput]byte)(in.buf))
	case largeInput:
		largeInputs.Put((*[largeInput]byte)(in.buf))
	}
	in.buf, in.r, in.w = nil, 0, 0
}

// discard reads and throws away, until the end of input or an error.
func (in *input) discard(t transport) error {
	for {
		in.r, in.w = 0, 0
		if _, err := t.read(in); err != nil {
			return err
		}
	}
}
