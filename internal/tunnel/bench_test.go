package tunnel

import (
	"fmt"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wheel"
)

// A taker is a Sink that takes everything, or no chunk while it is full.
type taker struct{ full bool }

func (*taker) TunnelOpen(*queue.Batch, uint64)          {}
func (*taker) TunnelAllow(*queue.Batch, uint64, uint64) {}
func (*taker) TunnelClose(*queue.Batch, uint64, string) {}
func (k *taker) TunnelChunk(*queue.Batch, uint64, uint64, []byte) bool {
	return !k.full
}

// ferry returns a function that carries one message of n octets through a
// tunnel, at once or by way of what waits for room.
func ferry(tb testing.TB, n int, waits bool) func() {
	epoch := time.Unix(0, 0)
	budget := queue.NewBudget(64 << 20)
	var stats Stats
	var b queue.Batch
	var from, to taker
	x, y := NewTable(&from, budget, &stats), NewTable(&to, budget, &stats)
	x.Building(1)
	y.Building(2)
	Open(epoch, &b, wheel.NewTimers(epoch, func() {}), x, 1, y, 2)
	e, p := x.End(1), y.End(2)
	p.Allow(epoch, &b, 64<<20)
	octets := make([]byte, n)
	return func() {
		to.full = waits
		if err := e.Chunk(epoch, &b, uint64(n), octets); err != nil {
			tb.Fatal(err)
		}
		if waits {
			to.full = false
			y.Room(&b)
		}
		p.Allow(epoch, &b, uint64(n))
		if e.window+e.owed != Window {
			tb.Fatal("the chunk has not left")
		}
	}
}

func BenchmarkChunk(b *testing.B) {
	for _, waits := range []bool{false, true} {
		for _, n := range []int{8, 64 << 10} {
			b.Run(fmt.Sprintf("octets=%d/waits=%v", n, waits), func(b *testing.B) {
				carry := ferry(b, n, waits)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					carry()
				}
			})
		}
	}
}

func TestChunkThatNeedNotWaitDoesNotAllocate(t *testing.T) {
	for _, n := range []int{8, 64 << 10} {
		if a := testing.AllocsPerRun(1000, ferry(t, n, false)); a > 0 {
			t.Errorf("a chunk of %d octets costs %v allocations", n, a)
		}
	}
}

// ferryMessage is ferry for programs that count messages, or the one that takes them
// counts octets.
func ferryMessage(tb testing.TB, n int, counts, waits bool) func() {
	epoch := time.Unix(0, 0)
	budget := queue.NewBudget(64 << 20)
	var stats Stats
	var b queue.Batch
	var from, to taker
	x, y := NewMessages(&from, 64<<20, budget, &stats), NewTable(&to, budget, &stats)
	x.Building(1)
	if counts {
		y = NewMessages(&to, 64<<20, budget, &stats)
	}
	y.Building(2)
	y.Takes(2, Messages)
	Open(epoch, &b, wheel.NewTimers(epoch, func() {}), x, 1, y, 2)
	e, p := x.End(1), y.End(2)
	octets := make([]byte, n)
	return func() {
		if !counts {
			p.Allow(epoch, &b, uint64(n))
		}
		to.full = waits
		if err := e.Message(epoch, &b, octets); err != nil {
			tb.Fatal(err)
		}
		e.Acknowledge(&b)
		if waits {
			to.full = false
			y.Room(&b)
		}
		if counts {
			if err := p.Ack(epoch, &b); err != nil {
				tb.Fatal(err)
			}
		}
		if e.window != Messages {
			tb.Fatal("the message has not left")
		}
	}
}

func BenchmarkMessage(b *testing.B) {
	for _, counts := range []bool{true, false} {
		for _, waits := range []bool{false, true} {
			for _, n := range []int{8, 64 << 10} {
				b.Run(fmt.Sprintf("octets=%d/counts=%v/waits=%v", n, counts, waits), func(b *testing.B) {
					carry := ferryMessage(b, n, counts, waits)
					b.SetBytes(int64(n))
					b.ReportAllocs()
					for b.Loop() {
						carry()
					}
				})
			}
		}
	}
}

func TestMessageThatNeedNotWaitDoesNotAllocate(t *testing.T) {
	for _, n := range []int{0, 8, 64 << 10, 1 << 20} {
		if a := testing.AllocsPerRun(1000, ferryMessage(t, n, true, false)); a > 0 {
			t.Errorf("a message of %d octets costs %v allocations", n, a)
		}
	}
}
