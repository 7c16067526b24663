//go:build !linux

package link

import "net"

// lowWater does nothing where the system cannot be told.
func lowWater(net.Conn) {}
