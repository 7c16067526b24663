package sim

import (
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A frame is a message on its way.
type frame struct {
	origin, target ring.ID
	hops           byte // 0: it is not routed
	msg            wire.Message
}

func (f *frame) isRouted() bool { return f.hops > 0 }

// A machine is the part of a node that is under test, and the only place that
// knows its type: the control plane, and what it puts out. The overlay in it is
// there to be looked at.
type machine struct {
	*overlay.Overlay
	core *core.Core
	out  core.Output
}

// network is the name of the network in which it all happens.
const network = "sim"

func newMachine(now time.Time, self ring.ID, addrs []wire.Addr, seed uint64) *machine {
	c := core.New(now, core.Config{Network: network, Self: self, Addrs: addrs, Seed: seed, Links: budget, Limit: 16, Workers: 1, Drain: drain})
	return &machine{Overlay: c.Overlay(), core: c}
}

func (m *machine) up(now time.Time, p overlay.Peer)     { m.core.Up(now, p, &m.out) }
func (m *machine) down(now time.Time, id ring.ID)       { m.core.Down(now, id, &m.out) }
func (m *machine) dialFailed(now time.Time, id ring.ID) { m.core.DialFailed(now, id, &m.out) }
func (m *machine) advance(now time.Time)                { m.core.Advance(now, &m.out) }
func (m *machine) next() time.Time                      { return m.core.Next() }
func (m *machine) leave(now time.Time)                  { m.core.Leave(now, &m.out) }
func (m *machine) depart(now time.Time)                 { m.core.Depart(now, &m.out) }
func (m *machine) watch(now time.Time, n wire.Name)     { m.core.Watch(now, n, &m.out) }

// receive takes a frame from a linked node.
func (m *machine) receive(now time.Time, from ring.ID, f *frame) {
	head := wire.Frame{Type: f.msg.Type()}
	if f.isRouted() {
		head.Flags, head.Hops, head.Origin, head.Target = wire.Routed, f.hops, f.origin, f.target
	}
	m.core.Receive(now, from, &head, f.msg, &m.out)
}

// register makes a program of the node a member of a cluster, instead of the one
// it was in.
func (m *machine) register(now time.Time, cluster string) {
	m.core.Detach(now, 1, &m.out)
	m.core.Attach(now, 1, cluster, &m.out)
}
