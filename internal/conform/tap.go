package conform

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// A tap is a program's connection to the node, where a Checker sees what passes.
// Beyond that what the program sends has to be in its shortest form (R4). Write is
// for one goroutine at a time, and so is Read.
type tap struct {
	net.Conn
	name    string // of the program, for reports
	scene   *scene
	unpaced int // octets of tunnels written since the last pause; of the writer

	mu       sync.Mutex
	check    Checker
	out, in  []byte // of messages that are incomplete
	encoding []byte // scratch
	deaf     bool   // an objection was raised, and what follows would only repeat it
}

// tap opens a connection to the node for the program called name, and taps it in
// invented time. Over sockets it does not: a library knows them by their type.
func (s *scene) tap(name string) (net.Conn, error) {
	conn, err := s.dial()
	if err != nil || !s.node.virtual {
		return conn, err
	}
	return &tap{Conn: conn, name: name, scene: s}, nil
}

// Read reads what the node sent.
func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.in = t.messages(append(t.in, p[:n]...), relaywire.DefaultLimits.ParseToClient, func(m *message, _ []byte) error {
		return t.check.received(m)
	})
	return n, err
}

// Write sends p to the node.
func (t *tap) Write(p []byte) (int, error) {
	t.look(p)
	n, err := t.Conn.Write(p)
	t.scene.pace(&t.unpaced)
	return n, err
}

// look has the Checker see what is about to be sent.
func (t *tap) look(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	parse := func(b []byte, m *message) (int, error) {
		if len(b) > 0 && relaywire.Op(b[0]) == relaywire.Init {
			return relaywire.DefaultLimits.ParseInit(b, m)
		}
		return relaywire.DefaultLimits.ParseToNode(b, m)
	}
	t.out = t.messages(append(t.out, p...), parse, func(m *message, encoded []byte) error {
		if m.Op == relaywire.TunnelTransfer {
			t.unpaced += len(m.Body)
		}
		err := t.check.wrong(m)
		t.check.sent(m)
		if t.encoding = m.AppendToNode(t.encoding[:0]); err == nil && !bytes.Equal(t.encoding, encoded) {
			err = fmt.Errorf("opcode %02x is not encoded in its shortest form", byte(m.Op))
		}
		return err
	})
}

// messages hands the messages at the start of b to see, whose first objection
// fails the scene, and returns the rest. The caller holds t.mu.
func (t *tap) messages(b []byte, parse func([]byte, *message) (int, error), see func(m *message, encoded []byte) error) []byte {
	rest := b
	var m message
	for !t.deaf {
		n, err := parse(rest, &m)
		if err == relaywire.ErrShort {
			break
		}
		if err == nil {
			err = see(&m, rest[:n])
			rest = rest[n:]
		}
		if err != nil {
			t.deaf = true
			t.scene.errorf("on the connection of %s: %v", t.name, err)
		}
	}
	return b[:copy(b, rest)]
}

// CloseWrite says that the program sends no more.
func (t *tap) CloseWrite() error {
	return t.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// pace keeps a sender to the library's rate in invented time, where the network
// would carry any message in no time at all. Over sockets the machine does.
// unpaced is how many octets it has put on tunnels since its last pause.
func (s *scene) pace(unpaced *int) {
	if *unpaced < relaywire.ChunkLimit || !s.node.virtual {
		return
	}
	time.Sleep(time.Duration(*unpaced) * time.Second / time.Duration(s.lib.rate))
	*unpaced = 0
}
