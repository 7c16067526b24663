package splice

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
)

const (
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

// A half is a Half with its connection, read by the goroutine in run and written by
// another.
type half struct {
	*Half
	server  *Server
	peer    ring.ID
	cluster string        // that the member there is of; empty: it is here
	wakes   chan struct{} // to the writer
	done    chan struct{} // closed when run is over

	lingers atomic.Bool // all is written, and the other side was told so
	limited atomic.Bool // the connection has brought all it may

	nc *session.Conn // set before run

	batch queue.Batch // of the reader
}

func newHalf(s *Server, peer ring.ID) *half {
	h := &half{server: s, peer: peer, wakes: make(chan struct{}, 1), done: make(chan struct{})}
	h.Half = NewHalf(s.Budget, s.Tunnels, h.poke)
	return h
}

// poke wakes the writer.
func (h *half) poke() {
	select {
	case h.wakes <- struct{}{}:
	default:
	}
}

// drop ends a half that never had a connection.
func (h *half) drop(reason string) {
	var b queue.Batch
	h.Close(time.Now(), &b, reason)
	b.Flush()
}

// run carries the tunnel from when its connection is attached to the end of both.
func (h *half) run() {
	s := h.server
	written := make(chan struct{})
	h.Begin()
	go func() {
		defer close(written)
		h.write()
	}()
	err := h.read()
	reason := reasonLost
	if s.ctx.Err() != nil {
		reason = context.Cause(s.ctx).Error()
	}
	h.count(err)
	h.Close(time.Now(), &h.batch, reason)
	h.batch.Flush()
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
	case h.Over() || h.Told() && err == io.EOF || s.ctx.Err() != nil: // an end in order tells that the rest is not wanted
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
	now := time.Now()
	for w := 0; ; {
		r, need, err := h.Take(now, &h.batch, buf[:w])
		if err != nil {
			return h.broke(now, buf[:], err)
		}
		if !h.nc.Pending() {
			h.batch.Flush()
		}
		if r > 0 {
			w = copy(buf[:], buf[r:w])
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

// broke ends the tunnel for what the other side did, which is told so, and reads on
// and throws away until it has heard.
func (h *half) broke(now time.Time, buf []byte, err error) error {
	h.Fail(now, &h.batch, reasonBroken)
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
		h.Fail(now, b, reasonKey)
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
	for range h.wakes {
		if h.Queue.Claim() && !h.writeAll(&b) {
			return
		}
		if h.Queue.Drained() {
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
	for p := h.Queue.Next(); p != nil; p = h.Queue.Next() {
		now := time.Now()
		h.nc.SetWriteDeadline(now.Add(writeTime))
		_, err := h.nc.Write(p)
		if err != nil {
			h.Queue.Discard()
			h.Queue.Unclaim()
			h.nc.SetReadDeadline(now.Add(brokenTime))
			return false
		}
		h.Wrote(b, len(p))
		h.passed(now, b)
		b.Flush()
	}
	return true
}

// abandon closes the connection, without a last word that might wait.
func (h *half) abandon() { h.nc.NetConn().Close() }
