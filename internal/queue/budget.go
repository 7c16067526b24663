package queue

import "sync/atomic"

// A Budget bounds the memory that payload may hold in a node, in octets. Its
// rule is that of dynamic thresholds for shared buffers (Choudhury and Hahne,
// IEEE/ACM Transactions on Networking 6(2), 1998): a holder may grow only while
// it holds no more than what is still free. One greedy holder gets half of the
// budget, n of them a share of 1/(n+1) each, and a share of the same size always
// stays free for those that hold little. Safe for concurrent use.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of limit octets.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Take charges n octets to a holder that has held until now. It reports false,
// and charges nothing, when the holder's share does not allow it.
func (b *Budget) Take(n, held int) bool {
	for {
		used := b.used.Load()
		if int64(held)+int64(n) > b.limit-used {
			return false
		}
		if b.used.CompareAndSwap(used, used+int64(n)) {
			return true
		}
	}
}

// Allows reports whether a holder's share would allow it n octets more.
func (b *Budget) Allows(n, held int) bool {
	return int64(held)+int64(n) <= b.limit-b.used.Load()
}

// Force charges n octets that cannot be refused; the caller's own bound keeps
// them few.
func (b *Budget) Force(n int) { b.used.Add(int64(n)) }

// Give returns n octets.
func (b *Budget) Give(n int) { b.used.Add(-int64(n)) }

// Used returns the octets charged now.
func (b *Budget) Used() int64 { return b.used.Load() }

// Limit returns the octets there are.
func (b *Budget) Limit() int64 { return b.limit }

// Scarce reports that more than three quarters are used: time to refuse what
// is new and can be refused without harm.
func (b *Budget) Scarce() bool { return b.used.Load() > b.limit/4*3 }
