package sim

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/wire"
)

// warm has all nodes that are there know of each other at once: each takes the next
// one for an Active node whose view it has just been told, and finds its own links.
// That spares the events of a network that grows, which cost more than all that
// follows.
func (w *world) warm() {
	all := make([]wire.Event, len(w.alive))
	for i, n := range w.alive {
		all[i] = wire.Event{Node: n.id, Kind: wire.EventJoin, Seq: 1, Addrs: addr(n.index)}
	}
	for i, n := range w.alive {
		w.befriend(n, w.alive[(i+1)%len(w.alive)], slices.Concat(all[:i:i], all[i+1:]))
	}
}

// befriend links a node to another, and tells it of all others.
func (w *world) befriend(n, contact *node, all []wire.Event) {
	l := w.join(n, contact)
	l.tellUp(1, contact.hello(n, false))
	n.turn(func(now time.Time, m *machine) {
		n.told[contact.id] = l
		active := overlay.Peer{ID: contact.id, State: wire.Active, Addrs: addr(contact.index), Dialled: true}
		l.data[0].peer = m.up(now, active, l.data[0])
		var nonce uint64
		m.Out.Send = slices.DeleteFunc(m.Out.Send, func(s core.Send) bool { // these are answered here
			ask, isLookup := s.Msg.(wire.Lookup)
			nonce += ask.Nonce
			_, isGet := s.Msg.(wire.ViewGet)
			return isLookup || isGet
		})
		m.receive(now, contact.id, &frame{msg: wire.ViewEvent{Events: all}})
		m.receive(now, contact.id, &frame{msg: wire.Found{Nonce: nonce, Owner: contact.id, Addrs: addr(contact.index)}})
	})
}
