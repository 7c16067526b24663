package main

import (
	"maps"
	"slices"
)

const (
	inOrder = "events and broadcasts come once and in order"
	noHoles = "what is missed was declared lost"
	noGhost = "what is heard was published"
)

// streams are events and broadcasts: those of one publishing session to one name
// are one stream, numbered from 1. It begins and ends with that session, and for
// who hears it with the session of that: what was published before and after, no
// one is promised. In between, every number that is skipped is to be counted by
// the node of who hears: no other place hides a loss.
type streams struct {
	heard     map[hearing]*heardStream
	published map[way]*publishedStream
	nodes     map[string]*declared // by start of a node

	events, broadcasts uint64 // that were published
	heardAll           uint64
	missed             uint64
}

type hearing struct {
	way
	by string
}

type heardStream struct {
	last uint64
	at   int64 // when the last was heard
	hole int64 // when something was last skipped
}

type publishedStream struct {
	last uint64
	at   []int64 // when each was published, of those since the last fault
	base uint64  // the number before the first of at
}

// declared is what the members on a node missed, and what it says they missed.
type declared struct {
	holes   []hole // since the last sample
	missed  uint64 // before them
	gaps    uint64
	sampled int64
}

type hole struct {
	at     int64
	missed uint64
}

func newStreams() streams {
	return streams{
		heard:     make(map[hearing]*heardStream),
		published: make(map[way]*publishedStream),
		nodes:     make(map[string]*declared),
	}
}

// allMembers is the cluster that broadcasts go to.
const allMembers = "all"

func (st *streams) take(c *checker, s *session, r *record) {
	if r.What == published {
		st.publish(s, r)
		return
	}
	st.heardAll++
	key := hearing{way{r.From, r.To}, r.Session}
	h := st.heard[key]
	if h == nil {
		st.heard[key] = &heardStream{last: r.N, at: r.At}
		return
	}
	switch missed := r.N - h.last - 1; {
	case r.N == h.last:
		c.broken(r.At, inOrder, "%s heard number %d of %s to %q twice", r.Session, r.N, r.From, r.To)
		return
	case r.N < h.last:
		c.broken(r.At, inOrder, "%s heard number %d of %s to %q after number %d", r.Session, r.N, r.From, r.To, h.last)
		return
	case missed > 0:
		st.missed += missed
		h.hole = r.At
		d := st.node(s.node)
		d.holes = append(d.holes, hole{r.At, missed})
	}
	h.last, h.at = r.N, r.At
}

func (st *streams) publish(s *session, r *record) {
	if r.To == allMembers {
		st.broadcasts++
	} else {
		st.events++
	}
	key := way{s.name, r.To}
	p := st.published[key]
	if p == nil {
		p = &publishedStream{base: r.N - 1}
		st.published[key] = p
	}
	p.last = r.N
	p.at = append(p.at, r.At)
}

func (st *streams) node(name string) *declared {
	d := st.nodes[name]
	if d == nil {
		d = new(declared)
		st.nodes[name] = d
	}
	return d
}

// counted takes what a node counted as declared lost, asked at a time: everything
// that was heard before it had been counted by then.
func (c *checker) counted(node string, at int64, gaps uint64) {
	d := c.streams.node(node)
	d.sampled, d.gaps = at, gaps
	d.check(c, node)
}

func (d *declared) check(c *checker, node string) {
	i := 0
	for ; i < len(d.holes) && d.holes[i].at <= d.sampled; i++ {
		d.missed += d.holes[i].missed
	}
	d.holes = d.holes[i:]
	if d.missed > d.gaps {
		c.broken(d.sampled, noHoles, "members on %s missed %d numbers in the middle of streams, and the node declared %d lost", node, d.missed, d.gaps)
		d.missed = d.gaps // told
	}
}

func (st *streams) finish(c *checker) {
	for _, name := range slices.Sorted(maps.Keys(st.nodes)) {
		d := st.nodes[name]
		slices.SortStableFunc(d.holes, func(a, b hole) int { return int(a.at - b.at) })
		d.check(c, name)
	}
	for key, h := range st.heard {
		if p := st.published[key.way]; p == nil || h.last > p.last {
			c.broken(h.at, noGhost, "%s heard number %d of %s to %q, which was not published", key.by, h.last, key.from, key.to)
		}
	}
}

// firstSince returns the first number that a session published to a name at a time
// or later.
func (st *streams) firstSince(key way, at int64) (n uint64, ok bool) {
	p := st.published[key]
	if p == nil {
		return 0, false
	}
	i, _ := slices.BinarySearch(p.at, at)
	return p.base + uint64(i) + 1, i < len(p.at)
}

// forget lets go of when things were published before a time.
func (st *streams) forget(before int64) {
	for _, p := range st.published {
		i, _ := slices.BinarySearch(p.at, before)
		p.base += uint64(i)
		p.at = slices.Clone(p.at[i:])
	}
}
