package link

import (
	"sync"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wire"
)

const (
	smallInput = 512
	largeInput = queue.LargeBlock // more than the longest frame
)

var largeInputs = sync.Pool{New: func() any { return new([largeInput]byte) }}

// input is what was read and not yet handled: buf[r:w]. A connection on which
// nothing comes has a small buffer; the rest of what filled that goes to a large
// one, which is given back as soon as all of it has been handled.
type input struct {
	budget *queue.Budget
	small  [smallInput]byte
	large  *[largeInput]byte
	buf    []byte
	r, w   int
	more   bool // the last read took all there was room for
}

// bytes returns the octets not yet handled.
func (in *input) bytes() []byte { return in.buf[in.r:in.w] }

// pending reports whether the next read will most likely not wait.
func (in *input) pending(c *conn) bool { return in.more || c.Pending() }

// take marks n of them as handled.
func (in *input) take(n int) { in.r += n }

// fill reads more, after which there are need octets or some arrived.
func (in *input) fill(c *conn, need int) error {
	have := in.w - in.r
	switch {
	case have == 0 && !in.pending(c):
		in.release()
		in.buf = in.small[:]
	case in.large == nil:
		in.large = largeInputs.Get().(*[largeInput]byte)
		in.budget.Force(largeInput) // one a connection: bounded by their number
		in.w = copy(in.large[:], in.bytes())
		in.buf, in.r = in.large[:], 0
	case have == 0:
		in.r, in.w = 0, 0
	case len(in.buf)-in.r < need || in.w == len(in.buf):
		in.w = copy(in.buf, in.bytes())
		in.r = 0
	}
	n, err := c.Read(in.buf[in.w:])
	in.w += n
	in.more = in.large == nil && in.w == len(in.buf)
	if n > 0 {
		return nil
	}
	return err
}

// release gives the large buffer back, with what is in it.
func (in *input) release() {
	if in.large != nil {
		largeInputs.Put(in.large)
		in.budget.Give(largeInput)
	}
	in.large, in.buf, in.r, in.w, in.more = nil, nil, 0, 0, false
}

// Where a frame may come: on which connections, and if only routed.
const (
	onControl = 1 << iota
	onData
	routedOnControl
)

var places = [256]byte{
	wire.TypeRequest:      onData | routedOnControl,
	wire.TypeReply:        onData | routedOnControl,
	wire.TypeNotStarted:   onData | routedOnControl,
	wire.TypeCancel:       onData | routedOnControl,
	wire.TypeTunnelOffer:  onData | routedOnControl,
	wire.TypeTunnelAccept: onData | routedOnControl,
	wire.TypePublish:      onData,
	wire.TypeGap:          onData,
	wire.TypeDigest:       onData,
	wire.TypeAbort:        onData,
	wire.TypeError:        onControl | onData,

	wire.TypeUndelivered: onControl, wire.TypeLeaving: onControl, wire.TypeLeave: onControl, wire.TypeWant: onControl,
	wire.TypeBeat: onControl, wire.TypeProbeFor: onControl, wire.TypeLeaves: onControl, wire.TypeViewEvent: onControl,
	wire.TypeViewHash: onControl, wire.TypeViewGet: onControl, wire.TypeLookup: onControl, wire.TypeFound: onControl,
	wire.TypeAnnounce: onControl, wire.TypeAnnounced: onControl, wire.TypeResolve: onControl, wire.TypeMembers: onControl,
	wire.TypeRedirect: onControl, wire.TypeCheck: onControl, wire.TypeChecked: onControl, wire.TypeDigestDir: onControl,
	wire.TypeReplicate: onControl, wire.TypeNack: onControl, wire.TypeUnwanted: onControl, wire.TypeDialBack: onControl,
}
