package balance

import (
	"slices"
	"time"
)

// How says how a choice came about.
type How byte

// The ways.
const (
	Lowest   How = iota // it promised the earliest answer
	Explored            // it is asked now and then, so that something is known of it
	Random              // nothing fresh was known of any: each as often as it is fast
)

// String returns the way as people read it.
func (h How) String() string { return [...]string{"earliest answer", "to learn of it", "at random"}[h] }

// How returns how the last choice came about.
func (p *Pool[T]) How() How { return p.how }

// A Candidate is what a Pool knows of a member. What it has said of its load is zero
// while it has said nothing.
type Candidate[T any] struct {
	Value    T
	InFlight int           // what it said, and what it was sent since
	Workers  int           // what it said
	Handler  time.Duration // what it said of the time that a request takes
	RTT      time.Duration
	Expected time.Duration // until the answer to a request sent now: the lowest is chosen
	Age      time.Duration // of what it said
	Fresh    bool          // that says something yet
	Failures int           // in a row
	Ejected  time.Duration // for how long it is passed over for them
	Full     time.Duration // for how long it is passed over for its full queue
	Chosen   uint64        // times, since it was added

	// Chance is how likely the next choice is of it: exactly, where they are 16 or
	// less. Among more, which are drawn at random first, it is negative.
	Chance float64
}

// Explain returns what is known of all members, in the given order of their values. It
// changes nothing.
func (p *Pool[T]) Explain(now time.Time, order func(a, b T) int) []Candidate[T] {
	at := p.instant(now)
	out := make([]Candidate[T], 0, len(p.members))
	for _, m := range p.members {
		out = append(out, m.explain(at))
	}
	chances(p.members, at, out)
	slices.SortFunc(out, func(a, b Candidate[T]) int { return order(a.Value, b.Value) })
	return out
}

func (m *Member[T]) explain(at instant) Candidate[T] {
	c := Candidate[T]{
		Value:    m.Value,
		InFlight: m.inFlight,
		RTT:      m.RTT,
		Failures: m.failures,
		Ejected:  time.Duration(max(m.ejected-at, 0)),
		Full:     time.Duration(max(m.full-at, 0)),
		Chosen:   m.chosen,
	}
	if m.at != never {
		c.Workers = m.workers
		c.Handler = time.Duration(m.each * float64(m.workers))
		c.Expected = time.Duration(m.score())
		c.Age = time.Duration(at - m.at)
		c.Fresh = m.fresh(at)
	}
	return c
}

// chances fills in how likely choose takes each of the members.
func chances[T any](members []*Member[T], at instant, out []Candidate[T]) {
	if len(members) > mostDrawn {
		for i := range out {
			out[i].Chance = -1
		}
		return
	}
	all := !slices.ContainsFunc(members, func(m *Member[T]) bool { return !m.passed(at, nil, false) })
	best, _, unasked := look(members, at, nil, all)
	mean := speed(members, at, nil, all)
	sum := 0.0
	for i, m := range members {
		if !m.passed(at, nil, all) && !m.fresh(at) && (best == nil || m.unasked(at)) {
			out[i].Chance = m.weight(mean)
			sum += out[i].Chance
		}
	}
	random := 1.0 // of all choices
	switch {
	case best != nil && unasked > 0:
		random = 1. / exploreOne
	case best != nil:
		random = 0
	}
	for i, m := range members {
		if out[i].Chance > 0 {
			out[i].Chance *= random / sum
		}
		if m == best {
			out[i].Chance = 1 - random
		}
	}
}

// Promised returns how long m was expected to take for the request that it was chosen
// for last; 0: nothing was known of it.
func (m *Member[T]) Promised() time.Duration {
	if m.at == never {
		return 0
	}
	return time.Duration(m.each*float64(max(m.inFlight, m.workers))) + m.RTT
}
