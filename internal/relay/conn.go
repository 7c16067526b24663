package relay

import (
	"errors"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/localsock"
	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/tunnel"
)

// Reasons a program may be given for the end of its connection or tunnel.
const (
	reasonSlow   = "program does not read: more than 64 MiB were waiting for it"
	reasonMemory = "the node's memory budget is used up"
	reasonGone   = "peer disconnected"
	reasonBroken = "protocol violation"
	reasonLate   = "tunnel build has ended"
)

// cause is why a connection ends.
type cause byte

const (
	orderly cause = iota // the program sent Close
	lost                 // end of input or socket error
	broke                // protocol violation
	slow                 // did not read
	limit                // a limit of the node
	stopped              // the node is closing
)

// ending is the end of a connection, with what the program is told.
type ending struct {
	cause  cause
	reason string
}

// String returns why a connection ends, for people.
func (e ending) String() string {
	why := [...]string{"orderly", "lost", "protocol violation", "slow", "limit", "node closes"}[e.cause]
	if e.reason == "" {
		return why
	}
	return why + ": " + e.reason
}

// conn is one program's connection. The goroutine in serve reads it and owns all
// fields but those marked; it is the Sink of both data planes, messaging and
// tunnel.
type conn struct {
	server  *Server
	nc      net.Conn
	io      transport
	dialect relaywire.Dialect // as of the handshake
	m       *messaging.Conn
	tunnels *tunnel.Table
	joins   joins
	owes    []*tunnel.End // acknowledgements, once all is handled that came with a message
	in      input
	batch   queue.Batch

	queue   *queue.Queue           // any goroutine appends
	wake    chan struct{}          // to the writing goroutine
	handed  atomic.Bool            // it has been given the claim of queue
	written chan struct{}          // closed when it has ended
	told    atomic.Pointer[ending] // the first end that anybody asked for
	kicks   atomic.Bool            // the reading goroutine is to be told of it
	unread  []byte                 // of frame
	taken   []uint64               // positions of what was taken back from the program
	odd     bool                   // a harmless oddity of this program was logged
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		server:  s,
		nc:      nc,
		queue:   queue.New(s.Plane.Budget, unreadLimit),
		wake:    make(chan struct{}, 1),
		written: make(chan struct{}),
	}
	c.io = newTransport(nc)
	c.in.budget = s.Plane.Budget
	c.tunnels = tunnel.NewTable(c, s.Plane.Budget, s.Tunnels)
	return c
}

// serve runs the connection from its handshake to its end.
func (c *conn) serve() {
	defer c.server.remove(c)
	defer c.nc.Close()
	defer c.in.release()
	if !c.handshake() {
		return
	}
	go c.write()
	if c.queue.Open() {
		c.Flush(&c.batch)
		c.batch.Flush()
	}
	c.end(c.read())
}

// handshake reads Init and registers the program (docs/relay-v1.md, Handshake).
// When it returns true, Accept waits in the corked queue, followed by what became
// due to the new member meanwhile.
func (c *conn) handshake() bool {
	c.nc.SetReadDeadline(time.Now().Add(handshakeLimit))
	if c.told.Load() != nil {
		return false // asked to end before there was a deadline
	}
	var m relaywire.Message
	for {
		n, err := c.server.Limits.ParseInit(c.in.bytes(), &m)
		if err == nil {
			c.in.take(n)
			break
		}
		if err == relaywire.ErrShort {
			err = c.in.fill(c.io, n)
		}
		if err != nil {
			c.server.Ends.Handshakes.Add(1)
			c.server.Log.Debug("handshake failed", "program", c.peer(), "error", err)
			return false
		}
	}
	c.speak(m.Dialect())
	if c.dialect == relaywire.V1 && string(m.Version) != relaywire.Version {
		c.deny(string(m.Version))
		return false
	}
	c.m = c.server.Plane.NewConn(string(m.Name), c)
	accept := relaywire.Message{Op: relaywire.Accept, Magic: []byte(relaywire.NodeMagic), Version: []byte(relaywire.Version)}
	_, _, err := c.queue.Append(c.dialect.AppendToClient(nil, &accept), queue.Payload{}, nil)
	c.queue.Keep()
	if err == nil {
		err = c.server.Control.Attach(c.m)
	}
	if err != nil {
		c.server.Ends.Full.Add(1)
		c.server.Log.Warn("a program was turned away", "cluster", c.m.Cluster, "error", err)
		c.queue.Discard()
		return false
	}
	c.nc.SetReadDeadline(time.Time{})
	if c.told.Load() != nil {
		c.kick() // asked to end while the deadline was the handshake's
	}
	c.server.Log.Debug("program attached", "conn", c.m.ID, "cluster", c.m.Cluster, "program", c.peer(), "protocol", c.dialect)
	return true
}

