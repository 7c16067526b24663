package queue

import (
	"slices"
	"time"
)

// A Flusher writes out its queue, or wakes who does. What it appends to other
// queues meanwhile it adds to the batch.
type Flusher interface{ Flush(b *Batch) }

// A Batch is the list of queues that one goroutine has appended to and owes a
// flush. It flushes before it blocks. Not safe for concurrent use.
type Batch struct {
	owed   []Flusher
	Octets int // appended since the last flush, as far as appenders say

	// Crowds are queues that are filling up, which the owner of the batch had better
	// wait for before it adds more.
	Crowds []Crowd
}

// A Crowd is a queue with much in it that is moving: waiting for it helps.
type Crowd interface{ Crowded(now time.Time) bool }

// Add puts f on the list.
func (b *Batch) Add(f Flusher) { b.owed = append(b.owed, f) }

// AddCrowd puts c among the crowds, once.
func (b *Batch) AddCrowd(c Crowd) {
	if !slices.Contains(b.Crowds, c) {
		b.Crowds = append(b.Crowds, c)
	}
}

// Flush flushes everything on the list, and what that adds to it.
func (b *Batch) Flush() {
	for i := 0; i < len(b.owed); i++ {
		b.owed[i].Flush(b)
	}
	clear(b.owed)
	b.owed = b.owed[:0]
	b.Octets = 0
}
