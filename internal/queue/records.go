package queue

import "encoding/binary"

// Records is a first-in first-out buffer of short records, each a number and up
// to 64 KiB of octets, in pooled blocks charged to a budget. The zero value with
// Budget set is ready; not safe for concurrent use.
type Records struct {
	Budget      *Budget
	first, last *block
	octets      int
	held        int
}

// Len returns the octets of all records together.
func (r *Records) Len() int { return r.octets }

// Empty reports that there is no record.
func (r *Records) Empty() bool { return r.first == nil }

// Push adds a record. It reports false, and adds nothing, when the budget does
// not allow it.
func (r *Records) Push(number uint64, octets []byte) bool {
	// In its block a record is the number and the length, each a uvarint, and
	// the octets: never split, so that First need not copy.
	var head [2 * binary.MaxVarintLen64]byte
	h := binary.AppendUvarint(head[:0], number)
	h = binary.AppendUvarint(h, uint64(len(octets)))
	if n := len(h) + len(octets); r.last.room() < n {
		large := r.first != nil || n > SmallBlock
		cost := SmallBlock
		if large {
			cost = LargeBlock
		}
		if !r.Budget.Take(cost, r.held) {
			return false
		}
		r.held += cost
		k := newBlock(large)
		if r.first == nil {
			r.first = k
		} else {
			r.last.next = k
		}
		r.last = k
	}
	r.last.b = append(append(r.last.b, h...), octets...)
	r.octets += len(octets)
	return true
}

// First returns the oldest record, which there must be; the octets are valid
// until the next call.
func (r *Records) First() (number uint64, octets []byte) {
	number, octets, _ = r.first.record(r.first.r)
	return number, octets
}

// Pop takes the oldest record off.
func (r *Records) Pop() {
	_, octets, end := r.first.record(r.first.r)
	r.octets -= len(octets)
	if r.first.r = end; end == len(r.first.b) {
		r.shift()
	}
}

// Drop frees everything.
func (r *Records) Drop() {
	r.octets = 0
	for r.first != nil {
		r.shift()
	}
}

func (r *Records) shift() {
	k := r.first
	if r.first = k.next; r.first == nil {
		r.last = nil
	}
	n := k.free()
	r.held -= n
	r.Budget.Give(n)
}

// record reads the record at b[at:] and says where it ends.
func (k *block) record(at int) (number uint64, octets []byte, end int) {
	b := k.b[at:]
	number, n := binary.Uvarint(b)
	size, m := binary.Uvarint(b[n:])
	octets = b[n+m:][:size]
	return number, octets, at + n + m + int(size)
}

// All calls f with each record, oldest first, until it returns false.
func (r *Records) All(f func(number uint64, octets []byte) bool) {
	for k := r.first; k != nil; k = k.next {
		for at := k.r; at < len(k.b); {
			number, octets, end := k.record(at)
			if !f(number, octets) {
				return
			}
			at = end
		}
	}
}
