package overlay

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

const (
	beatEvery  = time.Second            // silence of a neighbour that makes it be asked
	beatYield  = 200 * time.Millisecond // how much longer the lower id waits
	checkEvery = 4 * time.Minute        // of others; the kernel checks connections too
	tries      = 3
	helpers    = 2 // other nodes that are asked about a suspect
	minSuspect = 200 * time.Millisecond
	slowDial   = 2 * time.Second // after which a neighbour is suspected anyway
	maxAskers  = 256
	askerLife  = 2 * time.Second

	pauseLimit = 3 * time.Second        // between calls: this process was stopped
	lateLimit  = 250 * time.Millisecond // after Next: it is slow
)

// A probe is a question that awaits its answer.
type probe struct {
	tries int
	nonce uint64
	sent  time.Time
	late  time.Time // when the next try is due
}

// An asker wants to know whether somebody else is alive.
type asker struct {
	nonce   uint64 // of our question to the subject
	subject ring.ID
	id      ring.ID
	theirs  uint64 // nonce to answer with
	until   time.Time
}

// heard notes a sign of life.
func (p *peer) heard(now time.Time) {
	p.seen, p.probe.tries, p.verdict = now, 0, time.Time{}
}

// every returns after how much silence a leaf is asked for a sign of life. Of two
// neighbours the higher id asks first, and its question is a sign of life too: so
// there is one question, and not two that cross.
func (p *peer) every(self ring.ID) time.Duration {
	switch {
	case !p.neighbour:
		return checkEvery
	case self.Less(p.id):
		return beatEvery + beatYield
	}
	return beatEvery
}

// watchDue returns when watch has something to do about a peer; the zero time
// says never.
func (p *peer) watchDue(self ring.ID) time.Time {
	switch {
	case !p.verdict.IsZero():
		return p.verdict
	case !p.reachable():
		return time.Time{}
	case p.probe.tries > 0:
		return p.probe.late
	}
	return p.seen.Add(p.every(self))
}

// watch asks peers that are silent for a sign of life, and gives up those that
// do not answer.
func (o *Overlay) watch(now time.Time, out *Output) {
	for _, p := range o.watched {
		due := p.watchDue(o.self)
		switch {
		case due.IsZero() || now.Before(due):
		case !p.verdict.IsZero():
			o.declare(now, p, out)
		case p.probe.tries < tries:
			o.beat(now, p, out)
		default:
			o.silent(now, p, out)
		}
	}
}

func (o *Overlay) beat(now time.Time, p *peer, out *Output) {
	o.moved = true // the next one may have to be watched too
	o.nonce++
	p.probe = probe{p.probe.tries + 1, o.nonce, now, now.Add(o.health.stretch(p.rtt.timeout()))}
	out.send(p.id, wire.Beat{Nonce: o.nonce, Probe: p.probe.tries > 1})
}

// silent has got no answer from a peer. A neighbour comes under suspicion; the
// link to another node is of no use.
func (o *Overlay) silent(now time.Time, p *peer, out *Output) {
	switch {
	case p.neighbour:
		p.probe.tries = 0
		o.suspect(now, p, out)
	case p.path == linked:
		o.drop(now, p, "silent", out)
		o.fail(now, p)
	default:
		o.fail(now, p)
	}
}

// isHopeless reports whether a node that should be a neighbour cannot be linked.
func (o *Overlay) isHopeless(now time.Time, p *peer) bool {
	return p.path == broken || p.path == dialling && (p.failures > 0 || now.Sub(p.since) >= slowDial)
}

// suspect asks others about a node that this one does not reach. Unless one of
// them does, it is dead when the time is up.
func (o *Overlay) suspect(now time.Time, p *peer, out *Output) {
	if !p.verdict.IsZero() || o.state != wire.Active && o.state != wire.InLeaving {
		return
	}
	o.nonce++
	p.inquiry = o.nonce
	p.verdict = now.Add(o.health.stretch(max(minSuspect, 2*p.rtt.timeout())))
	if p.path == linked {
		out.send(p.id, wire.Beat{Nonce: o.nonce, Probe: true})
	}
	for _, id := range o.helpersFor(p.id) {
		out.send(id, wire.ProbeFor{Nonce: o.nonce, Subject: p.id})
	}
}

