package messaging

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

const (
	peerIdle = 24 * time.Hour // how long a node that is gone is remembered: frames can lie in a paused router
	maxPeers = 1 << 16        // beyond them those that have been gone for longest are forgotten
)

// sweepPeers lets go of other nodes that nothing is to be remembered of, or that are
// gone for long.
func (p *Plane) sweepPeers(now time.Time, asks *Asks) {
	var gone []*Peer
	with := p.memberNodes()
	peers := p.sortedPeers()
	known := len(peers)
	for _, peer := range peers {
		peer.forget(now)
		if peer.used.Swap(false) {
			peer.rest = time.Time{}
			if peer.linked() != nil {
				asks.Wanted = append(asks.Wanted, peer.ID) // its link is not idle
			}
			continue
		}
		if peer.rest.IsZero() {
			peer.rest = now
		}
		switch {
		case !peer.shrink() && !with[peer.ID]:
			known--
			p.forget(peer)
		case peer.gone.Load() && peer.linked() == nil && !peer.publishes() && !with[peer.ID]:
			gone = append(gone, peer)
		}
	}
	slices.SortStableFunc(gone, func(a, b *Peer) int { return a.rest.Compare(b.rest) })
	for _, peer := range gone {
		old := now.Sub(peer.rest) >= peerIdle
		if !old && known <= maxPeers {
			return
		}
		known--
		if !old {
			p.Drops.Forgotten.Add(1)
		}
		p.retire(peer)
	}
}

// memberNodes returns the nodes that have members of any name in use.
func (p *Plane) memberNodes() map[ring.ID]bool {
	with := make(map[ring.ID]bool)
	for _, i := range p.names { //iris:unordered a set
		for id := range i.nodes { //iris:unordered a set
			with[id] = true
		}
	}
	return with
}

// retire forgets a node that is gone. Should it come back, what this node asks of it
// must have numbers that were not used before.
func (p *Plane) retire(peer *Peer) {
	peer.mu.Lock()
	next := peer.open.made()
	peer.mu.Unlock()
	p.peersMu.Lock()
	for i := range p.begin {
		p.begin[i] = max(p.begin[i], next[i])
	}
	p.peersMu.Unlock()
	p.forget(peer)
}
