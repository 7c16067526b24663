package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/project-iris/iris/node"
)

const maxSkew = 26 * time.Hour // between the clocks of two nodes

// compared finds what has to be alike on both hosts, and is not.
func (s *side) compared() (all []Finding) {
	o := s.other
	both := fmt.Sprintf("this host has %s, the other %s", identity(s.Report), identity(o))
	if s.Status.Network != o.Status.Network {
		all = append(all, s.finding(Name, true, false, "the names of the networks differ: "+both, "start one of the nodes with the --net of the other"))
	}
	signs, takes := slices.Contains(o.Keys, s.Keys[0]), slices.Contains(s.Keys, o.Keys[0])
	switch {
	case !signs && !takes:
		all = append(all, s.finding(Key, true, false, "the keys of the networks differ: "+both, "copy the key file of one host to the other, and start the node there with it"))
	case !signs || !takes:
		all = append(all, s.finding(Key, true, !takes, "one node does not accept the key of the other: "+both, "start it with --also-accept FILE: in a change of keys, finish each round first"))
	}
	switch ahead := o.At.Sub(s.At); {
	case ahead > maxSkew:
		all = append(all, s.finding(Clock, true, false, fmt.Sprintf("the clock of the other host is ahead by %v at least", ahead.Round(time.Minute)), "date -u  # on both hosts: set the clock that is wrong"))
	case -ahead > maxSkew:
		all = append(all, s.finding(Clock, false, true, fmt.Sprintf("the clock of the other host is behind by %v, unless its report is as old", -ahead.Round(time.Minute)), "date -u  # on both hosts: set the clock that is wrong"))
	}
	for _, p := range shared(s.Report, o) {
		if a, b := mtuOn(s.Report, p), mtuOn(o, p); a != b {
			return append(all, s.finding(MTU, false, a < b, fmt.Sprintf("in %v this host sends packets of up to %d octets, the other of up to %d", p, a, b), sizes(p.Addr())...))
		}
	}
	return all
}

// mtuOn returns the MTU of the interface that leads to a subnet.
func mtuOn(r *node.Report, subnet netip.Prefix) int {
	for _, i := range r.Interfaces {
		if slices.ContainsFunc(globals(i), func(p netip.Prefix) bool { return p.Masked() == subnet }) {
			return i.MTU
		}
	}
	return 0
}

// apart finds why neither node has heard of the other.
func (s *side) apart(t *side) (all []Finding) {
	four := func(r *node.Report) (is4, is6 bool) {
		for _, ip := range hostsOf(r) {
			is4, is6 = is4 || ip.Is4(), is6 || ip.Is6() && !ip.IsLinkLocalUnicast()
		}
		return is4, is6
	}
	a4, a6 := four(s.Report)
	b4, b6 := four(t.Report)
	common := shared(s.Report, t.Report)
	others := "HOST"
	if ips := t.addresses(); len(ips) > 0 {
		others = ips[0].String()
	}
	peer := fmt.Sprintf("iris node --peer %s ...  # on this host; one direction is enough", others)
	switch {
	case !(a4 && b4) && !(a6 && b6):
		return []Finding{s.finding(Interface, true, false, "the hosts have no kind of address in common: one has IPv4 only, the other IPv6", "ip addr  # on both hosts: give both an address of the same kind")}
	case s.hears(t) || t.hears(s) || s.dials(t) || t.dials(s):
		return nil
	case len(common) == 0:
		return []Finding{s.finding(Subnets, true, false, "the hosts have no subnet in common: multicast and scans stay within one", peer)}
	case multicasts(s.Report) && multicasts(t.Report):
		var on []string
		for _, p := range common {
			on = append(on, p.String())
		}
		certain := s.ToGroup == 0 && t.ToGroup == 0 && s.At.Sub(s.Status.Started) > settled && t.At.Sub(t.Status.Started) > settled
		return []Finding{s.finding(Multicast, certain, false, "both nodes send beacons into "+strings.Join(on, ", ")+", and neither hears those of the other",
			"let UDP to 239.192.141.42 and ff02::4952:4953, port 14142, in on both hosts",
			"switches that snoop need a querier, Wi-Fi with client isolation passes none", peer)}
	case len(s.search()) > 0 && len(t.search()) > 0:
		return append(s.search(), t.search()...)
	default:
		return []Finding{s.finding(NoSearch, false, false, fmt.Sprintf("this node looks by %s, the other by %s: neither finds the other so", ways(s.Report), ways(t.Report)), peer)}
	}
}

func ways(r *node.Report) string {
	all := slices.Clone(r.Discover)
	for _, p := range r.Peers {
		all = append(all, "--peer "+p)
	}
	if len(all) == 0 {
		return "nothing"
	}
	return list(all)
}

// hears reports whether the node got anything from the host of the other.
func (s *side) hears(t *side) bool {
	hosts := hostsOf(t.Report)
	return slices.ContainsFunc(s.Found, func(f node.FoundReport) bool { return f.Node == t.Status.Node || slices.Contains(hosts, ipOf(f.From)) }) ||
		slices.ContainsFunc(s.Refusals, func(r node.RefusalReport) bool { return slices.Contains(hosts, ipOf(r.Address)) })
}

// dials reports whether the node dials the host of the other.
func (s *side) dials(t *side) bool {
	hosts := hostsOf(t.Report)
	return slices.ContainsFunc(s.Dials, func(d node.DialReport) bool { return slices.Contains(hosts, ipOf(d.Address)) })
}

// unknown is the finding where both reports do not tell.
func (s *side) unknown() Finding {
	return s.finding(Alone, false, false, "neither report tells why the nodes do not meet: they may be about to, or one was started anew since its report",
		"iris status  # on both hosts", compare)
}
