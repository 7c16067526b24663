package discovery

import (
	"math/rand/v2"
	"testing"
	"time"
)

func newTrickle() (*trickle, time.Time) {
	now := time.UnixMilli(1735689600000)
	t := &trickle{random: rand.New(rand.NewPCG(1, 2))}
	t.begin(now, beaconLeast)
	return t, now
}

func TestIntervalsOfBeaconsDouble(t *testing.T) {
	tr, now := newTrickle()
	begun, interval := now, beaconLeast
	for range 15 {
		at := tr.next()
		if at.Before(begun.Add(interval/2)) || !at.Before(begun.Add(interval)) {
			t.Errorf("the beacon of an interval of %v comes after %v", interval, at.Sub(begun))
		}
		if tr.advance(at.Add(-1)) || !tr.advance(at) || tr.advance(at) {
			t.Errorf("in an interval of %v not exactly one beacon, at its time", interval)
		}
		if begun = begun.Add(interval); tr.next() != begun {
			t.Errorf("an interval of %v ends %v late", interval, tr.next().Sub(begun))
		}
		tr.advance(begun)
		interval = min(2*interval, beaconMost)
	}
	if interval != beaconMost {
		t.Errorf("intervals grow to %v", interval)
	}
	tr.reset(begun)
	if at := tr.next(); at.After(begun.Add(beaconLeast)) {
		t.Errorf("what is new is followed by a beacon after %v", at.Sub(begun))
	}
	at := tr.next()
	tr.reset(begun.Add(time.Millisecond))
	if tr.next() != at {
		t.Error("more that is new puts the beacon off")
	}
}

func TestBeaconsOfOthersAreEnough(t *testing.T) {
	tr, _ := newTrickle()
	for range beaconEnough - 1 {
		tr.hear()
	}
	if !tr.advance(tr.next()) {
		t.Error("no beacon, though few others were heard")
	}
	tr.advance(tr.next())
	for range beaconEnough {
		tr.hear()
	}
	if tr.advance(tr.next()) {
		t.Error("a beacon, though enough others were heard")
	}
	tr.advance(tr.next())
	if !tr.advance(tr.next()) {
		t.Error("what was heard in one interval counts in the next")
	}
}

// A clock that jumps, as after suspend, is followed by one beacon, not by many.
func TestTrickleAfterALongPause(t *testing.T) {
	tr, now := newTrickle()
	now = now.Add(24 * time.Hour)
	sent := 0
	for range 100 {
		if tr.advance(now) {
			sent++
		}
	}
	if sent != 1 || !tr.next().After(now) {
		t.Errorf("%d beacons, the next at %v, want 1 and later than %v", sent, tr.next(), now)
	}
}
