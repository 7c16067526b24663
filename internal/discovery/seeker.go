package discovery

import (
	"net/netip"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A State is where a node stands, as far as others are searched for.
type State struct {
	State wire.State
	Nodes int         // it knows, itself included
	Addrs []wire.Addr // where others may dial it
	Alone bool        // it has no other
}

// SeekerConfig is what a Seeker needs beside its Exchange.
type SeekerConfig struct {
	Multicast bool   // send beacons
	Scan      bool   // send probes
	Port      uint16 // that others are likely to be at

	// Lowest reports whether no node that is known to be in a subnet has a lower id.
	Lowest func(netip.Prefix) bool
}

// A Seeker says when a node asks who else is there: by beacons to the group, and
// where nothing came of those by probes of one address after another. As an Exchange
// it does no I/O. One goroutine at a time.
type Seeker struct {
	*Exchange
	c       SeekerConfig
	trickle trickle
	scan    scan
	met     map[ring.ID]*met
	begun   bool
	repeat  []time.Time // of the first beacon, as long as the node is alone
}

// met is a node that is not known though it was heard: a firewall may be in between.
type met struct {
	pause time.Duration
	until time.Time // it is no news
}

const mostMet = 512 // they are all forgotten then

// repeats are when the first beacon is repeated: packets to a group are lost easily,
// and a switch may take a moment until it passes them on.
var repeats = []time.Duration{100 * time.Millisecond, 300 * time.Millisecond}

// NewSeeker returns the Seeker of a node that has yet to say what it is.
func NewSeeker(c Config, s SeekerConfig) *Seeker {
	x := New(c)
	return &Seeker{
		Exchange: x,
		c:        s,
		trickle:  trickle{random: x.random},
		scan:     scan{random: x.random, lowest: s.Lowest},
		met:      make(map[ring.ID]*met),
	}
}

// Become takes in what the node is now.
func (s *Seeker) Become(now time.Time, state State) {
	s.Exchange.Become(state.State, state.Nodes, state.Addrs)
	if state.Alone && s.scan.alone.IsZero() {
		s.reset(now)
	}
	s.scan.become(now, state.Alone)
}

// Move takes in the addresses of this node, as its interfaces have them. When there
// is one more it asks at once who is there.
func (s *Seeker) Move(now time.Time, prefixes []netip.Prefix, more bool, out *Output) {
	if s.c.Scan {
		s.scan.move(now, prefixes)
	}
	if more && s.c.Multicast {
		s.Beacon(now, out)
		s.trickle.begin(now, beaconLeast)
		s.begun, s.repeat = true, nil
		for _, d := range repeats {
			s.repeat = append(s.repeat, now.Add(d))
		}
	}
}

func (s *Seeker) reset(now time.Time) {
	if s.begun {
		s.trickle.reset(now)
	}
}

// Receive takes in a datagram, of which no octet is trusted.
func (s *Seeker) Receive(now time.Time, d Datagram, out *Output) {
	n := len(out.Heard)
	s.Exchange.Receive(now, d, out)
	for _, h := range out.Heard[n:] {
		if h.Group {
			s.scan.hear(now, h.From)
		}
		switch {
		case !h.Known && s.news(now, h.Node):
			s.reset(now)
		case h.Known && h.Group:
			delete(s.met, h.Node)
			s.trickle.hear()
		}
	}
}

// news reports whether a node that is not known is reason to be quick. One that
// cannot be linked to is less and less, or it would keep all others busy for ever.
func (s *Seeker) news(now time.Time, id ring.ID) bool {
	m := s.met[id]
	if m != nil && now.Before(m.until) {
		return false
	}
	if m == nil {
		if len(s.met) >= mostMet {
			clear(s.met)
		}
		m = &met{pause: beaconLeast / 2}
		s.met[id] = m
	}
	m.pause = min(2*m.pause, beaconMost)
	m.until = now.Add(m.pause)
	return true
}

// Advance does what is due.
func (s *Seeker) Advance(now time.Time, out *Output) {
	s.Exchange.Advance(now, out)
	again := false
	for len(s.repeat) > 0 && !now.Before(s.repeat[0]) {
		again, s.repeat = !s.scan.alone.IsZero(), s.repeat[1:]
	}
	if s.begun && s.trickle.advance(now) || again {
		s.Beacon(now, out)
	}
	for _, a := range s.scan.advance(now) {
		s.Probe(now, netip.AddrPortFrom(a, s.c.Port), out)
	}
}

// Next returns when Advance has something to do, zero if never.
func (s *Seeker) Next() time.Time {
	next := s.Exchange.Next()
	if s.begun {
		next = sooner(next, s.trickle.next())
	}
	if len(s.repeat) > 0 {
		next = sooner(next, s.repeat[0])
	}
	return sooner(next, s.scan.at)
}

// sooner returns the earlier of two times; zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Scanning reports whether addresses are being probed.
func (s *Seeker) Scanning() bool { return s.scan.on }
