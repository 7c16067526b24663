package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	// Probes for addresses that nobody has wait in the system until it has asked for
	// them in vain, which takes seconds: a burst of them must have room.
	sendRoom  = 1 << 20
	sendLimit = 10 * time.Millisecond // without room a packet is given up
)

// Port is where nodes are if nobody chose another port, and where the groups are.
const Port = 14142

// The groups of docs/security.md, Ports. What is sent to them stays on its link.
var (
	group4 = netip.AddrPortFrom(netip.AddrFrom4([4]byte{239, 192, 141, 42}), Port)
	group6 = netip.AddrPortFrom(netip.MustParseAddr("ff02::4952:4953"), Port)
)

// sockets are those of a LAN. Those that cannot be opened are nil.
type sockets struct {
	unicast *net.UDPConn // IPv4: what is sent leaves here
	group4  *net.UDPConn
	group6  *net.UDPConn // what is sent by IPv6 leaves here
	taken   error        // why the unicast socket has not the port of the node
	joined  map[membership]bool
}

// A membership is of an interface in a group.
type membership struct {
	index int
	is4   bool
}

// open opens those sockets that are needed and not there, and says what is missing.
func (s *sockets) open(listen netip.AddrPort, multicast, need4, need6 bool) (opened []*net.UDPConn, err error) {
	if s.joined == nil {
		s.joined = make(map[membership]bool)
	}
	add := func(place **net.UDPConn, need bool, what string, open func() (*net.UDPConn, error)) {
		if !need || *place != nil {
			return
		}
		c, e := open()
		if e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", what, e))
			return
		}
		c.SetWriteBuffer(sendRoom) // as much of it as the system allows
		*place = c
		opened = append(opened, c)
	}
	add(&s.unicast, need4, "UDP", func() (*net.UDPConn, error) {
		ip := listen.Addr().Unmap()
		if !ip.Is4() {
			ip = netip.IPv4Unspecified()
		}
		c, e := bind("udp4", netip.AddrPortFrom(ip, listen.Port()))
		if e != nil && listen.Port() != 0 {
			s.taken = e
			return bind("udp4", netip.AddrPortFrom(ip, 0))
		}
		return c, e
	})
	add(&s.group4, multicast && need4, "IPv4 multicast", func() (*net.UDPConn, error) { return openGroup4(group4) })
	add(&s.group6, multicast && need6, "IPv6 multicast", func() (*net.UDPConn, error) {
		return bind("udp6", netip.AddrPortFrom(netip.IPv6Unspecified(), Port))
	})
	return opened, err
}

func bind(network string, at netip.AddrPort) (*net.UDPConn, error) {
	l := net.ListenConfig{Control: reuse}
	c, err := l.ListenPacket(context.Background(), network, at.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// join has the groups heard on the interfaces, and on no others.
func (s *sockets) join(interfaces []Interface) (err error) {
	wanted := make(map[membership]bool)
	for _, i := range interfaces {
		for _, is4 := range []bool{true, false} {
			if m := (membership{i.Index, is4}); i.groups(is4) && s.has(is4) {
				wanted[m] = true
				if !s.joined[m] {
					if e := s.change(m, &i.Interface, true); e != nil {
						err = errors.Join(err, fmt.Errorf("join the group on %s: %w", i.Name, e))
						continue
					}
					s.joined[m] = true
				}
			}
		}
	}
	for m := range s.joined {
		if !wanted[m] {
			s.change(m, &net.Interface{Index: m.index}, false) // it may be gone
			delete(s.joined, m)
		}
	}
	return err
}

func (s *sockets) has(is4 bool) bool { return is4 && s.group4 != nil || !is4 && s.group6 != nil }

func (s *sockets) change(m membership, i *net.Interface, in bool) error {
	if m.is4 {
		c, g := ipv4.NewPacketConn(s.group4), net.UDPAddrFromAddrPort(group4)
		if in {
			return c.JoinGroup(i, g)
		}
		return c.LeaveGroup(i, g)
	}
	c, g := ipv6.NewPacketConn(s.group6), net.UDPAddrFromAddrPort(group6)
	if in {
		return c.JoinGroup(i, g)
	}
	return c.LeaveGroup(i, g)
}

// sendGroup sends to the group on an interface, by IPv4 or by IPv6.
func (s *sockets) sendGroup(packet []byte, i *Interface, is4 bool) error {
	if is4 {
		if err := ipv4.NewPacketConn(s.unicast).SetMulticastInterface(&i.Interface); err != nil {
			return err
		}
		return write(s.unicast, packet, group4)
	}
	to := netip.AddrPortFrom(group6.Addr().WithZone(i.Name), group6.Port())
	return write(s.group6, packet, to)
}

// send sends to an address.
func (s *sockets) send(packet []byte, to netip.AddrPort) error {
	c := s.unicast
	if to.Addr().Is6() {
		c = s.group6
	}
	if c == nil {
		return errors.New("there is no socket for it")
	}
	return write(c, packet, to)
}

func write(c *net.UDPConn, packet []byte, to netip.AddrPort) error {
	if err := c.SetWriteDeadline(time.Now().Add(sendLimit)); err != nil {
		return err
	}
	_, err := c.WriteToUDPAddrPort(packet, to)
	return err
}

// close closes all of them. Those who read are told.
func (s *sockets) close() {
	for _, c := range []*net.UDPConn{s.unicast, s.group4, s.group6} {
		if c != nil {
			c.Close()
		}
	}
}
