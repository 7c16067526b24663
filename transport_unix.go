//go:build unix

package iris

import (
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
)

// readTries is how often a read is tried before the goroutine blocks in the
// poller. Waking it is the dearest part of a round trip, and the answer is often
// there within a few turns of the scheduler.
const readTries = 5

// A rawReader reads from a socket of the system. The function given to it is
// made once, and so what it is for is in fields.
type rawReader struct {
	raw     syscall.RawConn
	p       []byte
	wait    bool // it may block
	n       int
	err     error
	reading func(fd uintptr) bool
}

// A rawWriter is rawReader's other direction. Its user has the outbox's claim.
type rawWriter struct {
	raw     syscall.RawConn
	p       []byte
	n       int
	err     error
	writing func(fd uintptr) bool
}

func rawConn(nc net.Conn) syscall.RawConn {
	s, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// newReader returns the best reader for nc.
func newReader(nc net.Conn) io.Reader {
	raw := rawConn(nc)
	if raw == nil {
		return nc
	}
	r := &rawReader{raw: raw}
	r.reading = r.readFD
	return r
}

func (r *rawReader) Read(p []byte) (int, error) {
	r.p = p
	for try := 0; ; try++ {
		r.wait = try == readTries
		if err := r.raw.Read(r.reading); err != nil {
			return 0, err
		}
		if r.err != syscall.EAGAIN {
			return r.n, r.err
		}
		runtime.Gosched()
	}
}

// readFD is called by the poller: at once, and each time there may be input. It
// reports whether that is enough.
func (r *rawReader) readFD(fd uintptr) bool {
	r.n, r.err = ignoringEINTR(syscall.Read, int(fd), r.p)
	switch {
	case r.err == syscall.EAGAIN:
		return !r.wait
	case r.err != nil:
		r.err = os.NewSyscallError("read", r.err)
	case r.n == 0:
		r.err = io.EOF
	}
	return true
}

// newTryWriter returns nil if nc cannot be written without blocking.
func newTryWriter(nc net.Conn) tryWriter {
	raw := rawConn(nc)
	if raw == nil {
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
	w.n, w.err = ignoringEINTR(syscall.Write, int(fd), w.p)
	return true
}

// ignoringEINTR returns 0 octets with every error.
func ignoringEINTR(f func(int, []byte) (int, error), fd int, p []byte) (int, error) {
	for {
		n, err := f(fd, p)
		if err == nil {
			return n, nil
		}
		if err != syscall.EINTR {
			return 0, err
		}
	}
}
