package main

import (
	"bufio"
	"io"
	"net"
)

// The floor is what a request takes when all that is in the middle is a relay
// that copies bytes. Iris's time over the floor's tells what the node adds to
// the unavoidable, since the rest of a round trip is the same:
//
//   - as many processes, over the same kind of socket, each a Go program
//     whose goroutines wait in the runtime's poller
//   - as many wake-ups, which cost far more than code: the relay twice, the
//     service's reader and handler, the client's reader and caller
//   - frames of as many octets as Iris has on the wire
//   - the client library's ways: the caller writes, one goroutine reads into
//     a large buffer and wakes the caller through a channel
//
// The floor parses nothing, knows no names, keeps no deadline and has one
// request at a time. It is no bound: a node that spares itself a wait in the
// poller can be below it.
type floorProgram struct {
	conn    net.Conn
	frame   []byte
	replies chan []byte
	ended   error // why replies was closed
}

// frameSize is what Iris needs for a body of 128 octets: 147 and 137 octets
// for the request to and from the node, 135 and 136 for the reply.
const frameSize = 139

func connectFloor(s system, address string) (*floorProgram, error) {
	conn, err := net.Dial(s.Transport, address)
	if err != nil {
		return nil, err
	}
	p := &floorProgram{conn: conn, frame: make([]byte, frameSize), replies: make(chan []byte, 1)}
	go func() {
		p.ended = readFrames(conn, func(frame []byte) { p.replies <- frame })
		close(p.replies)
	}()
	return p, nil
}

func (p *floorProgram) Request(body []byte) ([]byte, error) {
	copy(p.frame, body)
	if _, err := p.conn.Write(p.frame); err != nil {
		return nil, err
	}
	frame, ok := <-p.replies
	if !ok {
		return nil, p.ended
	}
	return frame[:len(body)], nil
}

// serveFloor sends back what comes.
func serveFloor(s system, address string) error {
	conn, err := net.Dial(s.Transport, address)
	if err != nil {
		return err
	}
	requests := make(chan []byte, 1)
	go func() {
		readFrames(conn, func(frame []byte) { requests <- frame })
		close(requests)
	}()
	go func() {
		for frame := range requests {
			conn.Write(frame) // an error ends readFrames too
		}
	}()
	return nil
}

// readFrames reads until that fails, and hands handle each frame, its own.
func readFrames(conn net.Conn, handle func(frame []byte)) error {
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		frame := make([]byte, frameSize)
		if _, err := io.ReadFull(r, frame); err != nil {
			return err
		}
		handle(frame)
	}
}

// startFloor starts relays over TCP and over a Unix socket at path, and returns
// where the first listens. Each joins the two programs that connect.
func startFloor(path string) (address string, err error) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	unix, err := net.Listen("unix", path)
	if err != nil {
		return "", err
	}
	go join(tcp)
	go join(unix)
	return tcp.Addr().String(), nil
}

func join(l net.Listener) {
	a, err := l.Accept()
	if err != nil {
		return
	}
	b, err := l.Accept()
	if err != nil {
		return
	}
	go pour(a, b)
	go pour(b, a)
}

// pour copies bytes. It is not io.Copy, which leaves it to the kernel: a node
// has to see what it passes on.
func pour(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