// deny tells a program of another version why it is not served (R7: its Init has
// been read whole, so the answer is not lost to a reset).
func (c *conn) deny(version string) {
	c.server.Ends.Handshakes.Add(1)
	c.server.Log.Info("program denied: unsupported protocol version", "version", version)
	m := relaywire.Message{
		Op:    relaywire.Deny,
		Magic: []byte(relaywire.NodeMagic),
		Body:  []byte("Unsupported protocol. Client: " + version + ". Iris: " + relaywire.Version + "."),
	}
	c.nc.SetDeadline(time.Now().Add(lingerLimit))
	if _, err := c.nc.Write(m.AppendToClient(nil)); err == nil {
		closeWrite(c.nc)
		c.in.discard(c.io)
	}
}

// read handles messages until the connection is to end.
func (c *conn) read() ending {
	const (
		mostFrames = 512
		mostOctets = 64 << 10
	)
	var m relaywire.Message
	now := time.Now()
	for {
		frames, octets := 0, 0
		need := 1
		for {
			n, err := c.dialect.ParseToNode(&c.server.Limits, c.in.bytes(), &m)
			if err == relaywire.ErrShort {
				need = n
				break
			}
			if err != nil {
				return ending{broke, err.Error()}
			}
			if end, ok := c.handle(now, &m); ok {
				return end
			}
			c.in.take(n)
			frames, octets = frames+1, octets+n
			if frames >= mostFrames || octets >= mostOctets || c.batch.Octets >= mostOctets {
				c.acknowledge()
				c.batch.Flush()
				c.waitOut()
				runtime.Gosched() // a flood takes its turn like everybody
				frames, octets = 0, 0
			}
		}
		c.acknowledge()
		c.batch.Flush()
		c.waitOut()
		if err := c.in.fill(c.io, need); err != nil {
			if end := c.told.Load(); end != nil {
				return *end
			}
			if errors.Is(err, queue.ErrMemory) {
				return ending{limit, reasonMemory}
			}
			return ending{lost, err.Error()}
		}
		now = time.Now()
	}
}

// waitOut holds the program up while what it publishes fills up links that move.
func (c *conn) waitOut() {
	if took := WaitOut(&c.batch, c.ending); took > 0 {
		c.server.Plane.Drops.Paused.Add(int64(took))
	}
}

