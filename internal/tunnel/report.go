package tunnel

import (
	"iter"
	"maps"
	"slices"
	"time"
)

// A State is what an operator sees of a program's end of an open tunnel.
type State struct {
	ID    uint64 // the program's own
	Built bool   // by the program; else it confirmed the tunnel
	Since time.Time
	Peer  *Table // of the other end
	Out   Flow   // from the program
	In    Flow   // to it
}

// A Flow is one direction of a tunnel. Waiting is part of Octets.
type Flow struct {
	Octets   uint64 // taken from the end that sends
	Waiting  int    // for credit of the end that receives, or for room
	Credit   uint64 // what that takes more: octets
	Messages bool   // or messages, as it counts those
}

// States returns the open tunnels of the program, by id.
func (t *Table) States() iter.Seq[State] {
	return func(yield func(State) bool) {
		t.mu.Lock()
		ids := slices.Sorted(maps.Keys(t.ends))
		t.mu.Unlock()
		for _, id := range ids {
			if e := t.End(id); e != nil && !yield(e.state()) { // else a build under way, or over
				return
			}
		}
	}
}

func (e *End) state() State {
	e.tunnel.mu.Lock()
	defer e.tunnel.mu.Unlock()
	return State{
		ID:    e.id,
		Built: e == &e.tunnel.ends[0],
		Since: e.tunnel.since,
		Peer:  e.peer.table,
		Out:   e.peer.incoming(),
		In:    e.incoming(),
	}
}

// incoming returns the direction to e.
func (e *End) incoming() Flow {
	return Flow{e.peer.taken, e.waits.Len(), uint64(max(0, e.credit)), e.table.messages}
}
