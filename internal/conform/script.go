package conform

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

type message = relaywire.Message

// patience is how long a script waits for what must come, so that a node that
// does nothing fails a case instead of hanging it.
const patience = 30 * time.Second

// A stage is where the scripts of one case play. Failures end the case.
type stage struct {
	testing.TB
	n       *Node
	scripts []*script
}

// play makes a Run function. All connections are closed when it returns.
func play(scene func(s *stage)) func(testing.TB, *Node) {
	return func(t testing.TB, n *Node) {
		s := &stage{TB: t, n: n}
		defer func() {
			for _, c := range s.scripts {
				c.conn.Close()
			}
		}()
		scene(s)
	}
}

// A script is a program played by hand: it sends exactly what it is told, and
// whatever it reads goes through a Checker. It is for one goroutine, and
// starts none.
type script struct {
	*stage
	name    string // for reports
	conn    net.Conn
	dialect relaywire.Dialect
	check   checker
	in      []byte // read, not parsed
	syncs   int
}

// dial opens a connection that has not sent an Init.
func (s *stage) dial(name string) *script {
	s.Helper()
	conn, err := s.n.Dial()
	if err != nil {
		s.Fatalf("%s cannot connect: %v", name, err)
	}
	c := &script{stage: s, name: fmt.Sprintf("%s (connection %d)", name, len(s.scripts)), conn: conn, check: new(Checker)}
	s.scripts = append(s.scripts, c)
	return c
}

// attach registers a service of a cluster.
func (s *stage) attach(cluster string) *script {
	s.Helper()
	c := s.dial("service of " + cluster)
	c.send(initOf(cluster))
	c.expect(accept)
	return c
}

// attachClientOnly opens a connection that is in no cluster.
func (s *stage) attachClientOnly() *script {
	s.Helper()
	c := s.dial("client")
	c.send(initOf(""))
	c.expect(accept)
	return c
}

// send writes messages in one piece.
func (c *script) send(ms ...message) {
	c.Helper()
	var b []byte
	for i := range ms {
		c.check.sent(&ms[i])
		b = c.dialect.AppendToNode(b, &ms[i])
	}
	c.write(b)
}

// sendHex writes raw octets, given as hexadecimal digits and blanks.
func (c *script) sendHex(digits string) {
	c.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		c.Fatalf("%q: %v", digits, err)
	}
	c.write(b)
}

// write writes raw octets.
func (c *script) write(b []byte) {
	c.Helper()
	if err := c.tryWrite(b); err != nil {
		c.Fatalf("%s cannot write: %v", c.name, err)
	}
}

func (c *script) tryWrite(b []byte) error {
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := c.conn.Write(b)
	return err
}

// expect reads messages and compares each with what is wanted. Allowances are
// left to the Checker, which keeps the windows, unless one is wanted.
func (c *script) expect(wanted ...message) {
	c.Helper()
	for i := range wanted {
		w := &wanted[i]
		got := c.next(w.Op == relaywire.TunnelAllow)
		if !same(got, w) {
			c.Fatalf("%s:\n  came   %s\n  wanted %s%s", c.name, describe(got), describe(w), difference(got.Body, w.Body))
		}
	}
}

// same reports whether two messages to a client are equal on the wire.
func same(a, b *message) bool {
	return bytes.Equal(a.AppendHeadToClient(nil), b.AppendHeadToClient(nil)) &&
		bytes.Equal(a.Body, b.Body) && bytes.Equal(a.AppendTailToClient(nil), b.AppendTailToClient(nil))
}

// next reads the next message, allowances among them or not.
func (c *script) next(allowances bool) *message {
	c.Helper()
	for {
		m, err := c.read(time.Now().Add(patience))
		if err != nil {
			c.Fatalf("%s waits for a message: %v", c.name, err)
		}
		if allowances || m.Op != relaywire.TunnelAllow {
			return m
		}
	}
}

