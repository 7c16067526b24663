package discovery

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// SplitHostPort returns what HOST, HOST:PORT, an IP address, or one with a port, consists
// of. The port is 0 if there is none.
func SplitHostPort(text string) (host string, port uint16, err error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if _, err := netip.ParseAddr(bare); err == nil {
		return bare, 0, nil
	}
	host = text
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		var digits string
		if host, digits, err = net.SplitHostPort(text); err != nil {
			return "", 0, fmt.Errorf("%.100q is no address: give HOST or HOST:PORT, with brackets around an IPv6 address", text)
		}
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || n == 0 {
			return "", 0, fmt.Errorf("the port of %.100q is no number from 1 to 65535", text)
		}
		port = uint16(n)
	}
	if _, err := netip.ParseAddr(host); err != nil && !isName(host) {
		return "", 0, fmt.Errorf("%.100q is neither an IP address nor a name: give HOST or HOST:PORT", text)
	}
	return host, port, nil
}

// isName reports whether text could be the name of a host in DNS. Those of services have
// underscores in them.
func isName(text string) bool {
	text = strings.TrimSuffix(text, ".")
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return len(text) <= 253 && !strings.ContainsFunc(text, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_' || r == '.')
	})
}

// resolve returns the addresses of HOST:PORT.
func resolve(ctx context.Context, text string) ([]netip.AddrPort, error) {
	host, port, err := SplitHostPort(text)
	if err != nil {
		return nil, err
	}
	return lookup(ctx, nil, host, port)
}

// lookup returns the addresses of a host, with a port. No resolver is that of this host.
func lookup(ctx context.Context, r *net.Resolver, host string, port uint16) (addrs []netip.AddrPort, err error) {
	ips, err := cmp.Or(r, net.DefaultResolver).LookupNetIP(ctx, "ip", host)
	for _, ip := range ips {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), port))
	}
	if len(addrs) == 0 && err == nil {
		err = fmt.Errorf("%s has no address", host)
	}
	return addrs, err
}

// lookupMost is how many names are looked up in one look. Any will do: whoever is linked
// to one node soon knows all.
const lookupMost = 32

// lookupAll returns the addresses of what SplitHostPort takes. A port that is not there is
// the given one. Of many names some are looked up, each time others; the error tells of
// one of those that came to nothing.
func lookupAll(ctx context.Context, r *net.Resolver, hosts []string, port uint16) (addrs []netip.AddrPort, err error) {
	names, skipped := 0, 0
	for _, i := range rand.Perm(len(hosts)) {
		host, own, e := SplitHostPort(hosts[i])
		if _, no := netip.ParseAddr(host); e == nil && no != nil {
			if names++; names > lookupMost {
				continue
			}
		}
		if e == nil {
			var some []netip.AddrPort
			some, e = lookup(ctx, r, host, cmp.Or(own, port))
			addrs = append(addrs, some...)
		}
		if e != nil {
			if skipped++; err == nil || e.Error() < err.Error() {
				err = e // always the same, so that it is no news
			}
		}
	}
	if skipped > 1 {
		err = fmt.Errorf("%w; and %d more come to nothing", err, skipped-1)
	}
	return addrs, err
}
