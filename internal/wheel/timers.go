package wheel

import (
	"sync"
	"time"
)

// Timers is a wheel that many goroutines set and one driver advances: the
// node's only one. What has many deadlines of its own keeps them on a wheel of
// its own and is here once, with the first. Safe for concurrent use.
type Timers struct {
	start time.Time
	wake  func()

	mu    sync.Mutex
	wheel Wheel
	next  int64 // what the driver waits for; 0: nothing
}

// NewTimers returns timers whose tick 0 is start. They call wake, which must
// not block, when the driver should ask Next again sooner than it knows.
func NewTimers(start time.Time, wake func()) *Timers {
	return &Timers{start: start, wake: wake}
}

// Start returns the time of tick 0.
func (t *Timers) Start() time.Time { return t.start }

// Tick returns the last tick that has passed at time now.
func (t *Timers) Tick(now time.Time) int64 {
	return int64(now.Sub(t.start) / time.Millisecond)
}

// Due returns the first tick at which d has passed since now: never early.
func (t *Timers) Due(now time.Time, d time.Duration) int64 {
	return int64((now.Sub(t.start) + d + time.Millisecond - 1) / time.Millisecond)
}

// Set makes e come due at tick due, instead of when it was to before.
func (t *Timers) Set(e *Entry, due int64) {
	t.mu.Lock()
	t.wheel.Remove(e)
	t.wheel.Add(e, due)
	tick, _ := t.wheel.Next()
	wake := t.next == 0 || tick < t.next
	if wake {
		t.next = tick
	}
	t.mu.Unlock()
	if wake {
		t.wake()
	}
}

// Stop takes e off. Its owner may be on its way to being told all the same.
func (t *Timers) Stop(e *Entry) {
	t.mu.Lock()
	t.wheel.Remove(e)
	t.mu.Unlock()
}

// Advance calls fire with the owner of every entry that is due at time now.
func (t *Timers) Advance(now time.Time, fire func(owner any)) {
	tick := t.Tick(now)
	for {
		t.mu.Lock()
		e := t.wheel.Pop(tick)
		t.mu.Unlock()
		if e == nil {
			return
		}
		fire(e.Owner)
	}
}

// Next returns when Advance is to be called, if it is.
func (t *Timers) Next() (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tick, ok := t.wheel.Next()
	if !ok {
		t.next = 0
		return time.Time{}, false
	}
	t.next = tick
	return t.start.Add(time.Duration(tick) * time.Millisecond), true
}
