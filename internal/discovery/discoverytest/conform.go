// Package discoverytest has the test that every source of addresses passes.
package discoverytest

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"go.uber.org/goleak"

	"github.com/project-iris/iris/internal/discovery"
)

const (
	findLimit = 30 * time.Second // for a source to find what there is
	stopLimit = 3 * time.Second  // for Run to return
)

// Conform checks that a source keeps to what discovery.Source says. The function
// makes a source that has yet to run, each time another; each of them is to find all
// that is wanted, and may find more.
func Conform(t *testing.T, source func(t *testing.T) discovery.Source, want ...netip.AddrPort) {
	t.Helper()
	t.Run("HasAName", func(t *testing.T) {
		s := source(t)
		name := s.Name()
		if name == "" || strings.TrimSpace(name) != name || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("the name is %q", name)
		}
		if s.Name() != name {
			t.Error("the name is not always the same")
		}
	})
	t.Run("FindsWhatThereIs", func(t *testing.T) {
		r := start(t, source(t), nil)
		if len(want) > 0 {
			r.await(t, want)
		}
		r.stop(t)
	})
	t.Run("EndsWhileItFinds", func(t *testing.T) {
		r := start(t, source(t), func(ctx context.Context) { <-ctx.Done() })
		if len(want) > 0 {
			r.await(t, nil)
		}
		r.stop(t)
	})
	t.Run("EndsBeforeItBegins", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := startIn(ctx, cancel, t, source(t), nil)
		r.stop(t)
	})
}

// A run is a source at work.
type run struct {
	cancel  context.CancelFunc
	leaks   goleak.Option
	ended   chan error
	calls   atomic.Int32
	changed chan struct{} // has room for one

	mu    sync.Mutex
	found map[netip.AddrPort]bool
	over  bool
	wrong string
}

func start(t *testing.T, s discovery.Source, hold func(context.Context)) *run {
	ctx, cancel := context.WithCancel(t.Context())
	return startIn(ctx, cancel, t, s, hold)
}

// startIn runs a source, and holds up each of its findings.
func startIn(ctx context.Context, cancel context.CancelFunc, t *testing.T, s discovery.Source, hold func(context.Context)) *run {
	t.Helper()
	r := &run{
		cancel: cancel, leaks: goleak.IgnoreCurrent(),
		ended: make(chan error, 1), changed: make(chan struct{}, 1), found: make(map[netip.AddrPort]bool),
	}
	go func() {
		err := s.Run(ctx, func(f discovery.Found) {
			if r.calls.Add(1) != 1 {
				r.fault("found is called while another call is under way")
			}
			r.take(f)
			if hold != nil {
				hold(ctx)
			}
			r.calls.Add(-1)
		})
		r.mu.Lock()
		r.over = true
		r.mu.Unlock()
		r.ended <- err
	}()
	return r
}

func (r *run) fault(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = text
}

func (r *run) take(f discovery.Found) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.over:
		r.wrong = "found is called after Run has returned"
	case len(f.Addrs) == 0:
		r.wrong = "a finding has no address"
	}
	for _, a := range f.Addrs {
		if !a.IsValid() || a.Port() == 0 {
			r.wrong = "found " + a.String() + ", which nobody can dial"
		}
		r.found[a] = true
	}
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// await waits until all that is wanted was found; nil: something.
func (r *run) await(t *testing.T, want []netip.AddrPort) {
	t.Helper()
	there := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.found) > 0 && !slices.ContainsFunc(want, func(a netip.AddrPort) bool { return !r.found[a] })
	}
	limit := time.After(findLimit)
	for !there() {
		select {
		case <-r.changed:
		case <-limit:
			t.Errorf("%v is not found within %v", want, findLimit)
			return
		}
	}
}

// stop ends the source, and checks what it leaves behind.
func (r *run) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	select {
	case err := <-r.ended:
		if err != nil {
			t.Errorf("Run returned %v, though it was told to end", err)
		}
	case <-time.After(stopLimit):
		t.Fatalf("Run goes on for %v after it was told to end", stopLimit)
	}
	if err := goleak.Find(r.leaks); err != nil {
		t.Errorf("Run has returned, and something of it runs: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wrong != "" {
		t.Error(r.wrong)
	}
}
