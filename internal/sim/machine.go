package sim

import (
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/tunnel"
	"github.com/project-iris/iris/internal/wheel"
	"github.com/project-iris/iris/internal/wire"
)

// A frame is a control message on its way.
type frame struct {
	origin, target ring.ID
	hops           byte // 0: it is not routed
	msg            wire.Message
}

func (f *frame) isRouted() bool { return f.hops > 0 }

// A machine is the part of a node that is under test, and the only place that
// knows its type: the control plane, with programs the data plane too, and what
// they put out. The overlay in it is there to be looked at.
type machine struct {
	*overlay.Overlay
	messaging.Loop // without a Plane: no programs
	batch          queue.Batch
	tunnels        tunnel.Stats
	woken          bool // the data plane has something to say to the control plane
}

// network is the name of the network in which it all happens.
const network = "sim"

const (
	workers = 2
	memory  = 1 << 30
)

func newMachine(now time.Time, self ring.ID, addrs []wire.Addr, seed uint64, links int, programs bool) *machine {
	c := core.New(now, core.Config{Network: network, Self: self, Addrs: addrs, Seed: seed, Links: links, Limit: 64, Workers: 1, Drain: drain})
	m := &machine{Overlay: c.Overlay()}
	m.Core = c
	if programs {
		c.Workers = workers
		m.Plane = messaging.New(messaging.Config{
			Timers:  wheel.NewTimers(now, func() {}),
			Budget:  queue.NewBudget(memory),
			Wake:    func() { m.woken = true },
			Network: network,
			Workers: workers,
		})
		m.Plane.Self = self
	}
	return m
}

// up says that there is a link to a node. It returns the node as the data plane
// sees it.
func (m *machine) up(now time.Time, p overlay.Peer, l messaging.Link) *messaging.Peer {
	m.Core.Up(now, p, &m.Out)
	if m.Plane == nil {
		return nil
	}
	m.Plane.Join()
	return m.Plane.LinkUp(now, &m.batch, p.ID, l)
}

func (m *machine) down(now time.Time, id ring.ID, l messaging.Link) {
	m.Core.Down(now, id, &m.Out)
	if m.Plane != nil {
		m.Plane.LinkDown(now, &m.batch, id, l)
	}
}

func (m *machine) dialFailed(now time.Time, id ring.ID) { m.Core.DialFailed(now, id, &m.Out) }
func (m *machine) leave(now time.Time)                  { m.Core.Leave(now, &m.Out) }
func (m *machine) depart(now time.Time)                 { m.Core.Depart(now, &m.Out) }
func (m *machine) watch(now time.Time, n wire.Name)     { m.Core.Watch(now, n, &m.Out) }

// advance does what has come due, deadlines first.
func (m *machine) advance(now time.Time) {
	if m.Plane == nil {
		m.Core.Advance(now, &m.Out)
		return
	}
	m.Plane.Timers.Advance(now, func(owner any) { owner.(messaging.Expirer).Expire(now, &m.batch) })
	m.Loop.Advance(now, &m.batch)
}

// next returns when advance is due; the zero time says never.
func (m *machine) next(now time.Time) time.Time {
	if m.Plane == nil {
		return m.Core.Next()
	}
	at := m.Loop.Next(now)
	if t, ok := m.Plane.Timers.Next(); ok && (at.IsZero() || t.Before(at)) {
		at = t
	}
	return at
}

// settle has the planes do what each wants of the other. What Out holds then is to
// be carried out, and so is what it returns, about tunnels.
func (m *machine) settle(now time.Time) (rest []core.Data) {
	if m.Plane == nil {
		return nil
	}
	m.woken = false
	m.Loop.Settle(now, &m.batch)
	rest = m.Loop.Data(now, &m.batch)
	m.batch.Flush()
	return rest
}

// receive takes a control frame from a linked node.
func (m *machine) receive(now time.Time, from ring.ID, f *frame) {
	head := wire.Frame{Type: f.msg.Type()}
	if f.isRouted() {
		head.Flags, head.Hops, head.Origin, head.Target = wire.Routed, f.hops, f.origin, f.target
	}
	m.Core.Receive(now, from, &head, f.msg, &m.Out)
}

// register makes a program of the node a member of a cluster, instead of the one
// it was in.
func (m *machine) register(now time.Time, cluster string) {
	m.Core.Detach(now, 1, &m.Out)
	m.Core.Attach(now, 1, cluster, &m.Out)
}
