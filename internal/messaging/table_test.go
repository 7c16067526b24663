package messaging

import (
	"testing"

	"github.com/project-iris/iris/internal/queue"
)

// How long it takes to find the oldest request must not depend on how many have gone
// while one was stuck: others wait for the lock.
func TestOldestRequestIsFoundHoweverManyHaveGone(t *testing.T) {
	const many = 1 << 60
	var tab table
	add := func(next uint64) {
		tab.next = next // all before have gone
		tab.reserve(queue.NewBudget(1 << 20))
		tab.add(grant{})
	}
	for _, id := range []uint64{0, many, many + 3, many + 4} {
		add(id)
	}
	for _, v := range []struct{ gone, oldest uint64 }{{many + 4, 0}, {0, many}, {many, many + 3}, {many + 3, many + 5}} {
		tab.remove(v.gone)
		if n := tab.oldest(); n != v.oldest {
			t.Errorf("once %d has gone the oldest is %d, want %d", v.gone, n, v.oldest)
		}
	}
	add(2 * many)
	add(3 * many) // takes its place in the ring
	tab.remove(3 * many)
	if n := tab.oldest(); n > 2*many {
		t.Errorf("the oldest is %d, want no more than %d", n, uint64(2*many))
	}
}
