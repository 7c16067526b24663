//go:build !unix

package relay

import "net"

// newTransport returns the best transport for nc.
func newTransport(nc net.Conn) transport { return blocking{nc} }
