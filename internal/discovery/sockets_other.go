//go:build !linux && !darwin

package discovery

import (
	"net"
	"net/netip"
	"syscall"
)

// openGroup4 returns a socket that receives what is sent to the IPv4 group.
func openGroup4(group netip.AddrPort) (*net.UDPConn, error) {
	return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(group)) // which lets others have the port
}

// reuse is for other systems: this one hands all of a port to one socket.
func reuse(_, _ string, _ syscall.RawConn) error { return nil }
