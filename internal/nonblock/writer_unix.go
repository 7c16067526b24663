//go:build unix

package nonblock

import (
	"net"
	"syscall"
)

// A Writer writes to a connection without waiting. One goroutine at a time may use
// it, beside any that use the connection itself.
type Writer struct {
	raw syscall.RawConn

	// Of the write under way. The function given to the system is made once, so that
	// a write allocates nothing.
	p   []byte
	n   int
	err error
	try func(fd uintptr) bool
}

// New returns a writer for nc; nil: nc is no socket of the system, or one that
// cannot do this.
func New(nc net.Conn) *Writer {
	s, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	w := &Writer{raw: raw}
	w.try = w.write
	return w
}

// Write writes what the system takes at once of p, which may be nothing; the error
// is then ErrAgain. Fewer octets than there are and no error say the same.
func (w *Writer) Write(p []byte) (int, error) {
	w.p = p
	err := w.raw.Write(w.try)
	w.p = nil
	switch {
	case err != nil:
		return 0, err
	case w.err == syscall.EAGAIN:
		return 0, ErrAgain
	case w.err != nil:
		return 0, w.err
	}
	return w.n, nil
}

// write is called by the poller. It reports that there is nothing to wait for.
func (w *Writer) write(fd uintptr) bool {
	for {
		w.n, w.err = syscall.Write(int(fd), w.p)
		if w.err != syscall.EINTR {
			return true
		}
	}
}
