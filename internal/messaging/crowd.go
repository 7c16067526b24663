package messaging

import (
	"sync"
	"time"

	"github.com/project-iris/iris/internal/wire"
)

const (
	crowd     = 8 << 20     // octets of publications that wait in a link: time to wait for it
	crowdLook = 64 << 10    // octets of a publication between two looks
	paceTime  = time.Second // over which it is seen whether a link moves
	paceLeast = 1 << 20     // octets in that time; a node that trickles would slow every publisher
)

// A pace is how a full link moves.
type pace struct {
	mu     sync.Mutex
	at     time.Time // of the last look
	moved  uint64    // by then
	stands bool
}

// Crowded implements queue.Crowd: the link to the peer has much to send, and sends
// it. Safe for concurrent use.
func (p *Peer) Crowded(now time.Time) bool {
	l := p.linked()
	if l == nil || l.Waiting(wire.Publications) < crowd && l.Waiting(wire.Bulk) < crowd {
		return false
	}
	moved := l.Moved(wire.Publications) + l.Moved(wire.Bulk)
	p.pace.mu.Lock()
	defer p.pace.mu.Unlock()
	switch gone := now.Sub(p.pace.at); {
	case gone > 4*paceTime || moved < p.pace.moved: // long ago, or another link
		p.pace.at, p.pace.moved, p.pace.stands = now, moved, false
	case gone >= paceTime:
		p.pace.stands = float64(moved-p.pace.moved) < paceLeast*gone.Seconds()
		p.pace.at, p.pace.moved = now, moved
	}
	return !p.pace.stands
}
