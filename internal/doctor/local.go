package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/project-iris/iris/node"
)

// dev finds that the node has nobody to meet.
func (s *side) dev() []Finding {
	return []Finding{s.finding(Dev, true, false, "the node of "+s.host()+" runs with --dev: its network is its own, and never leaves the host",
		"iris keygen demo.key && iris node --net demo --key demo.key  # and the same name and key on all hosts")}
}

// local finds what is wrong with the host or how the node was started.
func (s *side) local() (all []Finding) {
	all = append(s.peerNames(), s.limits()...)
	if !s.isAlone() {
		return all
	}
	return slices.Concat(all, s.network(), s.chosen(), s.loopback(), s.sources(), s.elsewhere(), s.taken(), s.small())
}

// network looks whether any interface leads to others.
func (s *side) network() []Finding {
	var state []string
	for _, i := range s.Interfaces {
		switch {
		case i.Loopback:
		case i.Up && i.Running && len(globals(i)) > 0:
			return nil
		default:
			state = append(state, i.Name+" "+stateOf(i))
		}
	}
	text := "no interface of " + s.host() + " but loopback"
	do := []string{"ip link  # is there a network card?"}
	if len(state) > 0 {
		text = "no interface of " + s.host() + " leads to others: " + list(state)
		name, _, _ := strings.Cut(state[0], " ")
		do = []string{"ip addr  # is the cable in, has it an address?", "ip link set " + name + " up"}
	}
	return []Finding{s.finding(NoNetwork, true, false, text, do...)}
}

// stateOf says why an interface leads to nobody.
func stateOf(i node.InterfaceReport) string {
	switch {
	case !i.Up:
		return "is down"
	case !i.Running:
		return "has no cable"
	case i.Loopback:
		return "is loopback"
	}
	return "has no address"
}

// chosen looks at the interfaces that the node was told to use.
func (s *side) chosen() []Finding {
	if len(s.Only) == 0 {
		return nil
	}
	var wrong, there []string
	for _, i := range s.Interfaces {
		if !i.Loopback && i.Up && i.Running && len(globals(i)) > 0 {
			there = append(there, i.Name)
		}
	}
	for _, name := range s.Only {
		if slices.Contains(there, name) {
			return nil
		}
		state := "does not exist"
		if n := slices.IndexFunc(s.Interfaces, func(i node.InterfaceReport) bool { return i.Name == name }); n >= 0 {
			state = stateOf(s.Interfaces[n])
		}
		wrong = append(wrong, name+" "+state)
	}
	return []Finding{s.finding(Interface, true, false,
		fmt.Sprintf("the node of %s may use no interface that leads to others: %s", s.host(), list(wrong)),
		"start it without --interface, or with one of: "+list(there))}
}

// loopback finds a node that other hosts do not reach; whoever was refused has reached it.
func (s *side) loopback() []Finding {
	ip := ipOf(s.Listen)
	if !ip.IsLoopback() || len(s.Refusals) > 0 || slices.ContainsFunc(s.Peers, func(p string) bool { return ipOf(p).IsLoopback() }) {
		return nil
	}
	return []Finding{s.finding(Loopback, len(s.Peers) == 0, false,
		fmt.Sprintf("the node of %s listens at %s, where no other host reaches it, and so looks for none on the network", s.host(), s.Listen),
		"start it without --listen, or with --listen :14142")}
}

// peerNames looks for named peers whose addresses are not known.
func (s *side) peerNames() []Finding {
	if s.Status.Discovery == nil {
		return nil
	}
	for _, one := range s.Status.Discovery.Sources {
		if one.Name == "peers" && one.Trouble != "" {
			return []Finding{s.finding(PeerName, true, false,
				"a name given with --peer has no address on "+s.host()+": "+oneLine(one.Trouble),
				"correct the name, or give the address: --peer IP:14142",
				"getent hosts NAME  # on "+s.host()+", shows what it is known as")}
		}
	}
	return nil
}

// sources looks for ways to find others that do not work.
func (s *side) sources() []Finding {
	if s.Status.Discovery == nil {
		return nil
	}
	for _, one := range s.Status.Discovery.Sources {
		text := one.Trouble
		if one.Ended != "" {
			text = one.Ended
		}
		if text != "" && one.Name != "peers" {
			return []Finding{s.finding(Source, false, false, fmt.Sprintf("others are not found by %s on %s: %s", one.Name, s.host(), oneLine(text)),
				"see the log of the node", "iris node --peer HOST ...  # names a node in place of it")}
		}
	}
	return nil
}

