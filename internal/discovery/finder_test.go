package discovery

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

// merging is a merger with time of its own.
type merging struct {
	merger
	now   time.Time
	known map[ring.ID]bool
}

func newMerging() *merging {
	m := &merging{now: time.UnixMilli(1735689600000), known: map[ring.ID]bool{}}
	m.merger = merger{
		random: rand.New(rand.NewPCG(1, 2)),
		own:    func(a netip.AddrPort) bool { return a == away(0) },
		knows:  func(t *target) bool { return m.known[t.node] },
	}
	return m
}

// run lets time pass in which every dial ends as dial says, at once, and returns when
// dials were made.
func (m *merging) run(d time.Duration, dial func(*target) error) (at []time.Duration) {
	start, end := m.now, m.now.Add(d)
	for m.now.Before(end) {
		for _, t := range m.dials(m.now) {
			at = append(at, m.now.Sub(start))
			m.done(m.now, t, dial(t))
		}
		next := m.next()
		if next.IsZero() || !next.Before(end) {
			break
		}
		if !next.After(m.now) {
			next = m.now.Add(time.Millisecond)
		}
		m.now = next
	}
	m.now = end
	return at
}

var errNobody = errors.New("nobody is there")

func fails(*target) error { return errNobody }
func works(*target) error { return nil }

func TestFoundAddressIsDialledOnceIfItWorks(t *testing.T) {
	m := newMerging()
	for range 10 { // several sources, again and again
		m.find(m.now, Found{Addrs: []netip.AddrPort{away(1)}})
		m.find(m.now, Found{Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom16(away(1).Addr().As16()), 14142)}})
	}
	if at := m.run(time.Hour, works); len(at) != 1 || at[0] != 0 {
		t.Errorf("it is dialled at %v, want once at once", at)
	}
	if len(m.targets) != 0 {
		t.Errorf("%d targets are left", len(m.targets))
	}
}

func TestFailingAddressBacksOff(t *testing.T) {
	m := newMerging()
	m.find(m.now, Found{Node: ring.ID{Lo: 7}, Addrs: []netip.AddrPort{away(1)}})
	at := m.run(time.Hour, fails)
	if len(at) != dialTries {
		t.Errorf("after one finding it is dialled at %v, want %d times", at, dialTries)
	}
	for i := range len(at) - 1 {
		if pause := at[i+1] - at[i]; pause < pauseLeast<<i*3/4 || pause > pauseLeast<<i*5/4+time.Millisecond {
			t.Errorf("it is dialled at %v, want pauses that double", at)
		}
	}
	if len(m.targets) != 0 {
		t.Error("an address that is found no more is remembered")
	}

	// One that is found again and again is dialled for ever, twice a minute.
	var all []time.Duration
	for range 3600 {
		m.find(m.now, Found{Node: ring.ID{Lo: 7}, Addrs: []netip.AddrPort{away(1)}})
		all = append(all, m.run(time.Second, fails)...)
	}
	if len(all) < 90 || len(all) > 200 {
		t.Errorf("%d dials in an hour", len(all))
	}
}

func TestNodeThatIsKnownByThenIsNotDialled(t *testing.T) {
	m := newMerging()
	m.find(m.now, Found{Node: ring.ID{Lo: 7}, Addrs: []netip.AddrPort{away(1)}})
	m.run(time.Millisecond, fails)
	m.known[ring.ID{Lo: 7}] = true
	if at := m.run(time.Hour, fails); len(at) > 0 || len(m.targets) > 0 {
		t.Errorf("it is dialled at %v", at)
	}
}

func TestDialsHaveABudget(t *testing.T) {
	m := newMerging()
	for i := range 100 {
		m.find(m.now, Found{Addrs: []netip.AddrPort{away(1 + i)}})
	}
	started := m.dials(m.now)
	if len(started) != mostDials || len(m.dials(m.now)) > 0 || !m.next().IsZero() {
		t.Fatalf("%d dials are under way, next at %v", len(started), m.next())
	}
	m.done(m.now, started[0], nil)
	if more := m.dials(m.now); len(more) != 1 || more[0].addr != away(1+mostDials) {
		t.Errorf("after one has ended %d more begin", len(more))
	}
}

func TestTargetsAreBounded(t *testing.T) {
	m := newMerging()
	m.find(m.now, Found{Addrs: []netip.AddrPort{away(1)}})
	under := m.dials(m.now)
	for i := range 2 * mostTargets {
		m.now = m.now.Add(time.Millisecond)
		m.find(m.now, Found{Addrs: []netip.AddrPort{away(2 + i)}})
	}
	if len(m.targets) != mostTargets || !slices.Contains(m.targets, under[0]) || m.target(ring.ID{}, away(1+2*mostTargets)) == nil {
		t.Errorf("%d targets, want %d, with what is under way and the latest", len(m.targets), mostTargets)
	}
	if m.Dropped != mostTargets+1 {
		t.Errorf("%d are counted as dropped, want %d", m.Dropped, mostTargets+1)
	}
}

