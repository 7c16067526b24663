package messaging

import "github.com/project-iris/iris/internal/queue"

// maxReplay is how many octets a stream keeps at least for those who missed
// something. What is before them is not kept.
const maxReplay = 1 << 20

// maxUnchecked is how many of them wait at most for a check that does not hurry.
const maxUnchecked = maxReplay / 4

// maxOwed is how many are kept at most of what links that are full and move are still to
// get, if that is more.
const maxOwed = 64 << 20

// recordCost is what a message counts for beside its body.
const recordCost = 8

// A replay is what a stream last published, by number. Bodies that are shared
// with queues are so with it, others are copied.
type replay struct {
	small  queue.Records
	large  []sharedBody // in order
	octets int
	first  uint64 // from here on nothing is missing
}

type sharedBody struct {
	number uint64
	body   *queue.Body
}

// push keeps the body of the next number, and trims the rest. What there is no room for
// is missing: then it reports false.
func (r *replay) push(n uint64, load queue.Payload, owed uint64) bool {
	switch {
	case load.Shared != nil:
		load.Shared.Hold()
		r.large = append(r.large, sharedBody{n, load.Shared})
	case !r.small.Push(n, load.Data):
		r.drop()
		r.first = n + 1
		return false
	}
	r.octets += len(load.Data) + recordCost
	r.trim(n, owed)
	return true
}

// trim lets go of what is not to be kept before the number last. From owed on more is,
// while there is memory.
func (r *replay) trim(last, owed uint64) {
	for r.first < last && r.octets-r.oldest() >= r.most(owed) {
		r.pop()
	}
}

func (r *replay) most(owed uint64) int {
	if budget := r.small.Budget; r.first >= owed && !budget.Scarce() {
		return min(maxOwed, int(budget.Limit()/8))
	}
	return maxReplay
}

// oldest returns what the oldest counts for.
func (r *replay) oldest() int {
	if len(r.large) > 0 && r.large[0].number == r.first {
		return len(r.large[0].body.Bytes()) + recordCost
	}
	_, body := r.small.First()
	return len(body) + recordCost
}

// pop lets the oldest go.
func (r *replay) pop() {
	if len(r.large) > 0 && r.large[0].number == r.first {
		r.octets -= len(r.large[0].body.Bytes()) + recordCost
		r.large[0].body.Release()
		r.large[0] = sharedBody{}
		r.large = r.large[1:]
	} else {
		_, body := r.small.First()
		r.octets -= len(body) + recordCost
		r.small.Pop()
	}
	r.first++
}

// drop lets everything go.
func (r *replay) drop() {
	r.small.Drop()
	for _, l := range r.large {
		l.body.Release()
	}
	r.large, r.octets = nil, 0
}

// each calls f with the bodies of the numbers from..to that there are, in order,
// until it returns false.
func (r *replay) each(from, to uint64, f func(n uint64, load queue.Payload) bool) {
	l := 0
	more := true
	large := func(before uint64) { // those with numbers below before
		for ; more && l < len(r.large) && r.large[l].number < before && r.large[l].number <= to; l++ {
			if n := r.large[l].number; n >= from {
				y := r.large[l].body
				more = f(n, queue.Payload{Data: y.Bytes(), Shared: y})
			}
		}
	}
	r.small.All(func(n uint64, body []byte) bool {
		large(n)
		if more && n >= from && n <= to {
			more = f(n, queue.Payload{Data: body})
		}
		return more && n < to
	})
	if to+1 > 0 {
		large(to + 1)
	}
}
