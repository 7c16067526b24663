//go:build !unix

package node

import (
	"errors"
	"syscall"
)

// Error codes of Windows sockets.
const (
	wsaAccess        = syscall.Errno(10013) // in a range that the system keeps for itself
	wsaAddrInUse     = syscall.Errno(10048)
	wsaAddrNotAvail  = syscall.Errno(10049)
	wsaAFNotSupport  = syscall.Errno(10047)
	openFilesAssumed = 1 << 16
)

// isInUse reports that an address is taken.
func isInUse(err error) bool { return errors.Is(err, wsaAddrInUse) || errors.Is(err, wsaAccess) }

// isMissing reports that the host lacks an address family.
func isMissing(err error) bool {
	return errors.Is(err, wsaAddrNotAvail) || errors.Is(err, wsaAFNotSupport)
}

// descriptors returns how many files the process may have open.
func descriptors() int { return openFilesAssumed }
