package link

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// read is the reader: it reads one connection after another.
func (r *role) read() {
	r.input.budget = r.l.m.Budget
	c := r.in
	defer func() {
		r.input.release()
		r.l.leave(c)
	}()
	if r == r.l.data {
		<-r.l.greeted // the handler hears of the link first
	} else {
		r.l.greet()
	}
	for {
		err := r.readAll(c)
		if err != io.EOF {
			r.failed(err)
			break
		}
		next := r.next()
		if next == nil {
			r.l.close(Lost, "the other side ended the "+r.name+" connection", false)
			break
		}
		r.l.leave(c)
		c = next
		r.turn(&r.in, c)
	}
	// The other side may be stuck writing to us, or have yet to read why.
	io.Copy(io.Discard, c)
}

// next returns the connection to go on with when the one before has ended.
func (r *role) next() *conn {
	for {
		r.l.mu.Lock()
		coming := r.replacing
		r.l.mu.Unlock()
		select {
		case c := <-r.nextIn:
			return c
		default:
		}
		if !coming {
			return nil
		}
		select {
		case c := <-r.nextIn:
			return c
		case <-r.l.ctx.Done():
			return nil
		case <-time.After(welcomeLimit):
			return nil
		}
	}
}

// failed ends the link after an error of readAll.
func (r *role) failed(err error) {
	var v *violation
	if errors.As(err, &v) {
		r.l.m.Stats.Bad.Add(1)
		r.l.m.Log.Warn("link is closed: the other node broke the protocol", "node", r.l.peer, "addr", r.l.addr, "error", err)
		if errors.Is(err, wire.ErrHandle) {
			r.l.m.refuse(r.l.addr.String(), r.l.peer, &session.Error{Code: session.HandleUnknown, Err: err})
		}
		r.l.fail(Violation, v.Error())
		return
	}
	r.broken(err)
}

// A violation is an error that is the other node's doing.
type violation struct{ error }

func (v *violation) Unwrap() error { return v.error }

func violationf(format string, args ...any) error { return &violation{fmt.Errorf(format, args...)} }

// readAll handles frames until an error, which is io.EOF after the last frame of a
// connection that was ended in order.
func (r *role) readAll(c *conn) error {
	const (
		mostFrames = 512
		mostOctets = 64 << 10
	)
	in, b := &r.input, &r.batch
	frames, octets, need := 0, 0, wire.HeaderSize
	var now time.Time
	for {
		if frames > 0 && !in.pending(c) {
			r.idle()
			frames, octets = 0, 0
		}
		r.frame.Body = nil // it would keep a buffer that others may want
		err := in.fill(c, need)
		if errors.Is(err, os.ErrDeadlineExceeded) && r.kicked(c) {
			continue
		}
		if err != nil {
			if err == io.EOF && in.r < in.w {
				err = violationf("%s connection ended within a frame", r.name)
			}
			r.idle()
			return err
		}
		now = time.Now()
		for {
			n, err := wire.Parse(in.bytes(), &r.frame)
			if err == wire.ErrShort {
				need = n
				break
			}
			if err != nil {
				r.idle()
				return &violation{err}
			}
			if err := r.handle(now, &r.frame); err != nil {
				r.idle()
				return err
			}
			in.take(n)
			frames, octets = frames+1, octets+n
			if frames >= mostFrames || octets >= mostOctets || b.Octets >= mostOctets {
				r.idle()
				runtime.Gosched() // a flood takes its turn like everybody
				frames, octets = 0, 0
				now = time.Now()
			}
		}
	}
}

// idle lets the handler do what it put off, and flushes.
func (r *role) idle() {
	r.l.m.Handler.Idle(r.l, &r.batch)
	r.batch.Flush()
}

// handle acts on one frame.
func (r *role) handle(now time.Time, f *wire.Frame) error {
	l, place := r.l, places[f.Type]
	routed := f.Flags&wire.Routed != 0
	switch {
	case !f.Known():
		if f.Flags&wire.Skip == 0 {
			return violationf("unknown %v with flags %02x", f.Type, byte(f.Flags))
		}
		l.m.Stats.Skipped.Add(1)
		return nil
	case r == l.data && place&onData == 0,
		r == l.control && place&onControl == 0 && (place&routedOnControl == 0 || !routed):
		return violationf("%v on a %s connection", f.Type, r.name)
	case f.Type == wire.TypeError:
		m, err := wire.ParseMessage(f.Type, f.Body)
		if err != nil {
			return &violation{err}
		}
		l.told(m.(wire.Error))
		return nil
	case f.Type == wire.TypeAbort:
		return r.abort(now, f)
	case f.Type == wire.TypeWant:
		if !l.dialled {
			return violationf("%v from the dialler of the link", f.Type)
		}
		l.openData()
		return nil
	case place&onControl != 0:
		return r.command(now, f)
	case f.Flags&wire.Fragment != 0:
		return r.fragment(now, f)
	}
	if err := l.m.Handler.Data(l, now, &r.batch, f); err != nil {
		return &violation{err}
	}
	return nil
}

// command hands a control frame on.
func (r *role) command(now time.Time, f *wire.Frame) error {
	m, err := wire.ParseMessage(f.Type, f.Body)
	if err != nil {
		return &violation{err}
	}
	if b, ok := m.(wire.Beat); ok && b.Ack && f.Flags&wire.Routed == 0 {
		r.l.answered(now, b.Nonce)
	}
	if err := r.l.m.Handler.Control(r.l, m, f); err != nil {
		return &violation{err}
	}
	return nil
}

// fragment takes a part of a message.
func (r *role) fragment(now time.Time, f *wire.Frame) error {
	if r == r.l.control {
		return violationf("%v in fragments on a %s connection", f.Type, r.name)
	}
	l := r.l
	whole, given, err := l.joins.add(now, f)
	switch {
	case err != nil:
		return &violation{err}
	case given != nil:
		l.m.Stats.NoMemory.Add(1)
		l.m.Handler.Dropped(l, now, &r.batch, given)
	case whole != nil:
		err = l.m.Handler.Data(l, now, &r.batch, &whole.frame)
		l.joins.free(whole)
	}
	if err != nil {
		return &violation{err}
	}
	return nil
}

// abort gives up a message of which parts have come.
func (r *role) abort(now time.Time, f *wire.Frame) error {
	m, err := wire.ParseAbort(f.Body)
	if err != nil {
		return &violation{err}
	}
	if f := r.l.joins.abort(m.Message); f != nil {
		r.l.m.Stats.Aborted.Add(1)
		r.l.m.Handler.Dropped(r.l, now, &r.batch, f)
	}
	return nil
}

// kicked gives up messages of which nothing came any more, when the manager has
// ended a read for that.
func (r *role) kicked(c *conn) bool {
	r.l.mu.Lock()
	dead := r.l.phase == dead
	if !dead {
		c.SetReadDeadline(time.Time{})
	}
	r.l.mu.Unlock()
	if dead {
		return false
	}
	now := time.Now()
	for _, f := range r.l.joins.stalled(now) {
		r.l.m.Stats.Stalled.Add(1)
		r.l.m.Handler.Dropped(r.l, now, &r.batch, f)
	}
	r.idle()
	return true
}
