package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Static is the Source of the peers that the operator named.
type Static struct {
	Peers []string // host:port
	Log   *slog.Logger

	mu       sync.Mutex
	troubles map[string]error // by peer: why its address is not known
}

// Name implements Source.
func (s *Static) Name() string { return "peers" }

// Trouble tells of the peers whose addresses are not known.
func (s *Static) Trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, p := range s.Peers {
		if err := s.troubles[p]; err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *Static) trouble(peer string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.troubles == nil {
		s.troubles = make(map[string]error)
	}
	s.troubles[peer] = err
}

// Run implements Source: it ends when the addresses of all peers are known.
func (s *Static) Run(ctx context.Context, found func(Found)) error {
	var running sync.WaitGroup
	var mu sync.Mutex
	for _, p := range s.Peers {
		running.Go(func() {
			if addrs := s.resolve(ctx, p); len(addrs) > 0 {
				mu.Lock()
				defer mu.Unlock()
				found(Found{Addrs: addrs, Keep: true})
			}
		})
	}
	running.Wait()
	return nil
}

// resolve returns the addresses of a peer, as soon as its name is known.
func (s *Static) resolve(ctx context.Context, peer string) (addrs []netip.AddrPort) {
	host, port, err := net.SplitHostPort(peer)
	number, e := strconv.ParseUint(port, 10, 16)
	if err != nil || e != nil {
		return nil // whoever configured it saw to its form
	}
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err == nil && len(ips) == 0 {
			err = fmt.Errorf("%s has no address", host)
		}
		s.trouble(peer, err)
		if err == nil {
			for _, ip := range ips {
				addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), uint16(number)))
			}
			return addrs
		}
		if ctx.Err() != nil {
			return nil
		}
		s.Log.Warn("the address of a peer is not known; trying again", "peer", peer, "error", err, "in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

var _ Source = (*Static)(nil)
var _ troubled = (*Static)(nil)
