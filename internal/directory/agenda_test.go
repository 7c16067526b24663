package directory

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

type task struct {
	due
	set int // when it was set last
}

func TestAgendaIsInOrderOfTimesAndThenOfSetting(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var a agenda[*task]
	var waiting []*task
	tasks := make([]task, 40)
	now := start
	for i := range 20_000 {
		switch x := &tasks[rng.IntN(len(tasks))]; rng.IntN(8) {
		case 0:
			a.set(x, time.Time{})
			waiting = slices.DeleteFunc(waiting, func(y *task) bool { return y == x })
		case 1, 2:
			now = now.Add(time.Duration(rng.IntN(3)))
			var want *task
			for _, y := range waiting {
				if !y.at.After(now) && (want == nil || y.at.Before(want.at) || y.at.Equal(want.at) && y.set < want.set) {
					want = y
				}
			}
			if got, ok := a.pop(now); got != want || ok != (want != nil) {
				t.Fatalf("step %d: popped %v, want %v", i, got, want)
			}
			waiting = slices.DeleteFunc(waiting, func(y *task) bool { return y == want })
		default:
			x.set = i
			a.set(x, now.Add(time.Duration(rng.IntN(10))))
			if !slices.Contains(waiting, x) {
				waiting = append(waiting, x)
			}
		}
		var next time.Time
		for _, y := range waiting {
			if next.IsZero() || y.at.Before(next) {
				next = y.at
			}
		}
		if !a.next().Equal(next) || len(a.heap) != len(waiting) {
			t.Fatalf("step %d: next at %v of %d, want %v of %d", i, a.next(), len(a.heap), next, len(waiting))
		}
	}
}
