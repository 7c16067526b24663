package balance

import (
	"testing"
	"time"
)

// Who counts answers that come at the same time may count one among those before, and
// who reads a Meter meanwhile may find a part of it.
func TestMeterTakesWhatIsCountedAtTheSameTime(t *testing.T) {
	var m Meter
	m.Answered(10*time.Millisecond, true, true, 0, 5*time.Millisecond)
	if m.Each.Time != 5*time.Millisecond {
		t.Errorf("an answer that was counted before: busy for %v, want all of the time since", m.Each.Time)
	}
	for range 2 * smoothing {
		m.Answered(20*time.Millisecond, false, true, 1, 10*time.Millisecond)
	}
	if wait, _ := m.Wait(10); wait == 0 {
		t.Fatal("nothing waits")
	}
	m.Each = Mean{}
	if wait, long := m.Wait(10); wait != 0 || long {
		t.Errorf("a wait of %v, %v, though nobody knows how long each takes", wait, long)
	}
	if n, took := m.Speed(2); n != 2 || took != m.Took.Time {
		t.Errorf("%d workers take %v, want what was told", n, took)
	}
}
