package balance

import "time"

// A Meter is how fast a member node is, as its answers show: programs do not say how
// many requests they work on at a time, and those that wait for their turn are in
// their hands like the others. The zero Meter knows nothing.
type Meter struct {
	Each  Mean // that the node is busy for an answer
	Took  Mean // that a request takes
	Alone Mean // the same of one that need not wait

	InTurn Mean // every for an answer to one of the requests that came first, 0 for another
}

const every = time.Second

// Answered takes up an answer: to a request that took so long, the last of so many
// within the time since another was taken up (0: it was counted among those before, as
// happens where answers are at the same time). alone says that its member had nothing
// else in hand when it came, inTurn that it was among those that came first of what the
// member had in hand in the end.
func (m *Meter) Answered(took time.Duration, alone, inTurn bool, answers int64, since time.Duration) {
	// The node was busy all the time, or if that is less, while it worked on them.
	m.Each.add(min(since/time.Duration(max(answers, 1)), took), smoothing)
	m.Took.add(took, smoothing)
	if alone {
		m.Alone.add(took, smoothing)
	}
	if inTurn {
		m.InTurn.add(every, 4*smoothing)
	} else {
		m.InTurn.add(0, 4*smoothing)
	}
}

// A Mean is a mean of the last times, or so.
type Mean struct {
	Time time.Duration // 0: there is none
	Of   int64         // so many
}

const smoothing = 16

func (m *Mean) add(d time.Duration, most int64) {
	m.Of = min(m.Of+1, most)
	m.Time = max(m.Time+(d-m.Time)/time.Duration(m.Of), 1)
}

// queues reports whether requests wait for their turn: they take half as long again as
// those that need not wait, and are answered in the order in which they came. Of a
// program that works on all at once neither is true, but for chance.
func (m *Meter) queues() bool {
	return m.Each.Of > 0 && m.Alone.Of > 0 && 2*m.Took.Time >= 3*m.Alone.Time && 2*m.InTurn.Time > every
}

// Sure reports whether requests wait beyond doubt.
func (m *Meter) Sure() bool {
	return m.queues() && m.InTurn.Of >= smoothing && 3*m.InTurn.Time >= 2*every
}

// InTurn reports whether a request is among those that came first: counted in the order
// in which they came, it is in the first half of what its member has in hand.
func InTurn(place, of uint64) bool { return 2*place <= of }

// workers returns how many requests the node works on at a time, if they wait.
func (m *Meter) workers() int {
	return int(max(1, (m.Alone.Time+m.Each.Time/2)/m.Each.Time))
}

// Speed returns on how many requests the node works at a time, and how long that takes.
// As long as none waits nobody knows on how many it could, and it returns what it is
// told: who has much in hand must not look faster for it than who could do as much.
func (m *Meter) Speed(workers int) (int, time.Duration) {
	if !m.queues() {
		return workers, m.Took.Time
	}
	w := m.workers()
	return w, m.Each.Time * time.Duration(w)
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
