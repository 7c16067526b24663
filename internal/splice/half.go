package splice

import (
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/tunnel"
	"github.com/project-iris/iris/internal/wheel"
	"github.com/project-iris/iris/internal/wire"
)

// room is how many octets may wait for the connection before chunks wait in the
// tunnel, where news of its end overtakes them.
const room = 256 << 10

// A Half is one node's side of a tunnel, but for its connection: what Queue holds is to
// be written there, and what comes from there is for Take. Nothing of it does I/O or
// reads a clock, so a simulation has the same.
type Half struct {
	Queue *queue.Queue // corked until Begin

	table *tunnel.Table // of this tunnel alone, under 0
	wake  func()
	told  atomic.Bool // one of the sides has told the other of its end
	over  atomic.Bool // nothing more is to come from the tunnel
	end   *tunnel.End // of who calls Take; nil: the tunnel was over before
}

// NewHalf returns a half without a tunnel. It calls wake, which must not block, when
// there may be something to write, or nothing more ever.
func NewHalf(budget *queue.Budget, stats *tunnel.Stats, wake func()) *Half {
	h := &Half{Queue: queue.New(budget, math.MaxInt), wake: wake}
	h.table = tunnel.NewWire(wires{h}, budget, stats)
	return h
}

// Accept opens the tunnel that a program has confirmed under id, an id reserved in its
// table, before there is a connection: what the program sends waits.
func (h *Half) Accept(now time.Time, b *queue.Batch, timers *wheel.Timers, acceptor *tunnel.Table, id uint64) {
	h.table.Building(0)
	tunnel.Open(now, b, timers, h.table, 0, acceptor, id)
}

// Initiate opens the tunnel of a build that take returns the id of, in the initiator's
// table. If the build has ended, so does the tunnel.
func (h *Half) Initiate(now time.Time, b *queue.Batch, timers *wheel.Timers, initiator *tunnel.Table, take func() (id uint64, ok bool)) {
	if id, ok := take(); ok {
		h.table.Building(0)
		tunnel.Open(now, b, timers, initiator, id, h.table, 0)
		return
	}
	wires{h}.TunnelFinal(b, 0, 0, tunnel.Gone)
	wires{h}.TunnelClose(b, 0, tunnel.Gone)
}

// Begin says that there is a connection.
func (h *Half) Begin() {
	h.end = h.table.End(0)
	h.Queue.Open()
	h.wake()
}

// Take acts on the frames that octets begin with, and returns how many octets those are
// and how many the next one has, as far as its beginning says; it has not come as a
// whole. An error says that the other node broke the protocol.
func (h *Half) Take(now time.Time, b *queue.Batch, octets []byte) (n, next int, err error) {
	var f wire.Frame
	for {
		size, err := wire.Parse(octets[n:], &f)
		if err == wire.ErrShort {
			return n, size, nil
		}
		if err == nil {
			err = h.receive(now, b, &f)
		}
		if err != nil {
			return n, 0, err
		}
		n += size
	}
}

// receive acts on one frame.
func (h *Half) receive(now time.Time, b *queue.Batch, f *wire.Frame) error {
	e := h.end
	switch f.Type {
	case wire.TypeChunk:
		c, octets, err := wire.ParseChunkHead(f.Body)
		if err != nil || e == nil {
			return err
		}
		if len(octets) > relaywire.ChunkLimit {
			return errChunk
		}
		return e.Chunk(now, b, c.Size, octets)
	case wire.TypeCredit:
		c, err := wire.ParseCredit(f.Body)
		if err == nil && e != nil {
			e.Allow(now, b, uint64(c.Bytes))
		}
		return err
	case wire.TypeClose:
		c, err := wire.ParseClose(f.Body)
		if err != nil {
			return err
		}
		h.told.Store(true)
		if e != nil {
			return e.Final(now, b, c.Final, c.Reason)
		}
	default:
		if f.Known() || f.Flags&wire.Skip == 0 {
			return errors.New(f.Type.String() + " on the connection of a tunnel")
		}
	}
	return nil
}

var errChunk = errors.New("a chunk exceeds 65,536 octets")

// Wrote takes n octets of what Queue.Next returned off the queue, which may make room
// for what waits in the tunnel. For the holder of the queue's claim.
func (h *Half) Wrote(b *queue.Batch, n int) {
	if h.Queue.Wrote(n, room/2) {
		h.table.Room(b)
	}
}

// Fail ends the tunnel at both ends for a reason that lies with its connection, if it
// has not ended: the programs get what came before, and the other node is told.
func (h *Half) Fail(now time.Time, b *queue.Batch, reason string) {
	if e := h.table.End(0); e != nil {
		e.Fail(now, b, reason)
	}
}

// Close says that there is no connection any more, or never will be.
func (h *Half) Close(now time.Time, b *queue.Batch, reason string) {
	h.table.Close(now, b, reason)
	h.Queue.Discard()
}

// Told reports whether one of the nodes has told the other of the tunnel's end.
func (h *Half) Told() bool { return h.told.Load() }

// Over reports whether nothing more comes from the tunnel here.
func (h *Half) Over() bool { return h.over.Load() }

// wires is a half as its tunnel sees it.
type wires struct{ h *Half }

// TunnelOpen implements tunnel.Sink.
func (wires) TunnelOpen(*queue.Batch, uint64) {}

// TunnelAllow implements tunnel.Sink.
func (w wires) TunnelAllow(b *queue.Batch, _, octets uint64) {
	w.append(b, wire.TypeCredit, wire.Credit{Bytes: uint32(octets)}.AppendBody)
}

// TunnelFinal implements tunnel.Wire.
func (w wires) TunnelFinal(b *queue.Batch, _, final uint64, reason string) {
	w.h.told.Store(true)
	w.append(b, wire.TypeClose, wire.Close{Final: final, Reason: reason}.AppendBody)
}

// TunnelClose implements tunnel.Sink.
func (w wires) TunnelClose(b *queue.Batch, _ uint64, _ string) {
	w.h.over.Store(true)
	w.h.Queue.Seal(false)
	w.h.Queue.Farewell(nil)
	b.Add(w)
}

// TunnelChunk implements tunnel.Sink.
func (w wires) TunnelChunk(b *queue.Batch, _, size uint64, octets []byte) bool {
	var most [32]byte
	uv := wire.ChunkHead{Size: size}.AppendBody(most[:0])
	n := len(uv)
	f := wire.Frame{Type: wire.TypeChunk}
	head := append(f.AppendHead(uv, n+len(octets)), uv...)[n:]
	flush, err := w.h.Queue.AppendIfRoom(room, head, octets)
	if flush {
		b.Add(w)
	}
	return err == nil
}

// append appends a frame that waits for nothing. There are few: one for each step of
// credit, and one in all for the end.
func (w wires) append(b *queue.Batch, t wire.Type, body func([]byte) []byte) {
	p := body(nil)
	f := wire.Frame{Type: t}
	if _, flush, _ := w.h.Queue.AppendAnyway(math.MaxInt, f.AppendHead(nil, len(p)), queue.Payload{Data: p}, nil); flush {
		b.Add(w)
	}
}

// Flush implements queue.Flusher.
func (w wires) Flush(*queue.Batch) { w.h.wake() }

var (
	_ tunnel.Wire   = wires{}
	_ queue.Flusher = wires{}
)
