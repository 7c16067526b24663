package discovery

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Static is the Source of the peers that the operator named.
type Static struct {
	Peers []string // host:port
	Log   *slog.Logger

	mu      sync.Mutex
	unknown []*trouble // of each peer
}

// Name implements Source.
func (s *Static) Name() string { return "peers" }

// Run implements Source: it ends when the addresses of all peers are known.
func (s *Static) Run(ctx context.Context, found func(Found)) error {
	var running sync.WaitGroup
	var mu sync.Mutex
	for _, p := range s.Peers {
		t := new(trouble)
		s.mu.Lock()
		s.unknown = append(s.unknown, t)
		s.mu.Unlock()
		running.Go(func() {
			for pause := time.Second; ctx.Err() == nil; pause = min(2*pause, 30*time.Second) {
				addrs, err := resolve(ctx, nil, p, 0)
				if ctx.Err() != nil {
					return
				}
				t.note(s.Log, "peer "+p, err)
				if err == nil {
					mu.Lock()
					defer mu.Unlock()
					found(Found{Addrs: addrs, Keep: true})
					return
				}
				rest(ctx, pause)
			}
		})
	}
	running.Wait()
	return nil
}

// Trouble tells of all peers whose addresses are not known.
func (s *Static) Trouble() (failed uint64, now error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.unknown {
		n, err := t.Trouble()
		failed, now = failed+n, errors.Join(now, err)
	}
	return failed, now
}

var (
	_ Source   = (*Static)(nil)
	_ troubled = (*Static)(nil)
)
