package conform

import (
	"slices"

	"github.com/project-iris/iris/internal/relaywire"
)

// olderWindow is how many messages of a tunnel the libraries of V0 take ahead of the
// application, and the node ahead of itself.
const olderWindow = 128

// A checker follows a connection from its program's side, in its dialect: see Checker.
type checker interface {
	wrong(m *message) error
	sent(m *message)
	received(m *message) error
	open(id uint64) *tunnelEnd
}

// introduction returns the first message of a program of a cluster, and who checks
// what follows.
func introduction(d relaywire.Dialect, cluster string) (message, checker) {
	if d == relaywire.V0 {
		return message{Op: relaywire.Init, Version: []byte(relaywire.VersionV0), Name: []byte(cluster)}, new(olderChecker)
	}
	return initOf(cluster), new(Checker)
}

// giveSize gives a message of V0 the size that one of V1 would have: a transfer is a
// whole message, an acknowledgement allows one.
func giveSize(m *message) {
	switch m.Op {
	case relaywire.TunnelTransfer:
		m.Size = uint64(len(m.Body))
	case relaywire.TunnelAllow:
		m.Size = 1
	}
}

// older attaches a program of V0.
func (s *stage) older(app string) *script {
	s.Helper()
	c := s.dial("program of V0 of " + app)
	c.attachOlder(app)
	return c
}

// attachOlder registers a program of V0 on a connection that has sent nothing.
func (c *script) attachOlder(app string) {
	c.Helper()
	c.dialect = relaywire.V0
	var hello message
	hello, c.check = introduction(relaywire.V0, app)
	c.send(hello)
	c.expect(olderAccept)
}

// expectDrop reads the end of a connection that the node drops: in V0 there is no word
// of it (V2).
func (c *script) expectDrop() {
	c.Helper()
	if c.dialect == relaywire.V0 {
		c.expectEOF()
	} else {
		c.expectClose(true)
	}
}

// link builds a tunnel, as stage.tunnel does, between programs of any dialect.
func (s *stage) link(a *script, x uint64, app string, b *script, y uint64) {
	s.Helper()
	const credit = 1 << 40
	a.send(a.sized(tunnelInit(x, app, 10_000)))
	b.send(b.sized(tunnelConfirm(b.expectOffer(), y)))
	a.expect(a.sized(tunnelResult(x)))
	for _, e := range []struct {
		c  *script
		id uint64
	}{{a, x}, {b, y}} {
		if e.c.dialect == relaywire.V1 {
			e.c.send(tunnelAllow(e.id, credit))
			e.c.awaitWindow(e.id, relaywire.TunnelWindow)
		}
	}
}

// ungranted returns a program of V0 with a tunnel that it calls 1 to one of v1, which
// calls it 2 and has granted nothing yet.
func (s *stage) ungranted() (older, c *script) {
	s.Helper()
	older, c = s.older("sends"), s.attach("group")
	older.send(older.sized(tunnelInit(1, "group", never)))
	c.send(tunnelConfirm(c.expectOffer(), 2))
	older.expect(older.sized(tunnelResult(1)))
	return older, c
}

// sized gives a message that begins a tunnel the size that it has in the dialect of c.
func (c *script) sized(m message) message {
	if c.dialect == relaywire.V0 {
		m.Size = olderWindow
	}
	return m
}

// letter is a whole message of a tunnel.
func letter(id uint64, body string) message {
	return message{Op: relaywire.TunnelTransfer, ID: id, Body: []byte(body)}
}

// acked acknowledges one.
func acked(id uint64) message { return message{Op: relaywire.TunnelAllow, ID: id} }

// repeat returns m n times.
func repeat(n int, m message) []message { return slices.Repeat([]message{m}, n) }

// unacknowledged is how many messages of a tunnel c has sent that are not, as far as it
// has read.
func (c *script) unacknowledged(tunnel uint64) int { return -c.window(tunnel) }

// awaitAcks reads acknowledgements until no more than left messages have none.
func (c *script) awaitAcks(tunnel uint64, left int) {
	c.Helper()
	c.awaitWindow(tunnel, -left)
}

// olderAccept is the whole answer to an Init of V0.
var olderAccept = message{Op: relaywire.Accept}

// giveTakes has m say how many messages of a tunnel its program takes.
func giveTakes(m message, messages uint64) message {
	m.Size = messages
	return m
}
