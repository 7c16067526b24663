//go:build !unix

package iris

import "net"

func newTryWriter(net.Conn) tryWriter { return nil }
