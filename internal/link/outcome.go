package link

import (
	"net/netip"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

// keptOutcomes is of how many addresses it is remembered how their dials went.
const keptOutcomes = 256

// An Outcome is how the latest dial of an address went.
type Outcome struct {
	At   time.Time
	Addr netip.AddrPort
	Peer ring.ID       // who was there; zero where that is not known
	Err  error         // nil: a link, or one was there by then
	Held time.Duration // from the connection to the error; 0: there was no connection
}

// Outcomes returns how the latest dials of addresses went: of those 256 that were
// dialled last, oldest first.
func (m *Manager) Outcomes() []Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.outcomes)
}

// remember keeps an outcome in the place of the former of its address. The caller has
// the lock.
func (m *Manager) remember(o Outcome) {
	m.outcomes = slices.DeleteFunc(m.outcomes, func(former Outcome) bool { return former.Addr == o.Addr })
	if len(m.outcomes) >= keptOutcomes {
		m.outcomes = slices.Delete(m.outcomes, 0, 1)
	}
	m.outcomes = append(m.outcomes, o)
}
