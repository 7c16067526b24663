package iris

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

const (
	outRoom  = 1 << 20   // octets waiting to be written before whoever wants to add more waits too
	outEager = 32 << 10  // octets at which the one who adds them writes, instead of leaving it to the writing goroutine
	outMost  = 256 << 10 // octets that a goroutine writes before it leaves the rest to the writing goroutine
	outKept  = 4 << 20   // the largest buffer kept for later
)

// An outbox is what waits to be written to the node. It has a writing goroutine,
// run, but most is written by the goroutines that have something to send: a call
// that waits for its answer writes itself, at once, together with what others
// added; what nobody waits for gathers while somebody writes.
type outbox struct {
	nc   net.Conn
	try  tryWriter     // nil: only the writing goroutine writes
	wake chan struct{} // to the writing goroutine; closed when there is nothing more to write

	mu     sync.Mutex
	rest   []byte // of a buf that was written in part
	buf    []byte
	spare  []byte        // for the next buf
	claim  bool          // somebody writes
	handed bool          // the claim was left to the writing goroutine
	poked  bool          // the writing goroutine has been woken
	wanted bool          // somebody waits for room
	room   chan struct{} // closed when there is room again, or err is set
	sealed bool          // nothing may follow: a Close is in buf, or err is set
	err    error         // why nothing can be written any more
}

// A tryWriter writes what can be written without blocking, which may be nothing.
type tryWriter interface{ tryWrite(p []byte) (int, error) }

func newOutbox(nc net.Conn) *outbox {
	return &outbox{nc: nc, try: newTryWriter(nc), wake: make(chan struct{}, 1), room: make(chan struct{})}
}

// A turn says how soon what was added is to be written.
type turn byte

const (
	later  turn = iota // by the caller, who is to call flush or poke
	soon               // by the writing goroutine, or at once if much has gathered
	direct             // at once
	shared             // at once, after others had their chance to add something
)

// add appends a message. It waits for room, until ctx is done or due has come. A
// message that was added is written unless the connection breaks.
func (o *outbox) add(ctx context.Context, due time.Time, m *relaywire.Message, t turn) error {
	o.mu.Lock()
	if len(o.buf) >= outRoom && !o.sealed {
		if err := o.await(ctx, due); err != nil {
			o.mu.Unlock()
			return err
		}
	}
	return o.push(m, t)
}

// await waits for room; the caller holds o.mu.
func (o *outbox) await(ctx context.Context, due time.Time) error {
	ctx, done := until(ctx, due)
	defer done()
	for len(o.buf) >= outRoom && !o.sealed {
		o.wanted = true
		room := o.room
		o.pokeLocked()
		o.mu.Unlock()
		select {
		case <-room:
			o.mu.Lock()
		case <-ctx.Done():
			o.mu.Lock()
			return contextError(ctx)
		}
	}
	return nil
}

// force is add for messages of the library's own, that the reading goroutine may
// send: they are small, few, and never wait.
func (o *outbox) force(m *relaywire.Message, t turn) error {
	o.mu.Lock()
	return o.push(m, t)
}

// push appends m and unlocks o.mu.
func (o *outbox) push(m *relaywire.Message, t turn) error {
	if o.sealed {
		err := o.err
		o.mu.Unlock()
		if err == nil {
			err = ErrClosed
		}
		return err
	}
	o.buf = m.AppendToNode(o.buf)
	o.sealed = m.Op == relaywire.Close
	if t == soon {
		if len(o.buf) < outEager || o.try == nil {
			o.pokeLocked()
		} else {
			t = direct
		}
	}
	o.mu.Unlock()
	switch t {
	case shared:
		runtime.Gosched()
		o.flush()
	case direct:
		o.flush()
	}
	return nil
}

// poke has the writing goroutine write what waits.
func (o *outbox) poke() {
	o.mu.Lock()
	o.pokeLocked()
	o.mu.Unlock()
}

func (o *outbox) pokeLocked() {
	// Whoever has the claim writes all there is.
	if !o.claim && len(o.buf) > 0 && o.err == nil {
		o.ring()
	}
}

// ring wakes the writing goroutine; the caller holds o.mu and knows that o.err
// is not set, so that wake is open.
func (o *outbox) ring() {
	if !o.poked {
		o.poked = true
		o.wake <- struct{}{} // there is room
	}
}

// flush writes what waits, as far as that does not block, and leaves the rest to
// the writing goroutine. While somebody else writes it returns at once: that one
// goes on until nothing is left.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.try == nil {
		o.pokeLocked()
		return
	}
	if o.claim {
		return
	}
	o.claim = true
	for total := 0; ; {
		p := o.take()
		if p == nil {
			o.claim = false
			return
		}
		o.mu.Unlock()
		n, err := o.try.tryWrite(p)
		o.mu.Lock()
		if err != nil {
			o.broken(err)
		}
		if total += n; n == len(p) {
			o.keep(p)
		} else if o.err == nil {
			o.rest = p[n:]
		}
		if (o.rest != nil || total >= outMost) && o.err == nil {
			o.handed = true
			o.ring()
			return
		}
	}
}

// run is the writing goroutine. It ends when close is called.
func (o *outbox) run() {
	for range o.wake {
		o.mu.Lock()
		o.poked = false
		if o.claim && !o.handed {
			o.mu.Unlock() // somebody took the claim who writes what we were woken for
			continue
		}
		o.claim, o.handed = true, false
		for p := o.take(); p != nil; p = o.take() {
			o.mu.Unlock()
			_, err := o.nc.Write(p)
			o.mu.Lock()
			if err != nil {
				o.broken(err)
			}
			o.keep(p)
		}
		o.claim = false
		o.mu.Unlock()
	}
}

// take returns what is to be written next; nil: nothing is.
func (o *outbox) take() (p []byte) {
	switch {
	case o.err != nil:
		return nil
	case o.rest != nil:
		p, o.rest = o.rest, nil
		return p
	case len(o.buf) == 0:
		return nil
	}
	p, o.buf, o.spare = o.buf, o.spare, nil
	o.admit()
	return p
}

// keep keeps the memory of p, which has been written.
func (o *outbox) keep(p []byte) {
	if o.spare == nil && cap(p) <= outKept {
		o.spare = p[:0]
	}
}

// admit lets those go on that wait for room.
func (o *outbox) admit() {
	if o.wanted {
		close(o.room)
		o.room, o.wanted = make(chan struct{}), false
	}
}

// broken is fail after a write that failed. The reading goroutine may still find
// out why, but does not wait for that forever.
func (o *outbox) broken(err error) {
	o.fail(fmt.Errorf("%w: %w", ErrLost, err))
	if !errors.Is(err, os.ErrDeadlineExceeded) { // else Close has set a deadline
		o.nc.SetReadDeadline(time.Now().Add(attachLimit))
	}
}

// failed returns why nothing can be written any more, or nil.
func (o *outbox) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// fail lets nothing more be written; the caller holds o.mu.
func (o *outbox) fail(err error) {
	if o.err == nil {
		o.err, o.sealed = err, true
		o.buf, o.rest, o.spare = nil, nil, nil
		o.admit()
	}
}

// close ends the writing goroutine, which may be in a write that the end of the
// connection ends. What was not written is lost: err tells why.
func (o *outbox) close(err error) {
	o.mu.Lock()
	o.fail(err)
	o.mu.Unlock()
	close(o.wake) // nobody rings once o.err is set
}
