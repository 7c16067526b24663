package messaging

import (
	"math/rand/v2"
	"testing"
)

func TestWindowTellsEveryNumberOnce(t *testing.T) {
	for seed := range uint64(20) {
		var w window
		r := rand.New(rand.NewPCG(seed, 1))
		seen := make(map[uint64]bool)
		top, floor := uint64(0), uint64(0) // floor: below, everything counts as marked since a shrink
		for range 20_000 {
			n := top + uint64(r.IntN(40))
			switch r.IntN(200) {
			case 0:
				n = top + uint64(r.IntN(3*windowBits))
			case 1:
				w.shrink()
				floor = top
			}
			if r.IntN(2) == 0 {
				n -= min(n, uint64(r.IntN(windowBits+100)))
			}
			want := fresh
			switch {
			case n >= top:
				top = n + 1
			case n < floor && (w.bits == nil || n+windowBits < top):
				want = below
			case n < floor:
				want = marked
			case n+windowBits < top:
				want = below
			case seen[n]:
				want = marked
			}
			got := w.mark(n)
			if got != want && !(want == marked && got == below && n < floor) {
				t.Fatalf("seed %d: mark(%d) = %d, want %d (top %d, floor %d)", seed, n, got, want, top, floor)
			}
			if got == fresh {
				if seen[n] {
					t.Fatalf("seed %d: %d was acted on twice", seed, n)
				}
				seen[n] = true
			}
		}
	}
}

func TestShrunkWindowTakesNothingOld(t *testing.T) {
	var w window
	w.mark(100)
	w.shrink()
	if v := w.mark(50); v != below {
		t.Errorf("mark(50) = %d after the window was shrunk, want below", v)
	}
	if v := w.mark(101); v != fresh {
		t.Errorf("mark(101) = %d, want fresh", v)
	}
	if v := w.mark(99); v == fresh {
		t.Error("a number from before the window was shrunk is taken")
	}
}
