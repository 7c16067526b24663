package iris

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// A Handler takes what comes to a member of a cluster. Its methods are called
// concurrently, within the limits of the Config, and may block and call any
// method of any client. Slices given to them are valid until they return. The
// context is done when the connection to the node has ended.
type Handler interface {
	// HandleBroadcast takes a broadcast to the cluster.
	HandleBroadcast(ctx context.Context, msg []byte)

	// HandleRequest takes a request and returns the reply, which is not used
	// after that and may be body itself. An error is sent instead, as the text
	// of a fault. The deadline of ctx is that of the request: what is returned
	// later reaches nobody.
	HandleRequest(ctx context.Context, body []byte) ([]byte, error)

	// HandleTunnel takes a tunnel that somebody opened to the cluster. It has a
	// goroutine of its own, and the tunnel is closed when it returns.
	HandleTunnel(ctx context.Context, t *Tunnel)
}

// NopHandler is a Handler to embed in one that does not need all methods. It
// ignores broadcasts, answers requests with a fault and closes tunnels.
type NopHandler struct{}

// HandleBroadcast does nothing.
func (NopHandler) HandleBroadcast(context.Context, []byte) {}

// HandleRequest returns an error.
func (NopHandler) HandleRequest(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("this member takes no requests")
}

// HandleTunnel returns, which closes the tunnel.
func (NopHandler) HandleTunnel(context.Context, *Tunnel) {}

// A HandlerFunc is a Handler of requests, and for the rest a NopHandler.
type HandlerFunc func(ctx context.Context, body []byte) ([]byte, error)

// HandleRequest returns f(ctx, body).
func (f HandlerFunc) HandleRequest(ctx context.Context, body []byte) ([]byte, error) {
	return f(ctx, body)
}

// HandleBroadcast does nothing.
func (HandlerFunc) HandleBroadcast(context.Context, []byte) {}

// HandleTunnel returns, which closes the tunnel.
func (HandlerFunc) HandleTunnel(context.Context, *Tunnel) {}

// A requestContext is the context of a request: that of the connection, with a
// deadline. Few handlers wait for it, so there is a timer only once one does.
type requestContext struct {
	context.Context
	deadline time.Time
	timed    atomic.Pointer[timedContext]
}

type timedContext struct {
	context.Context
	cancel context.CancelFunc
}

func (c *requestContext) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *requestContext) Done() <-chan struct{} {
	t := c.timed.Load()
	if t == nil {
		t = new(timedContext)
		t.Context, t.cancel = context.WithDeadline(c.Context, c.deadline)
		if !c.timed.CompareAndSwap(nil, t) {
			t.cancel()
			t = c.timed.Load()
		}
	}
	return t.Done()
}

func (c *requestContext) Err() error {
	if t := c.timed.Load(); t != nil {
		return t.Err()
	}
	if err := c.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// over ends the timer when the handler has returned.
func (c *requestContext) over() {
	if t := c.timed.Load(); t != nil {
		t.cancel()
	}
}
