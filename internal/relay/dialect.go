package relay

import (
	"sync"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/tunnel"
)

// mostOffered is how many messages of a tunnel a program of V0 may say that it takes.
const mostOffered = 1 << 20

// speak has the connection speak a dialect: its handshake has told which.
func (c *conn) speak(d relaywire.Dialect) {
	if c.dialect = d; d == relaywire.V0 {
		c.tunnels = tunnel.NewMessages(c, c.server.Limits.Body, c.server.Plane.Budget, c.server.Tunnels)
		c.joins.parts = make(map[uint64]*part)
	}
}

// takes notes how many messages of a tunnel that it builds or confirms a program of V0
// takes at first.
func (c *conn) takes(id, messages uint64) {
	if c.dialect == relaywire.V0 {
		c.tunnels.Takes(id, int64(min(messages, mostOffered)))
	}
}

// takesOf returns what the node says to the program of what it takes of a tunnel: octets
// of a chunk or, in V0, messages.
func (c *conn) takesOf() uint64 {
	if c.dialect == relaywire.V0 {
		return tunnel.Messages
	}
	return relaywire.ChunkLimit
}

// owe notes an end whose program has sent a message of V0.
func (c *conn) owe(e *tunnel.End) {
	if n := len(c.owes); n == 0 || c.owes[n-1] != e {
		c.owes = append(c.owes, e)
	}
}

// acknowledge pays what is owed.
func (c *conn) acknowledge() {
	for _, e := range c.owes {
		e.Acknowledge(&c.batch)
	}
	clear(c.owes)
	c.owes = c.owes[:0]
}

// farewell returns the last message to the program. In V0 there is one for who asked
// for the end, and a word for nobody else (V2).
func (c *conn) farewell(e ending) []byte {
	if c.dialect == relaywire.V0 && e.cause != orderly {
		return nil
	}
	return c.dialect.AppendToClient(nil, &relaywire.Message{Op: relaywire.Close, Body: []byte(e.reason)})
}

// joins are the messages of tunnels to a program of V0 that have not come as a whole:
// such a program gets them in one piece.
type joins struct {
	mu    sync.Mutex // taken under a tunnel's
	parts map[uint64]*part
}

// A part is what has come of a message, and how many octets have not.
type part struct {
	octets  []byte
	missing uint64
}

// join takes a chunk for a program of V0. It reports false when it completes a message
// for which there is no room.
func (c *conn) join(b *queue.Batch, id, size uint64, octets []byte) bool {
	switch size {
	case uint64(len(octets)):
		return c.whole(b, id, octets)
	case tunnel.Empty:
		return c.whole(b, id, nil)
	}
	c.joins.mu.Lock()
	defer c.joins.mu.Unlock()
	if size > 0 {
		c.drop(id)
		c.joins.parts[id] = &part{missing: size}
	}
	p := c.joins.parts[id]
	if p == nil {
		return true // an id that its program took for another tunnel too early
	}
	if !c.grow(p, len(octets)) {
		c.condemn(b, ending{slow, reasonMemory})
		return true
	}
	grown := append(p.octets, octets...)
	if p.missing > uint64(len(octets)) {
		p.octets, p.missing = grown, p.missing-uint64(len(octets))
		return true
	}
	if !c.transfer(b, id, grown) {
		return false
	}
	c.drop(id)
	return true
}

// whole takes a message that has come as one chunk.
func (c *conn) whole(b *queue.Batch, id uint64, octets []byte) bool {
	if !c.transfer(b, id, octets) {
		return false
	}
	c.unjoin(id)
	return true
}

// transfer sends a message of a tunnel, if there is room.
func (c *conn) transfer(b *queue.Batch, id uint64, octets []byte) bool {
	m := relaywire.Message{Op: relaywire.TunnelTransfer, ID: id, Body: octets}
	var head [32]byte
	flush, err := c.queue.AppendIfRoom(room, c.dialect.AppendHeadToClient(head[:0], &m), octets)
	if flush {
		b.Add(c)
	}
	return err == nil
}

// grow makes room for n octets more of a message. Twice of what has come is charged at
// most, not what was announced.
func (c *conn) grow(p *part, n int) bool {
	have, need := cap(p.octets), len(p.octets)+n
	if need <= have {
		return true
	}
	size := min(max(2*have, need), len(p.octets)+int(p.missing))
	if !c.server.Plane.Budget.Take(size-have, have) {
		return false
	}
	p.octets = append(make([]byte, 0, size), p.octets...)
	return true
}

// unjoin throws away what has come of a message of a tunnel.
func (c *conn) unjoin(id uint64) {
	c.joins.mu.Lock()
	defer c.joins.mu.Unlock()
	c.drop(id)
}

// drop is unjoin with the lock held.
func (c *conn) drop(id uint64) {
	if p := c.joins.parts[id]; p != nil {
		c.server.Plane.Budget.Give(cap(p.octets))
		delete(c.joins.parts, id)
	}
}

// unjoinAll throws away what has come of all messages, when no more comes.
func (c *conn) unjoinAll() {
	c.joins.mu.Lock()
	defer c.joins.mu.Unlock()
	for id := range c.joins.parts {
		c.drop(id)
	}
}
