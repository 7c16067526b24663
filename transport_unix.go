//go:build unix

package iris

import (
	"net"
	"syscall"
)

// A rawWriter writes to a socket of the system. Its user has the outbox's claim.
// The function given to the system is made once, and so what it is for is in
// fields.
type rawWriter struct {
	raw     syscall.RawConn
	p       []byte
	n       int
	err     error
	writing func(fd uintptr) bool
}

// newTryWriter returns nil if nc cannot be written without blocking. What wraps a
// socket may have its methods and another Write.
func newTryWriter(nc net.Conn) tryWriter {
	var raw syscall.RawConn
	var err error
	switch nc := nc.(type) {
	case *net.TCPConn:
		raw, err = nc.SyscallConn()
	case *net.UnixConn:
		raw, err = nc.SyscallConn()
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	w := &rawWriter{raw: raw}
	w.writing = w.writeFD
	return w
}

func (w *rawWriter) tryWrite(p []byte) (int, error) {
	w.p = p
	if err := w.raw.Write(w.writing); err != nil {
		return 0, err
	}
	w.p = nil
	if w.err == syscall.EAGAIN {
		return w.n, nil
	}
	return w.n, w.err
}

func (w *rawWriter) writeFD(fd uintptr) bool {
	for {
		w.n, w.err = syscall.Write(int(fd), w.p)
		if w.err != nil {
			w.n = 0
		}
		if w.err != syscall.EINTR {
			return true
		}
	}
}
