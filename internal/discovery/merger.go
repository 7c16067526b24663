package discovery

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

const (
	mostDials   = 32 // at once
	mostTargets = 1024
	dialTries   = 5 // for one finding
	pauseLeast  = 200 * time.Millisecond
	pauseMost   = 30 * time.Second
)

// A target is a node, or whoever is at an address.
type target struct {
	node  ring.ID
	addr  netip.AddrPort // the first; it tells targets without a node apart
	addrs []netip.AddrPort
	found time.Time
	due   time.Time // when to dial; zero: not unless it is found again
	until time.Time // not to be dialled before
	pause time.Duration
	tries int // left
	under bool
}

// A merger makes one stream of dials of what all sources find. No I/O; one goroutine
// at a time.
type merger struct {
	random   *rand.Rand
	loopback bool                      // our own listener is on loopback, so others may be
	own      func(netip.AddrPort) bool // is it an address of this node?
	knows    func(*target) bool        // need it not be found?
	targets  []*target                 // in the order they were found
	under    int
	Dropped  uint64 // targets that gave way to others, as there were too many
	Refused  uint64 // addresses that nobody dials on another's word
}

// find takes in what a source has found.
func (m *merger) find(now time.Time, f Found) {
	addrs := make([]netip.AddrPort, 0, len(f.Addrs))
	for _, a := range f.Addrs {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		switch {
		case m.own(a) || slices.Contains(addrs, a):
		case !wire.Addr{AddrPort: a}.MayDial(m.loopback):
			m.Refused++
		case len(addrs) < wire.MaxAddrs:
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		return
	}
	t := m.target(f.Node, addrs[0])
	if t == nil {
		m.room()
		t = &target{node: f.Node, addr: addrs[0]}
		m.targets = append(m.targets, t)
	}
	t.addrs, t.found, t.tries = addrs, now, dialTries
	if t.due.IsZero() && !t.under {
		t.due = t.until
		if t.due.Before(now) {
			t.due = now
		}
	}
}

// target returns the target that a finding is about; nil: it is a new one.
func (m *merger) target(id ring.ID, addr netip.AddrPort) *target {
	i := slices.IndexFunc(m.targets, func(t *target) bool {
		return t.node == id && (!id.IsZero() || t.addr == addr)
	})
	if i < 0 {
		return nil
	}
	return m.targets[i]
}

// room makes room for a target: the one that was found least recently gives way, of those
// that are not being dialled, which are fewer than there may be targets.
func (m *merger) room() {
	if len(m.targets) < mostTargets {
		return
	}
	oldest := -1
	for i, t := range m.targets {
		if !t.under && (oldest < 0 || t.found.Before(m.targets[oldest].found)) {
			oldest = i
		}
	}
	m.targets = slices.Delete(m.targets, oldest, oldest+1)
	m.Dropped++
}

// dials returns the targets to dial now, as many as the budget allows.
func (m *merger) dials(now time.Time) (start []*target) {
	m.targets = slices.DeleteFunc(m.targets, func(t *target) bool {
		return !t.under && (t.due.IsZero() && !now.Before(t.until) || !t.due.IsZero() && m.knows(t))
	})
	for _, t := range m.targets {
		if m.under == mostDials {
			break
		}
		if t.due.IsZero() || now.Before(t.due) {
			continue
		}
		m.under++
		t.under, t.due = true, time.Time{}
		t.tries--
		start = append(start, t)
	}
	return start
}

// done tells how the dial of a target went.
func (m *merger) done(now time.Time, t *target, err error) {
	m.under--
	t.under = false
	if err == nil {
		t.until = now // which is the end of it
		return
	}
	t.pause = min(max(2*t.pause, pauseLeast), pauseMost)
	t.until = now.Add(t.pause*3/4 + time.Duration(m.random.Int64N(int64(t.pause/2))))
	if t.tries > 0 {
		t.due = t.until
	}
}

// next returns when dials has something to do, zero if never.
func (m *merger) next() (next time.Time) {
	if m.under == mostDials {
		return next
	}
	for _, t := range m.targets {
		if !t.under {
			next = sooner(next, sooner(t.due, t.until))
		}
	}
	return next
}
