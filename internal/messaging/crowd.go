package messaging

import (
	"time"

	"github.com/project-iris/iris/internal/wire"
)

const (
	crowd     = 8 << 20  // octets of publications that wait in a link: time to wait for it
	crowdLook = 64 << 10 // octets of a publication between two looks
	paceLeast = 1 << 20  // octets a second of a link that moves; a node that trickles would slow every publisher
)

// Crowded implements queue.Crowd: the link to the peer has much to send, and sends
// it. Safe for concurrent use.
func (p *Peer) Crowded(now time.Time) bool {
	l := p.linked()
	if l == nil || l.Waiting(wire.Publications) < crowd && l.Waiting(wire.Bulk) < crowd {
		return false
	}
	moved := l.Moved(wire.Publications) + l.Moved(wire.Bulk)
	stands := p.pace.Stands(now, moved, paceLeast)
	if p.stands.Swap(stands) != stands && stands {
		p.plane.Drops.Standing.Add(1)
	}
	return !stands
}
