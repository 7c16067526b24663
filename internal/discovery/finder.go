package discovery

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

// FinderConfig is what a Finder needs.
type FinderConfig struct {
	Sources  []Source
	Log      *slog.Logger
	Loopback bool // our own listener is on loopback, so others may be

	// Own reports whether an address is one of this node's, Knows whether a node is
	// known, or whoever is at the address if the id is zero. Both are called on the
	// goroutine of Run.
	Own   func(netip.AddrPort) bool
	Knows func(id ring.ID, at netip.AddrPort) bool

	// Dial links to a node, or to whoever is there if the id is zero, and returns when
	// that has come about or failed. At most 32 calls are under way.
	Dial func(ctx context.Context, id ring.ID, addrs []netip.AddrPort) error

	// Keep has an address of the operator dialled for ever. It returns at once.
	Keep func(netip.AddrPort)

	// Drop ends what Keep has begun. It returns at once.
	Drop func(netip.AddrPort)
}

// A Finder runs the sources of a node, and dials what they find: each address no more
// often than it is worth, and not too many at a time.
type Finder struct {
	c      FinderConfig
	merger merger
	kept   map[netip.AddrPort]bool

	found chan found
	done  chan result

	mu    sync.Mutex
	stats FinderStats
	last  []LastFound // oldest first
}

// FinderStats are what a Finder has counted.
type FinderStats struct {
	Sources []SourceStats
	Dialled uint64
	Linked  uint64 // dials of which a link came, or there was one by then
	Waiting int    // nodes and addresses that are dialled, or will be
	Dropped uint64 // nodes and addresses that gave way to others, as there were too many
	Refused uint64 // addresses that nobody dials on another's word
}

// SourceStats are what came of a source.
type SourceStats struct {
	Name    string
	Found   uint64
	Failed  uint64 // attempts
	Ended   error  // why it does not run; nil: it does
	Trouble error  // what keeps it from finding others now; nil: nothing that it knows of
}

// keptFound is how many of the latest findings are remembered.
const keptFound = 64

// A LastFound is the latest that a source found of a node, or of who is at an address.
type LastFound struct {
	At     time.Time
	Source string
	Found
}

type found struct {
	source int
	Found
}

type result struct {
	*target
	err error
}

// NewFinder returns a Finder that does nothing before Run.
func NewFinder(c FinderConfig) *Finder {
	f := &Finder{
		c:     c,
		kept:  make(map[netip.AddrPort]bool),
		found: make(chan found),
		done:  make(chan result),
	}
	f.merger = merger{
		random:   rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		loopback: c.Loopback,
		own:      c.Own,
		knows:    func(t *target) bool { return c.Knows(t.node, t.addr) },
	}
	for _, s := range c.Sources {
		f.stats.Sources = append(f.stats.Sources, SourceStats{Name: s.Name()})
	}
	return f
}

// Stats returns what was counted so far.
func (f *Finder) Stats() FinderStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Sources = append([]SourceStats(nil), s.Sources...)
	for i, source := range f.c.Sources {
		if t, ok := source.(troubled); ok {
			s.Sources[i].Failed, s.Sources[i].Trouble = t.Trouble()
		}
	}
	return s
}

// Last returns what was found last, oldest first.
func (f *Finder) Last() []LastFound {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.last)
}

// Run finds and dials until ctx ends. When it returns, nothing of it runs.
func (f *Finder) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, s := range f.c.Sources {
		running.Go(func() { f.source(ctx, i, s) })
	}
	timer := time.NewTimer(time.Millisecond)
	defer timer.Stop()
	for {
		select {
		case n := <-f.found:
			f.take(time.Now(), n)
		case r := <-f.done:
			f.merger.done(time.Now(), r.target, r.err)
			f.count(func(s *FinderStats) {
				if r.err == nil {
					s.Linked++
				}
			})
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		for _, t := range f.merger.dials(now) {
			id, addrs := t.node, t.addrs
			f.count(func(s *FinderStats) { s.Dialled++ })
			running.Go(func() {
				select {
				case f.done <- result{t, f.c.Dial(ctx, id, addrs)}:
				case <-ctx.Done():
				}
			})
		}
		f.count(func(s *FinderStats) {
			s.Waiting, s.Dropped, s.Refused = len(f.merger.targets), f.merger.Dropped, f.merger.Refused
		})
		if next := f.merger.next(); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(time.Until(next), time.Millisecond))
		}
	}
}

func (f *Finder) count(change func(*FinderStats)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.stats)
}

// source runs one of the sources.
func (f *Finder) source(ctx context.Context, i int, s Source) {
	err := s.Run(ctx, func(n Found) {
		select {
		case f.found <- found{i, n}:
		case <-ctx.Done():
		}
	})
	if err != nil && ctx.Err() == nil {
		f.count(func(s *FinderStats) { s.Sources[i].Ended = err })
		f.c.Log.Warn("other nodes are no longer looked for in one way", "by", s.Name(), "error", err)
	}
}

// take takes in a finding. What the operator named is dialled for ever, by Keep.
func (f *Finder) take(now time.Time, n found) {
	if n.Gone {
		for _, a := range n.Addrs {
			delete(f.kept, a)
			f.c.Drop(a)
		}
		return
	}
	f.count(func(s *FinderStats) { s.Sources[n.source].Found++ })
	f.remember(LastFound{now, f.c.Sources[n.source].Name(), n.Found})
	if !n.Keep {
		f.merger.find(now, n.Found)
		return
	}
	for _, a := range n.Addrs {
		if !f.kept[a] {
			f.kept[a] = true
			f.c.Keep(a)
		}
	}
}

// remember keeps a finding in the place of the former of the same source and node, or
// address.
func (f *Finder) remember(n LastFound) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = slices.DeleteFunc(f.last, func(o LastFound) bool {
		same := o.Source == n.Source && o.Node == n.Node && (!n.Node.IsZero() || slices.Equal(o.Addrs, n.Addrs))
		if same && n.From.IsLinkLocalUnicast() {
			n.From = o.From // tells more, unless it is one too
		}
		return same
	})
	if len(f.last) >= keptFound {
		f.last = slices.Delete(f.last, 0, 1)
	}
	f.last = append(f.last, n)
}
