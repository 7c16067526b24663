package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A Conn is one end of a connection. It behaves like a *net.TCPConn: Write
// blocks while Buffer bytes are unread at the other end, deadlines wake blocked
// calls with os.ErrDeadlineExceeded, and calls on a closed Conn return
// net.ErrClosed. Errors other than io.EOF are *net.OpError. All methods may be
// called concurrently; a Write is never split by another one.
type Conn struct {
	link          *link
	in, out       *stream
	local, remote Addr
	closed        bool // under link.mu
}

// A link is what the two ends of a connection share. One lock serves both
// directions, so that closing is one step for either end.
type link struct {
	mu      sync.Mutex
	reset   bool // one end was closed before it read everything
	streams [2]stream
	ends    [2]Conn
}

func pair(a, b Addr) (near, far *Conn) {
	l := new(link)
	for i := range l.streams {
		l.streams[i].readable.L = &l.mu
		l.streams[i].writable.L = &l.mu
	}
	l.ends[0] = Conn{link: l, in: &l.streams[0], out: &l.streams[1], local: a, remote: b}
	l.ends[1] = Conn{link: l, in: &l.streams[1], out: &l.streams[0], local: b, remote: a}
	return &l.ends[0], &l.ends[1]
}

// LocalAddr returns the address of this end, an Addr.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the other end, an Addr.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Read reads what has arrived, up to len(p) bytes, and waits for at least one.
// After the last byte the other end wrote it returns io.EOF; after a reset, see
// Close, it returns syscall.ECONNRESET.
func (c *Conn) Read(p []byte) (int, error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, c.opError("read", net.ErrClosed)
		case c.in.readDeadline.expired():
			return 0, c.opError("read", os.ErrDeadlineExceeded)
		case c.link.reset:
			return 0, c.opError("read", syscall.ECONNRESET)
		case len(p) == 0:
			return 0, nil
		case c.in.size > 0:
			c.in.writable.Broadcast()
			return c.in.take(p), nil
		case c.in.ended:
			return 0, io.EOF
		}
		c.in.readable.Wait()
	}
}

// Write hands p to the other end and returns when all of it is on its way. On
// an error the bytes counted by n are on their way and no others. The error is
// syscall.EPIPE when the other end is closed or this one was half closed, and
// syscall.ECONNRESET after a reset, see Close.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	owner := false // whether this call holds c.out.writing
	defer func() {
		if owner {
			c.out.writing = false
			c.out.writable.Broadcast()
		}
	}()
	for {
		switch {
		case c.closed:
			return n, c.opError("write", net.ErrClosed)
		case c.out.writeDeadline.expired():
			return n, c.opError("write", os.ErrDeadlineExceeded)
		case c.link.reset:
			return n, c.opError("write", syscall.ECONNRESET)
		case c.out.ended, c.out.refused:
			return n, c.opError("write", syscall.EPIPE)
		case owner || !c.out.writing:
			owner, c.out.writing = true, true
			if m := c.out.put(p[n:]); m > 0 {
				n += m
				c.out.readable.Broadcast()
			}
			if n == len(p) {
				return n, nil
			}
		}
		c.out.writable.Wait()
	}
}

// CloseWrite closes the sending half: the other end reads what was written and
// then io.EOF, and can still write back.
func (c *Conn) CloseWrite() error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closed {
		return c.opError("close", net.ErrClosed)
	}
	c.out.ended = true
	c.out.wake()
	return nil
}

// Close closes this end. The other end reads what was written before and then
// io.EOF. But if this end has input it did not read, the connection is reset:
// the other end gets syscall.ECONNRESET at once, and what it had not read is
// lost, as on TCP.
func (c *Conn) Close() error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closed {
		return c.opError("close", net.ErrClosed)
	}
	c.close(c.in.size > 0)
	return nil
}

// abort closes this end with a reset.
func (c *Conn) abort() {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.close(true)
}

// close closes this end; the caller holds the lock.
func (c *Conn) close(reset bool) {
	c.closed = true
	if reset {
		c.link.reset = true
		c.out.drop()
	}
	c.in.drop()
	c.in.refused = true
	c.out.ended = true
	c.in.readDeadline.set(time.Time{}, &c.in.readable)
	c.out.writeDeadline.set(time.Time{}, &c.out.writable)
	// Calls at this end must see closed, those at the other the end, the
	// refusal or the reset.
	c.in.wake()
	c.out.wake()
}

// SetDeadline sets the read and the write deadline.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.setDeadlines(t, true, true)
}

// SetReadDeadline makes calls to Read fail from t on, blocked ones too. The
// zero time means no deadline.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.setDeadlines(t, true, false)
}

// SetWriteDeadline makes calls to Write fail from t on, blocked ones too. The
// zero time means no deadline.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadlines(t, false, true)
}

func (c *Conn) setDeadlines(t time.Time, read, write bool) error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	if read {
		c.in.readDeadline.set(t, &c.in.readable)
	}
	if write {
		c.out.writeDeadline.set(t, &c.out.writable)
	}
	return nil
}

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}
