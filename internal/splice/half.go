package splice

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/tunnel"
	"github.com/project-iris/iris/internal/wire"
)

const (
	// room is how many octets may wait for the connection before chunks wait in
	// the tunnel, where news of its end overtakes them.
	room = 256 << 10

	// inputSize is the pooled memory of one reader: a frame and some.
	inputSize = 80 << 10

	// writeTime is how long one write may take. The other side always reads, so
	// only a connection that is dead takes longer.
	writeTime = 60 * time.Second

	// lingerTime is how long the other side may be silent after everything was
	// written: closed before it has, the connection would be reset.
	lingerTime = 10 * time.Second

	brokenTime = time.Second // for what the other side sent before a write failed
)

// A half is one node's side of a tunnel: the Wire of the tunnel that it is here,
// and its connection, read by the goroutine in run and written by another.
type half struct {
	server *Server
	peer   ring.ID
	table  *tunnel.Table // of this tunnel alone, under 0
	queue  *queue.Queue
	wake   chan struct{} // to the writer
	done   chan struct{} // closed when run is over

	told    atomic.Bool // one of the sides has told the other of its end
	over    atomic.Bool // nothing more is to come from the tunnel
	lingers atomic.Bool // all is written, and the other side was told so
	limited atomic.Bool // the connection has brought all it may

	nc *session.Conn // set before run

	// Of the reader.
	end   *tunnel.End // nil: the tunnel was over before
	batch queue.Batch
}

