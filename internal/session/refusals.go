package session

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

const (
	keptRefusals = 256
	warnEvery    = 10 * time.Minute // for a code and an address
	maxWarned    = 128              // addresses of a code in that time: strangers choose theirs
	tellEvery    = time.Minute
)

// A Refusal is one that is remembered. Peer is zero unless the peer has proved who
// it is; Err says more than the code, or is nil.
type Refusal struct {
	At   time.Time
	Code Code
	Addr string
	Peer ring.ID
	Err  error
}

// Refusals counts who was refused, by why, remembers the last 256 between nodes, and logs them:
// what an operator should look at once in ten minutes for each code and address, the
// rest as totals, once a minute at most. Safe for concurrent use.
type Refusals struct {
	// Tell is told of each; nil: nobody is. It must not be changed once somebody may
	// be refused.
	Tell func(Refusal)

	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	counts map[Code]uint64
	last   []Refusal // a ring
	next   int
	warned map[Code]map[string]time.Time
	totals map[Code]int // of those without a line of their own, since told
	told   time.Time
}

// NewRefusals returns a list without entries that logs to log. Times are now's.
func NewRefusals(log *slog.Logger, now func() time.Time) *Refusals {
	return &Refusals{
		log: log, now: now,
		counts: make(map[Code]uint64),
		warned: make(map[Code]map[string]time.Time),
		totals: make(map[Code]int),
		told:   now(),
	}
}

// Refuse notes that somebody at addr, a host without its port, was refused. The
// peer is zero unless it has proved who it is; err says more than the code, or is
// nil.
func (r *Refusals) Refuse(code Code, addr string, peer ring.ID, err error) {
	args := []any{"code", code, "address", addr, "hint", code.Hint()}
	if err != nil {
		args = append(args, "error", err)
	}
	if !peer.IsZero() {
		args = append(args, "node", peer)
	}
	refusal := Refusal{r.now(), code, addr, peer, err}
	warn, totals := r.note(refusal)
	if r.Tell != nil {
		r.Tell(refusal)
	}
	switch {
	case warn:
		r.log.Warn("refused: "+code.Meaning(), args...)
	default:
		r.log.Debug("refused: "+code.Meaning(), args...)
	}
	if totals != nil {
		r.log.Info("refused, without a line for each", totals...)
	}
}

// note remembers a refusal. It says whether to warn of it, and which totals to tell.
func (r *Refusals) note(f Refusal) (warn bool, totals []any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[f.Code]++
	switch {
	case strings.HasPrefix(string(f.Code), "http_"): // not between nodes, and strangers could fill the list
	case len(r.last) < keptRefusals:
		r.last = append(r.last, f)
	default:
		r.last[r.next] = f
		r.next = (r.next + 1) % keptRefusals
	}
	if !f.Code.Quiet() && r.warns(f) {
		return true, nil
	}
	r.totals[f.Code]++
	if f.At.Sub(r.told) >= tellEvery {
		for _, c := range slices.Sorted(maps.Keys(r.totals)) {
			totals = append(totals, string(c), r.totals[c])
		}
		clear(r.totals)
		r.told = f.At
	}
	return false, totals
}

// warns reports whether this is the first of its code and address for a while.
func (r *Refusals) warns(f Refusal) bool {
	warned := r.warned[f.Code]
	if warned == nil {
		warned = make(map[string]time.Time)
		r.warned[f.Code] = warned
	}
	if at, ok := warned[f.Addr]; ok && f.At.Sub(at) < warnEvery {
		return false
	}
	if len(warned) >= maxWarned {
		maps.DeleteFunc(warned, func(_ string, at time.Time) bool { return f.At.Sub(at) >= warnEvery })
	}
	if len(warned) >= maxWarned {
		return false
	}
	warned[f.Addr] = f.At
	return true
}

// Counts returns how often each code was counted; those never counted are left out.
func (r *Refusals) Counts() map[Code]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}

// Last returns the latest refusals, oldest first.
func (r *Refusals) Last() []Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Concat(r.last[r.next:], r.last[:r.next])
}