// helpersFor returns the linked nodes closest to a suspect, which are likely to
// be linked to it.
func (o *Overlay) helpersFor(id ring.ID) []ring.ID {
	var best []ring.ID
	for _, p := range o.peers {
		if p.id == id || !p.isActive() || !p.verdict.IsZero() {
			continue
		}
		i := len(best)
		for i > 0 && ring.Closer(id, p.id, best[i-1]) {
			i--
		}
		if i < helpers {
			best = slices.Insert(best, i, p.id)
			best = best[:min(len(best), helpers)]
		}
	}
	return best
}

// declare makes a suspect dead, if it is in the view.
func (o *Overlay) declare(now time.Time, p *peer, out *Output) {
	p.verdict = time.Time{}
	e := o.view.alive(p.id)
	if e == nil {
		o.drop(now, p, "silent", out)
		return
	}
	ev := wire.Event{Node: p.id, Kind: wire.EventDead, Seq: e.seq + 1}
	o.accept(now, &ev, out)
}

// receiveBeat answers a question, or takes an answer.
func (o *Overlay) receiveBeat(now time.Time, from ring.ID, m wire.Beat, out *Output) {
	if !m.Ack {
		out.send(from, wire.Beat{Nonce: m.Nonce, Ack: true, Probe: m.Probe})
		return
	}
	p := o.peers.find(from)
	if p != nil && p.probe.nonce == m.Nonce && !p.probe.sent.IsZero() {
		p.rtt.sample(now.Sub(p.probe.sent))
		p.probe.sent = time.Time{}
		o.health.better()
	}
	for i, a := range o.askers {
		if a.nonce == m.Nonce && a.subject == from {
			out.send(a.id, wire.Beat{Nonce: a.theirs, Ack: true, Probe: true})
			o.askers = slices.Delete(o.askers, i, i+1)
			return
		}
	}
	for _, q := range o.peers {
		if !q.verdict.IsZero() && q.inquiry == m.Nonce && q.id != from && p != nil && p.path == linked {
			o.vouchedFor(now, q, from, out)
			return
		}
	}
}

// vouchedFor takes another node's word that it reaches a suspect: so it lives,
// and is reached through that node.
func (o *Overlay) vouchedFor(now time.Time, p *peer, by ring.ID, out *Output) {
	if p.path == linked {
		o.health.worse() // or is it this node that is deaf?
	}
	o.drop(now, p, "silent, but others reach it", out)
	o.fail(now, p) // the link is dialled again in a while
	p.heard(now)
	p.move(now, indirect)
	p.via = by
}

// receiveProbeFor asks a node for a sign of life on behalf of another.
func (o *Overlay) receiveProbeFor(now time.Time, from ring.ID, m wire.ProbeFor, out *Output) {
	o.askers = slices.DeleteFunc(o.askers, func(a asker) bool { return now.After(a.until) })
	if !o.Linked(m.Subject) || len(o.askers) == maxAskers {
		return
	}
	o.nonce++
	o.askers = append(o.askers, asker{o.nonce, m.Subject, from, m.Nonce, now.Add(askerLife)})
	out.send(m.Subject, wire.Beat{Nonce: o.nonce, Probe: true})
}

// wake looks at the time since the last call. Each call begins with it.
func (o *Overlay) wake(now time.Time, out *Output) {
	paused := now.Sub(o.last) > pauseLimit && o.state != wire.Solo && !o.departed
	late := !o.due.IsZero() && now.Sub(o.due) > lateLimit
	o.last = now
	switch {
	case paused:
		o.pause(now, out)
	case late:
		o.health.worse()
		o.forgive(now)
	}
}

// forgive gives everybody time again: who was not listening cannot say that the
// others were silent.
func (o *Overlay) forgive(now time.Time) {
	for _, p := range o.peers {
		p.heard(now)
	}
	for i := range o.doubts {
		o.doubts[i].until = now.Add(o.health.stretch(directDoubt))
	}
}
