package discovery

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// IdentityOf returns a member of a network.
var IdentityOf = identity

// Outlive sets for how long the entry of a node outlives it.
func (e *Etcd) Outlive(d time.Duration) { e.lease = d }

// LookDNS returns what one look at a name in DNS finds.
func LookDNS(ctx context.Context, of string, r *net.Resolver) (found []netip.AddrPort, failed uint64, err error) {
	n, err := ParseDNSName(of)
	if err != nil {
		return nil, 0, err
	}
	d := &DNS{Of: n, Port: 14142, Log: slog.New(slog.DiscardHandler), Resolver: r}
	found = oneLook(ctx, d.Run, &d.Alone)
	failed, err = d.Trouble()
	return found, failed, err
}

// LookExec returns what one run of a command finds.
func LookExec(ctx context.Context, command string, r *net.Resolver) (found []netip.AddrPort, failed uint64, err error) {
	e := &Exec{Command: command, Label: "exec", Port: 14142, Log: slog.New(slog.DiscardHandler), Resolver: r}
	found = oneLook(ctx, e.Run, &e.Alone)
	failed, err = e.Trouble()
	return found, failed, err
}

// oneLook ends a source when it asks, after the first look, whether the node is alone.
func oneLook(ctx context.Context, run func(context.Context, func(Found)) error, alone *func() bool) (found []netip.AddrPort) {
	ctx, cancel := context.WithCancel(ctx)
	*alone = func() bool { cancel(); return true }
	run(ctx, func(f Found) { found = append(found, f.Addrs...) })
	return found
}
