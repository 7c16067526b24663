package conform

import (
	"errors"
	"fmt"
	"math"

	"github.com/project-iris/iris/internal/relaywire"
)

// maxMessage is the largest message of a tunnel, in octets.
const maxMessage = 1<<31 - 1

// A Checker follows one connection from its program's side and knows what a
// node must never send on it: above all what breaks shipped libraries
// (docs/relay-v1.md R64). It knows as well what a program had better not send.
// It does no I/O. The zero value is ready for a new connection; calls must not
// overlap.
type Checker struct {
	introduced bool // Init was sent
	service    bool // it named a cluster
	accepted   bool
	closing    bool // Close was sent
	ended      bool // Close or Deny was received
	asked      map[uint64]int
	served     uint64          // requests received, which is the id of the next
	owed       map[uint64]bool // those that were not answered
	builds     map[uint64]bool // announced builds; true: confirmed
	tunnels    map[uint64]*tunnelEnd
	topics     map[string]bool // ever subscribed; false: not any more
}

// A tunnelEnd is the program's end of a tunnel.
type tunnelEnd struct {
	building bool   // TunnelResult is due
	closing  bool   // TunnelClose was sent
	window   int64  // octets the program may still send
	credit   int64  // octets the node may still send, below 0 after forced chunks
	most     int64  // the highest credit there was
	left     uint64 // octets missing of the message being received
	owed     uint64 // of the one being sent
}

// wrong says what is wrong with a message that the program is about to send, nil
// if nothing is: it breaks the protocol, or the node ignores it and the program
// has no reason to send it. What may have crossed with the end of a connection or
// tunnel is in order.
func (c *Checker) wrong(m *relaywire.Message) error {
	if m.Op != relaywire.Init && !c.accepted {
		return fmt.Errorf("opcode %02x before the handshake is over", byte(m.Op))
	}
	switch m.Op {
	case relaywire.Init:
		if c.introduced {
			return errors.New("second Init")
		}
		if string(m.Magic) != relaywire.ClientMagic || string(m.Version) != relaywire.Version {
			return fmt.Errorf("an Init with magic string %q, version %q", m.Magic, m.Version)
		}
	case relaywire.Close:
		if c.closing {
			return errors.New("second Close")
		}
	case relaywire.Request:
		if c.asked[m.ID] > 0 {
			return fmt.Errorf("id %d of a pending request", m.ID)
		}
	case relaywire.Reply:
		if !c.owed[m.ID] {
			return fmt.Errorf("reply to request %d, which nobody waits for", m.ID)
		}
	case relaywire.Subscribe:
		if c.topics[string(m.Name)] {
			return fmt.Errorf("topic %q is subscribed already", m.Name)
		}
	case relaywire.Unsubscribe:
		if !c.topics[string(m.Name)] {
			return fmt.Errorf("topic %q is not subscribed", m.Name)
		}
	case relaywire.TunnelInit:
		if c.tunnels[m.ID] != nil {
			return fmt.Errorf("id of tunnel %d, which is in use", m.ID)
		}
	case relaywire.TunnelConfirm:
		if confirmed, announced := c.builds[m.ID]; !announced || confirmed {
			return fmt.Errorf("confirmation of build %d, which is not due", m.ID)
		}
		if c.tunnels[m.Tunnel] != nil {
			return fmt.Errorf("id of tunnel %d, which is in use", m.Tunnel)
		}
	case relaywire.TunnelAllow, relaywire.TunnelTransfer, relaywire.TunnelClose:
		e := c.tunnels[m.ID]
		if e == nil {
			return nil
		}
		if e.building {
			return fmt.Errorf("opcode %02x for tunnel %d, which is being built", byte(m.Op), m.ID)
		}
		if m.Op == relaywire.TunnelTransfer {
			return e.mayCarry(m)
		}
	}
	return nil
}

