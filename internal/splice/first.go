package splice

import (
	"encoding/binary"
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

// readFirst reads one frame of type t, of those that precede all others, and not
// an octet more.
func readFirst(c io.Reader, t wire.Type) ([]byte, error) {
	b := make([]byte, wire.HeaderSize, 64)
	if _, err := io.ReadFull(c, b); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(b)
	if length < wire.HeaderSize-4 || length > wire.MaxFirst {
		return nil, firstFrame(fmt.Errorf("first frame of %d octets after its length", length))
	}
	b = append(b, make([]byte, length-(wire.HeaderSize-4))...)
	if _, err := io.ReadFull(c, b[wire.HeaderSize:]); err != nil {
		return nil, err
	}
	var f wire.Frame
	if _, err := wire.Parse(b, &f); err != nil {
		return nil, firstFrame(err)
	}
	if f.Type != t || f.Flags != 0 || f.Hops != 0 {
		return nil, firstFrame(fmt.Errorf("the connection begins with %v, flags %02x, %d hops; want %v", f.Type, byte(f.Flags), f.Hops, t))
	}
	return f.Body, nil
}

func firstFrame(err error) error { return &session.Error{Code: session.FirstFrame, Err: err} }

func readAttach(c io.Reader) (id [16]byte, err error) {
	body, err := readFirst(c, wire.TypeAttach)
	if err != nil {
		return id, err
	}
	m, err := wire.ParseAttach(body)
	if err != nil {
		return id, firstFrame(err)
	}
	return m.Tunnel, nil
}

// readAttached returns nil when the accepting node has taken the connection.
func readAttached(c io.Reader) error {
	body, err := readFirst(c, wire.TypeAttached)
	if err != nil {
		return err
	}
	m, err := wire.ParseAttached(body)
	switch {
	case err != nil:
		return firstFrame(err)
	case m.Result != attachOpen:
		return errRefused
	}
	return nil
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
