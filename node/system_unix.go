//go:build unix

package node

import (
	"errors"
	"syscall"
)

// isInUse reports that an address is taken.
func isInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// isMissing reports that the host lacks an address family.
func isMissing(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EPROTONOSUPPORT)
}

// descriptors returns how many files the process may have open: its hard limit, to which
// Go raises the soft one at the start.
func descriptors() int {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return 1024
	}
	return int(min(r.Cur, 1<<30))
}
