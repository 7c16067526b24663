package iris

import (
	"net"
	"syscall"
)

// socketsTrusted: this system tells which user serves a Unix socket.
const socketsTrusted = true

// peerUID returns the user of the process that listened on the other end of nc,
// as the kernel noted it then.
func peerUID(nc *net.UnixConn) (uid int, err error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		var cred *syscall.Ucred
		if cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			uid = int(cred.Uid)
		}
	})
	if controlErr != nil {
		return 0, controlErr
	}
	return uid, err
}
