package balance

import "time"

// A Mean is a moving average of handler times: the newest counts for an eighth.
// The zero Mean knows nothing.
type Mean struct {
	mean  time.Duration
	known bool
}

// Add takes one more handler time in.
func (m *Mean) Add(d time.Duration) {
	if !m.known {
		m.mean, m.known = d, true
		return
	}
	m.mean += (d - m.mean) / 8
}

// Get returns the average, 0 as long as nothing is known.
func (m *Mean) Get() time.Duration { return m.mean }
