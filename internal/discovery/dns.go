package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	dnsLeast   = time.Second // between looks
	dnsAlone   = 30 * time.Second
	dnsMost    = 5 * time.Minute
	dnsService = "_iris._tcp."
)

// A DNSName is what DNS is asked for.
type DNSName struct {
	Host string
	Port uint16 // 0: SRV records have it, or it goes without saying
}

// ParseDNSName returns what NAME or NAME:PORT stands for.
func ParseDNSName(text string) (n DNSName, err error) {
	if n.Host, n.Port, err = SplitHostPort(text); err != nil {
		return n, err
	}
	if _, err := netip.ParseAddr(n.Host); err == nil {
		return n, fmt.Errorf("%s is an address, and none to look up in DNS: give it as a peer", n.Host)
	}
	if n.isService() && n.Port != 0 {
		return n, fmt.Errorf("%s is the name of a service, and its port is in DNS: leave out %d", n.Host, n.Port)
	}
	return n, nil
}

// String returns NAME or NAME:PORT.
func (n DNSName) String() string {
	if n.Port == 0 {
		return n.Host
	}
	return net.JoinHostPort(n.Host, strconv.Itoa(int(n.Port)))
}

// isService reports whether the name has SRV records, and nothing else.
func (n DNSName) isService() bool { return strings.HasPrefix(n.Host, "_") }

// DNS is the Source of the nodes that have a name in DNS: one SRV record each, or one A
// or AAAA record.
type DNS struct {
	Of       DNSName
	Port     uint16 // where nodes listen, most likely
	Log      *slog.Logger
	Alone    func() bool
	Resolver *net.Resolver // nil: that of this host

	trouble
}

// Name implements Source.
func (d *DNS) Name() string { return "dns:" + d.Of.String() }

// Run implements Source.
func (d *DNS) Run(ctx context.Context, found func(Found)) error {
	return (&looker{
		trouble: &d.trouble,
		by:      d.Name(), log: d.Log,
		isAlone: d.Alone, least: dnsLeast, alone: dnsAlone, most: dnsMost,
		look: d.look,
	}).run(ctx, found)
}

// look asks for the records of the service at the name, then for those of the name, as
// Kubernetes and Consul have them, then for addresses. What is there is taken.
func (d *DNS) look(ctx context.Context) ([]netip.AddrPort, error) {
	services := []string{dnsService + d.Of.Host, d.Of.Host}
	switch {
	case d.Of.Port != 0:
		services = nil
	case d.Of.isService():
		services = services[1:]
	}
	var failed error
	for _, service := range services {
		_, records, err := cmp.Or(d.Resolver, net.DefaultResolver).LookupSRV(ctx, "", "", service)
		if len(records) > 0 {
			targets := make([]string, len(records))
			for i, r := range records {
				targets[i] = net.JoinHostPort(r.Target, strconv.Itoa(int(r.Port)))
			}
			addrs, e := lookupAll(ctx, d.Resolver, targets, 0)
			return addrs, errors.Join(err, e)
		}
		if failed == nil || !isNotFound(err) {
			failed = err
		}
		if ctx.Err() != nil || isTimeout(err) {
			return nil, failed
		}
	}
	if d.Of.isService() {
		return nil, failed
	}
	addrs, err := lookup(ctx, d.Resolver, d.Of.Host, cmp.Or(d.Of.Port, d.Port))
	if err != nil && isNotFound(failed) {
		failed = nil // there need not be any
	}
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	return addrs, nil
}

func isNotFound(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsNotFound
}

func isTimeout(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsTimeout
}

var (
	_ Source   = (*DNS)(nil)
	_ troubled = (*DNS)(nil)
)