func oneLine(text string) string { return strings.ReplaceAll(text, "\n", "; ") }

// elsewhere finds that others are told addresses that the host has not.
func (s *side) elsewhere() []Finding {
	if len(s.Advertise) == 0 || slices.ContainsFunc(s.Advertise, func(a string) bool { return isOf(s.Report, ipOf(a)) }) {
		return nil
	}
	return []Finding{s.finding(Advertise, false, false,
		fmt.Sprintf("others are told to dial %s, which is no address of %s: that is right only where a router hands it on", list(s.Advertise), s.host()),
		"start the node without --advertise, or with an address that others reach")}
}

// taken finds that a scan goes to another program.
func (s *side) taken() []Finding {
	if s.Taken == "" {
		return nil
	}
	return []Finding{s.finding(Taken, false, false, "another program of "+s.host()+" has the UDP port of the node, so that a scan does not find it: "+s.Taken,
		"ss -lunp  # shows whose it is", "start the node with --listen :PORT, and a free one")}
}

const leastMTU = 1280 // of a network that IPv6 may be used on

// small looks for interfaces that IPv6 has no room on.
func (s *side) small() []Finding {
	for _, i := range s.Interfaces {
		if !i.Loopback && i.Up && len(globals(i)) > 0 && i.MTU < leastMTU {
			return []Finding{s.finding(MTU, false, false, fmt.Sprintf("%s of %s has an MTU of %d, which is less than any network should have", i.Name, s.host(), i.MTU),
				fmt.Sprintf("ip link set %s mtu 1500  # or what the network has", i.Name))}
		}
	}
	return nil
}

// search finds a node that looks for nobody.
func (s *side) search() []Finding {
	if len(s.Discover)+len(s.Peers) > 0 {
		return nil
	}
	text := "the node of " + s.host() + " looks for nobody: --discover is none, and no --peer is named"
	if s.Listen == "" {
		text += "; nor does it listen for others"
	}
	return []Finding{s.finding(NoSearch, true, false, text, "start it without --discover none, or with --peer HOST")}
}

// nobody is the finding where nothing is to be found.
func (s *side) nobody() Finding {
	by := slices.Clone(s.Discover)
	if len(s.Peers) > 0 {
		by = append(by, "the peers "+list(s.Peers))
	}
	text := fmt.Sprintf("looked for others by %s for %v and found nobody", list(by), s.At.Sub(s.Status.Started).Round(time.Second))
	do := []string{
		"iris doctor  # on another host: does a node run there? Its network and key have to be: " + identity(s.Report),
		"let UDP and TCP port 14142 in, and UDP to 239.192.141.42 and ff02::4952:4953, on both hosts",
	}
	if ips := s.addresses(); len(ips) > 0 {
		do = append(do, "iris node --peer "+ips[0].String()+" ...  # on another host, where multicast does not pass")
	}
	return s.finding(Alone, false, false, text, append(do, compare)...)
}

const compare = "iris doctor --write FILE  # on one host, and on the other: iris doctor --report FILE"

// addresses returns those of the host that others may dial.
func (s *side) addresses() (all []netip.Addr) {
	for _, a := range s.Status.Address {
		all = append(all, ipOf(a))
	}
	return all
}

// multicasts reports whether the node is to look for others by multicast.
func multicasts(r *node.Report) bool {
	return slices.Contains(r.Discover, node.Multicast) || slices.Contains(r.Discover, node.Auto)
}

// unheard finds multicast that does not pass: others were heard, and never by it.
func (s *side) unheard() []Finding {
	d := s.Status.Discovery
	if d == nil || !multicasts(s.Report) || d.Sent["beacons"] == 0 || s.ToGroup > 0 || s.At.Sub(s.Status.Started) < settled {
		return nil
	}
	heard := d.Heard["beacons"] + d.Heard["probes"] + d.Heard["answers"]
	if heard == 0 {
		return nil
	}
	return []Finding{s.finding(Multicast, true, false,
		fmt.Sprintf("%s has heard other nodes (packets: %d), and never by multicast, though it sent beacons itself (packets: %d)", s.host(), heard, d.Sent["beacons"]),
		"let UDP to 239.192.141.42 and ff02::4952:4953, port 14142, in on the hosts",
		"switches that snoop need a querier, Wi-Fi with client isolation passes none",
		"iris node --peer HOST ...  # finds others without it")}
}
