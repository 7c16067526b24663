package splice

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/tunnel"
	"github.com/project-iris/iris/internal/wire"
)

// An agreement is a tunnel that both nodes know of and no connection is attached to
// yet. The node whose program is the acceptor made the id and decides which
// connection it is.
type agreement struct {
	id     [16]byte
	peer   ring.ID
	ctx    context.Context // until it is attached or expires
	cancel context.CancelCauseFunc

	half *half // at the accepting node

	addrs     []wire.Addr // at the other, of the accepting node
	cluster   string      // that the member there is of
	initiator *tunnel.Table
	take      func() (id uint64, ok bool)

	// Under the server's lock.
	both   bool  // nodes dial, or are asked to
	failed error // what went wrong last
}

// An outcome is what became of an agreement.
type outcome struct {
	id             [16]byte
	peer           ring.ID
	attached, both bool
}

var errAttached = errors.New("attached")

// agree adds a, which leaves the table when it is attached or expires.
func (s *Server) agree(a *agreement, expires time.Duration) bool {
	s.mu.Lock()
	code := s.full(a.peer)
	if code == "" && s.agreed[a.id] == nil {
		s.add(a, expires)
		s.mu.Unlock()
		return true
	}
	s.mu.Unlock()
	s.Stats.Full.Add(1)
	if code != "" && s.ctx.Err() == nil {
		s.Refused.Refuse(code, a.peer.String(), a.peer, ErrBusy)
	}
	return false
}

func (s *Server) add(a *agreement, expires time.Duration) {
	a.ctx, a.cancel = context.WithCancelCause(s.ctx)
	s.agreed[a.id] = a
	s.by[a.peer]++
	s.running.Add(1)
	late := time.AfterFunc(expires, func() { a.cancel(errors.New(reasonLate)) })
	context.AfterFunc(a.ctx, func() {
		defer s.running.Done()
		late.Stop()
		s.expire(a, context.Cause(a.ctx))
	})
	if a.half == nil {
		s.running.Add(1)
		go s.initiate(a)
	}
}

// expire ends an agreement that no connection was attached to.
func (s *Server) expire(a *agreement, cause error) {
	s.mu.Lock()
	there, failed := s.remove(a, false), a.failed
	s.mu.Unlock()
	if !there {
		return
	}
	if s.ctx.Err() == nil {
		s.Stats.Expired.Add(1)
		s.Log.Info("a tunnel to another node was not opened in time", "peer", a.peer, "initiator", a.half == nil, "error", failed)
	}
	if a.half != nil {
		a.half.drop(cause.Error())
	}
}

// remove takes a out of the table, and reports whether it was there. The caller
// holds the lock.
func (s *Server) remove(a *agreement, attached bool) bool {
	if s.agreed[a.id] != a {
		return false
	}
	delete(s.agreed, a.id)
	if s.by[a.peer]--; s.by[a.peer] == 0 {
		delete(s.by, a.peer)
	}
	s.past[s.oldest] = outcome{a.id, a.peer, attached, a.both}
	s.oldest = (s.oldest + 1) % len(s.past)
	return true
}

// claim makes a connection that of the agreement, unless another is or it is too
// late.
func (s *Server) claim(a *agreement, h *half, c *session.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || a.ctx.Err() != nil || !s.remove(a, true) { // Close knows the halves there were
		return false
	}
	h.nc = c
	s.halves[h] = struct{}{}
	return true
}

// find returns the agreement that a connection of the peer is for.
func (s *Server) find(peer ring.ID, id [16]byte) (*agreement, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.agreed[id]; a != nil {
		if a.peer != peer {
			return nil, refusal(session.AttachPeer, peer)
		}
		return a, nil
	}
	for i := range s.past {
		switch o := &s.past[i]; {
		case o.id != id || o.peer.IsZero():
		case o.peer != peer:
			return nil, refusal(session.AttachPeer, peer)
		case !o.attached:
			return nil, refusal(session.AttachTime, peer)
		case o.both: // dialled, and this connection was the slower one
			return nil, errRefused
		}
	}
	return nil, refusal(session.AttachUnknown, peer)
}

