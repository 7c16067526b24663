package messaging

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
)

const (
	resendAfter = 200 * time.Millisecond // without a link open attempts are sent by routers
	roamAfter   = 2 * time.Second        // without one streams are: they would rather keep their order
	roamReview  = 5 * time.Second        // between two looks whether that is of any use
)

// tails are when after the last message that was routed a peer is told where its
// streams stand: of what is lost on the way nobody hears.
var tails = [...]time.Duration{200 * time.Millisecond, time.Second, 4 * time.Second}

// A detour is the loop's part in how things get to a peer that there is no link to.
// Times are zero when there is nothing to do.
type detour struct {
	on     bool
	via    *Peer     // the first router when attempts were last sent
	resend time.Time // when open attempts are sent once more
	roam   time.Time // when streams begin to be routed
	review time.Time
	digest time.Time // when the peer is told where streams stand
	told   int       // how often it was
	misses int       // what went wrong since it last was well
}

// due returns when there is something to do.
func (d *detour) due() (at time.Time) {
	for _, t := range [...]time.Time{d.resend, d.roam, d.review, d.digest} {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	return at
}

// pass reports, once, that a time has come.
func pass(at *time.Time, now time.Time) bool {
	if at.IsZero() || now.Before(*at) {
		return false
	}
	*at = time.Time{}
	return true
}

// need tells the loop that there is something for the peer and no link. Safe for
// concurrent use, with a cell's lock.
func (p *Peer) need() {
	if !p.needed.Load() && !p.needed.Swap(true) {
		p.stir()
	}
}

// strayed tells the loop that a message of a stream was handed to a router. Safe for
// concurrent use, with a cell's lock.
func (p *Peer) strayed() {
	if !p.strays.Load() && !p.strays.Swap(true) {
		p.stir()
	}
}

func (p *Peer) stir() {
	p.stirred.Store(true)
	if !p.plane.stirred.Swap(true) {
		p.plane.wake()
	}
}

// heed looks for peers that there is something for and no link. Loop.
func (p *Plane) heed(now time.Time, asks *Asks) {
	if !p.stirred.Swap(false) {
		return
	}
	for _, peer := range p.sortedPeers() {
		if !peer.stirred.Swap(false) || peer.linked() != nil {
			continue
		}
		p.stray(now, peer)
		asks.Wanted = append(asks.Wanted, peer.ID)
		if d := &peer.detour; d.on && peer.strays.Load() {
			d.digest, d.told = now.Add(tails[0]), 0
		}
	}
}

// Unlinked says that no link to a peer comes about for now, so that nothing need wait
// for it. Loop.
func (p *Plane) Unlinked(now time.Time, id ring.ID) {
	if peer := p.peer(id); peer != nil && peer.detour.on && !peer.detour.roam.IsZero() {
		peer.detour.roam = now
	}
}

// stray begins to look after a peer that there is no link to. Loop.
func (p *Plane) stray(now time.Time, peer *Peer) {
	d := &peer.detour
	if d.on || peer.linked() != nil || peer.gone.Load() {
		return
	}
	*d = detour{on: true, resend: now.Add(resendAfter), roam: now.Add(roamAfter), review: now.Add(roamReview)}
	at, _ := slices.BinarySearchFunc(p.astray, peer.ID, func(o *Peer, id ring.ID) int { return o.ID.Compare(id) })
	p.astray = slices.Insert(p.astray, at, peer)
}

// arrive ends that. Loop.
func (p *Plane) arrive(peer *Peer) {
	if peer.detour.on {
		peer.detour = detour{}
		p.astray = slices.DeleteFunc(p.astray, func(o *Peer) bool { return o == peer })
	}
	peer.roams.Store(false)
	peer.needed.Store(false)
	peer.strays.Store(false)
}

// rerouted looks whether the first router to the peer is another. What was given to
// the one before may be lost. Loop.
func (p *Peer) rerouted(now time.Time) {
	d := &p.detour
	if via := p.plane.routes.Load().first(p.ID, 0); via != d.via && d.resend.IsZero() {
		d.resend, d.misses = now, 0
	}
}

// missed notes that a message of a stream did not get to the peer. Loop.
func (p *Peer) missed(now time.Time) {
	if d := &p.detour; d.on && (d.digest.IsZero() || d.told > 0) {
		d.digest, d.told = now.Add(tails[min(d.misses, len(tails)-1)]), 0
		d.misses++
	}
}

// detourDue returns when lookAtDetours has something to do. Loop.
func (p *Plane) detourDue() (at time.Time) {
	for _, peer := range p.astray {
		if t := peer.detour.due(); at.IsZero() || !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	return at
}

// lookAtDetours does what has come due for peers that there is no link to. Loop.
func (p *Plane) lookAtDetours(now time.Time, b *queue.Batch, asks *Asks) {
	for _, peer := range slices.Clone(p.astray) {
		d := &peer.detour
		if peer.gone.Load() {
			p.arrive(peer)
			continue
		}
		if pass(&d.resend, now) {
			peer.reroute(now, b)
		}
		if pass(&d.roam, now) {
			peer.roams.Store(true)
			if p.mend(b, peer, true) && d.digest.IsZero() { // the word about it may be lost too
				d.digest, d.told = now.Add(tails[0]), 0
			}
		}
		if pass(&d.digest, now) {
			p.tellEnds(now, b, peer)
		}
		if pass(&d.review, now) {
			p.review(now, peer, asks)
		}
	}
}

// tellEnds tells a peer where streams stand that were routed to it.
func (p *Plane) tellEnds(now time.Time, b *queue.Batch, peer *Peer) {
	d := &peer.detour
	if d.told == 0 {
		peer.strays.Store(false) // what follows begins anew
	}
	if d.told++; d.told < len(tails) {
		d.digest = now.Add(tails[d.told] - tails[d.told-1])
	} else {
		d.misses = 0
	}
	p.mend(b, peer, true)
}

// review asks for the link again, as long as there is anything for the peer.
func (p *Plane) review(now time.Time, peer *Peer, asks *Asks) {
	peer.mu.Lock()
	open := peer.open[0].live+peer.open[1].live > 0
	peer.mu.Unlock()
	if !open && peer.detour.digest.IsZero() && !peer.needed.Load() {
		p.arrive(peer)
		return
	}
	peer.needed.Store(false)
	asks.Wanted = append(asks.Wanted, peer.ID)
	peer.detour.review = now.Add(roamReview)
}

// reroute sends open attempts to the peer by the first router once more. That they
// may have arrived before is no harm: each number is acted on once.
func (p *Peer) reroute(now time.Time, b *queue.Batch) {
	p.detour.via = p.plane.routes.Load().first(p.ID, 0)
	w := p.way(0)
	if w.link == nil {
		return
	}
	p.mu.Lock()
	open := p.open.numbered()
	p.mu.Unlock()
	for _, o := range open {
		if p.again(b, w, o, p.plane.Timers.Tick(now)) != nil {
			p.detour.resend = now.Add(resendAfter)
			return
		}
	}
}
