package iris

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

const (
	tunnelWindow = 16 << 20  // octets the node may send ahead of Recv
	tunnelGrant  = 1 << 20   // octets taken by Recv that are granted again together
	maxTunnel    = 1<<31 - 1 // octets of one message
	maxTunnels   = 4096      // of a client; with more, what others open is closed at once
	writeLimit   = 256 << 10 // octets of one message that Write sends
	reserve      = 256 << 10 // octets reserved for a message before they arrived
)

// ErrBroken: a tunnel ended otherwise than by an orderly close.
var ErrBroken = errors.New("the tunnel was broken off")

// A Tunnel carries messages between two programs: in order, without loss, both
// ways, and never faster than they are taken. It is also an io.ReadWriteCloser,
// which does not see where messages begin and end. Its methods may be called
// concurrently.
//
// Whoever opened a tunnel closes it: until then it holds what was not taken, at
// most 16 MiB and one message.
type Tunnel struct {
	conn    *conn
	id      uint64
	sending chan struct{} // holds a token while nobody sends
	allowed chan struct{} // pulsed when credit grew
	arrived chan struct{} // pulsed when inbox grew
	ended   chan struct{} // closed when nothing more comes from the node
	built   chan bool     // of an initiator: the node's answer

	mu      sync.Mutex
	open    bool  // the node knows it
	given   bool  // its initiator no longer waits for it
	closed  bool  // by Close
	err     error // what Recv and Send say at the end; final once ended is closed
	credit  int   // octets that may be sent
	inbox   [][]byte
	part    []byte // of a message that is arriving
	missing int    // octets of it
	owed    int    // octets taken and not granted again

	reading sync.Mutex
	rest    []byte // of the message that Read is at
}

func (c *conn) newTunnel() *Tunnel {
	t := &Tunnel{
		conn:    c,
		sending: make(chan struct{}, 1),
		allowed: make(chan struct{}, 1),
		arrived: make(chan struct{}, 1),
		ended:   make(chan struct{}),
		built:   make(chan bool, 1),
	}
	t.sending <- struct{}{}
	return t
}

// enter gives t an id. It reports false when the connection has ended.
func (c *conn) enter(t *Tunnel) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	t.id = c.nextEnd
	c.nextEnd++
	c.tunnels[t.id] = t
	return true
}

func (c *conn) tunnel(id uint64) *Tunnel {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tunnels[id]
}

func (c *conn) forget(t *Tunnel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tunnels, t.id)
}

// Tunnel opens a tunnel to a member of cluster. It has time until the deadline of
// ctx, else the Timeout of the Config, for a member to be there; then the error is
// ErrTimeout.
func (c *Client) Tunnel(ctx context.Context, cluster string) (*Tunnel, error) {
	t, err := c.tunnel(ctx, cluster)
	if err != nil {
		return nil, fmt.Errorf("iris: tunnel to %.64q: %w", cluster, err)
	}
	return t, nil
}