// nextOf returns the next message, no allowance, that any of the scripts reads,
// and which one did. Looking around takes time, invented or not.
func (s *stage) nextOf(scripts ...*script) (*script, *message) {
	s.Helper()
	for start := time.Now(); time.Since(start) < patience; {
		for _, c := range scripts {
			m, err := c.read(time.Now().Add(time.Millisecond))
			switch {
			case err == nil && m.Op != relaywire.TunnelAllow:
				return c, m
			case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
				s.Fatalf("%s waits for a message: %v", c.name, err)
			}
		}
	}
	s.Fatalf("%d connections wait for a message that does not come", len(scripts))
	return nil, nil
}

// expectNothing waits in the belief that only allowances come: for d in
// invented time, otherwise for a moment, as d costs nothing in the first only.
func (c *script) expectNothing(d time.Duration) {
	c.Helper()
	if !c.n.virtual {
		d = min(d, 50*time.Millisecond)
	}
	until := time.Now().Add(d)
	for {
		m, err := c.read(until)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil:
			c.Fatalf("%s: %v; wanted nothing for %v", c.name, err, d)
		case m.Op != relaywire.TunnelAllow:
			c.Fatalf("%s:\n  came   %s\n  wanted nothing for %v", c.name, describe(m), d)
		}
	}
}

// expectClose reads the Close that ends a connection, and the end of input
// behind it. With a reason its text must not be empty, without it must be.
func (c *script) expectClose(reason bool) {
	c.Helper()
	m := c.next(false)
	if m.Op != relaywire.Close || (len(m.Body) > 0) != reason {
		c.Fatalf("%s:\n  came   %s\n  wanted Close, %s", c.name, describe(m), reasonOrNot(reason))
	}
	c.expectEOF()
}

// expectEOF reads the end of input, which must not be a reset.
func (c *script) expectEOF() {
	c.Helper()
	m, err := c.read(time.Now().Add(patience))
	if err == nil {
		c.Fatalf("%s:\n  came   %s\n  wanted end of input", c.name, describe(m))
	}
	if err != io.EOF {
		c.Fatalf("%s: %v; wanted end of input", c.name, err)
	}
}

// expectTunnelClose reads a TunnelClose with a reason or without.
func (c *script) expectTunnelClose(id uint64, reason bool) {
	c.Helper()
	m := c.next(false)
	if m.Op != relaywire.TunnelClose || m.ID != id || (len(m.Body) > 0) != reason {
		c.Fatalf("%s:\n  came   %s\n  wanted TunnelClose %d, %s", c.name, describe(m), id, reasonOrNot(reason))
	}
}

func reasonOrNot(reason bool) string {
	if reason {
		return "any reason"
	}
	return "no reason"
}

// read returns the next message, or io.EOF, os.ErrDeadlineExceeded or another
// error of the connection. A message that the node must not send fails the
// case; so does one that is not in its shortest form (R4). Its slices stay
// valid.
func (c *script) read(until time.Time) (*message, error) {
	c.Helper()
	c.conn.SetReadDeadline(until)
	for {
		m := new(message)
		n, err := c.dialect.ParseToClient(&relaywire.DefaultLimits, c.in, m)
		if err == nil {
			c.in = c.in[n:]
			if shortest := len(c.dialect.AppendHeadToClient(nil, m)) + len(m.Body) + len(c.dialect.AppendTailToClient(nil, m)); n != shortest {
				c.Fatalf("%s: %s came in %d octets, wanted %d", c.name, describe(m), n, shortest)
			}
			if err := c.check.received(m); err != nil {
				c.Fatalf("%s: the node must not send this: %v\n  came   %s", c.name, err, describe(m))
			}
			return m, nil
		}
		if err != relaywire.ErrShort {
			c.Fatalf("%s: the node sent what is no message: %v: %x", c.name, err, c.in[:min(len(c.in), 32)])
		}
		if cap(c.in) < n || cap(c.in) == len(c.in) {
			// Messages handed out lie before c.in and are not written again.
			c.in = append(make([]byte, 0, max(n, 128<<10)), c.in...)
		}
		k, err := c.conn.Read(c.in[len(c.in):cap(c.in)])
		c.in = c.in[:len(c.in)+k]
		if k == 0 && err != nil {
			if err == io.EOF && len(c.in) > 0 {
				return nil, fmt.Errorf("input ends within a message: %x", c.in[:min(len(c.in), 32)])
			}
			return nil, err
		}
	}
}

