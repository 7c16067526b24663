package overlay

import (
	"math"
	"slices"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// replicasPerSide is how many nodes on each side of an owner keep what it has.
const replicasPerSide = 2

// Self returns the id of this node.
func (o *Overlay) Self() ring.ID { return o.self }

// State returns where this node stands.
func (o *Overlay) State() wire.State { return o.state }

// Owner returns the owner of key as far as this node knows: the closest Active
// node in its view. A Solo node owns everything, for its own programs only. It is
// nobody while no Active node is known.
func (o *Overlay) Owner(key ring.ID) ring.ID {
	if o.state == wire.Solo {
		return o.self
	}
	return o.view.owner(key, ring.ID{})
}

// Neighbours returns the nearest other Active nodes on both sides. An Active node
// owns the keys that are closer to it than to either; nobody stands for none.
func (o *Overlay) Neighbours() (before, after ring.ID) {
	return o.view.firstActive(o.view.around(o.self, -1), o.self), o.view.firstActive(o.view.around(o.self, 1), o.self)
}

// Replicas returns the two nodes on each side of the owner of key that keep a
// copy of what it has, without the owner, sorted. Of the nodes that are joining
// between them those next to key are replicas too, three on each side, as they
// will be its owner and replicas in a moment: if hundreds join at once, not all of
// them are.
func (o *Overlay) Replicas(key ring.ID) []ring.ID {
	owner := o.Owner(key)
	if owner.IsZero() || o.state == wire.Solo {
		return nil
	}
	var found []ring.ID
	var reach [len(sides)]ring.ID // from the owner to the last replica
	for i, s := range sides {
		n := 0
		for w := o.view.around(owner, s); w.more() && n < replicasPerSide; {
			if e := &o.view.live[w.next()]; e.kind == wire.EventJoin {
				found, reach[i] = append(found, e.id), s.distance(owner, e.id)
				n++
			}
		}
		if n < replicasPerSide {
			reach[i] = ring.ID{Hi: math.MaxUint64, Lo: math.MaxUint64}
		}
	}
	joiners := o.joiners
	if o.state == wire.Joining {
		i, _ := slices.BinarySearchFunc(joiners, o.self, ring.ID.Compare)
		joiners = slices.Insert(slices.Clone(joiners), i, o.self)
	}
	place, _ := slices.BinarySearchFunc(joiners, key, ring.ID.Compare)
	for _, s := range sides {
		w := walkFrom(len(joiners), place, false, s)
		for n := 0; w.more() && n <= replicasPerSide; n++ {
			id := joiners[w.next()]
			if !sides[0].distance(owner, id).Less(reach[0]) && !sides[1].distance(owner, id).Less(reach[1]) {
				break
			}
			found = append(found, id)
		}
	}
	slices.SortFunc(found, ring.ID.Compare)
	return slices.Compact(found)
}

// isJoiner reports whether p is a linked node that will own keys in a moment.
func (o *Overlay) isJoiner(p *peer) bool {
	return p.path == linked && p.state == wire.Joining && o.view.alive(p.id) == nil
}

// View returns the Active nodes, this one included if it is, and those that are
// joining as far as they are linked; sorted.
func (o *Overlay) View() []ring.ID {
	ids := make([]ring.ID, 0, len(o.view.live))
	for i := range o.view.live {
		if e := &o.view.live[i]; e.kind == wire.EventJoin {
			ids = append(ids, e.id)
		}
	}
	for _, p := range o.peers {
		if o.isJoiner(p) {
			ids = append(ids, p.id)
		}
	}
	slices.SortFunc(ids, ring.ID.Compare)
	return ids
}

// Leaves returns the leaf set: up to 8 nodes on each side, counter-clockwise
// first, by distance. The caller must not change it.
func (o *Overlay) Leaves() [2][]ring.ID { return o.leaves }

// Sums returns the sums of the 256 buckets of the view: two nodes that have the
// same agree about every owner, short of a collision.
func (o *Overlay) Sums() *[256]uint64 { return &o.view.sums }

// Addrs returns where a node may be dialled, as far as is known.
func (o *Overlay) Addrs(id ring.ID) []wire.Addr {
	if id == o.self {
		return o.addrs
	}
	if e := o.view.alive(id); e != nil && len(e.addrs) > 0 {
		return e.addrs
	}
	if p := o.peers.find(id); p != nil {
		return p.addrs
	}
	return nil
}

// Knows reports whether a node is there, as far as is known: it is in the view or
// linked.
func (o *Overlay) Knows(id ring.ID) bool { return o.view.alive(id) != nil || o.Linked(id) }

// Linked reports whether there is a link to a node.
func (o *Overlay) Linked(id ring.ID) bool {
	p := o.peers.find(id)
	return p != nil && p.path == linked
}

// Pinned returns how many links the ring and the routing need, of those there
// are.
func (o *Overlay) Pinned() int {
	return o.peers.count(func(p *peer) bool { return p.path == linked && p.pinned() })
}

// Links returns how many links there are.
func (o *Overlay) Links() int {
	return o.peers.count(func(p *peer) bool { return p.path == linked })
}

// FirstHop returns to whom this node hands a frame of its own for target: the
// NextHop, else the linked node closest to it, which may know a way all the same.
func (o *Overlay) FirstHop(target ring.ID) (hop ring.ID, ok bool) {
	if hop, ok = o.NextHop(target); ok {
		return hop, true
	}
	for _, p := range o.peers {
		if p.routes() && (!ok || ring.Closer(target, p.id, hop)) {
			hop, ok = p.id, true
		}
	}
	return hop, ok
}

// A Route is how frames get to a node: over the link to it, or by way of Via.
type Route struct {
	ID, Via ring.ID // the same, if it is linked
	Hands   bool    // it is linked, and frames for others may be handed to it
}

// Routes appends to out the routes that NextHop chooses from, by id.
func (o *Overlay) Routes(out []Route) []Route {
	for _, p := range o.peers {
		switch {
		case p.path == linked:
			out = append(out, Route{p.id, p.id, p.routes()})
		case p.path == indirect && o.Linked(p.via):
			out = append(out, Route{p.id, p.via, false})
		}
	}
	return out
}

// NextHop returns to whom a frame for target is handed: target itself if it is
// linked, whoever vouches for it if it is indirect, else the linked node closest
// to it, if it is closer than this one. So every hop gains distance, but for the
// last one to an indirect node.
func (o *Overlay) NextHop(target ring.ID) (hop ring.ID, ok bool) {
	if p := o.peers.find(target); p != nil {
		if p.path == linked {
			return target, true
		}
		if p.path == indirect && o.Linked(p.via) {
			return p.via, true
		}
	}
	best, at := o.self, -1
	place, found := o.peers.locate(target)
	for _, s := range sides {
		for w := walkFrom(len(o.peers), place, found, s); w.more(); {
			i := w.next()
			if !o.peers[i].routes() {
				continue
			}
			if target.Distance(o.peers[i].id).Less(target.Distance(best)) {
				best, at = o.peers[i].id, i
			}
			break
		}
	}
	return best, at >= 0
}
