package session

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unsentLimit is how many octets the system takes from a writer beyond what it has
// sent: what waits in it can be neither overtaken nor taken back.
const unsentLimit = 128 << 10

// silenceLimit is how long the other side's system may not acknowledge what it was
// sent, or have no room for more. By itself the system tries for a quarter of an hour, and a node that is no
// neighbour on the ring is asked for a sign of life only when nothing is to be sent.
const silenceLimit = 15 * time.Second

// tune has the system take little from the writer of a connection, and give it up
// when the other side is silent. Without it things only take longer.
func tune(nc net.Conn) {
	s, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := s.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentLimit)
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silenceLimit.Milliseconds()))
		})
	}
}
