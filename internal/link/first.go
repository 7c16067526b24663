package link

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// readFirst reads the first frame of a connection, which is to be of type t, and
// not an octet more.
func readFirst(c io.Reader, t wire.Type) ([]byte, error) {
	b := make([]byte, wire.HeaderSize, 256)
	if _, err := io.ReadFull(c, b); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(b)
	if length < wire.HeaderSize-4 || length > wire.MaxFirst {
		return nil, firstFrame("first frame of %d octets after its length, want %d to %d", length, wire.HeaderSize-4, wire.MaxFirst)
	}
	b = append(b, make([]byte, int(length)-(wire.HeaderSize-4))...)
	if _, err := io.ReadFull(c, b[wire.HeaderSize:]); err != nil {
		return nil, err
	}
	var f wire.Frame
	if _, err := wire.Parse(b, &f); err != nil {
		return nil, &session.Error{Code: session.FirstFrame, Err: err}
	}
	if f.Type != t || f.Flags != 0 || f.Hops != 0 {
		return nil, firstFrame("the connection begins with %v, flags %02x, %d hops; want %v", f.Type, byte(f.Flags), f.Hops, t)
	}
	return f.Body, nil
}

func firstFrame(format string, args ...any) error {
	return &session.Error{Code: session.FirstFrame, Err: fmt.Errorf(format, args...)}
}

func readHello(c io.Reader) (wire.Hello, error) {
	body, err := readFirst(c, wire.TypeHello)
	if err != nil {
		return wire.Hello{}, err
	}
	h, err := wire.ParseHello(body)
	if err != nil {
		return h, &session.Error{Code: session.FirstFrame, Err: err}
	}
	return h, nil
}

func readWelcome(c io.Reader) (wire.Welcome, error) {
	body, err := readFirst(c, wire.TypeWelcome)
	if err != nil {
		return wire.Welcome{}, err
	}
	w, err := wire.ParseWelcome(body)
	if err != nil {
		return w, &session.Error{Code: session.FirstFrame, Err: err}
	}
	return w, refusal(w.Result)
}

// refusal is the error that a Welcome's result stands for.
func refusal(result byte) error {
	code := session.FirstFrame
	switch result {
	case wire.ResultUp:
		return nil
	case wire.ResultTie:
		code = session.WelcomeTie
	case wire.ResultFull:
		code = session.WelcomeFull
	case wire.ResultLeaving:
		code = session.WelcomeLeaving
	case wire.ResultUnknownLink:
		code = session.LinkUnknown
	}
	return &session.Error{Code: code, Err: fmt.Errorf("the other node answered %d to HELLO", result)}
}
