//go:build !linux

package session

import "net"

// tune does nothing where the system cannot be told.
func tune(net.Conn) {}