// sync returns when the node has handled all that c sent, and fails if
// anything but allowances came before.
func (c *script) sync() {
	c.Helper()
	c.syncs++
	topic := fmt.Sprintf("sync %d of %s", c.syncs, c.name)
	c.send(subscribe(topic), publish(topic, "done"), unsubscribe(topic))
	c.expect(publish(topic, "done"))
}

// close closes the connection in order.
func (c *script) close() {
	c.Helper()
	c.send(closing(""))
	c.expectClose(false)
	c.conn.Close()
}

// halfClose ends the input of the node.
func (c *script) halfClose() {
	c.Helper()
	if err := c.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.Fatalf("%s cannot half close: %v", c.name, err)
	}
}

// reset breaks the connection off, as a program that is killed does.
func (c *script) reset() {
	if tcp, ok := c.conn.(interface{ SetLinger(sec int) error }); ok {
		tcp.SetLinger(0)
	}
	c.conn.Close()
}

// window is how many octets c may send on a tunnel now, as far as it has read.
func (c *script) window(tunnel uint64) int {
	if e := c.check.open(tunnel); e != nil {
		return int(e.window)
	}
	return 0
}

// awaitWindow reads allowances until c may send n octets on a tunnel.
func (c *script) awaitWindow(tunnel uint64, n int) {
	c.Helper()
	for c.window(tunnel) < n {
		if m := c.next(true); m.Op != relaywire.TunnelAllow {
			c.Fatalf("%s:\n  came   %s\n  wanted an allowance for tunnel %d", c.name, describe(m), tunnel)
		}
	}
}

// expectOffer reads a TunnelInit and returns its build id.
func (c *script) expectOffer() uint64 {
	c.Helper()
	m := c.next(false)
	if m.Op != relaywire.TunnelInit {
		c.Fatalf("%s:\n  came   %s\n  wanted TunnelInit", c.name, describe(m))
	}
	return m.ID
}

// expectAssigned reads a Request and returns its id.
func (c *script) expectAssigned(body string, ms uint64) uint64 {
	c.Helper()
	m := c.next(false)
	if m.Op != relaywire.Request || string(m.Body) != body || m.Timeout != ms {
		w := assigned(m.ID, body, ms)
		c.Fatalf("%s:\n  came   %s\n  wanted %s, whatever its id", c.name, describe(m), describe(&w))
	}
	return m.ID
}

// tunnel builds a tunnel from a, which calls it x, to b, which calls it y and
// is the only member of the cluster. Both ends grant credit octets. The two
// programs may be one.
func (s *stage) tunnel(a *script, x uint64, cluster string, b *script, y uint64, credit uint64) {
	s.Helper()
	a.send(tunnelInit(x, cluster, 10_000))
	b.send(tunnelConfirm(b.expectOffer(), y), tunnelAllow(y, credit))
	a.expect(tunnelResult(x))
	a.send(tunnelAllow(x, credit))
	a.awaitWindow(x, relaywire.TunnelWindow)
	b.awaitWindow(y, relaywire.TunnelWindow)
}

// chunks cuts a message for a tunnel.
func chunks(tunnel uint64, body string) []message {
	var ms []message
	for size := uint64(len(body)); len(body) > 0; size = 0 {
		n := min(len(body), relaywire.ChunkLimit)
		ms = append(ms, chunk(tunnel, size, body[:n]))
		body = body[n:]
	}
	return ms
}