// accepted runs a connection that the other node made.
func (s *Server) accepted(c *session.Conn) {
	stop := watch(s.ctx, c)
	id, err := readAttach(c)
	stop()
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) && s.ctx.Err() == nil {
			err = &session.Error{Code: session.TLSTime, Err: errors.New("no ATTACH came")}
		}
		s.refuse(c, err)
		return
	}
	a, err := s.find(c.Peer(), id)
	if err != nil {
		s.refuse(c, err)
		writeAttached(c, attachRefused)
		return
	}
	if stop = watch(a.ctx, c); a.half != nil {
		s.attach(a, c, stop)
		return
	}
	if err = writeAttach(c, id); err == nil {
		err = readAttached(c)
	}
	if err != nil {
		s.note(a, fmt.Errorf("dialled back: %w", err), nil)
		return
	}
	s.attached(a, c, stop)
}

// initiate dials for a tunnel, and has the other node dial if that does not lead to
// anything soon.
func (s *Server) initiate(a *agreement) {
	defer s.running.Done()
	ask := time.AfterFunc(dialBack, func() { s.ask(a) })
	defer ask.Stop()
	c, err := s.Dial(a.ctx, a.peer, a.addrs)
	if err != nil {
		s.note(a, fmt.Errorf("dial: %w", err), &s.Stats.Dial)
		if ask.Stop() {
			s.ask(a)
		}
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(attachTime))
	stop := watch(a.ctx, c)
	defer stop()
	if err = writeAttach(c, a.id); err == nil {
		err = readAttached(c)
	}
	if err != nil {
		s.note(a, fmt.Errorf("attach: %w", err), &s.Stats.Refused)
		return
	}
	ask.Stop()
	s.attached(a, c, stop)
}

// ask asks the other node to dial, while there still is something to dial for.
func (s *Server) ask(a *agreement) {
	s.mu.Lock()
	waits := s.agreed[a.id] == a
	if waits {
		a.both = true
		s.running.Add(1) // a timer may have called, which nobody waits for
	}
	s.mu.Unlock()
	if waits {
		defer s.running.Done()
		s.AskBack(a.peer, a.id)
	}
}

// dialBack dials for a tunnel as the accepting node.
func (s *Server) dialBack(a *agreement, addrs []wire.Addr) {
	defer s.running.Done()
	c, err := s.Dial(a.ctx, a.peer, addrs)
	if err != nil {
		s.note(a, fmt.Errorf("dial back: %w", err), &s.Stats.DialBack)
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(attachTime))
	stop := watch(a.ctx, c)
	defer stop()
	id := a.id
	if err = writeAttach(c, id); err == nil {
		id, err = readAttach(c)
	}
	if err == nil && id != a.id {
		err = session.BadFirst("the initiator answers for another tunnel")
	}
	if err != nil {
		s.note(a, fmt.Errorf("dial back: attach: %w", err), &s.Stats.DialBack)
		return
	}
	s.attach(a, c, stop)
}

// note keeps what went wrong for whoever asks why the tunnel did not open. What goes
// wrong once it has, or has expired, is of no interest.
func (s *Server) note(a *agreement, err error, count *atomic.Uint64) {
	s.mu.Lock()
	waits := s.agreed[a.id] == a
	if waits {
		a.failed = err
	}
	s.mu.Unlock()
	if waits && count != nil {
		count.Add(1)
	}
}

// watch ends what a connection waits for when ctx does, until stop is called: it
// reports false if that has happened.
func watch(ctx context.Context, c *session.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
}

// attach answers the initiator's ATTACH, and runs the tunnel if this is its
// connection.
func (s *Server) attach(a *agreement, c *session.Conn, stop func() bool) {
	if !s.claim(a, a.half, c) {
		_, err := s.find(a.peer, a.id)
		s.refuse(c, err)
		writeAttached(c, attachRefused)
		return
	}
	begin(c, stop)
	a.cancel(errAttached)
	if err := writeAttached(c, attachOpen); err != nil {
		c.Close() // run meets the error again
	}
	a.half.run()
}

// begin lifts the deadline that a connection had for its first frames. If its
// agreement has just ended it stays, and the tunnel is lost.
func begin(c *session.Conn, stop func() bool) {
	if stop() {
		c.SetDeadline(time.Time{})
	}
}

// attached runs the tunnel of the initiator, whose connection the accepting node has
// taken.
func (s *Server) attached(a *agreement, c *session.Conn, stop func() bool) {
	h := newHalf(s, a.peer)
	h.cluster = a.cluster
	if !s.claim(a, h, c) {
		return
	}
	begin(c, stop)
	a.cancel(errAttached)
	var b queue.Batch
	h.Initiate(time.Now(), &b, s.Timers, a.initiator, a.take)
	b.Flush()
	h.run()
}
