package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/node"
)

// causes are what refusals that an operator can do something about come of.
var causes = map[session.Code]string{
	session.PacketKey: Key, session.KnockKey: Key, session.PeerTrust: Key,
	session.PeerTag:   Name,
	session.KnockTime: Clock, session.PacketTime: Clock, session.PeerTime: Clock,
	session.KnockVersion: Version, session.PacketVersion: Version, session.PacketForm: Version,
	session.PeerVersion: Version, session.PeerALPN: Version, session.FirstFrame: Version, session.HandleUnknown: Version,
	session.AcceptFull: Full, session.AcceptFiles: Full, session.LinkFull: Full, session.WelcomeFull: Full,
	session.KnockNone: MTU, session.TLSTime: MTU,
}

// refused finds what the refusals of the node tell about others: the last of each
// cause, with how often it came; one with an address that people know, if there is one.
func (s *side) refused() (all []Finding) {
	for _, cause := range []string{Name, Key, Clock, Version, MTU} {
		var last *node.RefusalReport
		count := 0
		for i := range s.Refusals {
			if r := &s.Refusals[i]; causes[session.Code(r.Code)] == cause && s.counts(r) {
				count++
				if last == nil || !ipOf(r.Address).IsLinkLocalUnicast() || ipOf(last.Address).IsLinkLocalUnicast() {
					last = r
				}
			}
		}
		if last != nil {
			all = append(all, s.refusal(cause, last, count))
		}
	}
	return all
}

// counts reports whether a refusal tells anything: lately, about a host that is not
// linked since, or has a node that is known.
func (s *side) counts(r *node.RefusalReport) bool {
	host := ipOf(r.Address)
	if !s.recent(r.At) || s.mended(host, r.At) || !s.matters(host, r.At) || slices.ContainsFunc(s.Status.Peers, func(p node.PeerStatus) bool {
		return !p.Linked && slices.ContainsFunc(p.Address, func(a string) bool { return ipOf(a) == host })
	}) {
		return false
	}
	switch session.Code(r.Code) {
	case session.PacketKey: // another network may be there, which is nobody's concern
		return s.other != nil || s.isAlone()
	case session.KnockNone, session.TLSTime: // so do port scans, but not where a node is known to be
		return s.other != nil || s.isAlone() && s.heard(r.Address) != nil
	}
	return true
}

func (s *side) refusal(cause string, r *node.RefusalReport, count int) Finding {
	host := ipOf(r.Address)
	who := host.String()
	if !host.IsValid() {
		who = r.Address
	}
	shown := fmt.Sprintf("%s (%s, %d times, %s)", session.Code(r.Code).Meaning(), r.Code, count, ago(s.Report, r.At))
	if r.Text != "" {
		shown += ": " + oneLine(r.Text)
	}
	text := fmt.Sprintf("from %s came to %s: %s", who, s.host(), shown)
	switch cause {
	case Key:
		return s.finding(Key, true, true, text+"; "+s.host()+" has "+identity(s.Report),
			fmt.Sprintf("iris doctor  # on %s: compare both the name and the key with the above, and start one node with those of the other", who),
			compare)
	case Name:
		return s.finding(Name, true, true, fmt.Sprintf("%s; it is network %q on %s", text, s.Status.Network, s.host()), "start the node on "+who+" with that --net")
	case Clock:
		return s.finding(Clock, true, false, text, "date -u  # on both hosts: set the clock that is wrong", "timedatectl set-ntp true  # keeps it right")
	case Version:
		return s.finding(Version, true, false, fmt.Sprintf("%s; on %s runs iris %s", text, s.host(), s.Status.Version), "iris version  # on both hosts: update the older")
	default:
		return s.finding(MTU, s.other != nil && s.slow(), false, text+": large packets seem not to pass", sizes(host)...)
	}
}

// sizes is what to do about packets that are too large.
func sizes(host netip.Addr) []string {
	ping := "ping"
	if host.Is6() {
		ping = "ping -6"
	}
	return []string{
		fmt.Sprintf("%s -M do -s 1400 %v  # and with -s 500: the larger does not pass?", ping, host),
		"ip link set INTERFACE mtu ...  # on both hosts, to what passes; tunnels and VPNs take some",
	}
}

// limits finds that somebody was refused for want of room.
func (s *side) limits() []Finding {
	i := slices.IndexFunc(s.Refusals, func(r node.RefusalReport) bool {
		full := r.Code == string(session.AcceptFiles) || causes[session.Code(r.Code)] == Full && s.isAlone() // in large networks it is no wonder
		return full && s.recent(r.At) && !s.mended(ipOf(r.Address), r.At)
	})
	if i < 0 {
		return nil
	}
	r := s.Refusals[i]
	return []Finding{s.finding(Full, true, r.Code == string(session.WelcomeFull), fmt.Sprintf("%s (%s) at %s, %s", session.Code(r.Code).Meaning(), r.Code, s.host(), ago(s.Report, r.At)),
		"ulimit -n 65536  # before the node starts, or LimitNOFILE= of its service: "+session.Code(r.Code).Hint())}
}