// mayCarry says what is wrong with a chunk that the program is about to send.
func (e *tunnelEnd) mayCarry(m *relaywire.Message) error {
	n := uint64(len(m.Body))
	due := e.owed
	if m.Size > 0 {
		due = m.Size
	}
	switch {
	case n == 0:
		return fmt.Errorf("empty chunk of size %d for tunnel %d", m.Size, m.ID)
	case int64(n) > e.window:
		return fmt.Errorf("chunk of %d octets for tunnel %d exceeds the allowance of %d", n, m.ID, e.window)
	case due == 0:
		return fmt.Errorf("continuation without a first chunk for tunnel %d", m.ID)
	case due > maxMessage:
		return fmt.Errorf("message of %d octets for tunnel %d", due, m.ID)
	case n > due:
		return fmt.Errorf("chunk of %d octets for tunnel %d where %d were missing", n, m.ID, due)
	}
	return nil
}

// sent notes what the program sends. It has to be called before the message
// can reach the node. Messages no node accepts change nothing.
func (c *Checker) sent(m *relaywire.Message) {
	switch m.Op {
	case relaywire.Init:
		if !c.accepted {
			c.introduced = true
			c.service = len(m.Name) > 0
		}
	case relaywire.Close:
		c.closing = true
	case relaywire.Reply:
		delete(c.owed, m.ID)
	case relaywire.Request:
		if c.asked == nil {
			c.asked = make(map[uint64]int)
		}
		c.asked[m.ID]++
	case relaywire.Subscribe:
		if c.topics == nil {
			c.topics = make(map[string]bool)
		}
		c.topics[string(m.Name)] = true
	case relaywire.Unsubscribe:
		if c.topics[string(m.Name)] {
			c.topics[string(m.Name)] = false
		}
	case relaywire.TunnelInit:
		c.addTunnel(m.ID, &tunnelEnd{building: true})
	case relaywire.TunnelConfirm:
		if confirmed, announced := c.builds[m.ID]; announced && !confirmed {
			c.builds[m.ID] = true
			c.addTunnel(m.Tunnel, new(tunnelEnd))
		}
	case relaywire.TunnelAllow:
		if e := c.open(m.ID); e != nil {
			e.credit += int64(min(m.Size, uint64(math.MaxInt64-max(e.credit, 0))))
			e.most = max(e.most, e.credit)
		}
	case relaywire.TunnelTransfer:
		if e := c.open(m.ID); e != nil {
			n := uint64(len(m.Body))
			if m.Size > 0 {
				e.owed = m.Size
			}
			e.owed -= min(e.owed, n)
			e.window -= int64(n)
		}
	}
}

// received says what is wrong with a message from the node, nil if nothing is.
func (c *Checker) received(m *relaywire.Message) error {
	switch {
	case c.ended:
		return fmt.Errorf("opcode %02x after the last message", byte(m.Op))
	case !c.accepted:
		return c.answered(m)
	}
	switch m.Op {
	case relaywire.Close:
		c.ended = true
	case relaywire.Broadcast:
		return c.forService("broadcast")
	case relaywire.Request:
		if m.ID != c.served {
			return fmt.Errorf("request has id %d, the next is %d", m.ID, c.served)
		}
		if c.owed == nil {
			c.owed = make(map[uint64]bool)
		}
		c.owed[m.ID] = true
		c.served++
		return c.forService("request")
	case relaywire.Reply:
		if c.asked[m.ID] == 0 {
			return fmt.Errorf("reply to request %d, which is not pending", m.ID)
		}
		c.asked[m.ID]--
	case relaywire.Publish:
		if _, ever := c.topics[string(m.Name)]; !ever {
			return fmt.Errorf("event of topic %q, which was never subscribed", m.Name)
		}
	case relaywire.TunnelInit:
		return c.offer(m, relaywire.ChunkLimit)
	case relaywire.TunnelResult:
		return c.result(m, relaywire.ChunkLimit)
	case relaywire.TunnelAllow:
		e := c.open(m.ID)
		if e == nil {
			return fmt.Errorf("allowance for tunnel %d, which is not open", m.ID)
		}
		if m.Size > relaywire.TunnelWindow || e.window+int64(m.Size) > relaywire.TunnelWindow {
			return fmt.Errorf("allowance of %d on top of %d for tunnel %d exceeds the window", m.Size, e.window, m.ID)
		}
		e.window += int64(m.Size)
	case relaywire.TunnelTransfer:
		return c.chunk(m)
	case relaywire.TunnelClose:
		if c.open(m.ID) == nil {
			return fmt.Errorf("close of tunnel %d, which is not open", m.ID)
		}
		delete(c.tunnels, m.ID)
	default:
		return fmt.Errorf("opcode %02x after the handshake", byte(m.Op))
	}
	return nil
}

