package overlay

import (
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

const (
	soon    = time.Second            // views that differed are compared again
	atLeast = 100 * time.Millisecond // between two comparisons, with whomever
)

// everything asks for all buckets of a view.
var everything = func() (all [32]byte) {
	for i := range all {
		all[i] = 0xff
	}
	return all
}()

// compare compares views with a peer at random, or with the one whose view
// differed the last time.
func (o *Overlay) compare(now time.Time, out *Output) {
	p := o.peers.find(o.agenda.differed)
	o.agenda.differed = ring.ID{}
	if p == nil || !p.isActive() {
		p = o.pick((*peer).isActive)
	}
	if p != nil {
		o.compareWith(now, p, out)
	}
}

// compareWith compares views with a peer: now, or soon if there was another
// comparison just now.
func (o *Overlay) compareWith(now time.Time, p *peer, out *Output) {
	if now.Sub(o.compared) < atLeast {
		o.compareSoon(now, p)
		return
	}
	p.compared, o.compared = now, now
	out.send(p.id, wire.ViewHash{Buckets: o.view.sums})
}

// get asks a peer for what it knows of some buckets. What comes may be old.
func (o *Overlay) get(now time.Time, p *peer, buckets [32]byte, out *Output) {
	p.getting = now.Add(routedDoubt)
	out.send(p.id, wire.ViewGet{Buckets: buckets})
}

// receiveHash asks for the buckets that differ, and lets the other side do the
// same, so that both know what either did.
func (o *Overlay) receiveHash(now time.Time, from ring.ID, m wire.ViewHash, out *Output) {
	p := o.peers.find(from)
	if p == nil || o.state == wire.Solo {
		return
	}
	var differ [32]byte
	same := true
	for i := range m.Buckets {
		if m.Buckets[i] != o.view.sums[i] {
			differ[i/8] |= 1 << (i % 8)
			same = false
		}
	}
	if same {
		return
	}
	o.get(now, p, differ, out)
	if now.Sub(p.compared) > soon {
		o.compareWith(now, p, out)
	}
	o.compareSoon(now, p)
}

// compareSoon has a peer be the next whose view is compared.
func (o *Overlay) compareSoon(now time.Time, p *peer) {
	o.agenda.differed = p.id
	o.agenda.bringForward(&o.agenda.compare, now.Add(soon))
}

// receiveGet answers with all that is known of some buckets, the dead included.
func (o *Overlay) receiveGet(from ring.ID, m wire.ViewGet, out *Output) {
	var events []wire.Event
	for _, list := range [...][]entry{o.view.live, o.view.gone} {
		for i := range list {
			if b := bucket(list[i].id); m.Buckets[b/8]&(1<<(b%8)) != 0 {
				events = append(events, list[i].event())
			}
		}
	}
	sendEvents(from, events, out)
}

// checkRing asks a node at random who is closest to this one, which this one must
// know. It finds rings that lie within each other unnoticed.
func (o *Overlay) checkRing(out *Output) {
	o.nonce++
	if p := o.pick((*peer).isActive); p != nil {
		out.send(p.id, wire.Lookup{Nonce: o.nonce, Key: o.self, Exclude: true})
	}
}

func (o *Overlay) receiveLookup(from ring.ID, m wire.Lookup, out *Output) {
	except := ring.ID{}
	if m.Exclude {
		except = from
	}
	if owner := o.view.owner(m.Key, except); !owner.IsZero() {
		out.send(from, wire.Found{Nonce: m.Nonce, Owner: owner, Addrs: o.Addrs(owner)})
	}
}

func (o *Overlay) receiveFound(now time.Time, from ring.ID, m wire.Found, out *Output) {
	if o.state == wire.Joining && from == o.join.contact && m.Nonce == o.join.mark {
		o.join.gotView = true
	}
	if m.Owner != o.self && o.view.get(m.Owner) == nil && o.peers.find(m.Owner) == nil && o.state == wire.Active {
		o.dial(now, m.Owner, out, m.Addrs...)
	}
}
