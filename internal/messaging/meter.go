package messaging

import (
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/balance"
)

// meter is the balance.Meter of the members of a cluster on this node, without a lock:
// of two answers at the same time one may not count. It has a sample in 20 us at most,
// so that many fast answers do not wait for each other.
type meter struct {
	answers           atomic.Int64 // since the last sample
	last              atomic.Int64 // when that was
	each, took, alone mean
	inTurn            mean
}

const meterRest = 20 * time.Microsecond

// answered notes an answer given at now; see balance.Meter.
func (m *meter) answered(now int64, took time.Duration, alone, inTurn bool) {
	m.answers.Add(1)
	last := m.last.Load()
	since := time.Duration(now - last)
	if since < meterRest || !m.last.CompareAndSwap(last, now) {
		return
	}
	n := m.answers.Swap(0) // 0: who took the sample before was slow, and has this answer too
	is := m.is()
	is.Answered(took, alone, inTurn, n, since)
	m.each.store(is.Each)
	m.took.store(is.Took)
	m.alone.store(is.Alone)
	m.inTurn.store(is.InTurn)
}

// is returns what is known.
func (m *meter) is() balance.Meter {
	return balance.Meter{Each: m.each.load(), Took: m.took.load(), Alone: m.alone.load(), InTurn: m.inTurn.load()}
}

// mean is a balance.Mean: its Of in the upper octet.
type mean struct{ atomic.Int64 }

func (m *mean) store(v balance.Mean) { m.Store(v.Of<<56 | int64(v.Time)) }

func (m *mean) load() balance.Mean {
	v := m.Load()
	return balance.Mean{Time: time.Duration(v & (1<<56 - 1)), Of: v >> 56}
}
