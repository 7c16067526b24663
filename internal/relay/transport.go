package relay

import (
	"net"

	"github.com/project-iris/iris/internal/nonblock"
)

// A transport is how a connection's octets are read and written. There are two:
// one for sockets of systems where a program can try without blocking, one for
// everything else.
type transport interface {
	// read reads into what in has room for, or gets for it, and blocks until
	// there is something. It never returns 0 octets without an error.
	read(in *input) (int, error)

	// tryWrite writes what can be written at once, which may be nothing.
	tryWrite(p []byte) (int, error)
}

// blocking is the transport of a net.Conn of which nothing more is known.
type blocking struct{ nc net.Conn }

func (t blocking) read(in *input) (int, error)  { return t.nc.Read(in.ready(smallInput)) }
func (t blocking) tryWrite([]byte) (int, error) { return 0, nonblock.ErrAgain }
