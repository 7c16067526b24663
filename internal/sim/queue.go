package sim

import "time"

// An instant is invented time, counted from the start of a run.
type instant = time.Duration

// An event is something that will happen.
type event struct {
	at  instant
	seq uint64 // of events at one time the one planned first
	do  func()
	n   *node // whose turn it is, if it is only that
}

// Events are a heap of them.
type events struct {
	heap []event
	seq  uint64
}

func (q *events) push(e event) {
	q.seq++
	e.seq = q.seq
	q.heap = append(q.heap, e)
	i := len(q.heap) - 1
	for i > 0 && q.less(i, (i-1)/2) {
		q.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (q *events) pop() event {
	e, last := q.heap[0], len(q.heap)-1
	q.swap(0, last)
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		c := 2*i + 1
		if c >= last {
			return e
		}
		if c+1 < last && q.less(c+1, c) {
			c++
		}
		if !q.less(c, i) {
			return e
		}
		q.swap(c, i)
		i = c
	}
}

func (q *events) less(i, j int) bool {
	a, b := &q.heap[i], &q.heap[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

func (q *events) swap(i, j int) { q.heap[i], q.heap[j] = q.heap[j], q.heap[i] }
