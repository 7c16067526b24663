package discovery

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Static is the Source of the peers that the operator named.
type Static struct {
	log     *slog.Logger
	changed chan struct{} // what is named may have

	mu    sync.Mutex
	named []*namedPeer
}

// A namedPeer is one that the operator names, or did so.
type namedPeer struct {
	name string // host:port
	trouble

	cancel context.CancelFunc // ends the search for its addresses; nil: it has not begun. Run's, as is what follows
	addrs  []netip.AddrPort   // nil: not known
}

// A resolvedPeer is one whose addresses have become known.
type resolvedPeer struct {
	*namedPeer
	addrs []netip.AddrPort
}

// NewStatic returns the source of peers, host:port each.
func NewStatic(peers []string, log *slog.Logger) *Static {
	s := &Static{log: log, changed: make(chan struct{}, 1)}
	s.Set(peers)
	return s
}

// Name implements Source.
func (s *Static) Name() string { return "peers" }

// Peers returns those that are named now.
func (s *Static) Peers() []string {
	peers := []string{}
	for _, p := range s.list() {
		peers = append(peers, p.name)
	}
	return peers
}

func (s *Static) list() []*namedPeer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named
}

// Set names other peers in the place of those there were. It may be called at any time.
func (s *Static) Set(peers []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var named []*namedPeer
	for _, name := range peers {
		if same := func(p *namedPeer) bool { return p.name == name }; slices.ContainsFunc(named, same) {
			continue
		} else if i := slices.IndexFunc(s.named, same); i >= 0 {
			named = append(named, s.named[i])
		} else {
			named = append(named, &namedPeer{name: name})
		}
	}
	s.named = named
	signal(s.changed)
}

// Run implements Source. Names are looked up until that succeeds once.
func (s *Static) Run(ctx context.Context, found func(Found)) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var begun []*namedPeer
	resolved := make(chan resolvedPeer)
	for {
		select {
		case <-s.changed:
		case r := <-resolved:
			if slices.Contains(begun, r.namedPeer) {
				r.namedPeer.addrs = r.addrs
				found(Found{Addrs: r.addrs, Keep: true})
			}
			continue
		case <-ctx.Done():
			return nil
		}
		now := s.list()
		for _, p := range begun {
			if slices.Contains(now, p) {
				continue
			}
			p.cancel()
			if gone := p.own(now); len(gone) > 0 {
				found(Found{Addrs: gone, Gone: true})
			}
		}
		for _, p := range now {
			if p.cancel != nil {
				continue
			}
			var mine context.Context
			mine, p.cancel = context.WithCancel(ctx)
			running.Go(func() { s.resolve(mine, p, resolved) })
		}
		begun = now
	}
}

// own returns the addresses of a peer that none of the others has.
func (p *namedPeer) own(others []*namedPeer) (own []netip.AddrPort) {
	for _, a := range p.addrs {
		if !slices.ContainsFunc(others, func(o *namedPeer) bool { return slices.Contains(o.addrs, a) }) {
			own = append(own, a)
		}
	}
	return own
}

// resolve looks for the addresses of a peer until they are known.
func (s *Static) resolve(ctx context.Context, p *namedPeer, resolved chan<- resolvedPeer) {
	for pause := time.Second; ctx.Err() == nil; pause = min(2*pause, 30*time.Second) {
		addrs, err := resolve(ctx, p.name)
		if ctx.Err() != nil {
			return
		}
		p.note(s.log, "peer "+p.name, err)
		if err != nil {
			rest(ctx, pause)
			continue
		}
		select {
		case resolved <- resolvedPeer{p, addrs}:
		case <-ctx.Done():
		}
		return
	}
}

// Trouble tells of all peers whose addresses are not known.
func (s *Static) Trouble() (failed uint64, now error) {
	for _, p := range s.list() {
		n, err := p.trouble.Trouble()
		failed, now = failed+n, errors.Join(now, err)
	}
	return failed, now
}

var (
	_ Source   = (*Static)(nil)
	_ troubled = (*Static)(nil)
)
