package messaging

import (
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A Step is what became of a request of a connection whose Traced is set. That is called
// by whoever does it, at once, under no lock: it must not block or call back.
type Step struct {
	What What
	Node ring.ID   // who is to serve it, or has answered
	Via  ring.ID   // to whom it is handed for that node; zero: there is a link, or it is this one
	Hops int       // links that an answer passed
	Load wire.Load // what an answer says of the load there, if it is another node
}

// What a Step is.
type What byte

const (
	Chosen   What = iota // the node is given the request
	Answered             // it has answered
	Waits                // nobody takes it for now
	TurnedDown
	RefusedBusy
	RefusedGone
	RefusedDraining
)

// String returns the step as people read it.
func (w What) String() string {
	return [...]string{
		"given to", "answered by", "waits: nobody takes it for now",
		"turned down: it would wait there", "refused: busy", "refused: no member any more", "refused: it is shutting down",
	}[w]
}

// refusals are the steps that stand for the reasons of another node.
var refusals = [...]What{wire.Waits: TurnedDown, wire.Busy: RefusedBusy, wire.Gone: RefusedGone, wire.Draining: RefusedDraining}

// hops returns how many links a frame has passed.
func hops(f *wire.Frame) int {
	if f.Flags&wire.Routed == 0 {
		return 1
	}
	return 1 + wire.MaxHops - int(f.Hops)
}

// router returns to whom frames for the peer are handed; zero: there is a link, or no
// way.
func (p *Peer) router() ring.ID {
	if p.linked() == nil {
		if via := p.plane.routes.Load().first(p.ID, 0); via != nil && via != p {
			return via.ID
		}
	}
	return ring.ID{}
}
