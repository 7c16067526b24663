// Package doctor tells from what a node reports why it and others do not meet, and
// what to do about it. It does no I/O and reads no clock: the same reports always give
// the same findings. docs/discovery.md lists the causes.
package doctor

import (
	"slices"

	"github.com/project-iris/iris/node"
)

// Causes of findings, in the order of their weight.
const (
	NoNode    = "no node"        // none runs on the host
	Dev       = "dev"            // the node was made to be alone
	NoNetwork = "no network"     // the host has no interface that leads to others
	Interface = "interface"      // the interfaces that were chosen lead to nobody
	Loopback  = "loopback"       // the node listens on loopback only
	PeerName  = "peer name"      // the address of a named peer is not known
	PeerSelf  = "peer is itself" // the only peer named is the node itself
	Name      = "name"           // the networks have different names
	Key       = "key"            // the keys differ, or the names, where one end cannot tell
	Clock     = "clock"
	Version   = "version"
	Full      = "limits"
	Advertise = "advertise" // the address that others are told is not where the node is
	MTU       = "mtu"       // large packets do not pass
	Port      = "port"      // nothing listens where the node is looked for
	Firewall  = "firewall"
	Address   = "address" // nobody has an address that was named
	Closed    = "closed"  // the other side closes, and only its own report tells why
	Source    = "source"  // a way to find others does not work
	Subnets   = "subnets" // a router is between the hosts, which multicast and scans do not pass
	Multicast = "multicast"
	Taken     = "udp port"        // another program has it
	NoSearch  = "nothing to find" // the node looks for nobody
	Alone     = "alone"           // nothing is wrong that can be seen from here
)

// A Finding is one cause of nodes that do not meet.
type Finding struct {
	Cause   string   `json:"cause"`
	Certain bool     `json:"certain"` // else: the most likely ones come first
	There   bool     `json:"there"`   // what is to be changed is on the other host
	Text    string   `json:"text"`    // what shows it
	Do      []string `json:"do"`      // what to do next: commands, and what they are for
}

// Diagnose returns what keeps the node that made a report, and others, from meeting;
// with the report of another node, what keeps those two apart. The cause that weighs
// most comes first. There is none if all is well.
func Diagnose(own, other *node.Report) (all []Finding) {
	here := &side{Report: own, other: other}
	switch {
	case own.Status.Dev:
		all = here.dev()
	case other == nil:
		all = here.alone()
	case other.Status.Dev:
		all = (&side{Report: other, other: own, there: true}).dev()
	default:
		all = together(here, &side{Report: other, other: own, there: true})
	}
	slices.SortStableFunc(all, func(a, b Finding) int { return weight(a) - weight(b) })
	var each []Finding // cause, once
	for _, f := range all {
		if !slices.ContainsFunc(each, func(e Finding) bool { return e.Cause == f.Cause }) {
			each = append(each, f)
		}
	}
	return each
}

// weight puts what is certain first; what weighs the same is in the order it was found.
func weight(f Finding) int {
	if f.Certain {
		return 0
	}
	return 1
}

// alone is the examination of a node by its own report alone.
func (s *side) alone() (all []Finding) {
	all = slices.Concat(s.local(), s.refused(), s.dialled(), s.told(), s.unheard())
	if !s.isAlone() {
		return all
	}
	all = append(all, s.search()...)
	if len(all) == 0 {
		all = append(all, s.nobody())
	}
	return all
}

// together is the examination of two nodes that should meet.
func together(here, there *side) (all []Finding) {
	if here.met() || there.met() {
		return slices.Concat(here.told(), there.told(), here.unheard(), there.unheard())
	}
	all = slices.Concat(here.local(), there.local(), here.compared(),
		here.refused(), there.refused(), here.dialled(), there.dialled())
	if slices.ContainsFunc(all, func(f Finding) bool { return f.Certain }) {
		return all
	}
	all = append(all, here.apart(there)...)
	if len(all) == 0 {
		all = append(all, here.unknown())
	}
	return all
}