// answered checks the answer to Init.
func (c *Checker) answered(m *relaywire.Message) error {
	switch {
	case m.Op != relaywire.Accept && m.Op != relaywire.Deny:
		return fmt.Errorf("opcode %02x before the handshake is over", byte(m.Op))
	case string(m.Magic) != relaywire.NodeMagic:
		return fmt.Errorf("magic string of the node is %q", m.Magic)
	case m.Op == relaywire.Deny:
		c.ended = true
	case string(m.Version) != relaywire.Version:
		return fmt.Errorf("version of the node is %q", m.Version)
	default:
		c.accepted = true
	}
	return nil
}

// forService refuses what only a service may get.
func (c *Checker) forService(what string) error {
	if !c.service {
		return fmt.Errorf("%s for a client-only connection", what)
	}
	return nil
}

// offer checks a TunnelInit, which has to say that the node takes size.
func (c *Checker) offer(m *relaywire.Message, size uint64) error {
	if _, announced := c.builds[m.ID]; announced {
		return fmt.Errorf("build id %d for a second time", m.ID)
	}
	if c.builds == nil {
		c.builds = make(map[uint64]bool)
	}
	c.builds[m.ID] = false
	if m.Size != size {
		return fmt.Errorf("the node takes %d of build %d, wanted %d", m.Size, m.ID, size)
	}
	return c.forService("tunnel")
}

// result checks a TunnelResult likewise.
func (c *Checker) result(m *relaywire.Message, size uint64) error {
	e := c.tunnels[m.ID]
	switch {
	case e == nil || !e.building:
		return fmt.Errorf("result for tunnel %d, which is not being built", m.ID)
	case m.TimedOut:
		delete(c.tunnels, m.ID)
	case m.Size != size:
		return fmt.Errorf("the node takes %d of tunnel %d, wanted %d", m.Size, m.ID, size)
	default:
		e.building = false
	}
	return nil
}

// chunk checks a TunnelTransfer.
func (c *Checker) chunk(m *relaywire.Message) error {
	e := c.open(m.ID)
	n := int64(len(m.Body))
	switch {
	case e == nil:
		return fmt.Errorf("chunk for tunnel %d, which is not open", m.ID)
	case n == 0:
		return fmt.Errorf("empty chunk of size %d for tunnel %d", m.Size, m.ID)
	case n > relaywire.ChunkLimit:
		return fmt.Errorf("chunk of %d octets for tunnel %d", n, m.ID)
	case m.Size == 0 && e.left == 0:
		return fmt.Errorf("continuation without a first chunk for tunnel %d", m.ID)
	case m.Size > maxMessage:
		return fmt.Errorf("message of %d octets for tunnel %d", m.Size, m.ID)
	case m.Size > 0 && e.left == 0 && e.credit < n && e.most >= n:
		// With less than one chunk granted the node may send one all the same.
		return fmt.Errorf("chunk of %d octets for tunnel %d exceeds the allowance of %d", n, m.ID, e.credit)
	case m.Size > 0:
		e.left = m.Size
	}
	if uint64(n) > e.left {
		return fmt.Errorf("chunk of %d octets for tunnel %d where %d were missing", n, m.ID, e.left)
	}
	e.left -= uint64(n)
	e.credit -= n
	return nil
}

// open finds a tunnel that may carry data; nil: there is none.
func (c *Checker) open(id uint64) *tunnelEnd {
	if e := c.tunnels[id]; e != nil && !e.building {
		return e
	}
	return nil
}

func (c *Checker) addTunnel(id uint64, e *tunnelEnd) {
	if c.tunnels == nil {
		c.tunnels = make(map[uint64]*tunnelEnd)
	}
	if c.tunnels[id] == nil {
		c.tunnels[id] = e
	}
}
