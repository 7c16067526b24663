package messaging

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// Hops counts data frames that took more than one hop. Safe for concurrent use.
type Hops struct {
	Sent        atomic.Uint64 // by this node, to be handed on
	Arrived     atomic.Uint64 // for this node, handed on by others
	Forwarded   atomic.Uint64 // of others, handed on here
	Undelivered atomic.Uint64 // of others, that could not be
	Returned    atomic.Uint64 // of this node, that others could not hand on
	Forged      atomic.Uint64 // that claim to be of this node or nobody, or make no sense
}

const (
	maxWays      = 3                      // routers that an attempt is given to, one after the other
	cutOff       = 250 * time.Millisecond // in which nothing is routed to a node that no way led to
	maxStrangers = 1 << 12                // nodes known only by what routers brought of them
)

// routes is the part of the snapshot that says to whom frames are handed for nodes
// that there is no link to. It is immutable.
type routes struct {
	self ring.ID
	hops []hop // by id
}

// A hop is a node that is linked, or the way to one that is not.
type hop struct {
	id    ring.ID
	via   *Peer // itself, if it is linked
	hands bool  // it is linked, and hands on frames for others
}

// next returns to whom a frame for target is handed; nil: this node knows no way.
// Every hop gains distance, but for the last one to a node that others vouch for: it
// is the choice of overlay.NextHop, and allocates nothing.
func (r *routes) next(target ring.ID) *Peer {
	n := len(r.hops)
	at, found := slices.BinarySearchFunc(r.hops, target, func(h hop, id ring.ID) int { return h.id.Compare(id) })
	if found {
		return r.hops[at].via
	}
	best, via := r.self, (*Peer)(nil)
	closer := func(h *hop) bool {
		if h.hands && target.Distance(h.id).Less(target.Distance(best)) {
			best, via = h.id, h.via
		}
		return h.hands
	}
	for i := range n {
		if closer(&r.hops[(at+i)%n]) {
			break
		}
	}
	for i := range n {
		if closer(&r.hops[(at-1-i+n)%n]) {
			break
		}
	}
	return via
}

// first returns to whom a frame of this node for target is handed when others have
// come back already: next, then the closest of those that hand frames on, and so on,
// whether they are closer than this node or not.
func (r *routes) first(target ring.ID, others int) *Peer {
	next := r.next(target)
	if next != nil && others == 0 {
		return next
	}
	if next == nil {
		others++
	}
	var last, best *hop
	for range others {
		best = nil
		for i := range r.hops {
			h := &r.hops[i]
			if h.hands && h.via != next && (last == nil || ring.Closer(target, last.id, h.id)) && (best == nil || ring.Closer(target, h.id, best.id)) {
				best = h
			}
		}
		if best == nil {
			return nil
		}
		last = best
	}
	return best.via
}

// Route shows the data plane how frames get to other nodes now. Loop.
func (p *Plane) Route(now time.Time, b *queue.Batch, known []overlay.Route) {
	if slices.Equal(p.known, known) {
		return
	}
	p.known = append(p.known[:0], known...)
	r := &routes{self: p.Self, hops: make([]hop, 0, len(known))}
	for _, k := range known {
		r.hops = append(r.hops, hop{k.ID, p.Peer(k.Via), k.Hands})
	}
	p.routes.Store(r)
	for _, peer := range p.astray {
		peer.rerouted(now)
	}
	p.tryAll(now, b)
}

// A way is how a frame gets to a peer: over the link to it, or by a router. The zero
// way is none.
type way struct {
	link   Link
	routed bool
}

// way returns the way to the peer, when that many routers could not hand the frame on.
func (p *Peer) way(tried int) way {
	if l := p.linked(); l != nil {
		return way{link: l}
	}
	if via := p.plane.routes.Load().first(p.ID, tried); via != nil && via != p {
		if l := via.linked(); l != nil {
			return way{l, true}
		}
	}
	return way{}
}

// back returns the way of an answer to the peer: by the router that the question came
// by, which has a link to the peer. Others may have none yet to one that has just come.
func (p *Peer) back() way {
	if via := p.via.Load(); via != nil && p.linked() == nil {
		if l := via.linked(); l != nil {
			return way{l, true}
		}
	}
	return p.way(0)
}

// detours reports whether there is no link to the peer, and requests may be routed.
func (p *Peer) detours(now time.Time) bool {
	return p.linked() == nil && !p.gone.Load() && p.plane.nanos(now) >= p.cut.Load() && p.way(0).link != nil
}

// send sends a frame to the peer. The caller has a lock for the frame.
func (w way) send(b *queue.Batch, p *Peer, lane wire.Lane, f *wire.Frame, head []byte, load queue.Payload) (pos uint64, err error) {
	if !w.routed {
		return w.link.Send(b, lane, f, head, load)
	}
	f.Flags |= wire.Routed
	f.Hops, f.Origin, f.Target = wire.MaxHops, p.plane.Self, p.ID
	if err = sendRouted(b, w.link, f, head, load); err == nil {
		p.plane.Hops.Sent.Add(1)
	}
	return 0, err
}

// sendRouted hands a frame to a router. Streams and what is long have the data
// connection opened if need be, the rest goes by control until it is.
func sendRouted(b *queue.Batch, l Link, f *wire.Frame, head []byte, load queue.Payload) (err error) {
	switch {
	case isStream(f.Type):
		_, err = l.Send(b, wire.Publications, f, head, load)
	case len(head)+len(load.Data) > wire.MaxRouted:
		_, err = l.Send(b, wire.Requests, f, head, load)
	default:
		err = l.SendRouted(b, f, head, load.Data)
	}
	return err
}