func (c *Client) tunnel(ctx context.Context, cluster string) (*Tunnel, error) {
	if err := c.check("cluster", cluster, nil); err != nil {
		return nil, err
	}
	due, err := c.due(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := c.use(ctx, due)
	if err != nil {
		return nil, err
	}
	t := conn.newTunnel()
	if !conn.enter(t) {
		<-conn.ended
		return nil, conn.err
	}
	ctx, done := context.WithDeadline(ctx, due.Add(guardGrace)) // the node tells when time is over
	defer done()
	m := relaywire.Message{Op: relaywire.TunnelInit, ID: t.id, Name: []byte(cluster), Timeout: milliseconds(time.Until(due))}
	if err := conn.out.add(ctx, due, &m, direct); err != nil {
		conn.forget(t)
		return nil, err
	}
	select {
	case ok := <-t.built:
		if !ok {
			return nil, ErrTimeout
		}
		return t, nil
	case <-t.ended:
		select {
		case <-t.built: // with success, and closed at once
			return t, nil
		default:
			return nil, t.err
		}
	case <-ctx.Done():
	}
	t.mu.Lock()
	open := t.open
	t.given = true
	t.mu.Unlock()
	if open {
		t.Close() // it was built at the last moment
	}
	return nil, contextError(ctx)
}

// accept takes a tunnel that another program opens. The node waits for that, so
// a client that has too many takes it and closes it.
func (c *conn) accept(build uint64) {
	cl := c.client
	t := c.newTunnel()
	t.open = true
	if !c.enter(t) {
		return
	}
	c.out.force(&relaywire.Message{Op: relaywire.TunnelConfirm, ID: build, Tunnel: t.id}, later)
	c.out.force(&relaywire.Message{Op: relaywire.TunnelAllow, ID: t.id, Size: tunnelWindow}, later)
	c.mu.Lock()
	many := len(c.tunnels) > maxTunnels
	c.mu.Unlock()
	if many || !cl.gate.enter() {
		cl.stats.tunnels.dropped.Add(1)
		cl.config.Log.Warn("a tunnel was closed at once: the client is closing or has too many", "most", maxTunnels)
		t.mu.Lock()
		t.closed = true
		t.mu.Unlock()
		c.out.force(&relaywire.Message{Op: relaywire.TunnelClose, ID: t.id}, later)
		return
	}
	go func() {
		defer cl.gate.leave()
		cl.handler.HandleTunnel(c.ctx, t)
		t.Close()
		cl.stats.tunnels.handled.Add(1)
	}()
}

// tunnelMessage acts on what the node sends for a tunnel.
func (c *conn) tunnelMessage(m *relaywire.Message) error {
	t := c.tunnel(m.ID)
	if t == nil {
		return fmt.Errorf("%w: message %#02x for tunnel %d, which is not open", errProtocol, m.Op, m.ID)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch m.Op {
	case relaywire.TunnelResult:
		if t.open {
			return fmt.Errorf("%w: second result for tunnel %d", errProtocol, m.ID)
		}
		if m.TimedOut {
			c.forget(t)
			t.built <- false
			return nil
		}
		t.open = true
		if t.given {
			t.closed = true
			return c.out.force(&relaywire.Message{Op: relaywire.TunnelClose, ID: t.id}, later)
		}
		t.built <- true
		return c.out.force(&relaywire.Message{Op: relaywire.TunnelAllow, ID: t.id, Size: tunnelWindow}, later)
	case relaywire.TunnelAllow:
		t.credit += int(min(m.Size, maxTunnel))
		pulse(t.allowed)
	case relaywire.TunnelTransfer:
		return t.chunk(m)
	case relaywire.TunnelClose:
		c.forget(t)
		err := io.EOF
		if len(m.Body) > 0 {
			err = fmt.Errorf("%w: %s", ErrBroken, strings.ToValidUTF8(string(m.Body), "?"))
		}
		t.endLocked(err)
	}
	return nil
}

// end says that nothing more comes.
func (t *Tunnel) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked(err)
}

func (t *Tunnel) endLocked(err error) {
	if t.closed {
		err = ErrClosed
	}
	t.err = err
	t.part, t.missing = nil, 0
	close(t.ended)
}

// chunk takes in a part of a message; the caller holds t.mu.
func (t *Tunnel) chunk(m *relaywire.Message) error {
	if t.closed {
		return nil
	}
	if m.Size > 0 {
		if t.missing > 0 { // its sender gave it up: only now is it known that it need not be kept
			if err := t.grant(len(t.part)); err != nil {
				return err
			}
		}
		if m.Size > maxTunnel {
			return fmt.Errorf("%w: tunnel message of %d octets", errProtocol, m.Size)
		}
		t.missing = int(m.Size)
		t.part = make([]byte, 0, min(t.missing, reserve))
	}
	if len(m.Body) == 0 || len(m.Body) > t.missing {
		return fmt.Errorf("%w: tunnel chunk of %d octets where %d were missing", errProtocol, len(m.Body), t.missing)
	}
	t.part = append(t.part, m.Body...)
	if t.missing -= len(m.Body); t.missing == 0 {
		t.inbox = append(t.inbox, t.part)
		t.part = nil
		pulse(t.arrived)
	}
	return nil
}

// grant lets the node send n octets more, by and by; the caller holds t.mu.
func (t *Tunnel) grant(n int) error {
	if t.owed += n; t.owed < tunnelGrant {
		return nil
	}
	m := relaywire.Message{Op: relaywire.TunnelAllow, ID: t.id, Size: uint64(t.owed)}
	t.owed = 0
	return t.conn.out.force(&m, soon)
}

// Send sends a message of 1 to 2^31-1 octets. It waits while the peer does not
// take what was sent before, until ctx is done: the peer gets nothing of the
// message then, and the next may be sent. After the peer's close the error is
// io.EOF, after Close ErrClosed, else ErrBroken or ErrLost.
func (t *Tunnel) Send(ctx context.Context, msg []byte) error {
	if len(msg) == 0 || len(msg) > maxTunnel {
		return fmt.Errorf("iris: tunnel: %w: a message has 1 to %d octets, this one %d", ErrTooLarge, maxTunnel, len(msg))
	}
	select {
	case <-t.sending:
	case <-ctx.Done():
		return contextError(ctx)
	}
	defer func() { t.sending <- struct{}{} }()
	size := uint64(len(msg))
	for len(msg) > 0 {
		n := min(len(msg), relaywire.ChunkLimit)
		if err := t.spend(ctx, n); err != nil {
			return err
		}
		m := relaywire.Message{Op: relaywire.TunnelTransfer, ID: t.id, Size: size, Body: msg[:n]}
		if err := t.conn.out.add(ctx, time.Time{}, &m, soon); err != nil {
			t.mu.Lock()
			t.credit += n
			t.mu.Unlock()
			return err
		}
		msg, size = msg[n:], 0
	}
	return nil
}

// spend waits for credit for n octets and takes it.
func (t *Tunnel) spend(ctx context.Context, n int) error {
	for {
		select {
		case <-t.ended:
			return t.err
		default:
		}
		if ctx.Err() != nil {
			return contextError(ctx)
		}
		t.mu.Lock()
		closed, enough := t.closed, t.credit >= n
		if enough {
			t.credit -= n
		}
		t.mu.Unlock()
		if closed {
			return ErrClosed
		}
		if enough {
			return nil
		}
		select {
		case <-t.allowed:
		case <-t.ended:
		case <-ctx.Done():
		}
	}
}

// Recv returns the next message. It waits for one until ctx is done. What the
// peer sent before it closed is still returned; then the error is io.EOF, or
// ErrBroken or ErrLost if that was no orderly end. After Close it is ErrClosed.
func (t *Tunnel) Recv(ctx context.Context) ([]byte, error) {
	for over := false; ; {
		t.mu.Lock()
		if t.closed {
			t.mu.Unlock()
			pulse(t.arrived) // somebody else may be waiting
			return nil, ErrClosed
		}
		if len(t.inbox) > 0 {
			msg := t.inbox[0]
			t.inbox[0] = nil
			if t.inbox = t.inbox[1:]; len(t.inbox) > 0 {
				pulse(t.arrived) // somebody else may be waiting
			} else {
				t.inbox = nil
			}
			if t.err == nil {
				t.grant(len(msg)) // where that fails the tunnel ends, which the next call tells
			}
			t.mu.Unlock()
			return msg, nil
		}
		t.mu.Unlock()
		if over {
			return nil, t.err
		}
		select {
		case <-t.arrived:
		case <-t.ended:
			over = true // but messages may have come before
		case <-ctx.Done():
			return nil, contextError(ctx)
		}
	}
}

// Read reads from the messages as one stream.
func (t *Tunnel) Read(p []byte) (int, error) {
	t.reading.Lock()
	defer t.reading.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if len(t.rest) == 0 {
		msg, err := t.Recv(context.Background())
		if err != nil {
			return 0, err
		}
		t.rest = msg
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// Write sends p, as one message or several.
func (t *Tunnel) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), writeLimit)]
		if err := t.Send(context.Background(), part); err != nil {
			return n, err
		}
		n += len(part)
		p = p[len(part):]
	}
	return n, nil
}

// Close closes the tunnel, both ways. The peer gets what was sent before; what it
// sent and Recv did not return is lost. It returns an error if the tunnel had been
// broken off before, or the node does not confirm within 5 s.
func (t *Tunnel) Close() error {
	t.mu.Lock()
	first := !t.closed
	t.closed = true
	t.inbox, t.part = nil, nil
	err := t.err
	t.mu.Unlock()
	if !first {
		return nil
	}
	if err != nil {
		if err == io.EOF || errors.Is(err, ErrClosed) {
			return nil
		}
		return err
	}
	pulse(t.allowed) // a Send that waits
	pulse(t.arrived) // a Recv that waits
	if err := t.conn.out.force(&relaywire.Message{Op: relaywire.TunnelClose, ID: t.id}, direct); err != nil {
		return nil // the connection has ended, and the tunnel with it
	}
	timer := time.NewTimer(attachLimit)
	defer timer.Stop()
	select {
	case <-t.ended:
		return nil
	case <-timer.C:
		return fmt.Errorf("iris: close of a tunnel: %w: the node does not confirm it", ErrTimeout)
	}
}

// pulse wakes the one who waits for c, or the next who will.
func pulse(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
