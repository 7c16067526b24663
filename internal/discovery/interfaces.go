package discovery

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// mostInterfaces is how many interfaces discovery uses: systems let a socket join
// about as many groups.
const mostInterfaces = 16

// An Interface is one that others may be found on.
type Interface struct {
	net.Interface
	Prefixes []netip.Prefix // its addresses but for link-local ones, as it has them
}

// Interfaces returns those interfaces that are up and lead to other hosts, in the
// system's order; only those named, if any are.
func Interfaces(only []string) ([]Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the interfaces of this host: %w", err)
	}
	var some []Interface
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || len(only) > 0 && !slices.Contains(only, i.Name) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it is gone again
		}
		one := Interface{Interface: i}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			ip := p.Addr().Unmap()
			if err == nil && !ip.IsLinkLocalUnicast() && !ip.IsLoopback() && !ip.IsMulticast() {
				one.Prefixes = append(one.Prefixes, netip.PrefixFrom(ip, p.Bits()))
			}
		}
		if len(one.Prefixes) > 0 {
			some = append(some, one)
		}
	}
	return some, nil
}

// groups reports whether the interface has an address of a family, and may multicast.
func (i *Interface) groups(is4 bool) bool {
	return i.Flags&net.FlagMulticast != 0 && slices.ContainsFunc(i.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() == is4 })
}

// key tells whether two lists of interfaces differ in what matters here.
func key(all []Interface) string {
	var b strings.Builder
	for _, i := range all {
		fmt.Fprintln(&b, i.Index, i.Name, i.Flags&net.FlagMulticast, i.Prefixes)
	}
	return b.String()
}