func isStream(t wire.Type) bool {
	return t == wire.TypePublish || t == wire.TypeGap || t == wire.TypeDigest
}

// routed takes a frame that came by routers, or that is to go on.
func (p *Peer) routed(now time.Time, b *queue.Batch, f *wire.Frame) error {
	plane := p.plane
	switch {
	case f.Origin.IsZero() || f.Origin == plane.Self && f.Target == plane.Self:
		plane.Hops.Forged.Add(1)
		return nil
	case f.Target != plane.Self:
		plane.forward(b, p, f)
		return nil
	case f.Origin == plane.Self:
		plane.Hops.Forged.Add(1)
		return nil
	}
	from := plane.stranger(f.Origin)
	if from == nil {
		plane.undelivered(f)
		return nil
	}
	if from.via.Load() != p {
		from.via.Store(p)
	}
	plane.Hops.Arrived.Add(1)
	if from.accept(now, b, f) != nil {
		plane.Hops.Forged.Add(1) // the router is not to blame
	}
	return nil
}

// forward hands on a frame of others, which came from a peer. Nothing is kept of it.
func (p *Plane) forward(b *queue.Batch, from *Peer, f *wire.Frame) {
	if via := p.routes.Load().next(f.Target); via != nil && via != from && f.Hops > 1 {
		if l := via.linked(); l != nil {
			f.Hops--
			b.Octets += len(f.Body)
			if sendRouted(b, l, f, nil, queue.Payload{Data: f.Body}) == nil {
				p.Hops.Forwarded.Add(1)
				return
			}
		}
	}
	p.undelivered(f)
}

// undelivered tells the origin of a frame that it could not be handed on.
func (p *Plane) undelivered(f *wire.Frame) {
	p.Hops.Undelivered.Add(1)
	p.hint(note{to: f.Origin, msg: wire.Undelivered{Target: f.Target, Of: f.Type, Number: number(f)}})
}

// number returns the number that a frame has, or 0.
func number(f *wire.Frame) uint64 {
	at := 0
	switch f.Type {
	case wire.TypeRequest, wire.TypeTunnelOffer:
		at = 4
	case wire.TypePublish:
		at = 8
	}
	if len(f.Body) < at+8 {
		return 0
	}
	return binary.BigEndian.Uint64(f.Body[at:])
}

// stranger returns the peer that a router brought something of; nil: there are too
// many that were never linked.
func (p *Plane) stranger(id ring.ID) *Peer {
	p.peersMu.RLock()
	peer := p.peers[id]
	if peer != nil {
		peer.use() // so it is not forgotten before what came is remembered
	}
	p.peersMu.RUnlock()
	if peer != nil {
		return peer
	}
	p.peersMu.Lock()
	defer p.peersMu.Unlock()
	if peer = p.peers[id]; peer == nil {
		if p.strangers >= maxStrangers {
			return nil
		}
		p.strangers++
		peer = p.newPeer(id)
		peer.stranger = true
	}
	peer.use()
	return peer
}

// Undelivered takes the word of a router that it could not hand on a frame of this
// node. Loop.
func (p *Plane) Undelivered(now time.Time, b *queue.Batch, m wire.Undelivered) {
	peer := p.peer(m.Target)
	if peer == nil {
		return
	}
	p.Hops.Returned.Add(1)
	switch {
	case m.Of == wire.TypeRequest || m.Of == wire.TypeTunnelOffer:
		peer.returned(now, b, m.Number)
	case isStream(m.Of):
		peer.missed(now)
	} // of an answer nothing is left: who waits for it sees silence
}

// returned sends an attempt that a router could not hand on by another way, under its
// number. If there is none, and it never went but where it came back from, it has
// provably not been started: it goes to another node.
func (p *Peer) returned(now time.Time, b *queue.Batch, number uint64) {
	p.mu.Lock()
	g, ok := p.open.find(number)
	if !ok || p.linked() != nil { // answered, or sent over the link meanwhile
		p.mu.Unlock()
		return
	}
	g.back = min(g.back+1, unprovable-1)
	p.open.set(number, g)
	p.mu.Unlock()
	if tried := int(g.back); tried < maxWays {
		if w := p.way(tried); w.link != nil && p.again(b, w, numbered{g, number}, p.plane.Timers.Tick(now)) == nil {
			return
		}
	}
	p.cut.Store(p.plane.nanos(now.Add(cutOff)))
	p.mu.Lock()
	g, ok = p.open.find(number)
	provable := g.copies == g.back
	if ok && provable {
		p.open.remove(number)
	}
	p.mu.Unlock()
	switch {
	case !ok: // answered meanwhile
	case provable:
		p.plane.retry(now, b, g, choice{peer: p}, false, &p.plane.Retries.Undelivered)
	default:
		p.plane.Drops.Unproved.Add(1)
	}
}

// unprovable is how many copies of an attempt there are of which nobody can say any
// more what became of them.
const unprovable = 255

// sent notes that one more copy of an attempt is on its way.
func (g *grant) sent(w way) {
	if !w.routed || g.copies >= unprovable-1 {
		g.copies = unprovable
		return
	}
	g.copies++
}
