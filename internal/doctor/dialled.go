package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/node"
)

const (
	fresh     = time.Minute             // a node that was heard since is there
	knockTime = 1500 * time.Millisecond // less than a node waits for a knock that does not come, more than it takes to refuse one
)

// dialled finds what the dials of the node tell about others: one finding for each
// cause.
func (s *side) dialled() (all []Finding) {
	for i := len(s.Dials) - 1; i >= 0; i-- {
		d := &s.Dials[i]
		if d.Code == "" || !s.recent(d.At) || s.mended(ipOf(d.Address), d.At) || !s.worth(d) {
			continue
		}
		f, ok := s.dial(d)
		if ok && !slices.ContainsFunc(all, func(o Finding) bool { return o.Cause == f.Cause }) {
			all = append(all, f)
		}
	}
	return all
}

// worth reports whether a failed dial tells anything: about the other node; or about a
// peer that was named, or a node that is heard or known and not linked. That a node
// does not answer where it was before is no wonder, unless there is nothing else.
func (s *side) worth(d *node.DialReport) bool {
	if s.other != nil {
		return s.matters(ipOf(d.Address), d.At) || s.named(d.Address) && !slices.Contains(hostsOf(s.other), ipOf(d.Address))
	}
	for _, p := range s.Status.Peers {
		if slices.Contains(p.Address, d.Address) {
			return !p.Linked
		}
	}
	return s.named(d.Address) || s.isAlone() || s.isThere(d)
}

// isThere reports whether a node was heard that should be where was dialled.
func (s *side) isThere(d *node.DialReport) bool {
	f := s.heard(d.Address)
	return f != nil && s.linked(f.Node) == nil && d.At.Sub(f.At) < fresh
}

// dial says what a failed dial comes of.
func (s *side) dial(d *node.DialReport) (Finding, bool) {
	ip, there := ipOf(d.Address), s.isThere(d)
	shown := fmt.Sprintf("%s dialled %s %s: %s (%s)", s.host(), d.Address, ago(s.Report, d.At), session.Code(d.Code).Meaning(), d.Code)
	if d.Text != "" {
		shown += ", " + oneLine(d.Text)
	}
	misdirected := s.misdirected(d, shown)
	switch code := session.Code(d.Code); {
	case slices.Contains(hostsOf(s.Report), ip) && portOf(d.Address) == portOf(s.Listen):
		return s.finding(PeerSelf, s.isAlone() && len(s.Peers) == 1, false, "--peer names "+d.Address+", which is the node of "+s.host()+" itself",
			"start it with --peer and the address of another node"), code == session.DialClosed
	case misdirected != nil:
		return *misdirected, true
	case code == session.DialRefused || code == session.DialTimeout:
		return s.noAnswer(d, there, shown), true
	case code == session.DialClosed && d.Held < knockTime.Seconds():
		return s.finding(Closed, false, true, shown+": most likely another key or network name there; "+s.host()+" has "+identity(s.Report),
			fmt.Sprintf("iris doctor  # on %v: tells whom it refused, and why", ip), compare), true
	case code == session.DialClosed || code == session.TLSTime:
		return s.finding(MTU, false, false, fmt.Sprintf("%s after %.1f s: a connection comes about, and large packets do not pass, or no node listens there", shown, d.Held), sizes(ip)...), true
	case code == session.TLSFailed:
		return s.finding(Closed, false, true, shown, fmt.Sprintf("iris doctor  # on %v: tells whom it refused, and why", ip), compare), true
	}
	return Finding{}, false // the refusals have it
}

// noAnswer says why nobody answers at an address.
func (s *side) noAnswer(d *node.DialReport, there bool, shown string) Finding {
	ip, port := ipOf(d.Address), portOf(d.Address)
	if f := s.heard(d.Address); there && tellsOther(f) {
		return s.finding(Advertise, true, true, fmt.Sprintf("the node at %s tells others to dial %s; %s", f.From, list(f.Address), shown),
			"start the node on "+f.From+" without --advertise, or with an address that others reach, and its port")
	}
	open := fmt.Sprintf("let TCP and UDP port %d in on %v, e.g.: nft add rule inet filter input tcp dport %d accept", port, ip, port)
	switch {
	case there && d.Unreachable:
		return s.finding(Firewall, true, true, "a node that is heard cannot be dialled where it says: "+shown, open, "is that its address? If not, start it without --advertise")
	case there || s.other != nil:
		return s.finding(Firewall, true, true, "a node is at "+ip.String()+", and something keeps connections from it: "+shown, open,
			"nft list ruleset  # on both hosts, and look at what is between them")
	case d.Unreachable:
		return s.finding(Address, s.named(d.Address), false, shown, fmt.Sprintf("ip route get %v  # and on the other host, ip addr: is that its address, is the host up?", ip), "correct --peer")
	case d.Code == string(session.DialTimeout):
		return s.finding(Firewall, false, true, shown, open, fmt.Sprintf("ping %v  # is the host up, is it the right one?", ip))
	default:
		return s.finding(Port, s.named(d.Address), true, shown, fmt.Sprintf("iris doctor  # on %v: does a node run there, and where does it listen?", ip), "correct the port of --peer")
	}
}

