//go:build !unix

package nonblock

import "net"

// A Writer writes to a connection without waiting, where the system can do that.
type Writer struct{}

// New returns nil: here nothing is written without waiting.
func New(net.Conn) *Writer { return nil }

// Write writes nothing.
func (*Writer) Write([]byte) (int, error) { return 0, ErrAgain }
