package discovery

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"time"
)

const (
	lookLimit = 10 * time.Second
	lookMost  = 256             // addresses of one look
	lookAlone = 5 * time.Second // until it shows that the node is alone again
)

// A looker looks for addresses again and again: while the node is alone, with pauses that
// double from least to alone, else up to most.
type looker struct {
	*trouble
	by                 string
	log                *slog.Logger
	isAlone            func() bool
	least, alone, most time.Duration

	// look returns what it finds before ctx ends, lookLimit later, and an error if that
	// is not all.
	look func(ctx context.Context) ([]netip.AddrPort, error)
}

// run is Run of a Source. Each address is one node, most likely.
func (l *looker) run(ctx context.Context, found func(Found)) error {
	for pause := l.least; ctx.Err() == nil; {
		addrs, err := l.once(ctx)
		if ctx.Err() != nil {
			break
		}
		l.note(l.log, l.by, err)
		for _, a := range addrs {
			found(Found{Addrs: []netip.AddrPort{a}})
		}
		if l.isAlone() {
			pause = min(pause, l.alone)
			rest(ctx, pause)
		} else if pause = max(pause, l.alone); l.restInCompany(ctx, pause) {
			pause = l.least
			continue
		}
		pause = min(2*pause, l.most)
	}
	return nil
}

// once looks once. Of many addresses it returns some, each time others.
func (l *looker) once(ctx context.Context) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	addrs, err := l.look(ctx)
	if all := len(addrs); all > lookMost {
		rand.Shuffle(all, func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
		addrs = addrs[:lookMost] // who is linked to one of them soon knows all
	}
	return addrs, err
}

// restInCompany rests as long as the node is not alone, and reports whether it is.
func (l *looker) restInCompany(ctx context.Context, d time.Duration) (alone bool) {
	for ; d > 0 && ctx.Err() == nil; d -= lookAlone {
		rest(ctx, min(d, lookAlone))
		if l.isAlone() {
			return true
		}
	}
	return false
}

// rest waits for about so long, or until ctx ends: hosts that start together do not ask
// together for ever.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d/2 + rand.N(d)):
	case <-ctx.Done():
	}
}
