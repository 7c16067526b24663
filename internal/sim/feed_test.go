package sim

import (
	"testing"
	"time"
)

// A publisher with more members than it may have links to reaches them all at once, those
// without a link through others, while nodes come and go: no link is closed that is in use,
// and the ring has room.
func TestFewerLinksThanMembers(t *testing.T) {
	s := find(t, "star-churn", large)
	s.Budget = 100
	s.Feed.For, s.Churn = 20*time.Second, 20*time.Second
	r := holds(t, s, 1)
	if share := r.Figure("delivered at first"); share < 0.985 {
		t.Errorf("%v of the messages arrive at first", share)
	}
	if share := r.Figure("delivered"); share < 0.99999 {
		t.Errorf("%v of the messages arrive", share)
	}
	if copies := r.Figure("copies"); copies > 1.05 {
		t.Errorf("%v copies a delivery", copies)
	}
	if p99 := r.Figure("delivery p99"); p99 > 0.01 {
		t.Errorf("p99 of %v s", p99)
	}
}
