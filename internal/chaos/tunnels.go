package main

import (
	"hash/crc64"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
)

const (
	intact   = "what comes out of a tunnel is what was put in"
	complete = "a tunnel that was closed in order has brought everything"
	noticed  = "a tunnel ends for both sides"
)

// tunnels are those of the whole run. What goes through one, both ways, is the
// beginning of its flow, so that its name and a length tell what it was.
type tunnels struct {
	all    map[string]*tunnel
	opened int
	ends   map[string]int // of openers
	octets uint64
}

func newTunnels() tunnels { return tunnels{all: make(map[string]*tunnel), ends: make(map[string]int)} }

type tunnel struct {
	sides   [2]tunnelSide // opener, acceptor
	checked bool
}

type tunnelSide struct {
	session *session
	at      int64 // when it was opened
	opened  bool
	closed  bool   // in order, with put octets
	put     uint64 // in all
	end     *record
}

// hangs tells whether it has not ended, and would have said so.
func (s *tunnelSide) hangs() bool { return s.opened && s.end == nil && !s.session.over }

func (t *tunnels) take(c *checker, s *session, r *record) {
	if r.What == unopened {
		delete(t.all, r.ID) // a side that accepted is there again with its next record
		return
	}
	x := t.all[r.ID]
	if x == nil {
		x = new(tunnel)
		t.all[r.ID] = x
	}
	at := &x.sides[0]
	if r.Side == acceptor {
		at = &x.sides[1]
	}
	at.session = s
	switch r.What {
	case opened:
		at.opened, at.at = true, r.At
		if r.Side == opener {
			t.opened++
		}
	case closing:
		at.closed, at.put = true, r.Out
	case ended:
		at.end = r
		t.octets += r.In
		if r.Side == opener {
			t.ends[r.Why]++
		}
		if sum := newFlow(r.ID).sum(r.In); sum != r.Sum {
			c.broken(r.At, intact, "%d octets came out of tunnel %s at its %s, and are not those put in: sum %x, want %x", r.In, r.ID, r.Side, r.Sum, sum)
		}
	}
	x.compare(c, r.ID)
}

// compare looks at both ends when they are there.
func (x *tunnel) compare(c *checker, id string) {
	o, a := &x.sides[0], &x.sides[1]
	if x.checked || o.end == nil || a.end == nil {
		return
	}
	x.checked = true
	if a.end.Why != endEOF {
		return
	}
	if !o.closed {
		c.broken(a.end.At, complete, "the acceptor of tunnel %s was told of an orderly end after %d octets; the opener did not close it: %s", id, a.end.In, o.end.Why)
	} else if o.put != a.end.In {
		c.broken(a.end.At, complete, "tunnel %s was closed in order after %d octets, and %d came out", id, o.put, a.end.In)
	}
}

func (t *tunnels) finish(c *checker) {
	for _, id := range slices.Sorted(maps.Keys(t.all)) {
		x := t.all[id]
		for i, name := range []side{opener, acceptor} {
			s := &x.sides[i]
			if s.hangs() {
				c.broken(s.at, noticed, "the %s of tunnel %s, %s, was never told of its end", name, id, s.session.name)
			}
		}
	}
}

// A flow is what goes through a tunnel.
type flow struct{ source *rand.ChaCha8 }

func newFlow(id string) flow {
	var seed [32]byte
	h := fnv.New128a()
	h.Write([]byte(id))
	h.Sum(seed[:0])
	return flow{rand.NewChaCha8(seed)}
}

// next fills b with the octets that follow. It gives the same in whatever pieces.
func (f flow) next(b []byte) { f.source.Read(b) }

var sums = crc64.MakeTable(crc64.ECMA)

// sum returns the CRC-64 of the next n octets.
func (f flow) sum(n uint64) (sum uint64) {
	b := make([]byte, 32<<10)
	for n > 0 {
		piece := b[:min(n, uint64(len(b)))]
		f.next(piece)
		sum = crc64.Update(sum, sums, piece)
		n -= uint64(len(piece))
	}
	return sum
}