// handle acts on one message. It reports true when the connection is to end.
func (c *conn) handle(now time.Time, m *relaywire.Message) (ending, bool) {
	b := &c.batch
	var err error
	switch m.Op {
	case relaywire.Request:
		c.m.Request(now, b, m.ID, m.Name, m.Body, m.Timeout)
	case relaywire.Reply:
		c.m.Reply(now, b, m.ID, m.Fault, m.Body)
	case relaywire.Publish:
		c.m.Publish(now, b, m.Name, m.Body)
	case relaywire.Broadcast:
		c.m.Broadcast(now, b, m.Name, m.Body)
	case relaywire.TunnelTransfer:
		switch e := c.tunnels.End(m.ID); {
		case e == nil:
		case c.dialect == relaywire.V0:
			err = e.Message(now, b, m.Body)
			c.owe(e)
		default:
			err = e.Chunk(now, b, m.Size, m.Body)
		}
	case relaywire.TunnelAllow:
		switch e := c.tunnels.End(m.ID); {
		case e == nil:
		case c.dialect == relaywire.V0:
			err = e.Ack(now, b)
		default:
			e.Allow(now, b, m.Size)
		}
	case relaywire.TunnelClose:
		if e := c.tunnels.End(m.ID); e != nil {
			e.Close(now, b)
		}
	case relaywire.TunnelInit:
		switch {
		case !c.tunnels.Building(m.ID):
			return ending{broke, "tunnel id is in use"}, true
		case c.server.Plane.Budget.Scarce():
			c.server.Plane.Drops.Tunnels.Add(1)
			c.Unbuilt(b, m.ID, messaging.Refused)
		default:
			c.takes(m.ID, m.Size)
			c.m.Build(now, b, m.ID, m.Name, m.Timeout)
		}
	case relaywire.TunnelConfirm:
		return c.confirm(now, b, m)
	case relaywire.Subscribe:
		b.Flush() // the loop may keep us waiting
		var fresh bool
		if fresh, err = c.server.Control.Subscribe(c.m, m.Name); err == nil && !fresh {
			c.oddity("subscribed to a topic it had subscribed to", m.Name)
		}
	case relaywire.Unsubscribe:
		b.Flush()
		var had bool
		if had, err = c.server.Control.Unsubscribe(c.m, m.Name); err == nil && !had {
			c.oddity("unsubscribed from a topic it had not subscribed to", m.Name)
		}
	case relaywire.Close:
		return ending{cause: orderly}, true
	}
	switch {
	case err == nil:
		return ending{}, false
	case errors.Is(err, tunnel.ErrCredit), errors.Is(err, tunnel.ErrAck):
		return ending{broke, err.Error()}, true
	default:
		return ending{limit, err.Error()}, true
	}
}

// confirm opens the tunnel whose build the program accepts.
func (c *conn) confirm(now time.Time, b *queue.Batch, m *relaywire.Message) (ending, bool) {
	// The id comes first: a build taken and then refused would have no answer.
	if !c.tunnels.Building(m.Tunnel) {
		return ending{broke, "tunnel id is in use"}, true
	}
	c.takes(m.Tunnel, m.Size)
	o, ok := c.m.Confirm(m.ID)
	switch {
	case !ok:
		return ending{broke, "confirmed a tunnel build that was not offered"}, true
	case o.From != nil:
		tunnel.Open(now, b, c.server.Plane.Timers, o.From.Sink().(Tunneler).Tunnels(), o.Tunnel, c.tunnels, m.Tunnel)
	case o.Peer != nil:
		if err := c.server.Abroad(b, o, c.tunnels, m.Tunnel); err != nil {
			c.tunnels.Failed(m.Tunnel)
			c.TunnelClose(b, m.Tunnel, err.Error())
		}
	default:
		c.tunnels.Failed(m.Tunnel)
		c.TunnelClose(b, m.Tunnel, reasonLate)
	}
	return ending{}, false
}

// A Tunneler is a Sink whose program can be an end of tunnels.
type Tunneler interface{ Tunnels() *tunnel.Table }

// Tunnels implements Tunneler.
func (c *conn) Tunnels() *tunnel.Table { return c.tunnels }

// oddity logs something that libraries in use do and that does no harm, once a
// connection.
func (c *conn) oddity(what string, name []byte) {
	if !c.odd {
		c.odd = true
		c.server.Log.Info("program "+what+": ignored", "conn", c.m.ID, "topic", string(name))
	}
}

