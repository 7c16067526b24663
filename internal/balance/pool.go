// Package balance chooses the member node that serves a request, from what the
// answers to earlier requests said of its load (docs/messaging.md, Balancing).
// Everything in it is pure: the caller brings time, randomness and a lock.
package balance

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	freshFor   = time.Second // a signal's life
	freshUses  = 4           // choices a signal serves
	mostDrawn  = 16          // members compared for one choice
	exploreOne = 16          // choices, of which one may go to a member not known
	ejectAfter = 5           // failures in a row
	ejectFirst = 5 * time.Second
	ejectMost  = time.Minute

	// Pause is how long a member is passed over whose queue was full.
	Pause = 10 * time.Millisecond
)

// A Pool holds the member nodes of one name. The zero Pool is empty; one with
// members must not be copied. None of its methods allocates but Add.
type Pool[T any] struct {
	members []*Member[T] // in no order: choosing among many shuffles them
	start   time.Time    // what instants are counted from
	how     How          // the last choice came about
}

// An instant is a time, in nanoseconds since the start of the pool: comparing
// those costs less than comparing times, and setting the clock moves none.
type instant int64

const never instant = -1 << 62

func (p *Pool[T]) instant(now time.Time) instant {
	if p.start.IsZero() {
		p.start = now
	}
	return instant(now.Sub(p.start))
}

// A Member is a member node in a Pool. The caller may change the exported fields
// at any time. The node itself can be a member beside others, not preferred but
// for its RTT of 0: SetInFlight tells its load before each choice.
type Member[T any] struct {
	Value   T             // the caller's
	Workers int           // what was announced: counts until it has said how fast it is
	RTT     time.Duration // of the way there and back

	pool     *Pool[T]
	at       instant // of the newest signal
	asked    instant // when a request was sent without a fresh one, if its answer is owed
	uses     int     // choices the signal served
	inFlight int     // what it said, and ours since then
	workers  int
	each     float64 // nanoseconds: handler time by worker

	full     instant       // until then its queue is taken to be full
	failures int           // in a row
	ejected  instant       // until then
	eject    time.Duration // for how long; 0: not since the last success

	chosen uint64 // times, ever
}

