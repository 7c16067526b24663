package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/project-iris/iris/node"
)

const (
	lately  = 20 * time.Minute // what is older may be mended; beacons come at least every 10 minutes
	settled = 5 * time.Second  // after which a node has been heard, if it can be
)

// A side is a node that is examined, and the one it should meet, if that is known.
type side struct {
	*node.Report
	other *node.Report
	there bool
}

// host returns how to call the host of this side.
func (s *side) host() string {
	if s.there {
		return "the other host"
	}
	return "this host"
}

// finding returns one whose remedy is on this side, or, with across, on that of others.
func (s *side) finding(cause string, certain, across bool, text string, do ...string) Finding {
	return Finding{Cause: cause, Certain: certain, There: s.there != across, Text: text, Do: do}
}

func (s *side) isAlone() bool { return len(s.Status.Peers) == 0 && len(s.Status.Links) == 0 }

// met reports whether this node knows the other.
func (s *side) met() bool {
	id := s.other.Status.Node
	return slices.ContainsFunc(s.Status.Peers, func(p node.PeerStatus) bool { return p.Node == id }) || s.linked(id) != nil
}

// linked returns the link to a node; nil: there is none.
func (s *side) linked(id string) *node.LinkStatus {
	i := slices.IndexFunc(s.Status.Links, func(l node.LinkStatus) bool { return l.Node == id })
	if i < 0 || id == "" {
		return nil
	}
	return &s.Status.Links[i]
}

// recent reports whether something happened lately, by the clock of this node.
func (s *side) recent(at time.Time) bool { return s.At.Sub(at) < lately }

// mended reports whether there is a link to the host that came after a time.
func (s *side) mended(host netip.Addr, at time.Time) bool {
	return slices.ContainsFunc(s.Status.Links, func(l node.LinkStatus) bool {
		return ipOf(l.Address) == host && l.Since.After(at)
	})
}

// matters reports whether what happened at an address is about the other node, since
// that was started, or whether no other was given.
func (s *side) matters(host netip.Addr, at time.Time) bool {
	return s.other == nil || slices.Contains(hostsOf(s.other), host) && at.After(s.other.Status.Started)
}

// heard returns the latest packet from a host, or that told the address; nil: none.
func (s *side) heard(address string) *node.FoundReport {
	ip := ipOf(address)
	for i := len(s.Found) - 1; i >= 0; i-- {
		f := &s.Found[i]
		if f.From != "" && (slices.Contains(f.Address, address) || ipOf(f.From) == ip) {
			return f
		}
	}
	return nil
}

// named reports whether the operator named an address.
func (s *side) named(address string) bool {
	return slices.Contains(s.Peers, address) || slices.ContainsFunc(s.Found, func(f node.FoundReport) bool {
		return f.Source == "peers" && slices.Contains(f.Address, address)
	})
}

// hostsOf returns the addresses of a node's host, loopback left out.
func hostsOf(r *node.Report) (all []netip.Addr) {
	for _, i := range r.Interfaces {
		for _, p := range prefixesOf(i) {
			if !p.Addr().IsLoopback() {
				all = append(all, p.Addr())
			}
		}
	}
	for _, a := range slices.Concat(r.Status.Address, r.Advertise) {
		if ip := ipOf(a); ip.IsValid() && !slices.Contains(all, ip) {
			all = append(all, ip)
		}
	}
	return all
}

func prefixesOf(i node.InterfaceReport) (all []netip.Prefix) {
	for _, a := range i.Addresses {
		if p, err := netip.ParsePrefix(a); err == nil {
			all = append(all, netip.PrefixFrom(p.Addr().Unmap().WithZone(""), p.Bits()))
		}
	}
	return all
}

// globals returns what of the interface's addresses others may reach.
func globals(i node.InterfaceReport) (all []netip.Prefix) {
	return slices.DeleteFunc(prefixesOf(i), func(p netip.Prefix) bool {
		return p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast()
	})
}

// ipOf returns the IP address of IP:PORT or IP; the zero Addr: it has none.
func ipOf(address string) netip.Addr {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	ip, _ := netip.ParseAddr(address)
	return ip.Unmap().WithZone("")
}

func portOf(address string) uint16 {
	ap, _ := netip.ParseAddrPort(address)
	return ap.Port()
}

// shared returns the subnets that both hosts are in. One in which they have the same
// address is inside of each, as of containers.
func shared(a, b *node.Report) (all []netip.Prefix) {
	for _, i := range a.Interfaces {
		for _, p := range globals(i) {
			if i.Up && slices.ContainsFunc(b.Interfaces, func(o node.InterfaceReport) bool {
				return o.Up && slices.ContainsFunc(globals(o), func(q netip.Prefix) bool { return p.Masked() == q.Masked() && p.Addr() != q.Addr() })
			}) {
				all = append(all, p.Masked())
			}
		}
	}
	return all
}

// identity says what has to be the same on all nodes.
func identity(r *node.Report) string {
	return fmt.Sprintf("network %q, key %s", r.Status.Network, strings.Join(r.Keys, " also "))
}

func ago(r *node.Report, at time.Time) string {
	return r.At.Sub(at).Round(time.Second).String() + " ago"
}

func list(all []string) string { return strings.Join(all, ", ") }
