package sim

import (
	"time"

	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A frame is a message on its way.
type frame struct {
	origin, target ring.ID // of nobody if it is not routed
	hops           byte
	msg            wire.Message
}

func (f *frame) isRouted() bool { return f.hops > 0 }

// A delivery is a frame for a linked node.
type delivery struct {
	to ring.ID
	f  *frame
}

// A machine is the part of a node that is under test, and the only place that
// knows its type. For now it is the overlay, and routes itself.
type machine struct {
	*overlay.Overlay
	out    overlay.Output
	sends  []delivery
	routed func(from, to, target ring.ID, hops byte) // told of each hop
}

func newMachine(now time.Time, self ring.ID, addrs []wire.Addr, seed uint64) *machine {
	return &machine{Overlay: overlay.New(now, overlay.Config{Self: self, Addrs: addrs, Seed: seed})}
}

func (m *machine) up(now time.Time, p overlay.Peer)     { m.Up(now, p, &m.out) }
func (m *machine) down(now time.Time, id ring.ID)       { m.Down(now, id, &m.out) }
func (m *machine) dialFailed(now time.Time, id ring.ID) { m.DialFailed(now, id, &m.out) }
func (m *machine) advance(now time.Time)                { m.Advance(now, &m.out) }
func (m *machine) leave(now time.Time)                  { m.Leave(now, &m.out) }
func (m *machine) depart(now time.Time)                 { m.Depart(now, &m.out) }
func (m *machine) want(now time.Time, id ring.ID)       { m.Want(now, id, &m.out) }

// receive takes a frame from a linked node.
func (m *machine) receive(now time.Time, from ring.ID, f *frame) {
	switch {
	case !f.isRouted():
		m.Receive(now, from, f.msg, &m.out)
	case f.target == m.Self():
		m.Receive(now, f.origin, f.msg, &m.out)
	default:
		m.forward(f.origin, f.target, f.hops-1, f.msg)
	}
}

// forward sends a frame on its next hop, if there is one.
func (m *machine) forward(origin, target ring.ID, hops byte, msg wire.Message) {
	hop, ok := m.NextHop(target)
	if !ok {
		return
	}
	m.routed(m.Self(), hop, target, hops)
	if hops > 0 {
		m.sends = append(m.sends, delivery{hop, &frame{origin, target, hops, msg}})
	}
}

// resolve adds the overlay's messages to the frames to be sent.
func (m *machine) resolve() {
	for _, s := range m.out.Send {
		if m.Linked(s.To) {
			m.sends = append(m.sends, delivery{s.To, &frame{msg: s.Msg}})
		} else {
			m.forward(m.Self(), s.To, wire.MaxHops, s.Msg)
		}
	}
}
