package queue

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestRecordsAgainstModel(t *testing.T) {
	type record struct {
		number uint64
		octets []byte
	}
	budget := NewBudget(4 << 20)
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		// Two of them share the pooled memory.
		rs := [2]Records{{Budget: budget}, {Budget: budget}}
		var want [2][]record
		for i := range 2000 {
			k := r.IntN(2)
			fill := 3 + 4*(i/500%2) // now filling, now draining
			switch op := r.IntN(10); {
			case op < fill:
				n := r.IntN(1 << r.IntN(17))
				if r.IntN(20) == 0 {
					n = 1 << 16
				}
				rec := record{r.Uint64() >> r.IntN(64), noise[r.IntN(1000):][:n]}
				if rs[k].Push(rec.number, rec.octets) {
					want[k] = append(want[k], rec)
				} else if budget.Used()*3 < budget.Limit() {
					t.Fatalf("seed %d: Push was refused with %d of %d octets used", seed, budget.Used(), budget.Limit())
				}
			case op == 9 && r.IntN(100) == 0:
				rs[k].Drop()
				want[k] = nil
			case len(want[k]) > 0:
				w := want[k][0]
				number, octets := rs[k].First()
				if number != w.number || !bytes.Equal(octets, w.octets) {
					t.Fatalf("seed %d: First = %d with %d octets, want %d with %d", seed, number, len(octets), w.number, len(w.octets))
				}
				rs[k].Pop()
				want[k] = want[k][1:]
			}
			n := 0
			for _, w := range want[k] {
				n += len(w.octets)
			}
			if rs[k].Len() != n || rs[k].Empty() != (len(want[k]) == 0) {
				t.Fatalf("seed %d: Len = %d, Empty = %v; want %d octets in %d records", seed, rs[k].Len(), rs[k].Empty(), n, len(want[k]))
			}
		}
		rs[0].Drop()
		for !rs[1].Empty() {
			rs[1].Pop()
		}
		if n := budget.Used(); n != 0 {
			t.Fatalf("seed %d: %d octets stay charged", seed, n)
		}
	}
}

func TestRecordsBeyondTheBudgetAreRefused(t *testing.T) {
	budget := NewBudget(4 * LargeBlock)
	r := Records{Budget: budget}
	n := 0
	for r.Push(uint64(n), noise[:60_000]) {
		n++
	}
	if n != 2 {
		t.Fatalf("one greedy holder got %d blocks of 4, want 2", n)
	}
	for i := range n {
		if number, octets := r.First(); number != uint64(i) || len(octets) != 60_000 {
			t.Fatalf("First = %d with %d octets after a refusal", number, len(octets))
		}
		r.Pop()
	}
}
