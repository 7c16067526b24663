package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// An Addr is where a node may be dialled. The zone of an address does not
// travel.
//
//	ip   [16]byte    IPv4 as ::ffff:a.b.c.d
//	port uint16
//	attr byte        bit 0: advertised
type Addr struct {
	netip.AddrPort
	Advertised bool // the operator said so; else a listener is bound to it
}

const (
	// AddrSize is how many octets an encoded Addr has.
	AddrSize = 19

	// MaxAddrs is how many addresses a list may hold.
	MaxAddrs = 8
)

// Append appends the encoding of a to b.
func (a Addr) Append(b []byte) []byte {
	ip := a.Addr().As16()
	return appendFlag(appendUint16(append(b, ip[:]...), a.Port()), a.Advertised)
}

// AddrFromBytes returns the Addr that the first AddrSize octets of b encode.
func AddrFromBytes(b []byte) Addr {
	ip := netip.AddrFrom16([16]byte(b)).Unmap()
	return Addr{netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[16:])), b[18]&1 != 0}
}

// These answer programs with the secrets of the machine they run on.
var (
	metadata4 = netip.MustParseAddr("169.254.169.254")
	metadata6 = netip.MustParseAddr("fd00:ec2::254")
	broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// MayDial reports whether an address that another node told may be dialled
// (docs/security.md, Dialling what others said). Loopback addresses may only if
// loopback says that our own listener is bound to one; link-local ones only with
// a zone, which is never told but added by whoever knows the interface it was
// told on.
func (a Addr) MayDial(loopback bool) bool {
	ip := a.Addr().Unmap()
	switch {
	case a.Port() == 0, !ip.IsValid(), ip.IsUnspecified(), ip.IsMulticast(),
		ip == broadcast, ip == metadata4, ip.WithZone("") == metadata6:
		return false
	case ip.IsLoopback():
		return loopback
	case ip.IsLinkLocalUnicast():
		return ip.Zone() != ""
	}
	return true
}

func (p *parser) addr() Addr {
	if b := p.octets(AddrSize); b != nil {
		return AddrFromBytes(b)
	}
	return Addr{}
}

// addrs reads the addresses themselves, whose number came before.
func (p *parser) addrs(n int) []Addr {
	if n > MaxAddrs {
		p.fail(fmt.Errorf("list of %d addresses, want at most %d", n, MaxAddrs))
		return nil
	}
	if n == 0 || n*AddrSize > len(p.b) {
		if n > 0 {
			p.fail(errEnd)
		}
		return nil
	}
	addrs := make([]Addr, n)
	for i := range addrs {
		addrs[i] = p.addr()
	}
	return addrs
}

func (p *parser) addrList() []Addr { return p.addrs(int(p.uint16())) }

// appendAddrs appends the addresses themselves. It panics if there are too many
// for any reader: whoever makes lists bounds them.
func appendAddrs(b []byte, addrs []Addr) []byte {
	if len(addrs) > MaxAddrs {
		panic(fmt.Sprintf("wire: list of %d addresses", len(addrs)))
	}
	for _, a := range addrs {
		b = a.Append(b)
	}
	return b
}

func appendAddrList(b []byte, addrs []Addr) []byte {
	return appendAddrs(appendCount(b, len(addrs)), addrs)
}
