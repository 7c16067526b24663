package sim

import (
	"maps"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// names are what a node's programs have to do with clusters.
type names struct {
	member string // the cluster it has a member of, or none
	since  instant
	using  string               // the cluster it wants to know the member nodes of
	known  map[ring.ID]struct{} // those it knows, but for itself
}

func (w *world) cluster() string { return w.clusters[w.rng.IntN(len(w.clusters))] }

func key(cluster string) wire.Name {
	return wire.Name{Kind: wire.Cluster, Key: ring.Key(network, byte(core.Cluster), cluster, 0)}
}

// register has the node's program join another cluster.
func (n *node) register() {
	n.names.member, n.names.since = n.w.cluster(), n.w.now
	n.turn(func(now time.Time, m *machine) { m.register(now, n.names.member) })
}

// use has the node watch a cluster.
func (n *node) use() {
	n.names.using, n.names.known = n.w.cluster(), map[ring.ID]struct{}{}
	n.turn(func(now time.Time, m *machine) { m.watch(now, key(n.names.using)) })
}

// withdraw notes that others are not to know the node's member any more.
func (n *node) withdraw() { n.names.member = "" }

// learn takes over what the node's directory says.
func (n *node) learn(s directory.Step) {
	if s.What != directory.Changed || s.Name != key(n.names.using) {
		return
	}
	if s.Members == 0 {
		delete(n.names.known, s.Node)
		return
	}
	n.names.known[s.Node] = struct{}{}
	if of := n.w.byID[s.Node]; of.names.member == n.names.using && n.m.State() == wire.Active {
		n.w.found.told(n, of)
	}
}

// told notes how long it took n to hear of a member. What was there before n was,
// or before a fault, is not news.
func (f *findings) told(n, of *node) {
	if d := n.w.now - of.names.since; d < time.Second {
		f.toldOf.add(d.Seconds())
	}
}

// moveSome has members go to other clusters, until all is quiet.
func (w *world) moveSome() {
	if w.now >= w.quiet {
		return
	}
	if n := w.some(isActive); n != nil && !n.frozen {
		n.register()
	}
	w.after(time.Duration(w.rng.ExpFloat64()/w.Moves*float64(time.Second)), w.moveSome)
}

// namesAreRight reports whether every node knows the members there are of the cluster
// it uses, and no others.
func (w *world) namesAreRight() bool {
	members := map[string]int{}
	for _, n := range w.alive {
		members[n.names.member]++
	}
	for _, n := range w.alive {
		want := members[n.names.using]
		if n.names.member == n.names.using {
			want--
		}
		if n.names.using != "" && len(n.names.known) != want {
			return false
		}
		for id := range n.names.known { //iris:unordered all of them
			if w.byID[id].names.member != n.names.using || !w.byID[id].alive {
				return false
			}
		}
	}
	return true
}

// checkNames looks whether a node knows the members there are of the cluster it
// uses, and no others.
func (w *world) checkNames(n *node) {
	if n.names.using == "" {
		return
	}
	var want []ring.ID
	for _, other := range w.alive {
		if other != n && other.names.member == n.names.using {
			want = append(want, other.id)
		}
	}
	got := slices.SortedFunc(maps.Keys(n.names.known), ring.ID.Compare)
	for _, id := range got {
		if other := w.byID[id]; !other.alive {
			w.violated(n, "names: %s is dead, and for a member of %s", id.Short(), n.names.using)
		} else if !slices.Contains(want, id) {
			w.violated(n, "names: %s is no member of %s since %v", id.Short(), n.names.using, other.names.since)
		}
	}
	for _, id := range want {
		if !slices.Contains(got, id) {
			w.violated(n, "names: does not know that %s is a member of %s since %v", id.Short(), n.names.using, w.byID[id].names.since)
		}
	}
}