// tellsOther reports whether a node tells none of the addresses that it is heard from.
// By IPv6 it is heard from one that nobody tells.
func tellsOther(f *node.FoundReport) bool {
	from := ipOf(f.From)
	return !from.IsLinkLocalUnicast() && !slices.ContainsFunc(f.Address, func(a string) bool { return ipOf(a) == from })
}

// misdirected says that the other node is not at all where it was dialled; nil: it is,
// or none was given.
func (s *side) misdirected(d *node.DialReport, shown string) *Finding {
	if s.other == nil {
		return nil
	}
	o, ip, at := s.other, ipOf(d.Address), list(s.other.Status.Address)
	told := slices.Contains(o.Status.Address, d.Address)
	var f Finding
	switch {
	case o.Listen == "":
		f = s.finding(Port, true, true, "the node that was dialled listens for nobody: "+shown, "start it without --listen none")
	case told && !isOf(o, ip):
		f = s.finding(Advertise, true, true, fmt.Sprintf("others are told to dial %s, which is no address of that host; %s", at, shown),
			"start that node without --advertise, or with an address that others reach")
	case !isOf(o, ip):
		f = s.finding(Address, len(s.Peers) == 1, false, fmt.Sprintf("--peer names %s, and the node it should meet is at %s; %s", d.Address, at, shown), "correct --peer: "+at)
	case !told && portOf(d.Address) != portOf(o.Listen):
		f = s.finding(Port, true, false, fmt.Sprintf("the node there is at %s; %s", at, shown), "correct the port of --peer: "+at)
	default:
		return nil
	}
	return &f
}

// isOf reports whether the host of a node has an address.
func isOf(r *node.Report, ip netip.Addr) bool {
	return slices.ContainsFunc(r.Interfaces, func(i node.InterfaceReport) bool {
		return slices.ContainsFunc(prefixesOf(i), func(p netip.Prefix) bool { return p.Addr() == ip })
	})
}

// slow reports whether dials of the other node come about and end after a while, as if
// what is large did not arrive.
func (s *side) slow() bool {
	hosts := hostsOf(s.Report)
	return slices.ContainsFunc(s.other.Dials, func(d node.DialReport) bool {
		return d.Code != "" && d.Held >= knockTime.Seconds() && slices.Contains(hosts, ipOf(d.Address))
	})
}

// told finds nodes that tell others an address where they are not: they are linked, for
// they have dialled themselves.
func (s *side) told() (all []Finding) {
	for _, p := range s.Status.Peers {
		l := s.linked(p.Node)
		if l == nil || l.Dialled || len(p.Address) == 0 || s.other != nil && s.other.Status.Node != p.Node {
			continue
		}
		if slices.ContainsFunc(p.Address, func(a string) bool { return !s.failed(a, p.Node) }) {
			continue
		}
		all = append(all, s.finding(Advertise, true, true,
			fmt.Sprintf("node %.8s tells others to dial %s, and %s cannot: it is linked as it dialled itself", p.Node, list(p.Address), s.host()),
			"start that node without --advertise, or with an address that others reach, and let the port in there"))
	}
	return all
}

// failed reports whether the address was dialled lately in vain, though the node was up.
func (s *side) failed(address, id string) bool {
	return slices.ContainsFunc(s.Dials, func(d node.DialReport) bool {
		failed := d.Code == string(session.DialRefused) || d.Code == string(session.DialTimeout)
		return d.Address == address && failed && s.recent(d.At) && slices.ContainsFunc(s.Found, func(f node.FoundReport) bool {
			return f.Node == id && f.From != "" && !d.At.Before(f.At)
		})
	})
}
