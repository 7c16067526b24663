package hosts

import (
	"fmt"
	"net/netip"
)

// nobody is an Ethernet address that no host has.
const nobody = "02:00:00:00:00:01"

// CutTo has what the host sends to some others be lost; what they send to it comes.
// It is so for their addresses, not for multicast.
func (h *Host) CutTo(others ...*Host) error {
	return h.thread.ip(h.eachAddress("neigh replace %v lladdr "+nobody+" nud permanent dev eth0", others)...)
}

// MendTo ends what CutTo did.
func (h *Host) MendTo(others ...*Host) error {
	return h.thread.ip(h.eachAddress("neigh del %v dev eth0", others)...)
}

func (h *Host) eachAddress(command string, others []*Host) (commands []string) {
	for _, o := range others {
		for _, ip := range []netip.Addr{o.IPv4, o.IPv6} {
			commands = append(commands, fmt.Sprintf(command, ip))
		}
	}
	return commands
}

// Split moves some hosts to another bridge: they reach each other, and the rest do,
// but no one of theirs reaches the rest. Nobody is told. Mend brings each back. One
// group at a time may be apart.
func (l *LAN) Split(apart []*Host) error {
	if !l.split {
		if err := l.bridge.ip("link add br1 type bridge mcast_snooping 0", "link set br1 up"); err != nil {
			return err
		}
		l.split = true
	}
	var commands []string
	for _, h := range apart {
		commands = append(commands, "link set "+h.port+" master br1")
	}
	return l.bridge.ip(commands...)
}
