package overlay

import (
	"slices"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A Known is another node as this one knows it.
type Known struct {
	ID    ring.ID
	State wire.State
	Addrs []wire.Addr // where it may be dialled
	Via   ring.ID     // who hands frames on to it, if no link comes about
	Doubt bool        // it does not answer; soon it is held for dead
}

// Nodes returns the other nodes that are known to be up, sorted.
func (o *Overlay) Nodes() []Known {
	var nodes []Known
	for i := range o.view.live {
		e := &o.view.live[i]
		if e.id == o.self {
			continue
		}
		k := Known{ID: e.id, State: wire.Active, Addrs: e.addrs}
		if e.kind == wire.EventLeaving {
			k.State = wire.InLeaving
		}
		nodes = append(nodes, k)
	}
	for _, p := range o.peers {
		i := slices.IndexFunc(nodes, func(k Known) bool { return k.ID == p.id })
		if i < 0 {
			if !p.reachable() {
				continue
			}
			i = len(nodes)
			nodes = append(nodes, Known{ID: p.id, State: p.state, Addrs: p.addrs})
		}
		k := &nodes[i]
		k.Doubt = !p.answers()
		if p.path == linked {
			k.State = p.state
		}
		if p.path == indirect {
			k.Via = p.via
		}
	}
	slices.SortFunc(nodes, func(a, b Known) int { return a.ID.Compare(b.ID) })
	return nodes
}
