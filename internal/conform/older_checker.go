package conform

import (
	"errors"
	"fmt"
	"math"

	"github.com/project-iris/iris/internal/relaywire"
)

// An olderChecker is the Checker of a connection that speaks V0: it knows what panics or
// crashes the libraries of V0 in use (docs/relay-v0.md). The windows and credits of its
// tunnels are in messages, and negative: those that are not acknowledged.
type olderChecker struct{ Checker }

// wrong says what is wrong with a message that the program is about to send.
func (c *olderChecker) wrong(m *relaywire.Message) error {
	e := c.open(m.ID)
	switch m.Op {
	case relaywire.Init:
		if c.introduced {
			return errors.New("second Init")
		}
		if m.Dialect() != relaywire.V0 {
			return fmt.Errorf("an Init with magic string %q, version %q", m.Magic, m.Version)
		}
		return nil
	case relaywire.TunnelInit, relaywire.TunnelConfirm:
		if m.Size != olderWindow {
			return fmt.Errorf("the program takes %d messages, wanted %d", m.Size, olderWindow)
		}
	case relaywire.TunnelTransfer:
		if e != nil && e.window == -olderWindow {
			return fmt.Errorf("message for tunnel %d exceeds the window", m.ID)
		}
		if e != nil {
			return nil
		}
	case relaywire.TunnelAllow:
		if e != nil && e.credit == 0 {
			return fmt.Errorf("acknowledgement for tunnel %d, where nothing came", m.ID)
		}
	}
	return c.Checker.wrong(m)
}

// sent notes what the program sends, before it can reach the node.
func (c *olderChecker) sent(m *relaywire.Message) {
	e := c.open(m.ID)
	switch {
	case m.Op == relaywire.Init:
		c.introduced, c.service = true, true
	case m.Op == relaywire.TunnelTransfer && e != nil:
		e.window--
	case m.Op == relaywire.TunnelAllow && e != nil:
		e.credit++
	case m.Op == relaywire.TunnelClose && e != nil:
		e.closing = true
	case m.Op == relaywire.TunnelInit:
		c.begin(m.ID, m)
	case m.Op == relaywire.TunnelConfirm:
		c.begin(m.Tunnel, m)
	case m.Op != relaywire.TunnelTransfer && m.Op != relaywire.TunnelAllow:
		c.Checker.sent(m)
	}
}

// begin notes a tunnel of which the program takes another number of messages than the
// libraries do.
func (c *olderChecker) begin(id uint64, m *relaywire.Message) {
	known := c.tunnels[id]
	c.Checker.sent(m)
	if e := c.tunnels[id]; e != known {
		e.credit = int64(min(m.Size, math.MaxInt64)) - olderWindow
	}
}

// received says what is wrong with a message from the node, nil if nothing is.
func (c *olderChecker) received(m *relaywire.Message) error {
	switch {
	case c.ended:
		return fmt.Errorf("opcode %02x after the last message", byte(m.Op))
	case !c.accepted && m.Op != relaywire.Accept:
		return fmt.Errorf("opcode %02x before the handshake is over", byte(m.Op))
	case !c.accepted:
		c.accepted = true
		return nil
	}
	e := c.open(m.ID)
	switch m.Op {
	case relaywire.Close:
		if !c.closing {
			return errors.New("Close that nobody asked for")
		}
	case relaywire.TunnelInit:
		return c.offer(m, olderWindow)
	case relaywire.TunnelResult:
		return c.result(m, olderWindow)
	case relaywire.TunnelAllow:
		switch {
		case e == nil:
			return fmt.Errorf("acknowledgement for tunnel %d, which is not open", m.ID)
		case e.closing:
			return fmt.Errorf("acknowledgement for tunnel %d, which the program has closed", m.ID)
		case e.window == 0:
			return fmt.Errorf("acknowledgement for tunnel %d, where nothing was sent", m.ID)
		}
		e.window++
		return nil
	case relaywire.TunnelTransfer:
		switch {
		case e == nil:
			return fmt.Errorf("message for tunnel %d, which is not open", m.ID)
		case e.credit == -olderWindow:
			return fmt.Errorf("message for tunnel %d exceeds the window", m.ID)
		}
		e.credit--
		return nil
	}
	return c.Checker.received(m)
}
