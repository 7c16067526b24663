package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/tunnel"
)

const (
	tunnelWindow = 64 << 20 // octets that a peer may have sent and Recv not taken
	chunkCost    = 128      // octets a chunk is charged beside its own
)

// A Tunnel carries messages between two programs, in order, without loss, in
// both directions, and never faster than they are read. Its methods are safe for
// concurrent use.
//
// Whoever has one closes it: until then it holds what Recv has not taken.
type Tunnel struct {
	client *Client
	id     uint64
	end    *tunnel.End

	// Who sends and who receives: one at a time. Messages would mix otherwise.
	sends, receives chan struct{}

	// client.mu guards these.
	err                error // of the end of it
	credit             int64 // octets that may be sent
	messages           fifo[message]
	part               message // of the message that is arriving
	missing            uint64  // octets of it
	abandoned          int     // octets to allow again, of messages that were not finished
	held               int     // octets charged
	stalled            bool    // the node waits for room
	sending, receiving waiter
}

// A message is the chunks of one.
type message [][]byte

func (m message) len() (n int) {
	for _, c := range m {
		n += len(c)
	}
	return n
}

func (m message) cost() int { return m.len() + chunkCost*len(m) }

// newTunnel notes a tunnel under the client's id of it. c.mu is held.
func (c *Client) newTunnel(id uint64) *Tunnel {
	t := &Tunnel{
		client:    c,
		id:        id,
		sends:     make(chan struct{}, 1),
		receives:  make(chan struct{}, 1),
		sending:   newWaiter(),
		receiving: newWaiter(),
	}
	c.open[id] = t
	return t
}

// forget ends what newTunnel began.
func (c *Client) forget(t *Tunnel) {
	c.mu.Lock()
	delete(c.open, t.id)
	c.mu.Unlock()
}

// Send sends a message of 1 to 2^31-1 octets, which the caller may use again when
// it returns. It waits while the peer does not read, until ctx is done: the peer
// gets nothing of the message then, and the next may be sent. When the tunnel has
// ended it fails as Recv does.
func (t *Tunnel) Send(ctx context.Context, msg []byte) error {
	switch {
	case len(msg) == 0:
		return errors.New("a tunnel carries no empty messages")
	case len(msg) > tunnel.MaxMessage:
		return fmt.Errorf("message of %d octets is too large for a tunnel: at most %d", len(msg), tunnel.MaxMessage)
	}
	if err := acquire(ctx, t.sends); err != nil {
		return err
	}
	defer release(t.sends)
	size := uint64(len(msg))
	for len(msg) > 0 {
		chunk := msg[:min(len(msg), relaywire.ChunkLimit)]
		if err := t.spend(ctx, int64(len(chunk))); err != nil {
			return err
		}
		b := batches.Get().(*queue.Batch)
		err := t.end.Chunk(time.Now(), b, size, chunk)
		flush(b)
		if err != nil {
			return err
		}
		msg, size = msg[len(chunk):], 0
	}
	return nil
}

// spend waits for credit of n octets, and takes it.
func (t *Tunnel) spend(ctx context.Context, n int64) error {
	c := t.client
	c.mu.Lock()
	defer c.mu.Unlock()
	for t.err == nil && t.credit < n {
		if err := c.wait(ctx, &t.sending); err != nil {
			return err
		}
	}
	if t.err != nil {
		return t.err
	}
	t.credit -= n
	return nil
}

// Recv returns the next message, which is the caller's own. It waits for one,
// until ctx is done. Messages sent before the peer closed are still returned; then
// the error is io.EOF if the peer closed in order, or tells what happened. After
// Close it is io.ErrClosedPipe.
func (t *Tunnel) Recv(ctx context.Context) ([]byte, error) {
	m, err := t.take(ctx)
	if err != nil {
		return nil, err
	}
	if len(m) == 1 {
		return m[0], nil
	}
	return bytes.Join(m, nil), nil
}

