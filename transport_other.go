//go:build !unix

package iris

import (
	"io"
	"net"
)

func newReader(nc net.Conn) io.Reader { return nc }
func newTryWriter(net.Conn) tryWriter { return nil }
