//go:build !race

package queue

import "testing"

// The race detector empties pools at random, so this is not for it.
func TestMessageDoesNotAllocate(t *testing.T) {
	q := New(NewBudget(plenty), plenty)
	q.Open()
	for _, size := range []int{0, 128, SmallBlock, 64 << 10} {
		head, body := make([]byte, 8), make([]byte, size)
		if n := testing.AllocsPerRun(1000, func() { appendAndWrite(q, head, body) }); n > 0 {
			t.Errorf("a message of %d octets costs %v allocations", size, n)
		}
	}
}
