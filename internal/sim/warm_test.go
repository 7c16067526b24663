package sim

import (
	"testing"
	"time"
)

// A large network is ideal soon after it has started warm, and as it would be had it
// grown.
func TestANetworkThatStartsWarmIsWhole(t *testing.T) {
	s := find(t, "static", 60)
	s.Warm, s.Settle, s.Calm = true, 5*time.Second, time.Second
	r := Run(s, 1, nil)
	if !r.OK() {
		t.Error(r.Violations)
	}
	if late := r.Figure("last node active"); late > 2 {
		t.Errorf("the last node is active after %v s", late)
	}
}

// All dial the same few first, which have no room for all of them.
func TestMoreNodesThanASeedHasRoomForStartAtOnce(t *testing.T) {
	s := find(t, "at-once", 100)
	s.Budget, s.Lost = 60, 1e-3 // some links are being closed still
	r := Run(s, 1, nil)
	if !r.OK() {
		t.Error(r.Violations)
	}
	if late := r.Figure("last node active"); late > 30 {
		t.Errorf("the last node is active after %v s", late)
	}
}
