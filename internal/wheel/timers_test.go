package wheel

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var start = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

func TestDueIsNeverEarlyAndLessThanATickLate(t *testing.T) {
	ts := NewTimers(start, func() {})
	r := rand.New(rand.NewPCG(1, 1))
	for range 50_000 {
		now := start.Add(time.Millisecond + time.Duration(r.Int64N(1<<r.IntN(50))))
		d := time.Duration(r.Int64N(1 << r.IntN(50)))
		if r.IntN(2) == 0 {
			d = d.Truncate(time.Millisecond)
		}
		due := ts.Due(now, d)
		at := start.Add(time.Duration(due) * time.Millisecond)
		if late := at.Sub(now.Add(d)); late < 0 || late >= time.Millisecond {
			t.Fatalf("%v after %v is due %v late", d, now.Sub(start), late)
		}
		if ts.Tick(at) != due || ts.Tick(at.Add(-1)) != due-1 {
			t.Fatalf("tick %d has not passed at %v, or has before", due, at)
		}
	}
}

func TestTimersWakeTheDriverForAnEarlierDeadlineOnly(t *testing.T) {
	wakes := 0
	ts := NewTimers(start, func() { wakes++ })
	var a, b, c Entry
	set := func(e *Entry, due int64, want int) {
		t.Helper()
		wakes = 0
		ts.Set(e, due)
		if wakes != want {
			t.Errorf("Set to tick %d woke the driver %d times, want %d", due, wakes, want)
		}
	}
	set(&a, 50, 1)
	set(&b, 60, 0)
	set(&c, 40, 1)
	ts.Stop(&c)
	if at, ok := ts.Next(); !ok || at != start.Add(50*time.Millisecond) {
		t.Errorf("Next = %v, %v; want tick 50", at, ok)
	}
	set(&c, 45, 1)
	set(&a, 44, 1) // again, with another deadline

	var fired []any
	a.Owner, b.Owner, c.Owner = "a", "b", "c"
	fire := func(owner any) { fired = append(fired, owner) }
	ts.Advance(start.Add(44*time.Millisecond-1), fire)
	if len(fired) > 0 {
		t.Errorf("%v fired before tick 44", fired)
	}
	ts.Advance(start.Add(50*time.Millisecond), fire)
	if len(fired) != 2 || fired[0] != "a" || fired[1] != "c" {
		t.Errorf("%v fired by tick 50, want a, c", fired)
	}
	ts.Stop(&b)
	if _, ok := ts.Next(); ok {
		t.Error("Next waits for something though nothing is set")
	}
	set(&b, 60, 1)
}

// Goroutines set and stop timers while a driver, woken as it asks to be, advances
// a clock of its own. What was set and not stopped fires, and never early.
func TestTimersUnderManyGoroutines(t *testing.T) {
	const (
		goroutines = 6
		timers     = 50
		rounds     = 400
	)
	type timer struct {
		entry Entry
		mu    sync.Mutex
		due   int64 // 0: stopped, or has fired
	}
	wake := make(chan struct{}, 1)
	ts := NewTimers(start, func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	var clock atomic.Int64 // ticks
	all := make([]*timer, goroutines*timers)
	for i := range all {
		all[i] = new(timer)
		all[i].entry.Owner = all[i]
	}
	done := make(chan struct{})
	var driver, wg sync.WaitGroup
	driver.Go(func() {
		for {
			_, waiting := ts.Next()
			if !waiting {
				select {
				case <-wake:
				case <-done:
					return
				}
			}
			tick := clock.Add(1)
			ts.Advance(start.Add(time.Duration(tick)*time.Millisecond), func(owner any) {
				w := owner.(*timer)
				w.mu.Lock()
				defer w.mu.Unlock()
				if w.entry.on {
					return // set anew on its way to us
				}
				if w.due > tick {
					t.Errorf("due at %d, fired at %d", w.due, tick)
				}
				w.due = 0
			})
		}
	})
	for g := range goroutines {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for range rounds {
				w := all[g*timers+r.IntN(timers)]
				w.mu.Lock()
				if r.IntN(3) == 0 {
					ts.Stop(&w.entry)
					w.due = 0
				} else {
					w.due = clock.Load() + r.Int64N(200)
					ts.Set(&w.entry, w.due)
				}
				w.mu.Unlock()
			}
		})
	}
	wg.Wait()
	close(done) // the driver goes on until nothing is set
	driver.Wait()
	for i, w := range all {
		if w.due != 0 || w.entry.on {
			t.Errorf("timer %d, due at %d, never fired", i, w.due)
		}
	}
}

func BenchmarkTimersSetStop(b *testing.B) {
	ts := NewTimers(start, func() {})
	var first, e Entry
	ts.Set(&first, 1)
	b.ReportAllocs()
	for b.Loop() {
		ts.Set(&e, 1000)
		ts.Stop(&e)
	}
}