// Add adds a member node.
func (p *Pool[T]) Add(value T, workers int, rtt time.Duration) *Member[T] {
	m := &Member[T]{Value: value, Workers: workers, RTT: rtt, pool: p, at: never, asked: never, full: never, ejected: never}
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
// request; nil if there is none but those in not and those whose queues are full.
func (p *Pool[T]) Choose(now time.Time, r *rand.Rand, not ...*Member[T]) *Member[T] {
	at := p.instant(now)
	drawn := p.members
	if len(drawn) > mostDrawn {
		drawn = p.draw(r)
	}
	m, how := choose(drawn, at, r, not, false)
	if m == nil && len(drawn) < len(p.members) {
		m, how = choose(p.members, at, r, not, false)
	}
	if m == nil { // all are ejected: then none is
		m, how = choose(p.members, at, r, not, true)
	}
	p.how = how
	if m != nil {
		if !m.fresh(at) {
			m.asked = at
		}
		m.uses++
		m.inFlight++
		m.chosen++
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

// choose returns the member that promises the earliest answer. One choice in 16
// goes to a member of which nothing fresh is known, if it does not owe an
// answer: where requests are many, others would be known for ever, and it never
// again. If nothing fresh is known of any, one is taken at random, each as often as
// it is fast. Choose returns nil if none may be taken.
func choose[T any](members []*Member[T], now instant, r *rand.Rand, not []*Member[T], all bool) (*Member[T], How) {
	best, stale, unasked := look(members, now, not, all)
	explore := best != nil && unasked > 0 && r.Uint32()%exploreOne == 0
	if stale == 0 || best != nil && !explore {
		return best, Lowest
	}
	how := Random
	if explore {
		how = Explored
	}
	mean := speed(members, now, not, all)
	var taken *Member[T]
	sum := 0.0
	for _, m := range members {
		if m.passed(now, not, all) || m.fresh(now) || explore && !m.unasked(now) {
			continue
		}
		weight := m.weight(mean)
		if sum += weight; r.Float64()*sum < weight { // one for which it is true replaces those before
			taken = m
		}
	}
	return taken, how
}

// look returns the member that promises the earliest answer of those of which something
// fresh is known, and counts the others, and those of them that owe no answer.
func look[T any](members []*Member[T], now instant, not []*Member[T], all bool) (best *Member[T], stale, unasked int) {
	lowest := math.Inf(1)
	for _, m := range members {
		switch {
		case m.passed(now, not, all):
		case m.fresh(now):
			if s := m.score(); s < lowest {
				best, lowest = m, s
			}
		case m.unasked(now):
			unasked++
			fallthrough
		default:
			stale++
		}
	}
	return best, stale, unasked
}

// speed returns how fast the members are by worker, as far as they have said so.
func speed[T any](members []*Member[T], now instant, not []*Member[T], all bool) float64 {
	sum, workers := 0.0, 0
	for _, m := range members {
		if m.each > 0 && !m.passed(now, not, all) {
			sum += 1 / m.each
			workers += max(m.Workers, 1)
		}
	}
	if workers == 0 {
		return 1
	}
	return sum / float64(workers)
}

// weight returns how often m is taken at random, beside others whose speed by worker is
// mean.
func (m *Member[T]) weight(mean float64) float64 {
	if m.each > 0 {
		return 1 / m.each
	}
	return mean * float64(max(m.Workers, 1))
}

// passed reports whether m may not be chosen; with all set it may though it is ejected.
func (m *Member[T]) passed(now instant, not []*Member[T], all bool) bool {
	return now < m.full || !all && now < m.ejected || slices.Contains(not, m)
}

// fresh reports whether the newest signal of m still says something.
func (m *Member[T]) fresh(now instant) bool {
	return m.uses < freshUses && now-m.at <= instant(freshFor)
}

// unasked reports whether m, which is not fresh, owes no answer to a request
// sent to find out.
func (m *Member[T]) unasked(now instant) bool { return now-m.asked > instant(freshFor) }

// Dated reports whether what is known of m is older than a request takes: it may be
// worth while to ask.
func (m *Member[T]) Dated(now time.Time) bool {
	return float64(m.pool.instant(now)-m.at) > m.each*float64(m.workers)
}

// score returns how long m is expected to take, in nanoseconds.
func (m *Member[T]) score() float64 {
	return m.each*float64(max(m.inFlight+1, m.workers)) + float64(m.RTT)
}

// Signal notes what m said of its load: requests in flight, workers, mean
// handler time.
func (m *Member[T]) Signal(now time.Time, inFlight, workers int, handler time.Duration) {
	m.at, m.uses, m.asked = m.pool.instant(now), 0, never
	m.inFlight, m.workers = inFlight, max(workers, 1)
	m.each = float64(max(handler, time.Microsecond)) / float64(m.workers)
}

// SetInFlight notes how many requests m has in flight, if that is known at the
// moment of a choice. The signal lasts no longer for it, else m would win for
// ever against members of which nothing is known.
func (m *Member[T]) SetInFlight(n int) { m.inFlight = n }

// Full notes that a request for m was not taken, since too much waits for it: it is
// passed over for a moment.
func (m *Member[T]) Full(now time.Time) { m.full = m.pool.instant(now) + instant(Pause) }

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
	m.ejected = m.pool.instant(now) + instant(m.eject)
}

// Succeeded notes that m answered: its failures are forgotten.
func (m *Member[T]) Succeeded() {
	m.failures, m.eject, m.ejected = 0, 0, never
}

// Ejected reports whether m is passed over for now.
func (m *Member[T]) Ejected(now time.Time) bool {
	return m.pool.instant(now) < m.ejected
}
