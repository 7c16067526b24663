package overlay

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

const (
	// ViewSize is for how many nodes the overlay was made. A larger network works,
	// but nothing is claimed about it.
	ViewSize = 1024

	// maxLive bounds the list against a peer that makes nodes up.
	maxLive = 8 * ViewSize

	// Those that are gone are remembered, lest a node that missed the news brings
	// them back.
	maxGone    = ViewSize
	goneMemory = 10 * time.Minute
)

// An entry is the newest that is known of a node.
type entry struct {
	id    ring.ID
	seq   uint64
	kind  wire.EventKind
	addrs []wire.Addr
	gone  time.Time // since when, of those that are
}

func (e *entry) event() wire.Event {
	return wire.Event{Node: e.id, Kind: e.kind, Seq: e.seq, Addrs: e.addrs}
}

// olderThan reports whether the event tells more than e: the higher number wins,
// and of the same number what is more final, so that all nodes agree whatever
// the order of arrival.
func (e *entry) olderThan(ev *wire.Event) bool {
	return e.seq < ev.Seq || e.seq == ev.Seq && e.kind < ev.Kind
}

// A view is what a node believes about all nodes, itself included while it is
// Active or leaving.
type view struct {
	live []entry // JOIN and LEAVING, sorted by id
	gone []entry // LEAVE and DEAD, sorted by id
	sums [256]uint64
}

func locate(list []entry, id ring.ID) (int, bool) {
	low, high := 0, len(list)
	for low < high {
		if mid := (low + high) / 2; list[mid].id.Less(id) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, low < len(list) && list[low].id == id
}

// get returns the entry of a node that is there or is remembered; nil of others.
// It is valid until the next put.
func (v *view) get(id ring.ID) *entry {
	if i, ok := locate(v.live, id); ok {
		return &v.live[i]
	}
	if i, ok := locate(v.gone, id); ok {
		return &v.gone[i]
	}
	return nil
}

// alive returns the entry of a node that is there.
func (v *view) alive(id ring.ID) *entry {
	if i, ok := locate(v.live, id); ok {
		return &v.live[i]
	}
	return nil
}

// put takes an event over, which must be newer than what is there. It reports
// whether there was room for it.
func (v *view) put(now time.Time, ev *wire.Event) bool {
	v.remove(ev.Node)
	e := entry{id: ev.Node, seq: ev.Seq, kind: ev.Kind, addrs: ev.Addrs}
	if isLive(e.kind) {
		if len(v.live) == maxLive {
			return false
		}
		i, _ := locate(v.live, e.id)
		v.live = slices.Insert(v.live, i, e)
		v.count(&e)
		return true
	}
	if len(v.gone) == maxGone {
		v.gone = slices.Delete(v.gone, v.oldest(), v.oldest()+1)
	}
	e.gone, e.addrs = now, nil
	i, _ := locate(v.gone, e.id)
	v.gone = slices.Insert(v.gone, i, e)
	return true
}

func isLive(kind wire.EventKind) bool { return kind <= wire.EventLeaving }

// remove forgets a node.
func (v *view) remove(id ring.ID) {
	if i, ok := locate(v.live, id); ok {
		v.count(&v.live[i])
		v.live = slices.Delete(v.live, i, i+1)
	}
	if i, ok := locate(v.gone, id); ok {
		v.gone = slices.Delete(v.gone, i, i+1)
	}
}

func (v *view) oldest() int {
	oldest := 0
	for i := range v.gone {
		if v.gone[i].gone.Before(v.gone[oldest].gone) {
			oldest = i
		}
	}
	return oldest
}

// forget drops those that have been gone for long.
func (v *view) forget(now time.Time) {
	v.gone = slices.DeleteFunc(v.gone, func(e entry) bool { return now.Sub(e.gone) > goneMemory })
}

// count adds e to the sum of its bucket, or takes it out: xor is both.
func (v *view) count(e *entry) { v.sums[bucket(e.id)] ^= digest(e) }

// bucket returns the bucket of a node, its first octet.
func bucket(id ring.ID) byte { return byte(id.Hi >> 56) }

// digest spreads what an entry says over 64 bits: id, number and kind, each
// mixed in by the finalizer of SplitMix64.
func digest(e *entry) uint64 {
	h := mix(e.id.Hi)
	h = mix(h ^ e.id.Lo)
	h = mix(h ^ e.seq)
	return mix(h ^ uint64(e.kind))
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// owner returns the Active node closest to key, except one; nobody if there is
// none.
func (v *view) owner(key, except ring.ID) ring.ID {
	at, found := locate(v.live, key)
	if found && v.live[at].kind == wire.EventJoin && key != except {
		return key
	}
	best := v.firstActive(walkFrom(len(v.live), at, found, -1), except)
	next := v.firstActive(walkFrom(len(v.live), at, found, 1), except)
	if best.IsZero() || ring.Closer(key, next, best) {
		return next
	}
	return best
}

// firstActive returns the first Active node of a walk, except one; nobody if
// there is none.
func (v *view) firstActive(w walk, except ring.ID) ring.ID {
	for w.more() {
		if e := &v.live[w.next()]; e.kind == wire.EventJoin && e.id != except {
			return e.id
		}
	}
	return ring.ID{}
}

// A side is a direction on the ring: 1 is clockwise, to larger ids.
type side int

var sides = [2]side{-1, 1}

// distance returns how far b is from a on that side.
func (s side) distance(a, b ring.ID) ring.ID {
	if s < 0 {
		return a.Sub(b)
	}
	return b.Sub(a)
}

// A walk visits the places of a sorted list in the order they have on one side
// of an id.
type walk struct {
	n, left, at int
	step        side
}

// around returns the walk along the live nodes, without id itself.
func (v *view) around(id ring.ID, s side) walk {
	at, found := locate(v.live, id)
	return walkFrom(len(v.live), at, found, s)
}

// walkFrom returns the walk round a list of n, for an id that is found at its
// place or would be inserted there.
func walkFrom(n, place int, found bool, s side) walk {
	w := walk{n: n, left: n, at: place, step: s}
	if found {
		w.left--
	}
	if s < 0 || found {
		w.at += int(s)
	}
	return w
}

func (w *walk) more() bool { return w.left > 0 }

// next returns the place to visit, and goes on.
func (w *walk) next() int {
	place := (w.at + w.n) % w.n
	w.left--
	w.at = place + int(w.step)
	return place
}
