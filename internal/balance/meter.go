package balance

import "time"

// A Meter is how fast a member node is, as its answers show: programs do not say how
// many requests they work on at a time, and those that wait for their turn are in
// their hands like the others. The zero Meter knows nothing.
type Meter struct {
	Each  Mean // that the node is busy for an answer
	Took  Mean // that a request takes
	Alone Mean // the same of one that need not wait
}

// Answered takes up an answer: to a request that took so long, the last of so many
// within the time since another was taken up; alone says that its member had nothing
// else in hand when it came.
func (m *Meter) Answered(took time.Duration, alone bool, answers int64, since time.Duration) {
	// The node was busy all the time, or if that is less, while it worked on them.
	m.Each.add(min(since/time.Duration(answers), took))
	m.Took.add(took)
	if alone {
		m.Alone.add(took)
	}
}

// A Mean is a mean of the last times, or so.
type Mean struct {
	Time time.Duration // 0: there is none
	Of   int64         // so many, up to smoothing
}

const smoothing = 16

func (m *Mean) add(d time.Duration) {
	m.Of = min(m.Of+1, smoothing)
	m.Time = max(m.Time+(d-m.Time)/time.Duration(m.Of), 1)
}

// queues reports whether requests have been seen to wait for their turn.
func (m *Meter) queues() bool { return m.Alone.Of > 0 && 2*m.Took.Time >= 3*m.Alone.Time }

// workers returns how many requests the node works on at a time, if they wait.
func (m *Meter) workers() int {
	return int(max(1, (m.Alone.Time+m.Each.Time/2)/m.Each.Time))
}

// patience is how many times as many requests as it works on at a time a member node
// has in hand when it turns one down that may be: few enough that who does not know
// better is told, and so many that at nine tenths of the load most are taken
// (sim_test.go: with 2 the tail is as short, and twice as many are turned down).
const patience = 3

// Wait returns how long one more request is going to wait for its turn behind so many
// that are in hand; 0 as long as none has been seen to wait. For one that may be turned
// down rather than wait, long reports whether it should be: others are likely to be
// done sooner.
func (m *Meter) Wait(inFlight int) (wait time.Duration, long bool) {
	if !m.queues() || inFlight < m.workers() {
		return 0, false
	}
	w := m.workers()
	return m.Each.Time * time.Duration(inFlight-w+1), inFlight >= patience*w
}
