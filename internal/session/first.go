package session

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/project-iris/iris/internal/wire"
)

// ReadFirst reads one of the frames that precede all others on a connection, and not
// an octet more. It is to be of type t. One that is not what it must be is an *Error
// of code FirstFrame; other errors are the connection's.
func ReadFirst[M any](c io.Reader, t wire.Type, parse func(body []byte) (M, error)) (m M, err error) {
	b := make([]byte, wire.HeaderSize, 256)
	if _, err := io.ReadFull(c, b); err != nil {
		return m, err
	}
	length := binary.BigEndian.Uint32(b)
	if length < wire.HeaderSize-4 || length > wire.MaxFirst {
		return m, BadFirst("first frame of %d octets after its length, want %d to %d", length, wire.HeaderSize-4, wire.MaxFirst)
	}
	b = append(b, make([]byte, length-(wire.HeaderSize-4))...)
	if _, err := io.ReadFull(c, b[wire.HeaderSize:]); err != nil {
		return m, err
	}
	var f wire.Frame
	if _, err := wire.Parse(b, &f); err != nil {
		return m, &Error{FirstFrame, err}
	}
	if f.Type != t || f.Flags != 0 || f.Hops != 0 {
		return m, BadFirst("the connection begins with %v, flags %02x, %d hops; want %v", f.Type, byte(f.Flags), f.Hops, t)
	}
	if m, err = parse(f.Body); err != nil {
		return m, &Error{FirstFrame, err}
	}
	return m, nil
}

// BadFirst returns the error of a connection that does not begin as it must.
func BadFirst(format string, args ...any) error {
	return &Error{FirstFrame, fmt.Errorf(format, args...)}
}
