package splice

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// Results of ATTACHED.
const (
	attachOpen    byte = 0
	attachRefused byte = 1
)

var errRefused = errors.New("the accepting node refused the connection")

func readAttach(c io.Reader) (id [16]byte, err error) {
	m, err := session.ReadFirst(c, wire.TypeAttach, wire.ParseAttach)
	return m.Tunnel, err
}

// readAttached returns nil when the accepting node has taken the connection.
func readAttached(c io.Reader) error {
	m, err := session.ReadFirst(c, wire.TypeAttached, wire.ParseAttached)
	if err == nil && m.Result != attachOpen {
		err = errRefused
	}
	return err
}

func writeAttach(c io.Writer, id [16]byte) error {
	_, err := c.Write(wire.Append(nil, wire.Attach{Tunnel: id}))
	return err
}

func writeAttached(c io.Writer, result byte) error {
	_, err := c.Write(wire.Append(nil, wire.Attached{Result: result}))
	return err
}

// refuse notes why a connection was not taken.
func (s *Server) refuse(c *session.Conn, err error) {
	var e *session.Error
	if errors.As(err, &e) {
		s.Refused.Refuse(e.Code, host(c), c.Peer(), e.Err)
	}
}

func refusal(code session.Code, peer ring.ID) error {
	return &session.Error{Code: code, Err: fmt.Errorf("tunnel of node %v: %s", peer, code.Hint())}
}

// host returns the address of the other side without its port.
func host(c *session.Conn) string {
	a := c.RemoteAddr().String()
	if ap, err := netip.ParseAddrPort(a); err == nil {
		return ap.Addr().Unmap().String()
	}
	return a
}
