package messaging

import (
	"errors"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wire"
)

var errNumber = errors.New("attempt number is out of range")

// requested takes an attempt of the peer's: it is handed to a member of this node
// or refused, and whichever it is never happens twice under its number.
func (p *Peer) requested(now time.Time, b *queue.Batch, f *wire.Frame, k kind) error {
	h, body, err := wire.ParseRequestHead(f.Body)
	if err != nil {
		return err
	}
	if h.Number >= 1<<63 {
		return errNumber
	}
	plane := p.plane
	p.seen.Lock()
	v := p.seen.mark(h.Number)
	evicted := p.seen.takeEvicted()
	p.seen.Unlock()
	if evicted > 0 {
		plane.Drops.Evicted.Add(evicted)
	}
	switch v {
	case marked:
		plane.Drops.Repeated.Add(1)
		return nil
	case below: // it may have run: to say that it was not started could be a lie
		plane.Drops.BelowWindow.Add(1)
		return nil
	}
	life := time.Duration(min(h.Life, maxTimeout)) * time.Millisecond
	g := grant{origin: p, number: h.Number, term: term{h.Timeout, plane.Timers.Due(now, life)}}
	plane.serve(now, b, g, k, f.Name, body, f.Flags&wire.Choosy != 0 && k == request)
	return nil
}

// serve hands an attempt of another node to a member of this one, or refuses it: one
// that is choosy rather than have it wait. One whose time has passed nobody waits for.
func (p *Plane) serve(now time.Time, b *queue.Batch, g grant, k kind, name wire.Name, body []byte, choosy bool) {
	if g.remains(p.Timers.Tick(now)) == 0 {
		p.Drops.Expired.Add(1)
		return
	}
	reason := wire.Gone
	var load wire.Load
	cl := p.keyed(name)
	if cl != nil {
		if choosy && !p.draining.Load() && cl.turnsDown(g.origin.rtt()) {
			g.origin.refuse(b, g.number, wire.Waits, cl.says(p))
			return
		}
		var not *Conn
		for range 3 {
			m := cl.pick(not)
			if m == nil {
				break
			}
			reason = wire.Busy
			if p.draining.Load() {
				reason = wire.Draining
				m.unpick()
				break
			}
			if k == build && p.NoTunnel != nil && p.NoTunnel(g.origin.ID) {
				m.unpick()
				break
			}
			if _, ok := m.hand(now, b, g, k, body); ok {
				return
			}
			m.unpick()
			not = m
		}
		if reason == wire.Gone && cl.has() {
			reason = wire.Busy
		}
		load = cl.says(p)
	}
	g.origin.refuse(b, g.number, reason, load)
}

// refuse says that an attempt was not started, and never will be.
func (p *Peer) refuse(b *queue.Batch, number uint64, reason byte, load wire.Load) {
	p.plane.Drops.Refused.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.send(b, p.back(), wire.TypeNotStarted, 0, wire.Name{}, wire.NotStarted{Number: number, Reason: reason, Load: load}.AppendBody(p.head[:0]), nil)
}

// answer sends the answer to an attempt of the peer's.
func (p *Peer) answer(b *queue.Batch, number uint64, status byte, load wire.Load, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.send(b, p.back(), wire.TypeReply, 0, wire.Name{}, wire.ReplyHead{Number: number, Status: status, Load: load}.AppendBody(p.head[:0]), body); err != nil {
		p.plane.Drops.LateReplies.Add(1)
	}
}

// mostCanceled is how many hints of one node that nobody waits for an attempt are kept
// until the loop looks.
const mostCanceled = 1 << 12

// canceled takes the hint that nobody waits for an attempt any more. The loop looks at
// all of them together and not at once, as looking costs more than sending one.
func (p *Peer) canceled(b *queue.Batch, f *wire.Frame) error {
	m, err := wire.ParseCancel(f.Body)
	if err != nil {
		return err
	}
	p.seen.Lock()
	many := len(p.seen.canceled) >= mostCanceled
	if !many {
		if p.seen.canceled == nil {
			p.seen.canceled = make(map[uint64]bool)
		}
		p.seen.canceled[m.Number] = true
	}
	p.seen.Unlock()
	switch {
	case many:
		p.plane.Drops.Hints.Add(1)
	case !p.plane.canceled.Swap(true):
		p.plane.wake()
	}
	return nil
}

// Dropped says that a long frame of the peer's was given up before it was complete; f
// is what came of its start. A request was provably not started then.
func (p *Peer) Dropped(now time.Time, b *queue.Batch, f *wire.Frame) {
	if f.Flags&wire.Routed != 0 {
		p.plane.undelivered(f)
		return
	}
	switch f.Type {
	case wire.TypeRequest:
		h, _, err := wire.ParseRequestHead(f.Body)
		if err != nil || h.Number >= 1<<63 {
			return
		}
		p.seen.Lock()
		v := p.seen.mark(h.Number)
		p.seen.Unlock()
		if v == fresh {
			p.refuse(b, h.Number, wire.Busy, wire.Load{})
		}
	case wire.TypeReply:
		p.plane.Drops.LateReplies.Add(1)
	case wire.TypePublish: // it is missed, and asked for again
		p.plane.Drops.Aborted.Add(1)
	}
}

// A Build is a tunnel build of a program of this node that another node's member
// has confirmed. It may be taken once, until its deadline.
type Build struct{ grant }

// From returns the connection that started the build.
func (t Build) From() *Conn { return t.conn }

// Cluster returns the name that the build asked for.
func (t Build) Cluster() string { return t.cluster.everyone.name }

// Take ends the build without a word: the caller says how it went. It reports
// false when the program no longer waits; its id of the tunnel is free then.
func (t Build) Take() (id uint64, ok bool) { return t.take() }

// accepted takes the word that a member of the peer confirmed a tunnel build.
func (p *Peer) accepted(now time.Time, b *queue.Batch, f *wire.Frame) error {
	m, err := wire.ParseTunnelAccept(f.Body)
	if err != nil {
		return err
	}
	g, ok := p.take(m.Number)
	if !ok || g.kind != build {
		p.plane.Drops.LateReplies.Add(1)
		return nil
	}
	g.cluster.signal(now, p, m.Load)
	if p.plane.Accepted != nil {
		p.plane.Accepted(p, Build{g}, m)
	}
	return nil
}

// Deny tells the node that asked for it under number that no tunnel came of a build
// though a member confirmed it.
func (p *Peer) Deny(b *queue.Batch, o Offer) { p.answer(b, o.Number, wire.ReplyLost, o.Load, nil) }

// Accept tells the node that asked for it under number that a member confirmed a
// tunnel build.
func (p *Peer) Accept(b *queue.Batch, m wire.TunnelAccept) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.send(b, p.back(), wire.TypeTunnelAccept, 0, wire.Name{}, m.AppendBody(nil), nil)
}