// carry sends one message of any length from one end of a tunnel to the other,
// which grants all it got once it is complete. The two programs may be one.
func carry(from *script, x uint64, to *script, y uint64, body string) {
	from.Helper()
	sending, due := chunks(x, body), chunks(y, body)
	for len(due) > 0 {
		n := 0
		for ; n < len(sending) && from.window(x) >= len(sending[n].Body); n++ {
			from.send(sending[n])
		}
		to.expect(due[:n]...)
		sending, due = sending[n:], due[n:]
		if len(due) > 0 {
			from.awaitWindow(x, len(sending[0].Body))
		}
	}
	to.send(tunnelAllow(y, uint64(len(body))))
}

// pattern returns n octets that differ from one seed to another, and from one
// chunk to the next.
func pattern(seed, n int) string {
	var block [4093]byte // prime, so that it falls differently into each chunk
	v := uint32(seed)*2654435761 + 1
	for i := range block {
		v = v*1664525 + 1013904223
		block[i] = byte(v >> 24)
	}
	return strings.Repeat(string(block[:]), n/len(block)+1)[:n]
}

// settle lets pass the time within which changes are effective (R17).
func (s *stage) settle() {
	if s.n.virtual {
		time.Sleep(10 * time.Millisecond)
	} else {
		time.Sleep(100 * time.Millisecond)
	}
}

// timely fails unless what happened since start took at least min and no more
// than max; over sockets it may be later than that.
func (s *stage) timely(what string, start time.Time, least, most time.Duration) {
	s.Helper()
	if took := time.Since(start); took < least || took > s.n.slack(most) {
		s.Fatalf("%s after %v, wanted %v to %v", what, took, least, s.n.slack(most))
	}
}

