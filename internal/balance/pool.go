// Package balance chooses the member node that serves a request, from what the
// answers to earlier requests said of its load (docs/messaging.md, Balancing).
// Everything in it is pure: the caller brings time, randomness and a lock.
package balance

import (
	"math"
	"math/rand/v2"
	"time"
)

const (
	freshFor   = time.Second // a signal's life
	freshUses  = 4           // choices a signal serves
	mostDrawn  = 16          // members compared for one choice
	ejectAfter = 5           // failures in a row
	ejectFirst = 5 * time.Second
	ejectMost  = time.Minute
)

// A Pool holds the member nodes of one name. The zero Pool is empty. None of its
// methods allocates but Add.
type Pool[T any] struct {
	members []*Member[T] // in no order: choosing among many shuffles them
}

// A Member is a member node in a Pool. The caller may change the exported fields
// at any time. The node itself can be a member beside others: its RTT is 0, and
// Signal tells its load before each choice.
type Member[T any] struct {
	Value   T             // the caller's
	Workers int           // what was announced: counts before a signal is there
	RTT     time.Duration // of the way there and back

	at       time.Time // of the newest signal
	uses     int       // choices it served
	inFlight int       // what it said, and ours since then
	workers  int
	each     float64 // nanoseconds: handler time by worker

	failures int // in a row
	ejected  time.Time
	eject    time.Duration // the last time; 0: never since the last success
}

// Add adds a member node.
func (p *Pool[T]) Add(value T, workers int, rtt time.Duration) *Member[T] {
	m := &Member[T]{Value: value, Workers: workers, RTT: rtt}
	p.members = append(p.members, m)
	return m
}

// Remove removes m, if it is there. Its methods may still be called.
func (p *Pool[T]) Remove(m *Member[T]) {
	for i, other := range p.members {
		if other == m {
			last := len(p.members) - 1
			p.members[i] = p.members[last]
			p.members[last] = nil
			p.members = p.members[:last]
			return
		}
	}
}

// Len returns how many members there are.
func (p *Pool[T]) Len() int { return len(p.members) }

// Choose returns the member to send the next request to, and counts that
// request; nil if there is none but not, which has just refused the request
// (or is nil).
func (p *Pool[T]) Choose(now time.Time, r *rand.Rand, not *Member[T]) *Member[T] {
	drawn := p.members
	if len(drawn) > mostDrawn {
		drawn = p.draw(r)
	}
	m := choose(drawn, now, r, not, false)
	if m == nil && len(drawn) < len(p.members) {
		m = choose(p.members, now, r, not, false)
	}
	if m == nil { // all are ejected: then none is
		m = choose(p.members, now, r, not, true)
	}
	if m != nil {
		m.uses++
		m.inFlight++
	}
	return m
}

// draw moves members taken at random to the front, and returns these.
func (p *Pool[T]) draw(r *rand.Rand) []*Member[T] {
	for i := range mostDrawn {
		j := i + int(r.Uint32N(uint32(len(p.members)-i)))
		p.members[i], p.members[j] = p.members[j], p.members[i]
	}
	return p.members[:mostDrawn]
}

// choose returns the member of those that promises the earliest answer, or one
// at random if nothing is known of any; nil if none may be chosen.
func choose[T any](members []*Member[T], now time.Time, r *rand.Rand, not *Member[T], all bool) *Member[T] {
	var best *Member[T]
	lowest := math.Inf(1)
	weight := 0
	for _, m := range members {
		if m == not || !all && m.Ejected(now) {
			continue
		}
		weight += max(m.Workers, 1)
		if s := m.score(now); s < lowest {
			best, lowest = m, s
		}
	}
	if best != nil || weight == 0 {
		return best
	}
	at := int(r.Uint64N(uint64(weight)))
	for _, m := range members {
		if m == not || !all && m.Ejected(now) {
			continue
		}
		if at -= max(m.Workers, 1); at < 0 {
			return m
		}
	}
	return nil
}

// score returns how long m is expected to take, in nanoseconds: infinitely long
// if nothing fresh is known.
func (m *Member[T]) score(now time.Time) float64 {
	if m.uses >= freshUses || now.Sub(m.at) > freshFor {
		return math.Inf(1)
	}
	return m.each*float64(max(m.inFlight+1, m.workers)) + float64(m.RTT)
}

// Signal notes what m said of its load: requests in flight, workers, mean
// handler time.
func (m *Member[T]) Signal(now time.Time, inFlight, workers int, handler time.Duration) {
	m.at, m.uses = now, 0
	m.inFlight, m.workers = inFlight, max(workers, 1)
	m.each = float64(max(handler, time.Microsecond)) / float64(m.workers)
}

// Failed notes that a request sent to m died with it, or had no answer in time.
// After some in a row m is ejected for a while; failures while it is count for
// nothing, as they are of the same fault.
func (m *Member[T]) Failed(now time.Time) {
	if m.Ejected(now) {
		return
	}
	if m.failures++; m.failures < ejectAfter {
		return
	}
	m.eject = min(max(2*m.eject, ejectFirst), ejectMost)
	m.ejected = now.Add(m.eject)
}

// Succeeded notes that m answered: its failures are forgotten.
func (m *Member[T]) Succeeded() {
	m.failures, m.eject, m.ejected = 0, 0, time.Time{}
}

// Ejected reports whether m is passed over for now.
func (m *Member[T]) Ejected(now time.Time) bool {
	return m.eject > 0 && now.Before(m.ejected)
}
