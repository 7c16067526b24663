package wheel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// A deadline is an entry and what is known of it apart from the wheel.
type deadline struct {
	entry Entry
	due   int64
	on    bool
}

// wait returns a time to wait that may end on any of the levels.
func wait(r *rand.Rand) int64 {
	n := r.Int64N(1 << r.IntN(44))
	if r.IntN(3) == 0 { // at an edge between two slots, or next to it
		n = n&^(1<<(width*r.IntN(levels))-1) + r.Int64N(3) - 1
	}
	return n
}

func TestWheelAgainstSortedList(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			var w Wheel
			var now int64 // the tick last reached
			all := make([]*deadline, 60)
			for i := range all {
				all[i] = new(deadline)
				all[i].entry.Owner = all[i]
			}
			on := func() (n int, first int64) {
				for _, d := range all {
					if d.on && (n == 0 || d.due < first) {
						first = d.due
					}
					if d.on {
						n++
					}
				}
				return n, first
			}
			for range 600 {
				d := all[r.IntN(len(all))]
				switch op := r.IntN(10); {
				case op < 5 && !d.on:
					d.due, d.on = now+wait(r), true
					w.Add(&d.entry, d.due)
					d.due = max(d.due, now+1) // a deadline in the past: the next tick
				case op < 7:
					w.Remove(&d.entry)
					d.on = false
				default:
					to := now + wait(r)>>r.IntN(40)
					if n, first := on(); n > 0 && r.IntN(2) == 0 {
						to = first - 1 + r.Int64N(2) // just before, or just in time
					}
					to = max(to, now)
					last := now
					for e := w.Pop(to); e != nil; e = w.Pop(to) {
						p := e.Owner.(*deadline)
						_, first := on()
						if !p.on || p.due > to || p.due < last || p.due != first || e.on {
							t.Fatalf("Pop(%d) returned an entry due at %d (on it: %v) after one due at %d; the first is due at %d", to, p.due, p.on, last, first)
						}
						p.on, last = false, p.due
					}
					now = to
					if n, first := on(); n > 0 && first <= now {
						t.Fatalf("Pop(%d) left an entry due at %d", to, first)
					}
				}
				if d.entry.on != d.on {
					t.Fatalf("On = %v, want %v", d.entry.on, d.on)
				}
				n, first := on()
				tick, ok := w.Next()
				if w.Len() != n || ok != (n > 0) {
					t.Fatalf("Len = %d, Next says %v; want %d", w.Len(), ok, n)
				}
				if ok && (tick > first || tick <= now || first/slots == now/slots && tick != first) {
					t.Fatalf("Next = %d at %d, the first is due at %d", tick, now, first)
				}
			}
			seen := 0
			w.All(func(e *Entry) {
				seen++
				if !e.Owner.(*deadline).on {
					t.Error("All calls with an entry that is not on the wheel")
				}
			})
			if n, _ := on(); seen != n {
				t.Errorf("All called %d times for %d entries", seen, n)
			}
		})
	}
}

// Whoever advances the wheel only when Next says so is on time, and is not asked
// often: at most once for each level besides the deadline itself.
func TestNextLeadsToTheDeadlineInFewSteps(t *testing.T) {
	for due := int64(1); due < 1<<44; due = due*5/3 + 1 {
		var w Wheel
		var e Entry
		w.Add(&e, due)
		for steps := 1; ; steps++ {
			tick, ok := w.Next()
			if !ok || steps > levels {
				t.Fatalf("due at %d: not popped after %d steps", due, steps)
			}
			if p := w.Pop(tick); p != nil {
				if tick != due {
					t.Fatalf("due at %d: popped at %d", due, tick)
				}
				break
			}
		}
	}
}

func TestEmptyWheelWantsNothing(t *testing.T) {
	var w Wheel
	if _, ok := w.Next(); ok || w.Pop(1<<40) != nil || w.Len() != 0 {
		t.Fatal("an empty wheel wants to be advanced")
	}
	var e Entry
	w.Remove(&e) // is not on it
	w.Add(&e, 5)
	if tick, ok := w.Next(); !ok || tick != 1<<40+1 {
		t.Fatalf("Next = %d, %v for a deadline long past, want the next tick", tick, ok)
	}
	w.Remove(&e)
	if _, ok := w.Next(); ok || e.on {
		t.Fatal("a removed entry is still waited for")
	}
}

func TestEntriesOfOneTickAllComeDue(t *testing.T) {
	var w Wheel
	var es [100]Entry
	var got []int
	for i := range es {
		es[i].Owner = i
		w.Add(&es[i], 1<<20)
	}
	if w.Pop(1<<20-1) != nil {
		t.Fatal("popped early")
	}
	for e := w.Pop(1 << 20); e != nil; e = w.Pop(1 << 20) {
		got = append(got, e.Owner.(int))
	}
	slices.Sort(got)
	if len(slices.Compact(got)) != len(es) {
		t.Fatalf("%d of %d entries came due", len(got), len(es))
	}
}

func BenchmarkAddRemove(b *testing.B) {
	for _, others := range []int{0, 100_000} {
		b.Run(fmt.Sprint("others=", others), func(b *testing.B) {
			var w Wheel
			r := rand.New(rand.NewPCG(1, 1))
			for range others {
				w.Add(new(Entry), r.Int64N(1<<31))
			}
			var due [1024]int64
			for i := range due {
				due[i] = r.Int64N(1 << 31)
			}
			var e Entry
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				w.Add(&e, due[i%len(due)])
				w.Remove(&e)
			}
		})
	}
}

func BenchmarkAddPop(b *testing.B) {
	var w Wheel
	var e Entry
	now := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		w.Add(&e, now+1000)
		now += 1000
		if w.Pop(now) != &e {
			b.Fatal("did not come due")
		}
	}
}

func TestAddAndRemoveDoNotAllocate(t *testing.T) {
	var w Wheel
	var e Entry
	due := int64(0)
	for range levels { // every level has been used
		due = due*slots + slots - 1
		w.Add(&e, due)
		w.Remove(&e)
	}
	r := rand.New(rand.NewPCG(1, 1))
	if n := testing.AllocsPerRun(1000, func() {
		w.Add(&e, r.Int64N(1<<40))
		w.Remove(&e)
	}); n > 0 {
		t.Fatalf("%v allocations", n)
	}
}
