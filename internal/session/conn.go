package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/internal/nonblock"
	"github.com/project-iris/iris/internal/ring"
)

// handshakeBytes is how many octets of the peer's may come before the handshake is
// complete.
const handshakeBytes = 16 << 10

// A Conn is a connection to another node of the network: encrypted, and both sides
// have proved who they are.
type Conn struct {
	*tls.Conn
	raw     *counted
	peer    peer
	purpose Purpose
}

// Peer returns the id of the node at the other end.
func (c *Conn) Peer() ring.ID { return c.peer.id }

// Purpose returns what the dialler said the connection is for.
func (c *Conn) Purpose() Purpose { return c.purpose }

// Anchor returns which of the accepted network keys, in their order, signed the
// peer's certificate.
func (c *Conn) Anchor() int { return c.peer.anchor }

// Wire returns how many octets were read from and written to the wire, those of TLS
// included.
func (c *Conn) Wire() (read, written uint64) { return c.raw.in.Load(), c.raw.out.Load() }

// A counted is a connection that counts what passes, and until the handshake is
// complete lets only so much in.
type counted struct {
	net.Conn
	first   []byte // leaves with what is written first
	in, out atomic.Uint64
	early   atomic.Bool
	stage   stage
	ahead   ahead
}

func (c *counted) Read(b []byte) (int, error) {
	early := c.early.Load()
	if early {
		left := handshakeBytes - int64(c.in.Load())
		if left <= 0 {
			return 0, &Error{TLSBytes, nil}
		}
		b = b[:min(int64(len(b)), left)]
	}
	n, err := c.ahead.read(c.Conn, b, early)
	c.in.Add(uint64(n))
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	if first := c.first; first != nil {
		c.first = nil
		n, err := c.Conn.Write(append(first, b...))
		c.out.Add(uint64(n))
		return max(n-len(first), 0), err
	}
	n, err := c.stage.write(c.Conn, b)
	c.out.Add(uint64(n))
	return n, err
}

// Dial makes nc, which was dialled to port of another node, a connection for the
// purpose. With expect set only that node will do. The error is an *Error; nc is
// then closed. The other side has not yet judged us when Dial returns: it is up
// once it has sent something.
func (i *Identity) Dial(ctx context.Context, nc net.Conn, p Purpose, port uint16, expect ring.ID) (*Conn, error) {
	raw := &counted{Conn: nc, first: i.knock(p, port)}
	c, err := i.handshake(ctx, raw, true, expect)
	if err != nil {
		nc.Close()
		return nil, err
	}
	c.purpose = p
	return c, nil
}

// accept makes nc, on which a good knock came, a connection for the purpose.
func (i *Identity) accept(ctx context.Context, nc net.Conn, p Purpose) (*Conn, error) {
	c, err := i.handshake(ctx, &counted{Conn: nc}, false, ring.ID{})
	if err != nil {
		return nil, err
	}
	c.purpose = p
	return c, nil
}

func (i *Identity) handshake(ctx context.Context, raw *counted, dials bool, expect ring.ID) (*Conn, error) {
	c := &Conn{raw: raw}
	config := i.config(dials, expect, &c.peer)
	if dials {
		c.Conn = tls.Client(raw, config)
	} else {
		c.Conn = tls.Server(raw, config)
	}
	raw.early.Store(true)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, classify(err, dials, raw)
	}
	raw.early.Store(false)
	raw.stage.try = nonblock.New(raw.Conn)
	tune(raw.Conn)
	return c, nil
}

// classify returns the error of a handshake with its code.
func classify(err error, dials bool, raw *counted) *Error {
	var e *Error
	var timeout net.Error
	var op *net.OpError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &timeout) && timeout.Timeout(): // as context.DeadlineExceeded is
		return &Error{TLSTime, err}
	case dials && raw.in.Load() == 0 && (errors.Is(err, io.EOF) || errors.As(err, &op)):
		return &Error{DialClosed, err}
	}
	return &Error{TLSFailed, err}
}

// greetItself shakes hands within the process, with both sides checking all but the
// one thing that must fail.
func (i *Identity) greetItself() error {
	l := memnet.Listen("self")
	defer l.Close()
	a, err := l.Dial()
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := l.Accept()
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.Close()
		i.handshake(context.Background(), &counted{Conn: b}, false, ring.ID{})
	}()
	_, err = i.handshake(context.Background(), &counted{Conn: a}, true, ring.ID{})
	a.Close()
	<-done
	var e *Error
	switch {
	case !errors.As(err, &e):
		return errors.New("the node takes itself for another")
	case e.Code == PeerSelf:
		return nil // 1 to 7 passed
	case e.Code == TLSFailed:
		return fmt.Errorf("the node cannot shake hands with itself: %w; if GODEBUG has tlsmlkem=0, take it out", err)
	}
	return fmt.Errorf("the node cannot shake hands with itself: %w; %s", err, e.Code.Hint())
}
