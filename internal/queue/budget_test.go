package queue

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

func TestGreedyHoldersLeaveRoomForSmallOnes(t *testing.T) {
	const limit = 1 << 20
	for n := 1; n <= 10; n++ {
		b := NewBudget(limit)
		held := make([]int, n)
		for grew := true; grew; {
			grew = false
			for i := range held {
				if b.Take(1<<10, held[i]) {
					held[i] += 1 << 10
					grew = true
				}
			}
		}
		share := limit / (n + 1)
		for i, h := range held {
			if h < share-n<<10 || h > share+n<<10 {
				t.Errorf("holder %d of %d greedy ones got %d octets, want about %d", i, n, h, share)
			}
		}
		if !b.Take(share/2, 0) {
			t.Errorf("beside %d greedy holders a small one got nothing", n)
		}
	}
}

func TestBudgetIsNeverExceeded(t *testing.T) {
	const limit = 100_000
	b := NewBudget(limit)
	var sum atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			held := 0
			for range 20_000 {
				if n := 1 + r.IntN(limit/4); b.Take(n, held) {
					held += n
					if s := sum.Add(int64(n)); s > limit {
						t.Errorf("%d octets are held of %d", s, limit)
					}
				} else if held > 0 {
					n := 1 + r.IntN(held)
					held -= n
					sum.Add(int64(-n))
					b.Give(n)
				}
			}
			sum.Add(int64(-held))
			b.Give(held)
		})
	}
	wg.Wait()
	if n := b.Used(); n != 0 {
		t.Fatalf("%d octets stay charged", n)
	}
}

// What is refused must not be in the way of others, not for a moment: an append
// that is refused costs a program its connection.
func TestRefusedTakeIsInNobodysWay(t *testing.T) {
	const limit = 1 << 20
	b := NewBudget(limit)
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !done.Load() {
			if b.Take(limit+1, 0) {
				t.Error("more than the budget was taken")
			}
		}
	})
	for range 200_000 {
		if !b.Take(1, 0) {
			t.Error("the only octet was refused")
			break
		}
		b.Give(1)
	}
	done.Store(true)
	wg.Wait()
}

func TestBudgetTellsWhenItIsScarce(t *testing.T) {
	b := NewBudget(1000)
	b.Force(750)
	if b.Scarce() {
		t.Error("scarce at three quarters")
	}
	b.Force(1)
	if !b.Scarce() {
		t.Error("not scarce above three quarters")
	}
	b.Force(1000) // forced beyond the limit
	if b.Take(1, 0) {
		t.Error("an octet was taken from an overdrawn budget")
	}
	if b.Used() != 1751 || b.Limit() != 1000 {
		t.Errorf("%d of %d are used, want 1751 of 1000", b.Used(), b.Limit())
	}
}
