package iris

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

const (
	inSize = 64 << 10  // of the input buffer
	inKept = 256 << 10 // of one that grew for larger messages and is kept
)

// A conn is one connection to the node, from handshake to end. The goroutine in
// read owns the fields without a comment of their own.
type conn struct {
	client *Client
	nc     net.Conn
	limits relaywire.Limits
	in     []byte
	r, w   int
	pushes []*pool // with jobs that were added and not pushed
	bye    bool    // the node has sent its Close

	out     *outbox         // any goroutine
	calls   calls           // any goroutine
	reading atomic.Bool     // set by read: it is about to flush out
	ctx     context.Context // of handlers
	cancel  context.CancelFunc
	closing atomic.Bool   // the program closes: Close may have been sent
	ended   chan struct{} // closed when nothing more comes; err is final then
	err     error

	mu      sync.Mutex // guards the tunnels
	tunnels map[uint64]*Tunnel
	nextEnd uint64
	over    bool // no more tunnels
}

// attach opens a connection and has the node accept it.
func (cl *Client) attach(ctx context.Context) (*conn, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx)
	}
	// A deadline of ours, so that a silent listener does not hold us up.
	limited, done := context.WithTimeout(ctx, attachLimit)
	defer done()
	var nc net.Conn
	var err error
	if cl.config.Dial != nil {
		nc, err = cl.config.Dial(limited)
	} else {
		nc, err = dial(limited, cl.config.Address, cl.config.Log)
	}
	if err != nil {
		return nil, err
	}
	c := &conn{
		client:  cl,
		nc:      nc,
		limits:  relaywire.DefaultLimits,
		in:      make([]byte, inSize),
		out:     newOutbox(nc),
		ended:   make(chan struct{}),
		tunnels: make(map[uint64]*Tunnel),
	}
	c.limits.Body = cl.config.MaxMessage
	c.calls.init()
	c.ctx, c.cancel = context.WithCancel(context.Background())
	stop := context.AfterFunc(limited, func() { nc.SetDeadline(time.Unix(1, 0)) })
	err = c.handshake()
	switch inTime := stop(); {
	case inTime:
	case ctx.Err() != nil:
		err = fmt.Errorf("attach to %s: %w", address(nc), contextError(ctx))
	default:
		err = fmt.Errorf("%w: %s does not answer within %v: is it the address of a node, and is the node well?", ErrNotIris, address(nc), attachLimit)
	}
	if err != nil {
		c.cancel()
		nc.Close()
		return nil, err
	}
	cl.config.Log.Debug("attached to the node", "address", address(nc), "network", network(nc), "cluster", cl.cluster)
	return c, nil
}

// handshake introduces the program and waits for the node's answer.
func (c *conn) handshake() error {
	init := relaywire.Message{
		Op:      relaywire.Init,
		Magic:   []byte(relaywire.ClientMagic),
		Version: []byte(relaywire.Version),
		Name:    []byte(c.client.cluster),
	}
	if _, err := c.nc.Write(init.AppendToNode(nil)); err != nil {
		return c.strange(err)
	}
	var m relaywire.Message
	for {
		n, err := c.limits.ParseToClient(c.in[c.r:c.w], &m)
		switch {
		case err == relaywire.ErrShort:
			if err := c.fill(n); err != nil {
				return c.strange(err)
			}
			continue
		case err != nil:
			return c.strange(err)
		case m.Op != relaywire.Accept && m.Op != relaywire.Deny, string(m.Magic) != relaywire.NodeMagic:
			return c.strange(errors.New("it sent something else"))
		case m.Op == relaywire.Deny:
			return &DeniedError{string(m.Body)}
		case string(m.Version) != relaywire.Version:
			return &DeniedError{fmt.Sprintf("it is %q, we are %q", m.Version, relaywire.Version)}
		}
		c.r += n
		return nil
	}
}

// strange is what a handshake fails with that no node of ours would end so.
func (c *conn) strange(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %s hung up: it is another service, or a node that takes no more programs: check the address, and \"iris status\"", ErrNotIris, address(c.nc))
	}
	return fmt.Errorf("%w: %s does not speak the relay protocol (%w): check the address", ErrNotIris, address(c.nc), err)
}

// address names the other end of nc.
func address(nc net.Conn) string {
	if a := nc.RemoteAddr(); a != nil && a.String() != "" {
		return a.String()
	}
	return "who was dialled"
}

// network names what nc runs over.
func network(nc net.Conn) string {
	if a := nc.RemoteAddr(); a != nil {
		return a.Network()
	}
	return ""
}

