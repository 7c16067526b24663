//go:build unix

package relay

import (
	"io"
	"net"
	"os"
	"syscall"

	"github.com/project-iris/iris/internal/nonblock"
)

// unixBuffer is how many octets the system is asked to hold on a Unix socket.
// TCP's buffers grow by themselves.
const unixBuffer = 1 << 20

// socket is the transport of a socket of the system. The function given to
// the system is made once, and so what it is for is in fields.
type socket struct {
	raw syscall.RawConn

	in      *input // of the read under way
	n       int
	err     error
	reading func(fd uintptr) bool

	writer *nonblock.Writer // the holder of the queue's claim has it
}

// newTransport returns the best transport for nc.
func newTransport(nc net.Conn) transport {
	if unix, ok := nc.(*net.UnixConn); ok {
		unix.SetWriteBuffer(unixBuffer) // the default is worth two chunks of a tunnel; without it, it is only slower
	}
	s, ok := nc.(syscall.Conn)
	if !ok {
		return blocking{nc}
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return blocking{nc}
	}
	t := &socket{raw: raw, writer: nonblock.New(nc)}
	t.reading = t.readFD
	return t
}

func (t *socket) read(in *input) (int, error) {
	t.in = in
	if err := t.raw.Read(t.reading); err != nil {
		return 0, err
	}
	return t.n, t.err
}

// readFD is called by the poller's Read: at once, and each time there may be
// input. It reports whether that is enough.
func (t *socket) readFD(fd uintptr) bool {
	p := t.in.ready(largeInput)
	for {
		if t.n, t.err = syscall.Read(int(fd), p); t.err != syscall.EINTR {
			break
		}
	}
	switch {
	case t.err == syscall.EAGAIN:
		t.in.park()
		return false
	case t.err != nil:
		t.n, t.err = 0, os.NewSyscallError("read", t.err)
	case t.n == 0:
		t.err = io.EOF
	}
	return true
}

func (t *socket) tryWrite(p []byte) (int, error) { return t.writer.Write(p) }