// readForASecond checks that the node reads what c, which is closed, still sends for
// about a second.
func (c *script) readForASecond() {
	c.Helper()
	start := time.Now()
	for c.tryWrite([]byte{0xff}) == nil {
		if time.Since(start) > 5*time.Second {
			c.Fatal("the node reads on after 5 s, wanted about 1 s")
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.timely("the end", start, 900*time.Millisecond, 1100*time.Millisecond)
}

// prompt is how long the node may take for what it does at once.
const prompt = 5 * time.Millisecond

// Messages a program sends. Those of both directions with equal fields serve
// for what it wants to read, too.

func initOf(cluster string) message {
	return message{Op: relaywire.Init, Magic: []byte(relaywire.ClientMagic), Version: []byte(relaywire.Version), Name: []byte(cluster)}
}

func closing(reason string) message {
	return message{Op: relaywire.Close, Body: []byte(reason)}
}

func broadcast(cluster, body string) message {
	return message{Op: relaywire.Broadcast, Name: []byte(cluster), Body: []byte(body)}
}

func request(id uint64, cluster, body string, ms uint64) message {
	return message{Op: relaywire.Request, ID: id, Name: []byte(cluster), Body: []byte(body), Timeout: ms}
}

func reply(id uint64, body string) message {
	return message{Op: relaywire.Reply, ID: id, Body: []byte(body)}
}

func fault(id uint64, text string) message {
	return message{Op: relaywire.Reply, ID: id, Fault: true, Body: []byte(text)}
}

func subscribe(topic string) message {
	return message{Op: relaywire.Subscribe, Name: []byte(topic)}
}

func unsubscribe(topic string) message {
	return message{Op: relaywire.Unsubscribe, Name: []byte(topic)}
}

func publish(topic, body string) message {
	return message{Op: relaywire.Publish, Name: []byte(topic), Body: []byte(body)}
}

func tunnelInit(id uint64, cluster string, ms uint64) message {
	return message{Op: relaywire.TunnelInit, ID: id, Name: []byte(cluster), Timeout: ms}
}

func tunnelConfirm(build, id uint64) message {
	return message{Op: relaywire.TunnelConfirm, ID: build, Tunnel: id}
}

func tunnelAllow(id, space uint64) message {
	return message{Op: relaywire.TunnelAllow, ID: id, Size: space}
}

func chunk(id, size uint64, body string) message {
	return message{Op: relaywire.TunnelTransfer, ID: id, Size: size, Body: []byte(body)}
}

func tunnelClose(id uint64, reason string) message {
	return message{Op: relaywire.TunnelClose, ID: id, Body: []byte(reason)}
}

// Messages only a node sends.

var accept = message{Op: relaywire.Accept, Magic: []byte(relaywire.NodeMagic), Version: []byte(relaywire.Version)}

func deny(version string) message {
	return message{Op: relaywire.Deny, Magic: []byte(relaywire.NodeMagic),
		Body: []byte("Unsupported protocol. Client: " + version + ". Iris: " + relaywire.Version + ".")}
}

func delivered(body string) message {
	return message{Op: relaywire.Broadcast, Body: []byte(body)}
}

func assigned(id uint64, body string, ms uint64) message {
	return message{Op: relaywire.Request, ID: id, Body: []byte(body), Timeout: ms}
}

func replyTimeout(id uint64) message {
	return message{Op: relaywire.Reply, ID: id, TimedOut: true}
}

func tunnelOffer(build uint64) message {
	return message{Op: relaywire.TunnelInit, ID: build, Size: relaywire.ChunkLimit}
}

func tunnelResult(id uint64) message {
	return message{Op: relaywire.TunnelResult, ID: id, Size: relaywire.ChunkLimit}
}

func tunnelTimeout(id uint64) message {
	return message{Op: relaywire.TunnelResult, ID: id, TimedOut: true}
}

// describe writes a message from a node for people.
func describe(m *message) string {
	body := fmt.Sprintf("%.60q", m.Body)
	if len(m.Body) > 60 {
		body += fmt.Sprintf("... (%d octets)", len(m.Body))
	}
	switch m.Op {
	case relaywire.Accept:
		return fmt.Sprintf("Accept %q %q", m.Magic, m.Version)
	case relaywire.Deny:
		return fmt.Sprintf("Deny %q %s", m.Magic, body)
	case relaywire.Close:
		return "Close " + body
	case relaywire.Broadcast:
		return "Broadcast " + body
	case relaywire.Request:
		return fmt.Sprintf("Request %d %s, timeout %d ms", m.ID, body, m.Timeout)
	case relaywire.Reply:
		switch {
		case m.TimedOut:
			return fmt.Sprintf("Reply %d, timed out", m.ID)
		case m.Fault:
			return fmt.Sprintf("Reply %d, fault %s", m.ID, body)
		}
		return fmt.Sprintf("Reply %d, success %s", m.ID, body)
	case relaywire.Publish:
		return fmt.Sprintf("Publish %q %s", m.Name, body)
	case relaywire.TunnelInit:
		return fmt.Sprintf("TunnelInit, build %d, chunk limit %d", m.ID, m.Size)
	case relaywire.TunnelResult:
		if m.TimedOut {
			return fmt.Sprintf("TunnelResult %d, timed out", m.ID)
		}
		return fmt.Sprintf("TunnelResult %d, chunk limit %d", m.ID, m.Size)
	case relaywire.TunnelAllow:
		return fmt.Sprintf("TunnelAllow %d, %d octets", m.ID, m.Size)
	case relaywire.TunnelTransfer:
		return fmt.Sprintf("TunnelTransfer %d, size %d, %s", m.ID, m.Size, body)
	case relaywire.TunnelClose:
		return fmt.Sprintf("TunnelClose %d %s", m.ID, body)
	}
	return fmt.Sprintf("opcode %02x", byte(m.Op))
}

// difference says where two long bodies part.
func difference(got, want []byte) string {
	if len(got) <= 60 && len(want) <= 60 || bytes.Equal(got, want) {
		return ""
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	return fmt.Sprintf("\n  the bodies differ from octet %d on", i)
}