// serve runs the connection to its end.
func (c *conn) serve() {
	var writer sync.WaitGroup
	writer.Go(c.out.run)
	err := c.read()
	c.reading.Store(false)
	c.push()
	if broken := c.out.failed(); broken != nil && errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(broken, os.ErrDeadlineExceeded) {
		err = broken // a write failed, and the node did not say why
	}
	switch {
	case c.closing.Load() && c.bye:
		err = ErrClosed
	case c.closing.Load() && errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("%w: %w", ErrClosed, errSilent)
	case !errors.Is(err, ErrLost):
		err = fmt.Errorf("%w: %w", ErrLost, err)
	}
	c.err = err
	c.client.detach(c)
	c.out.close(err)
	c.nc.Close()
	writer.Wait()
	c.cancel()
	c.calls.fail(err)
	c.mu.Lock()
	open := c.tunnels
	c.tunnels, c.over = nil, true
	c.mu.Unlock()
	for _, t := range open {
		t.end(err)
	}
	close(c.ended)
}

// read handles what the node sends until nothing more can come.
func (c *conn) read() error {
	var m relaywire.Message
	for {
		n, err := c.limits.ParseToClient(c.in[c.r:c.w], &m)
		switch {
		case err == nil:
			c.r += n
			if !c.reading.Load() {
				c.reading.Store(true)
			}
			if err := c.handle(&m); err != nil {
				return err
			}
		case err == relaywire.ErrShort:
			c.settle()
			if err := c.fill(n); err != nil {
				if err == io.EOF {
					err = errors.New("it ended without a word")
				}
				return err
			}
		default:
			return fmt.Errorf("the node sent what breaks the protocol: %w", err)
		}
	}
}

// settle hands over what the input at hand has led to. Who finds reading set
// after adding to out may leave the flush to it.
func (c *conn) settle() {
	c.push()
	if c.reading.Load() {
		c.reading.Store(false)
		c.out.flush()
	}
}

func (c *conn) push() {
	for i, p := range c.pushes {
		p.push()
		c.pushes[i] = nil
	}
	c.pushes = c.pushes[:0]
}

// fill reads more, until need octets are there or some arrived. The buffer grows
// to twice of what has arrived at most, whatever was announced.
func (c *conn) fill(need int) error {
	have := c.w - c.r
	switch {
	case have == 0 && len(c.in) > inKept:
		c.in = make([]byte, inSize)
		c.r, c.w = 0, 0
	case c.r > 0 && (have == 0 || len(c.in)-c.r < need):
		copy(c.in, c.in[c.r:c.w])
		c.r, c.w = 0, have
	}
	if c.w == len(c.in) {
		grown := make([]byte, max(inKept, min(need+inSize, 2*have)))
		copy(grown, c.in[c.r:c.w])
		c.in, c.r, c.w = grown, 0, have
	}
	n, err := c.nc.Read(c.in[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

var errProtocol = errors.New("the node sent what breaks the protocol")

// handle acts on one message. It never blocks.
func (c *conn) handle(m *relaywire.Message) error {
	cl := c.client
	if c.bye {
		return nil
	}
	switch m.Op {
	case relaywire.Reply:
		if !c.calls.answer(m) {
			return fmt.Errorf("%w: reply to request %d, which is not pending", errProtocol, m.ID)
		}
		return nil
	case relaywire.Publish:
		if s := (*cl.topics.Load())[string(m.Name)]; s != nil {
			c.take(s.pool, m)
		}
		return nil // else it was on its way when the topic was unsubscribed
	case relaywire.TunnelTransfer, relaywire.TunnelAllow, relaywire.TunnelClose, relaywire.TunnelResult:
		return c.tunnelMessage(m)
	case relaywire.Close:
		c.bye = true
		if len(m.Body) == 0 && c.closing.Load() {
			return nil // the end of input follows
		}
		return fmt.Errorf("%w: the node ended it: %s", ErrLost, strings.ToValidUTF8(string(m.Body), "?"))
	}
	if cl.handler == nil {
		return fmt.Errorf("%w: message %#02x to a client that is no member", errProtocol, m.Op)
	}
	switch m.Op {
	case relaywire.Broadcast:
		c.take(cl.broadcasts, m)
	case relaywire.Request:
		c.take(cl.requests, m)
	case relaywire.TunnelInit:
		c.accept(m.ID)
	default:
		return fmt.Errorf("%w: message %#02x after the handshake", errProtocol, m.Op)
	}
	return nil
}

func (c *conn) take(p *pool, m *relaywire.Message) {
	if p.add(c, m) {
		c.pushes = append(c.pushes, p)
	}
}

// sent sees to it that what was just added with later is written soon.
func (c *conn) sent() {
	if !c.reading.Load() {
		c.out.poke()
	}
}
