package balance

// A Budget bounds the extra attempts of requests to a tenth of the requests, or
// 10 in a row. The zero Budget is full.
type Budget struct {
	spent int // tenths of an attempt
}

const (
	attempt  = 10 // requests that earn one
	capacity = 10 * attempt
)

// Request notes a request.
func (b *Budget) Request() {
	if b.spent > 0 {
		b.spent--
	}
}

// Take takes an extra attempt out of the budget, if one is there.
func (b *Budget) Take() bool {
	if b.spent+attempt > capacity {
		return false
	}
	b.spent += attempt
	return true
}
