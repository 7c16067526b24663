package relay

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/queue"
)

// until is a queue that is crowded until some time.
type until struct{ time.Time }

func (u until) Crowded(now time.Time) bool { return now.Before(u.Time) }

// Who publishes waits for all links that are behind as long as they move, and no longer
// than its connection lasts.
func TestPublisherWaitsForEveryCrowd(t *testing.T) {
	never := func() bool { return false }
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var b queue.Batch
		WaitOut(&b, never)
		if d := time.Since(began); d != 0 {
			t.Errorf("waited %v for nobody", d)
		}
		for _, d := range []time.Duration{time.Second, 40 * time.Second, 10 * time.Second, time.Second} {
			b.AddCrowd(until{began.Add(d)})
		}
		if len(b.Crowds) != 3 {
			t.Errorf("%d crowds, want 3", len(b.Crowds))
		}
		WaitOut(&b, never)
		if d := time.Since(began); d < 40*time.Second || d > 41*time.Second {
			t.Errorf("waited %v, want 40 s", d)
		}
		WaitOut(&b, never)
		b.AddCrowd(until{began.Add(time.Hour)})
		ends := time.Now().Add(time.Second)
		WaitOut(&b, func() bool { return time.Now().After(ends) })
		if d := time.Since(began); d > 43*time.Second {
			t.Errorf("waited %v, though there was no point after 41 s", d)
		}
	})
}
