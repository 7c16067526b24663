package overlay

import "time"

const (
	floorTimeout = 100 * time.Millisecond
	firstTimeout = 200 * time.Millisecond // while nothing is measured
	maxTimeout   = time.Second
)

// An estimate is how long a peer takes to answer, after Jacobson.
type estimate struct{ mean, deviation time.Duration }

// sample takes a measured round trip in.
func (e *estimate) sample(rtt time.Duration) {
	if e.mean == 0 {
		e.mean, e.deviation = rtt, rtt/2
		return
	}
	e.deviation += ((e.mean - rtt).Abs() - e.deviation) / 4
	e.mean += (rtt - e.mean) / 8
}

// timeout returns after what time an answer is late.
func (e *estimate) timeout() time.Duration {
	if e.mean == 0 {
		return firstTimeout
	}
	return min(max(e.mean+4*e.deviation, floorTimeout), maxTimeout)
}

// health says how far this node trusts its own judgement of others: from 0, when
// all is well, to 7. All timeouts grow with it, since a node that is late itself
// finds everybody else late (Lifeguard).
type health int

const maxHealth health = 7

func (h *health) worse()  { *h = min(*h+1, maxHealth) }
func (h *health) better() { *h = max(*h-1, 0) }

// stretch returns how long to wait instead of d.
func (h health) stretch(d time.Duration) time.Duration { return d * time.Duration(1+h) }
