package discovery

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// share lets several sockets have one port, which is asked before they are bound.
func share(fd int) error {
	return os.NewSyscallError("setsockopt", errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)))
}
