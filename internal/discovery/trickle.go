package discovery

import (
	"math/rand/v2"
	"time"
)

const (
	beaconLeast  = time.Second // interval of beacons when something is new
	beaconMost   = 10 * time.Minute
	beaconEnough = 3 // heard in an interval: the own one would tell nothing new
)

// A trickle says when to send a beacon (RFC 6206): in each interval once, at a random
// time of its second half, unless enough of the others did before. Intervals double
// until something is new. So the beacons of a network are few, however many nodes it
// has, and never end for good: two halves of it find each other again.
type trickle struct {
	random   *rand.Rand
	interval time.Duration
	begun    time.Time
	at       time.Time // of the beacon; zero: it is over with
	heard    int
}

// reset makes the interval the shortest, unless it is.
func (t *trickle) reset(now time.Time) {
	if t.interval != beaconLeast {
		t.begin(now, beaconLeast)
	}
}

func (t *trickle) begin(now time.Time, interval time.Duration) {
	half := interval / 2
	t.interval, t.begun, t.heard = interval, now, 0
	t.at = now.Add(half + time.Duration(t.random.Int64N(int64(half))))
}

// hear notes a packet from which the own beacon would not differ.
func (t *trickle) hear() { t.heard++ }

// advance reports whether to send a beacon now.
func (t *trickle) advance(now time.Time) (send bool) {
	if !t.at.IsZero() && !now.Before(t.at) {
		send = t.heard < beaconEnough
		t.at = time.Time{}
	}
	if !now.Before(t.begun.Add(t.interval)) {
		t.begin(now, min(2*t.interval, beaconMost))
	}
	return send
}

// next returns when advance is due.
func (t *trickle) next() time.Time {
	if !t.at.IsZero() {
		return t.at
	}
	return t.begun.Add(t.interval)
}