func newHalf(s *Server, peer ring.ID) *half {
	h := &half{
		server: s,
		peer:   peer,
		queue:  queue.New(s.Budget, math.MaxInt),
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
	h.table = tunnel.NewWire(h, s.Budget, s.Tunnels)
	return h
}

// TunnelOpen implements tunnel.Sink.
func (h *half) TunnelOpen(*queue.Batch, uint64) {}

// TunnelAllow implements tunnel.Sink.
func (h *half) TunnelAllow(b *queue.Batch, _, octets uint64) {
	h.append(b, wire.TypeCredit, wire.Credit{Bytes: uint32(octets)}.AppendBody)
}

// TunnelFinal implements tunnel.Wire.
func (h *half) TunnelFinal(b *queue.Batch, _, final uint64, reason string) {
	h.told.Store(true)
	h.append(b, wire.TypeClose, wire.Close{Final: final, Reason: reason}.AppendBody)
}

// TunnelClose implements tunnel.Sink.
func (h *half) TunnelClose(b *queue.Batch, _ uint64, _ string) {
	h.over.Store(true)
	h.queue.Seal(false)
	h.queue.Farewell(nil)
	b.Add(h)
}

// TunnelChunk implements tunnel.Sink.
func (h *half) TunnelChunk(b *queue.Batch, _, size uint64, octets []byte) bool {
	var most [32]byte
	uv := wire.ChunkHead{Size: size}.AppendBody(most[:0])
	n := len(uv)
	f := wire.Frame{Type: wire.TypeChunk}
	head := append(f.AppendHead(uv, n+len(octets)), uv...)[n:]
	flush, err := h.queue.AppendIfRoom(room, head, octets)
	if flush {
		b.Add(h)
	}
	return err == nil
}

// append appends a frame that waits for nothing. There are few: one for each step of
// credit, and one in all for the end.
func (h *half) append(b *queue.Batch, t wire.Type, body func([]byte) []byte) {
	p := body(nil)
	f := wire.Frame{Type: t}
	if _, flush, _ := h.queue.AppendAnyway(math.MaxInt, f.AppendHead(nil, len(p)), queue.Payload{Data: p}, nil); flush {
		b.Add(h)
	}
}

// Flush implements queue.Flusher.
func (h *half) Flush(*queue.Batch) { h.poke() }

// poke wakes the writer.
func (h *half) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// fail ends the tunnel at both ends.
func (h *half) fail(now time.Time, b *queue.Batch, reason string) {
	if e := h.table.End(0); e != nil {
		e.Fail(now, b, reason)
	}
}

// drop ends a half that never had a connection.
func (h *half) drop(reason string) {
	var b queue.Batch
	h.table.Close(time.Now(), &b, reason)
	h.queue.Discard()
	b.Flush()
}

// run carries the tunnel from when its connection is attached to the end of both.
func (h *half) run() {
	s := h.server
	written := make(chan struct{})
	h.end = h.table.End(0)
	h.queue.Open()
	go func() {
		defer close(written)
		h.write()
	}()
	h.poke()
	err := h.read()
	reason := reasonLost
	if s.ctx.Err() != nil {
		reason = context.Cause(s.ctx).Error()
	}
	h.count(err)
	h.table.Close(time.Now(), &h.batch, reason)
	h.batch.Flush()
	h.queue.Discard()
	h.abandon()
	h.poke()
	<-written
	s.mu.Lock()
	delete(s.halves, h)
	s.mu.Unlock()
	close(h.done)
}

// count counts how the tunnel ended.
func (h *half) count(err error) {
	s := h.server
	var broken violation
	switch {
	case errors.As(err, &broken):
		s.Stats.Broken.Add(1)
		s.Log.Warn("a node broke the protocol of tunnels: update the older of the two", "peer", h.peer, "error", err)
	case h.limited.Load():
		s.Stats.Limit.Add(1)
	case h.over.Load() || s.ctx.Err() != nil:
		s.Stats.Orderly.Add(1)
	default:
		s.Stats.Lost.Add(1)
		s.Log.Info("the connection of a tunnel was lost", "peer", h.peer, "error", err)
	}
}

// violation is what a node did that breaks the protocol.
type violation struct{ error }

func (v violation) Unwrap() error { return v.error }

var inputs = sync.Pool{New: func() any { return new([inputSize]byte) }}

// read handles frames until there are no more.
func (h *half) read() error {
	buf := inputs.Get().(*[inputSize]byte)
	defer inputs.Put(buf)
	h.server.Budget.Force(inputSize)
	defer h.server.Budget.Give(inputSize)
	var f wire.Frame
	now := time.Now()
	for r, w := 0, 0; ; {
		need := 0
		for {
			n, err := wire.Parse(buf[r:w], &f)
			if err == wire.ErrShort {
				need = n
				break
			}
			if err == nil {
				err = h.handle(now, &f)
			}
			if err != nil {
				return h.broke(now, buf[:], err)
			}
			r += n
		}
		h.batch.Flush()
		if r > 0 {
			w = copy(buf[:], buf[r:w])
			r = 0
		}
		to := len(buf)
		if need > to/2 {
			to = need // of a long frame exactly the rest, so that there is nothing to move
		}
		n, err := h.nc.Read(buf[w:to])
		if w += n; err != nil {
			return err
		}
		now = time.Now()
		h.passed(now, &h.batch)
	}
}

// handle acts on one frame.
func (h *half) handle(now time.Time, f *wire.Frame) error {
	b, e := &h.batch, h.end
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

// broke ends the tunnel for what the other side did, which is told so, and reads on
// and throws away until it has heard.
func (h *half) broke(now time.Time, buf []byte, err error) error {
	h.fail(now, &h.batch, reasonBroken)
	h.batch.Flush()
	h.nc.SetReadDeadline(now.Add(lingerTime))
	for {
		if _, end := h.nc.Read(buf); end != nil {
			return violation{err}
		}
	}
}

// passed looks at what has passed on the wire since the connection was made, and at
// whether there is more to wait for.
func (h *half) passed(now time.Time, b *queue.Batch) {
	read, written := h.nc.Wire()
	if max(read, written) > h.server.KeyLimit && !h.limited.Swap(true) {
		h.fail(now, b, reasonKey)
		h.server.Refused.Refuse(session.KeyLimit, host(h.nc), h.peer, errors.New("the connection of a tunnel has brought all it may"))
		b.Flush()
	}
	if h.lingers.Load() {
		h.nc.SetReadDeadline(now.Add(lingerTime))
	}
}

// write writes what waits, and ends when everything is written, the last word
// included, or the connection is broken.
func (h *half) write() {
	var b queue.Batch
	for range h.wake {
		if h.queue.Claim() && !h.writeAll(&b) {
			return
		}
		if h.queue.Drained() {
			h.nc.CloseWrite()
			h.lingers.Store(true)
			h.nc.SetReadDeadline(time.Now().Add(lingerTime))
			return
		}
	}
}

// writeAll writes what waits, with the claim. It reports false when the connection is
// broken: what the other side sent before is still read.
func (h *half) writeAll(b *queue.Batch) bool {
	for p := h.queue.Next(); p != nil; p = h.queue.Next() {
		now := time.Now()
		h.nc.SetWriteDeadline(now.Add(writeTime))
		_, err := h.nc.Write(p)
		if err != nil {
			h.queue.Discard()
			h.queue.Unclaim()
			h.nc.SetReadDeadline(now.Add(brokenTime))
			return false
		}
		if h.queue.Wrote(len(p), room/2) {
			h.table.Room(b)
		}
		h.passed(now, b)
		b.Flush()
	}
	return true
}

// abandon closes the connection, without a last word that might wait.
func (h *half) abandon() { h.nc.NetConn().Close() }

var (
	_ tunnel.Wire   = (*half)(nil)
	_ queue.Flusher = (*half)(nil)
)
