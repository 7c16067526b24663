package queue

import (
	"sync"
	"sync/atomic"
)

// Sizes of pooled memory. A large block takes a whole tunnel chunk with its
// head, so that one is written by one system call.
const (
	SmallBlock = 4 << 10
	LargeBlock = 72 << 10
)

// A block is one piece of a chain: pooled memory of its own or, with body set,
// the octets of a shared body. b[:r] has been taken.
type block struct {
	next *block
	b    []byte
	r    int
	lead int // octets at the start that end a frame begun in an earlier block
	body *Body
}

var (
	smallBlocks = sync.Pool{New: func() any { return &block{b: make([]byte, 0, SmallBlock)} }}
	largeBlocks = sync.Pool{New: func() any { return &block{b: make([]byte, 0, LargeBlock)} }}
	bodyBlocks  = sync.Pool{New: func() any { return new(block) }}
)

// newBlock takes an empty block from its pool.
func newBlock(large bool) *block {
	if large {
		return largeBlocks.Get().(*block)
	}
	return smallBlocks.Get().(*block)
}

// free returns k, and its share of a body, to where it came from. It returns
// the octets of memory that were k's own.
func (k *block) free() int {
	k.next, k.r, k.lead = nil, 0, 0
	if k.body != nil {
		k.body.release()
		k.body, k.b = nil, nil
		bodyBlocks.Put(k)
		return 0
	}
	n := cap(k.b)
	k.b = k.b[:0]
	if n == LargeBlock {
		largeBlocks.Put(k)
	} else {
		smallBlocks.Put(k)
	}
	return n
}

// room returns how many octets may still be put behind k's.
func (k *block) room() int {
	if k == nil || k.body != nil {
		return 0
	}
	return cap(k.b) - len(k.b)
}

// A Body is a payload that several queues hold at once: an immutable copy,
// charged to the budget once, given back when the last holder has let go of it.
type Body struct {
	b      []byte
	refs   atomic.Int32
	budget *Budget
}

// NewBody returns a copy of b held by the caller, who calls Release when it has
// handed it on. It cannot be refused: the queues that are to hold it can.
func NewBody(budget *Budget, b []byte) *Body {
	budget.Force(len(b))
	y := &Body{b: append([]byte(nil), b...), budget: budget}
	y.refs.Store(1)
	return y
}

// Bytes returns the octets; nobody changes them.
func (y *Body) Bytes() []byte { return y.b }

// Hold adds a hold to one that the caller has or knows of; Release ends it.
func (y *Body) Hold() { y.refs.Add(1) }

// Release ends the caller's hold.
func (y *Body) Release() { y.release() }

func (y *Body) release() {
	if y.refs.Add(-1) == 0 {
		y.budget.Give(len(y.b))
	}
}

// A Payload is the body of a message on its way into queues: octets that are
// valid during the call only and, if Shared is set, the same octets to keep
// without a copy: never none, and never the first of a frame.
type Payload struct {
	Data   []byte
	Shared *Body
}

// ShareAbove is the size in octets from which a payload that may fan out is
// worth a shared body; smaller ones are copied into every queue.
const ShareAbove = 16 << 10

// Fan returns a payload that may fan out, for the caller to release when it has handed
// it on.
func Fan(budget *Budget, data []byte) Payload {
	p := Payload{Data: data}
	if len(data) >= ShareAbove {
		p.Shared = NewBody(budget, data)
	}
	return p
}

// Release ends the caller's hold on a shared body, if there is one.
func (p Payload) Release() {
	if p.Shared != nil {
		p.Shared.Release()
	}
}