// take takes a message off, and lets the peer send as much again.
func (t *Tunnel) take(ctx context.Context) (message, error) {
	if err := acquire(ctx, t.receives); err != nil {
		return nil, err
	}
	defer release(t.receives)
	c := t.client
	c.mu.Lock()
	for t.err == nil && t.messages.len() == 0 {
		if err := c.wait(ctx, &t.receiving); err != nil {
			c.mu.Unlock()
			return nil, err
		}
	}
	if t.messages.len() == 0 {
		defer c.mu.Unlock()
		delete(c.open, t.id)
		return nil, t.err
	}
	m := t.messages.pop()
	t.give(m.cost())
	again, stalled := m.len()+t.abandoned, t.stalled
	t.abandoned, t.stalled = 0, false
	c.mu.Unlock()
	t.allow(again)
	if stalled {
		b := batches.Get().(*queue.Batch)
		// Table.Room stops at the first tunnel without room, and each has a
		// room of its own here.
		if e := c.tunnels.End(t.id); e != nil {
			e.Room(b)
		}
		flush(b)
	}
	return m, nil
}

// Close closes the tunnel. The peer gets what was sent before; what it sent and
// Recv did not return is lost. It returns nil.
func (t *Tunnel) Close() error {
	c := t.client
	c.mu.Lock()
	delete(c.open, t.id)
	t.fail(nil, io.ErrClosedPipe)
	c.mu.Unlock()
	sink{c}.Flush(nil)
	t.shut()
	return nil
}

// allow lets the peer send n octets more.
func (t *Tunnel) allow(n int) {
	b := batches.Get().(*queue.Batch)
	t.end.Allow(time.Now(), b, uint64(n))
	flush(b)
}

// shut closes the node's end. That may leave room for others.
func (t *Tunnel) shut() {
	b := batches.Get().(*queue.Batch)
	t.end.Close(time.Now(), b)
	t.client.tunnels.Room(b)
	flush(b)
}

// fail ends the tunnel for its user, who gets nothing more from it.
// client.mu is held.
func (t *Tunnel) fail(b *queue.Batch, err error) {
	t.err = err
	t.messages, t.part = fifo[message]{}, nil
	t.give(t.held)
	t.client.rouse(b, &t.sending)
	t.client.rouse(b, &t.receiving)
}

// give returns n octets. client.mu is held.
func (t *Tunnel) give(n int) {
	t.held -= n
	t.client.node.plane.Budget.Give(n)
}

func acquire(ctx context.Context, token chan struct{}) error {
	select {
	case token <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func release(token chan struct{}) { <-token }

// TunnelOpen implements tunnel.Sink.
func (s sink) TunnelOpen(b *queue.Batch, id uint64) {
	c := s.c
	end := c.tunnels.End(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.newTunnel(id)
	t.end = end
	if k := c.calls[id]; k != nil {
		k.tunnel = t
		c.finish(b, k)
		return
	}
	delete(c.open, id) // nobody waits for it any more
	c.doomed.push(t)
	c.rouse(b, &c.serving)
}

// TunnelAllow implements tunnel.Sink.
func (s sink) TunnelAllow(b *queue.Batch, id, octets uint64) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.open[id]; t != nil {
		t.credit += int64(octets)
		c.rouse(b, &t.sending)
	}
}

// TunnelClose implements tunnel.Sink.
func (s sink) TunnelClose(b *queue.Batch, id uint64, reason string) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.open[id]
	if t == nil || t.err != nil {
		return
	}
	t.err = io.EOF
	if reason != "" {
		t.err = fmt.Errorf("tunnel closed: %s", reason)
	}
	t.give(t.part.cost())
	t.part = nil
	c.rouse(b, &t.sending)
	c.rouse(b, &t.receiving)
}

// TunnelChunk implements tunnel.Sink. A chunk that the memory budget has no room
// for waits until Recv has taken a message; if there is none to take, the message
// is too large for the node, and the tunnel is closed.
func (s sink) TunnelChunk(b *queue.Batch, id, size uint64, octets []byte) bool {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.open[id]
	if t == nil || t.err != nil {
		return true
	}
	if size > 0 && len(t.part) > 0 {
		t.abandoned += t.part.len()
		t.give(t.part.cost())
		t.part = nil
	}
	cost := len(octets) + chunkCost
	if !c.node.plane.Budget.Take(cost, t.held) {
		if t.messages.len() > 0 {
			t.stalled = true
			return false
		}
		t.fail(b, fmt.Errorf("tunnel closed: %s", reasonMemory))
		c.doomed.push(t)
		c.rouse(b, &c.serving)
		return true
	}
	t.held += cost
	if size > 0 {
		t.missing = size
	}
	t.part = append(t.part, bytes.Clone(octets))
	t.missing -= uint64(len(octets))
	if t.missing == 0 {
		t.messages.push(t.part)
		t.part = nil
		c.rouse(b, &t.receiving)
	}
	return true
}
