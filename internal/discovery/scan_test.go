package discovery

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// scanner is a scan with time of its own.
type scanner struct {
	scan
	now    time.Time
	probed []netip.Addr
	times  []time.Duration
}

func newScanner(prefixes ...string) *scanner {
	s := &scanner{now: time.UnixMilli(1735689600000)}
	s.scan = scan{random: rand.New(rand.NewPCG(1, 2)), lowest: func(netip.Prefix) bool { return true }}
	s.become(s.now, true)
	s.move(s.now, parsed(prefixes...))
	return s
}

func parsed(prefixes ...string) (all []netip.Prefix) {
	for _, p := range prefixes {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// run lets time pass, and returns how many addresses were probed.
func (s *scanner) run(d time.Duration) int {
	start, end, before := s.now, s.now.Add(d), len(s.probed)
	for !s.at.IsZero() && s.at.Before(end) {
		s.now = s.at
		for _, a := range s.advance(s.now) {
			s.probed = append(s.probed, a)
			s.times = append(s.times, s.now.Sub(start))
		}
	}
	s.now = end
	return len(s.probed) - before
}

func TestScanIsThroughASubnetInTime(t *testing.T) {
	s := newScanner("192.168.7.40/24")
	if n := s.run(scanAfter); n != 0 {
		t.Errorf("%d probes before the node was alone for %v", n, scanAfter)
	}
	n := s.run(3 * time.Second)
	found := map[netip.Addr]bool{}
	for _, a := range s.probed {
		found[a] = true
	}
	if n > 301 {
		t.Errorf("%d probes in 3 s", n)
	}
	for i := range 256 {
		a := netip.AddrFrom4([4]byte{192, 168, 7, byte(i)})
		if want := i != 0 && i != 40 && i != 255; found[a] != want {
			t.Errorf("%v was probed: %t, want %t", a, found[a], want)
		}
	}
	var first []string
	for _, a := range s.probed[:4] {
		first = append(first, a.String())
	}
	if want := []string{"192.168.7.41", "192.168.7.39", "192.168.7.42", "192.168.7.38"}; !slices.Equal(first, want) {
		t.Errorf("the first are %v, want the nearest", first)
	}
	if slices.IsSortedFunc(s.probed[2*scanNear:], netip.Addr.Compare) {
		t.Error("the rest comes in order")
	}
	if n := s.run(time.Second); n < 19 || n > 21 {
		t.Errorf("%d probes a second in the first minute, want 20", n)
	}
	s.run(time.Minute)
	if n := s.run(10 * time.Second); n < 19 || n > 21 {
		t.Errorf("%d probes in 10 s later, want 20", n)
	}
}

func TestWhatIsScanned(t *testing.T) {
	for _, c := range []struct {
		prefixes string
		want     int // different addresses
	}{
		{"10.0.0.1/32", 0}, // as a cloud has it
		{"10.0.0.1/31", 1},
		{"10.0.0.1/30", 1},
		{"10.0.0.1/29", 5},
		{"10.0.16.1/20", 4093},
		{"10.0.0.1/19", 0},
		{"10.0.0.1/0", 0},
		{"fd77::1/120", 0},
	} {
		s := newScanner(c.prefixes)
		s.run(2 * time.Hour)
		different := map[netip.Addr]bool{}
		for _, a := range s.probed {
			different[a] = true
		}
		if len(different) != c.want {
			t.Errorf("of %s %d addresses are probed, want %d", c.prefixes, len(different), c.want)
		}
	}
	s := newScanner("10.0.0.1/24", "10.0.1.1/24", "10.0.2.1/24")
	s.run(4 * time.Second)
	by := map[byte]int{}
	for _, a := range s.probed {
		by[a.As4()[2]]++
	}
	if by[0] < 60 || by[1] < 60 || by[2] < 60 {
		t.Errorf("three subnets have %v of the probes", by)
	}
}

func TestOneOfANetworkScans(t *testing.T) {
	lowest := false
	s := newScanner("10.0.0.1/24")
	s.lowest = func(p netip.Prefix) bool {
		if p != netip.MustParsePrefix("10.0.0.0/24") {
			t.Errorf("asked for %v", p)
		}
		return lowest
	}
	s.become(s.now, false)
	if n := s.run(time.Hour); n != 0 {
		t.Errorf("%d probes of a node that is not alone, and not the lowest", n)
	}
	lowest = true
	s.run(2 * time.Minute)
	if n := s.run(time.Minute); n < 119 || n > 121 {
		t.Errorf("the lowest sends %d probes a minute, want 120", n)
	}
	s.hear(s.now, netip.MustParseAddr("10.0.0.9"))
	if n := s.run(groupWorks); n != 0 {
		t.Errorf("%d probes in spite of multicast", n)
	}
	s.run(2 * scanLook)
	if n := s.run(time.Minute); n == 0 {
		t.Error("no probe though multicast was not heard for long")
	}
	s.become(s.now, true)
	s.run(scanAfter)
	if n := s.run(time.Second); n < 99 || n > 101 {
		t.Errorf("%d probes a second of a node that lost all others, want 100", n)
	}
}

// Where the node moves, alone, it searches anew; a process that stood still makes up
// for nothing.
func TestScanMovesOn(t *testing.T) {
	s := newScanner("10.0.0.1/24")
	s.run(time.Hour)
	s.move(s.now, parsed("10.0.0.1/24", "172.30.0.1/24"))
	s.run(scanAfter)
	if n := s.run(time.Second); n < 99 || n > 101 {
		t.Errorf("%d probes a second after a move, want 100", n)
	}
	s.move(s.now, nil)
	if n := s.run(time.Hour); n != 0 || !s.at.IsZero() {
		t.Errorf("%d probes without a subnet, the next at %v", n, s.at)
	}
	s.move(s.now, parsed("10.0.0.1/24"))
	s.run(time.Minute)
	s.now = s.now.Add(time.Hour)
	if got := fmt.Sprint(len(s.advance(s.now))); got != "1" {
		t.Errorf("%s probes after an hour's pause, want 1", got)
	}
}
