package discovery

import (
	"os"

	"golang.org/x/sys/unix"
)

// share lets several sockets have one port, which is asked before they are bound,
// and has them hear only of the groups that they joined themselves.
func share(fd int) error {
	unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
	unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0) // fails for IPv4, and for old kernels: then there are more strangers
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
}
