package relay

import (
	"errors"
	"math"

	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/tunnel"
)

// room is how many octets may wait for a program before tunnels wait in their
// own buffers, so that its other messages are never behind more than that (R46).
const room = 256 << 10

// send appends one message to the program's queue.
func (c *conn) send(b *queue.Batch, m *relaywire.Message, p queue.Payload) (pos uint64, err error) {
	var head [256]byte
	var tail [10]byte
	m.Body = p.Data
	pos, flush, err := c.queue.Append(c.dialect.AppendHeadToClient(head[:0], m), p, c.dialect.AppendTailToClient(tail[:0], m))
	if flush {
		b.Add(c)
	}
	return pos, err
}

// deliver sends what has nowhere else to go: a program that cannot take it loses
// its connection, never a single delivery (R23).
func (c *conn) deliver(b *queue.Batch, m *relaywire.Message, p queue.Payload) error {
	_, err := c.send(b, m, p)
	switch {
	case errors.Is(err, queue.ErrFull):
		c.condemn(b, ending{slow, reasonSlow})
	case errors.Is(err, queue.ErrMemory):
		c.condemn(b, ending{slow, reasonMemory})
	}
	return err
}

// condemn has the connection ended by the next Flush, as nothing may block here.
func (c *conn) condemn(b *queue.Batch, e ending) {
	if c.told.CompareAndSwap(nil, &e) {
		c.kicks.Store(true)
		b.Add(c)
	}
}

// Request implements messaging.Sink.
func (c *conn) Request(b *queue.Batch, id uint64, body []byte, timeout, _ uint64) (uint64, error) {
	return c.send(b, &relaywire.Message{Op: relaywire.Request, ID: id, Timeout: timeout}, queue.Payload{Data: body})
}

// Offer implements messaging.Sink.
func (c *conn) Offer(b *queue.Batch, id uint64) (uint64, error) {
	return c.send(b, &relaywire.Message{Op: relaywire.TunnelInit, ID: id, Size: c.takesOf()}, queue.Payload{})
}

// Answer implements messaging.Sink: the protocol has the timeout form for all
// that is neither a reply nor a fault, and V0 for a fault too.
func (c *conn) Answer(b *queue.Batch, id uint64, out messaging.Outcome, body []byte) {
	m := relaywire.Message{Op: relaywire.Reply, ID: id}
	switch out {
	case messaging.Replied:
	case messaging.Faulted:
		m.Fault = true
	default:
		m.TimedOut = true
	}
	if m.TimedOut || m.Fault && c.dialect == relaywire.V0 {
		m.TimedOut, body = true, nil
	}
	c.deliver(b, &m, queue.Payload{Data: body})
}

// Unbuilt implements messaging.Sink.
func (c *conn) Unbuilt(b *queue.Batch, id uint64, _ messaging.Outcome) {
	c.tunnels.Failed(id)
	c.deliver(b, &relaywire.Message{Op: relaywire.TunnelResult, ID: id, TimedOut: true}, queue.Payload{})
}

// Broadcast implements messaging.Sink.
func (c *conn) Broadcast(b *queue.Batch, p queue.Payload) error {
	return c.deliver(b, &relaywire.Message{Op: relaywire.Broadcast}, p)
}

// Event implements messaging.Sink.
func (c *conn) Event(b *queue.Batch, topic []byte, p queue.Payload) error {
	return c.deliver(b, &relaywire.Message{Op: relaywire.Publish, Name: topic}, p)
}

// Gap implements messaging.Sink: the protocol has no word for it.
func (c *conn) Gap(*queue.Batch, []byte, uint64) {}

// Fail implements messaging.Sink.
func (c *conn) Fail(reason string) { c.stop(ending{broke, reason}) }

// Unstarted implements messaging.Sink: the frame at pos, if end took it back.
func (c *conn) Unstarted(pos uint64) (body []byte, ok bool) {
	var m relaywire.Message
	if c.frame(pos, &m) == 0 {
		return nil, false
	}
	c.taken = append(c.taken, pos)
	return m.Body, true
}

// frame reads the frame at pos, if Seal took it out, and returns its length; 0: it did
// not.
func (c *conn) frame(pos uint64, m *relaywire.Message) int {
	all := relaywire.Limits{Handshake: math.MaxInt32, Name: math.MaxInt32, Body: math.MaxInt32}
	for need := 64; ; {
		var ok bool
		if c.unread, ok = c.queue.CutAt(c.unread[:0], pos, need); !ok {
			return 0
		}
		n, err := c.dialect.ParseToClient(&all, c.unread, m)
		if err == nil {
			return n
		}
		if err != relaywire.ErrShort || n <= need {
			panic("relay: own frame does not parse")
		}
		need = n
	}
}

// TunnelOpen implements tunnel.Sink.
func (c *conn) TunnelOpen(b *queue.Batch, id uint64) {
	c.deliver(b, &relaywire.Message{Op: relaywire.TunnelResult, ID: id, Size: c.takesOf()}, queue.Payload{})
}

// TunnelAllow implements tunnel.Sink. In V0 each message is acknowledged by itself.
func (c *conn) TunnelAllow(b *queue.Batch, id, octets uint64) {
	times := uint64(1)
	if c.dialect == relaywire.V0 {
		times = octets
	}
	for range times {
		c.deliver(b, &relaywire.Message{Op: relaywire.TunnelAllow, ID: id, Size: octets}, queue.Payload{})
	}
}

// TunnelClose implements tunnel.Sink. V0 has no reasons.
func (c *conn) TunnelClose(b *queue.Batch, id uint64, reason string) {
	if c.dialect == relaywire.V0 {
		c.unjoin(id)
		reason = ""
	}
	c.deliver(b, &relaywire.Message{Op: relaywire.TunnelClose, ID: id}, queue.Payload{Data: []byte(reason)})
}

// TunnelChunk implements tunnel.Sink.
func (c *conn) TunnelChunk(b *queue.Batch, id, size uint64, octets []byte) bool {
	if c.dialect == relaywire.V0 {
		return c.join(b, id, size, octets)
	}
	m := relaywire.Message{Op: relaywire.TunnelTransfer, ID: id, Size: size, Body: octets}
	var head [32]byte
	flush, err := c.queue.AppendIfRoom(room, m.AppendHeadToClient(head[:0]), octets)
	if flush {
		b.Add(c)
	}
	return err == nil
}

var (
	_ messaging.Sink = (*conn)(nil)
	_ tunnel.Sink    = (*conn)(nil)
)