func TestAddressesThatNobodyDials(t *testing.T) {
	m := newMerging()
	for _, a := range []string{"127.0.0.1:1", "[::1]:1", "0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1", "192.0.2.1:0", "169.254.169.254:80", "10.0.0.0:14142"} {
		m.find(m.now, Found{Addrs: []netip.AddrPort{netip.MustParseAddrPort(a)}})
	}
	m.find(m.now, Found{})
	if len(m.targets) > 0 || m.Refused != 7 { // the last is our own: away(0)
		t.Errorf("%d are to be dialled, %d refused", len(m.targets), m.Refused)
	}
	m.find(m.now, Found{Addrs: append(someAddrs(20), away(0), away(1))})
	if len(m.targets) != 1 || len(m.targets[0].addrs) != 8 {
		t.Errorf("of many addresses of a node %v are dialled", m.targets)
	}
	m.loopback = true
	m.find(m.now, Found{Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}})
	if len(m.targets) != 2 {
		t.Error("loopback is not dialled from loopback")
	}
}

// scripted is a source that does what it is told.
type scripted func(ctx context.Context, found func(Found)) error

func (scripted) Name() string                                       { return "scripted" }
func (s scripted) Run(ctx context.Context, found func(Found)) error { return s(ctx, found) }

// A source that fails, and one that finds nothing, take nothing from the others.
func TestFinderMergesItsSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var mu sync.Mutex
		var dialled, kept []netip.AddrPort
		f := NewFinder(FinderConfig{
			Sources: []Source{
				scripted(func(context.Context, func(Found)) error { return errNobody }),
				scripted(func(context.Context, func(Found)) error { return nil }),
				scripted(func(ctx context.Context, found func(Found)) error {
					for i := range 100 {
						found(Found{Addrs: []netip.AddrPort{away(1 + i%3)}})
						found(Found{Addrs: []netip.AddrPort{away(9)}, Keep: true})
					}
					<-ctx.Done()
					return ctx.Err()
				}),
			},
			Log:   slog.New(slog.NewTextHandler(&log, nil)),
			Own:   func(netip.AddrPort) bool { return false },
			Knows: func(ring.ID, netip.AddrPort) bool { return false },
			Dial: func(ctx context.Context, id ring.ID, addrs []netip.AddrPort) error {
				if id.IsZero() {
					time.Sleep(time.Duration(addrs[0].Addr().As4()[3]) * time.Second) // in turn
				}
				mu.Lock()
				defer mu.Unlock()
				dialled = append(dialled, addrs...)
				return nil
			},
			Keep: func(a netip.AddrPort) { kept = append(kept, a) },
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.Run(ctx)
		}()
		time.Sleep(time.Minute)
		s := f.Stats()
		cancel()
		<-ended
		if !slices.Equal(dialled, someAddrs(3)) || !slices.Equal(kept, []netip.AddrPort{away(9)}) {
			t.Errorf("%v are dialled, %v kept", dialled, kept)
		}
		if s.Sources[0].Ended != errNobody || s.Sources[1].Ended != nil || s.Sources[2].Found != 200 || s.Dialled < 3 || s.Linked != 3 || s.Waiting != 0 {
			t.Errorf("the counters are %+v", s)
		}
		if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), errNobody.Error()) {
			t.Errorf("the log is %s, want one line about the source that failed", &log)
		}
	})
}

// What was found last is kept once for each node and source, with the address that it
// is known by.
func TestLastFoundIsKept(t *testing.T) {
	f := NewFinder(FinderConfig{Sources: []Source{&Static{}}})
	found := func(id uint64, from netip.Addr) {
		f.remember(LastFound{Source: "multicast", Found: Found{Node: ring.ID{Lo: id}, From: from, Addrs: []netip.AddrPort{away(int(id))}}})
	}
	for id := range uint64(keptFound + 10) {
		found(1+id, away(7).Addr())
	}
	found(keptFound, netip.MustParseAddr("fe80::1"))
	last := f.Last()
	if len(last) != keptFound || last[0].Node.Lo != 11 {
		t.Fatalf("%d are kept, from %v on; want %d", len(last), last[0], keptFound)
	}
	if n := last[keptFound-1]; n.Node.Lo != keptFound || n.From != away(7).Addr() {
		t.Errorf("the last is %+v", n)
	}
}
