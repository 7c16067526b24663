package session

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/project-iris/iris/internal/wire"
)

func TestFirstFrameIsReadAndNothingBehindIt(t *testing.T) {
	id := [16]byte{1, 2, 3}
	sent := wire.Append(nil, wire.Attach{Tunnel: id})
	c := bytes.NewReader(append(bytes.Clone(sent), "more"...))
	m, err := ReadFirst(c, wire.TypeAttach, wire.ParseAttach)
	if err != nil || m.Tunnel != id || c.Len() != len("more") {
		t.Errorf("got %v, %v, and %d octets are left", m, err, c.Len())
	}
	for n := range sent {
		_, err := ReadFirst(bytes.NewReader(sent[:n]), wire.TypeAttach, wire.ParseAttach)
		if err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Errorf("of %d octets: %v", n, err)
		}
	}
}

func TestConnectionThatBeginsWithSomethingElse(t *testing.T) {
	frame := func(f wire.Frame, body int) []byte {
		return append(f.AppendHead(nil, body), make([]byte, body)...)
	}
	for name, sent := range map[string][]byte{
		"no frame":   []byte("GET / HTTP/1.1\r\n\r\n"),
		"too short":  {0, 0, 0, 3, 0, 0, 0, 1},
		"too long":   frame(wire.Frame{Type: wire.TypeAttach}, wire.MaxFirst),
		"another":    frame(wire.Frame{Type: wire.TypeAttached}, 1),
		"flags":      frame(wire.Frame{Type: wire.TypeAttach, Flags: wire.Skip}, 16),
		"short body": frame(wire.Frame{Type: wire.TypeAttach}, 15),
	} {
		_, err := ReadFirst(bytes.NewReader(sent), wire.TypeAttach, wire.ParseAttach)
		var e *Error
		if !errors.As(err, &e) || e.Code != FirstFrame {
			t.Errorf("%s: %v, want %v", name, err, FirstFrame)
		}
	}
}
