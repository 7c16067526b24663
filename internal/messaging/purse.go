package messaging

import (
	"sync/atomic"

	"github.com/project-iris/iris/internal/queue"
)

// maxNames is how many octets the names may hold that programs of this node use and
// have no part in, or a quarter of what payload may.
const maxNames = 128 << 20

// useCost is what one of them is charged: its cell, who has members of it, and the like
// in the directory.
func useCost(name int) int { return 4*name + 1<<10 }

// A purse is what one program pays from for names that it uses. It outlives the
// program: a name is kept for a minute.
type purse struct{ held atomic.Int64 }

// A fee is what was charged for one name. The zero value says that nothing was.
type fee struct {
	from   *purse
	octets int
}

// charge has a name of so many octets charged; a nil purse belongs to those who are
// charged in another way. It reports false, and counts that, when the program's share
// does not allow it.
func (p *Plane) charge(from *purse, name int) (fee, bool) {
	if from == nil {
		return fee{}, true
	}
	f := fee{from, useCost(name)}
	if !p.uses.Take(f.octets, int(from.held.Load())) {
		p.Drops.Names.Add(1)
		return fee{}, false
	}
	from.held.Add(int64(f.octets))
	return f, true
}

// refund gives back what was charged.
func (p *Plane) refund(f *fee) {
	if f.from != nil {
		f.from.held.Add(-int64(f.octets))
		p.uses.Give(f.octets)
		*f = fee{}
	}
}

// newUses returns the budget of names.
func newUses(payload *queue.Budget) *queue.Budget {
	return queue.NewBudget(min(maxNames, payload.Limit()/4))
}
