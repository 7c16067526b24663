package link

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsentLimit is how many octets the system takes from a writer beyond what it has
// sent: what waits in it can be neither overtaken nor taken back.
const unsentLimit = 128 << 10

// lowWater limits what the system takes from the writer of a connection. Without
// it things only take longer.
func lowWater(nc net.Conn) {
	for {
		if inner, ok := nc.(interface{ NetConn() net.Conn }); ok {
			nc = inner.NetConn()
			continue
		}
		break
	}
	s, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := s.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentLimit)
		})
	}
}