// end takes the program out of everything and says farewell (docs/relay-v1.md,
// Ends of a connection).
func (c *conn) end(e ending) {
	c.told.CompareAndSwap(nil, &e)
	now := time.Now()
	c.server.Control.Detach(c.m, e.String())
	c.count(e)

	// From here on nothing more reaches the program. What it has not begun to
	// read goes back to where it came from, unless the whole node ends: then it
	// gets all that nobody else can take.
	c.queue.Seal(e.cause != stopped || c.server.Plane.Draining())
	left := c.queue.Appended()
	c.tunnels.Close(now, &c.batch, tunnelReason(e))
	c.unjoinAll()
	c.m.Close(now, &c.batch)
	if e.cause == stopped {
		c.restore(left)
	}
	c.unread, c.taken = nil, nil
	c.queue.Uncut()
	if e.cause == lost {
		c.queue.Discard()
		c.nc.Close() // ends a write under way
		c.batch.Flush()
		c.poke()
		<-c.written
		return
	}
	c.queue.Farewell(c.farewell(e))
	limit := lingerLimit
	if e.cause == orderly || e.cause == stopped {
		limit = closeLimit
	}
	c.nc.SetDeadline(now.Add(limit))
	c.Flush(&c.batch)
	c.batch.Flush()
	c.poke()
	c.linger(now.Add(limit))
	<-c.written
}

// restore puts back what was taken out of the queue, from a position on, and did not
// go to others.
func (c *conn) restore(pos uint64) {
	var m relaywire.Message
	for n := c.frame(pos, &m); n > 0; n = c.frame(pos, &m) {
		if len(c.taken) > 0 && c.taken[0] == pos {
			c.taken = c.taken[1:]
		} else {
			c.queue.Restore(c.unread[:n])
		}
		pos += uint64(n)
	}
}

// linger reads on and throws away: a program that is stuck writing to us must get
// to reading, and no reset may destroy what it has not read yet. It ends with the
// input, at the given time, or a second after the farewell was written.
func (c *conn) linger(until time.Time) {
	written := c.written
	for {
		err := c.in.discard(c.io)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		select {
		case <-written:
			written = nil
			until = time.Now().Add(lingerLimit)
		default:
			if !time.Now().Before(until) {
				return
			}
		}
		c.nc.SetReadDeadline(until) // again, after a kick
	}
}

func tunnelReason(e ending) string {
	switch e.cause {
	case orderly:
		return ""
	case broke:
		return reasonBroken
	case stopped:
		return e.reason
	}
	return reasonGone
}

func (c *conn) count(e ending) {
	ends, log := &c.server.Ends, c.server.Log.With("conn", c.m.ID, "cluster", c.m.Cluster, "program", c.peer())
	switch e.cause {
	case orderly:
		ends.Orderly.Add(1)
		log.Debug("program detached")
	case lost:
		ends.Lost.Add(1)
		log.Debug("program lost", "error", e.reason)
	case broke:
		ends.Violations.Add(1)
		log.Warn("program dropped: it broke the protocol", "reason", e.reason)
	case slow:
		ends.Slow.Add(1)
		log.Warn("program dropped: it is too slow", "reason", e.reason)
	case limit:
		ends.Limits.Add(1)
		log.Warn("program dropped: over a limit", "reason", e.reason)
	case stopped:
		ends.Drained.Add(1)
	}
}

// peer names the program for the log: its address, or its user where the system
// tells that.
func (c *conn) peer() string {
	if c.nc.RemoteAddr().Network() == "unix" {
		if uid, err := localsock.PeerUID(c.nc); err == nil {
			return "uid " + strconv.Itoa(uid)
		}
	}
	return c.nc.RemoteAddr().String()
}

// ending reports whether somebody has asked for the end.
func (c *conn) ending() bool { return c.told.Load() != nil }

// stop asks the reading goroutine to end the connection.
func (c *conn) stop(e ending) {
	if c.told.CompareAndSwap(nil, &e) {
		c.kick()
	}
}

// kick ends a read under way.
func (c *conn) kick() { c.nc.SetReadDeadline(time.Unix(1, 0)) }

// closeWrite says that nothing more follows.
func closeWrite(nc net.Conn) {
	if h, ok := nc.(interface{ CloseWrite() error }); ok {
		h.CloseWrite()
	}
}
