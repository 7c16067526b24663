package conform

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// olderBuildCases are those of section 6.1.
func olderBuildCases() []Case {
	cases := slices.Concat(
		perDialect("V6 tunnel to another opens in the order of the protocol", func(s *stage, other func(string) *script) {
			olderOpens(s.older("asks"), "group", other("group"))
		}),
		perDialect("V6 V7 tunnel of another opens in the order of the protocol", func(s *stage, other func(string) *script) {
			olderOpens(other("asks"), "group", s.older("group"))
		}),
		perDialect("V7 messages right behind the confirmation count", func(s *stage, other func(string) *script) {
			m, c := s.older("group"), other("asks")
			for i := range uint64(20) {
				c.send(c.sized(tunnelInit(i, "group", never)))
				m.send(m.sized(tunnelConfirm(m.expectOffer(), 100+i)), letter(100+i, "early"))
				c.expect(c.sized(tunnelResult(i)))
				if c.dialect == relaywire.V1 {
					c.send(tunnelAllow(i, 100))
					c.expect(chunk(i, 5, "early"))
				} else {
					c.expect(letter(i, "early"))
				}
				m.awaitAcks(100+i, 0)
			}
		}),
		perDialect("v0 build that is not confirmed times out, and is closed when it is", func(s *stage, other func(string) *script) {
			m, c := s.older("group"), other("asks")
			start := time.Now()
			c.send(c.sized(tunnelInit(1, "group", wait)))
			m.expect(m.sized(tunnelOffer(0)))
			c.expect(tunnelTimeout(1))
			s.timely("the result", start, wait*time.Millisecond, wait*time.Millisecond+prompt)
			m.send(m.sized(tunnelConfirm(0, 5)))
			m.expect(tunnelClose(5, ""))
			m.sync()
			c.expectNothing(time.Second)
			s.link(c, 1, "group", m, 5)
		}),
		perLeaving("v0 build of an initiator that is gone is closed when it is confirmed", func(s *stage, l leaving) {
			m, c := s.older("group"), s.older("asks")
			c.send(c.sized(tunnelInit(1, "group", never)))
			m.expect(m.sized(tunnelOffer(0)))
			l.leave(c)
			m.sync()
			s.settle()
			m.send(m.sized(tunnelConfirm(0, 5)))
			m.expect(tunnelClose(5, ""))
			m.sync()
		}),
	)
	return append(cases, []Case{
		{Name: "v0 tunnel to nobody times out, not earlier", Run: play(func(s *stage) {
			c := s.older("asks")
			for _, ms := range []uint64{0, 1, 50} {
				start := time.Now()
				c.send(c.sized(tunnelInit(1, "nobody", ms)))
				c.expect(tunnelTimeout(1))
				s.timely("the result", start, time.Duration(ms)*time.Millisecond, time.Duration(ms)*time.Millisecond+prompt)
			}
			s.older("nobody").sync() // nothing is left over
		})},

		{Name: "v0 acceptor that does not confirm within 3 s is dropped in silence", virtual: "waits for 3 s", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("asks")
			start := time.Now()
			c.send(c.sized(tunnelInit(1, "group", 10_000)))
			m.expect(m.sized(tunnelOffer(0)))
			m.expectNothing(2900 * time.Millisecond)
			m.expectEOF()
			s.timely("the drop", start, 3*time.Second, 3*time.Second+50*time.Millisecond)
			c.expect(tunnelTimeout(1))
			c.sync()
		})},

		{Name: "v0 tunnel to oneself", Run: play(func(s *stage) {
			m := s.older("group")
			s.link(m, 1, "group", m, 2)
			m.send(letter(1, "ping"))
			m.expect(letter(2, "ping"))
			m.send(acked(2), letter(2, "pong"))
			m.expect(letter(1, "pong"))
			m.awaitAcks(2, 0)
			m.send(tunnelClose(2, ""))
			if a, b := m.next(false), m.next(false); a.Op != relaywire.TunnelClose || b.Op != relaywire.TunnelClose || a.ID+b.ID != 3 {
				s.Fatalf("came %s and %s, wanted a close for either end", describe(a), describe(b))
			}
			m.sync()
		})},

		{Name: "v0 many builds proceed at once", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("asks")
			const n = 100
			for i := range uint64(n) {
				c.send(c.sized(tunnelInit(i, "group", never)))
			}
			var builds []uint64
			for range n {
				builds = append(builds, m.expectOffer())
			}
			c.sync()
			m.sync()
			for i, build := range slices.Backward(builds) {
				m.send(m.sized(tunnelConfirm(build, uint64(i))))
				c.expect(c.sized(tunnelResult(uint64(i))))
			}
		})},

		{Name: "v0 tunnel ids may be used again after TunnelClose", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("asks")
			for range 10 {
				s.link(c, 5, "group", m, 6)
				c.send(letter(5, "hello"), tunnelClose(5, ""))
				c.expect(tunnelClose(5, ""))
				m.expect(letter(6, "hello"), tunnelClose(6, ""))
			}
		})},

		{Name: "V15 id in use drops the connection", Run: play(func(s *stage) {
			m := s.older("group")
			bad := s.older("bad")
			s.link(bad, 1, "group", m, 1)
			bad.send(bad.sized(tunnelInit(1, "group", never)))
			bad.expectEOF()
			m.expect(tunnelClose(1, ""))

			bad = s.older("bad")
			bad.send(bad.sized(tunnelInit(1, "nobody", never)), bad.sized(tunnelInit(1, "nobody", never)))
			bad.expectEOF()

			bad = s.older("bad") // the acceptor's ids are no others
			s.link(bad, 1, "group", m, 1)
			m.send(m.sized(tunnelInit(2, "bad", wait)))
			bad.send(bad.sized(tunnelConfirm(bad.expectOffer(), 1)))
			bad.expectEOF()
			m.expect(tunnelClose(1, ""), tunnelTimeout(2))
			m.sync()
		})},

		{Name: "V14 reply to a build that was not offered drops the connection", Run: play(func(s *stage) {
			m, other, c := s.older("group"), s.older("other"), s.older("asks")
			c.send(c.sized(tunnelInit(1, "group", never)))
			m.expect(m.sized(tunnelOffer(0)))
			other.send(other.sized(tunnelConfirm(0, 1))) // another's
			other.expectEOF()
			m.send(m.sized(tunnelConfirm(0, 1)))
			c.expect(c.sized(tunnelResult(1)))
			m.send(m.sized(tunnelConfirm(0, 2))) // for a second time
			m.expectEOF()
			c.expect(tunnelClose(1, ""))
			c.sync()
		})},
	}...)
}

// olderDataCases are those of section 6.2.
func olderDataCases() []Case {
	return []Case{
		{Name: "V8 each message is acknowledged once, and the window is kept", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("sends") // the checkers count
			s.link(c, 1, "group", m, 2)
			for i := range 5 {
				for j := range olderWindow {
					c.send(letter(1, fmt.Sprint(i, " ", j)))
				}
				for j := range olderWindow {
					m.expect(letter(2, fmt.Sprint(i, " ", j)))
				}
				m.expectNothing(100 * time.Millisecond)
				m.send(repeat(olderWindow, acked(2))...)
				c.awaitAcks(1, 0)
			}
			c.sync()
			m.sync()
		})},

		{Name: "V8 buffer of the program is its window", Run: play(func(s *stage) {
			for _, takes := range []uint64{0, 1, 129, 1 << 40, ^uint64(0)} {
				app := fmt.Sprint("takes ", takes)
				m, c := s.older(app), s.older("sends")
				m.send(giveTakes(m.sized(tunnelInit(4, "sends", never)), takes))
				c.send(c.sized(tunnelConfirm(c.expectOffer(), 3)))
				m.expect(m.sized(tunnelResult(4)))
				c.send(c.sized(tunnelInit(1, app, never)))
				m.send(giveTakes(tunnelConfirm(m.expectOffer(), 2), takes))
				c.expect(c.sized(tunnelResult(1)))
				most := min(200, int(min(takes, 1000)))
				for _, ids := range [][2]uint64{{1, 2}, {3, 4}} {
					for i := range 200 {
						c.awaitAcks(ids[0], olderWindow-1)
						c.send(letter(ids[0], fmt.Sprint(i)))
					}
					for i := range most {
						m.expect(letter(ids[1], fmt.Sprint(i)))
					}
					m.expectNothing(100 * time.Millisecond)
					for i := most; i < 200 && takes > 0; i++ {
						m.send(acked(ids[1]))
						m.expect(letter(ids[1], fmt.Sprint(i)))
					}
				}
				c.sync()
				m.sync()
				c.send(tunnelClose(1, ""), tunnelClose(3, ""))
				c.expect(tunnelClose(1, ""), tunnelClose(3, ""))
				c.close()
			}
		})},

		{Name: "V9 V10 node reads ahead, and stops", Run: play(func(s *stage) {
			m, c, other := s.older("group"), s.older("sends"), s.older("other")
			for _, w := range []struct {
				from *script
				x    uint64
				to   *script
				y    uint64
			}{{c, 1, m, 2}, {m, 4, c, 3}} {
				s.link(w.from, w.x, map[*script]string{m: "group", c: "sends"}[w.to], w.to, w.y)
				const least, most = 3*olderWindow + olderWindow, 20 * olderWindow
				n := w.from.sendUntilStopped(w.x, most, 4)
				if n < least {
					s.Fatalf("%s could send %d messages that nobody takes, wanted %d", w.from.name, n, least)
				}
				// Nothing else is held up, and nothing is lost.
				w.from.send(request(uint64(n), "other", "ask", never))
				id := other.next(false).ID
				other.send(reply(id, "answer"))
				w.from.expect(reply(uint64(n), "answer"))
				for i := range n {
					w.to.expect(letter(w.y, pattern(i, 4)))
					w.to.send(acked(w.y))
				}
				w.from.awaitAcks(w.x, 0)
				w.from.sync()
				w.to.sync()
			}
		})},

		{Name: "V10 large messages that nobody takes stop their sender", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("sends")
			m.send(giveTakes(m.sized(tunnelInit(2, "sends", never)), 0))
			c.send(c.sized(tunnelConfirm(c.expectOffer(), 1)))
			m.expect(m.sized(tunnelResult(2)))
			if n := c.sendUntilStopped(1, 2*olderWindow, 256<<10); n < olderWindow {
				s.Fatalf("%d messages of 256 KiB could be sent, wanted the window of %d", n, olderWindow)
			}
			c.sync()
			m.send(tunnelClose(2, "")) // gives all of that up
			m.expect(tunnelClose(2, ""))
			c.expect(tunnelClose(1, ""))
			m.sync()
			c.sync()
		})},

		{Name: "V11 message beyond the window drops the connection", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("bad")
			m.send(giveTakes(m.sized(tunnelInit(2, "bad", never)), 0))
			c.send(c.sized(tunnelConfirm(c.expectOffer(), 1)))
			m.expect(m.sized(tunnelResult(2)))
			c.sendUntilStopped(1, 20*olderWindow, 4)
			c.sync()
			c.send(letter(1, "one more"))
			c.expectEOF()
			m.sync()
		})},

		{Name: "V12 acknowledgement of nothing drops the connection", Run: play(func(s *stage) {
			for _, got := range []int{0, 1, olderWindow} {
				m, c := s.older("group"), s.older("sends")
				s.link(c, 1, "group", m, 2)
				for range got {
					c.send(letter(1, "hi"))
					m.expect(letter(2, "hi"))
				}
				m.send(repeat(got, acked(2))...)
				m.sync()
				m.send(acked(2))
				m.expectEOF()
				c.expect(tunnelClose(1, ""))
				c.sync()
				c.close()
			}
		})},

		{Name: "V13 messages of an unknown tunnel are ignored without an answer", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("sends")
			s.link(c, 1, "group", m, 2)
			for _, id := range []uint64{0, 2, 300, ^uint64(0)} {
				c.send(letter(id, "hi"), letter(id, ""), acked(id), tunnelClose(id, ""))
			}
			c.sync()
			c.send(tunnelClose(1, ""))
			c.expect(tunnelClose(1, ""))
			m.expect(tunnelClose(2, ""))
			c.send(letter(1, "hi"), acked(1), tunnelClose(1, ""))
			m.send(letter(2, "hi"), acked(2), tunnelClose(2, ""))
			for _, x := range []*script{c, m} {
				x.sync()
				x.expectNothing(time.Second)
			}
		})},

		{Name: "V16 empty message is one like any other", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("sends")
			s.link(c, 1, "group", m, 2)
			c.send(letter(1, ""), letter(1, "full"), letter(1, ""))
			m.expect(letter(2, ""), letter(2, "full"), letter(2, ""))
			m.send(repeat(3, acked(2))...)
			c.awaitAcks(1, 0)
			n := c.sendUntilStopped(1, 20*olderWindow, 0)
			m.expect(repeat(olderWindow, letter(2, ""))...)
			for range n - olderWindow {
				m.send(acked(2))
				m.expect(letter(2, ""))
			}
			c.sync()
			m.sync()
		})},

		{Name: "v0 messages of any length pass", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("sends")
			s.link(c, 1, "group", m, 2)
			for i, n := range []int{1, 100, relaywire.ChunkLimit - 1, relaywire.ChunkLimit, relaywire.ChunkLimit + 1, 2 * relaywire.ChunkLimit, 5 << 20, 16 << 20} {
				body := pattern(i, n)
				c.send(letter(1, body), letter(1, body[:1]))
				m.expect(letter(2, body), letter(2, body[:1]))
				m.send(acked(2), acked(2), letter(2, body))
				c.expect(letter(1, body))
				c.send(acked(1))
				c.awaitAcks(1, 0)
				m.awaitAcks(2, 0)
			}
			c.sync()
			m.sync()
		})},

		{Name: "v0 message of 64 MiB passes", virtual: "moves 64 MiB, to which sockets add nothing", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("sends")
			s.link(c, 1, "group", m, 2)
			body := pattern(0, 64<<20)
			c.send(letter(1, body))
			m.expect(letter(2, body))
		})},
	}
}

// olderOpens has a build a tunnel to b, the only member of app.
func olderOpens(a *script, app string, b *script) {
	a.send(a.sized(tunnelInit(7, app, never)))
	b.expect(b.sized(tunnelOffer(0)))
	a.expectNothing(100 * time.Millisecond)
	b.expectNothing(100 * time.Millisecond) // about a tunnel that is not confirmed
	b.send(b.sized(tunnelConfirm(0, 9)), tunnelClose(9, ""))
	a.expect(a.sized(tunnelResult(7)), tunnelClose(7, "")) // a checker refuses anything before the result
	b.expect(tunnelClose(9, ""))
	a.sync()
	b.sync()
}

// sendUntilStopped sends messages of some length until they are no longer acknowledged
// and the window is full, and returns how many. More than limit fail the case.
func (c *script) sendUntilStopped(tunnel uint64, limit, length int) int {
	c.Helper()
	quiet := time.Second
	if !c.n.virtual {
		quiet = 200 * time.Millisecond
	}
	for n := 0; ; {
		for ; c.unacknowledged(tunnel) < olderWindow; n++ {
			if n == limit {
				c.Fatalf("%s could send %d messages that nobody takes, wanted fewer", c.name, n)
			}
			c.send(letter(tunnel, pattern(n, length)))
		}
		m, err := c.read(time.Now().Add(quiet))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return n
		case err != nil:
			c.Fatalf("%s waits for an acknowledgement: %v", c.name, err)
		case m.Op != relaywire.TunnelAllow:
			c.Fatalf("%s:\n  came   %s\n  wanted an acknowledgement", c.name, describe(m))
		}
	}
}

// olderTunnelCloseCases are those of section 6.3.
func olderTunnelCloseCases() []Case {
	cases := perDialect("v0 close follows the data, and both sides get one", func(s *stage, other func(string) *script) {
		m, c := s.older("group"), other("asks")
		for i, closes := range []*script{c, m} {
			id := uint64(i)
			s.link(c, id, "group", m, 100+id)
			x, y, peer := id, 100+id, m
			if closes == m {
				x, y, peer = y, x, c
			}
			closes.send(append(repeat(100, closes.letter(x, "data")), tunnelClose(x, ""))...)
			closes.expect(tunnelClose(x, ""))
			peer.expect(repeat(100, peer.letter(y, "data"))...)
			peer.expect(tunnelClose(y, ""))
			closes.send(tunnelClose(x, "")) // crosses with the node's, or comes again
			peer.send(tunnelClose(y, ""), peer.letter(y, "late"))
			closes.sync()
			peer.sync()
		}
	})
	return append(cases, []Case{
		{Name: "V17 nothing is acknowledged after the program's close", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("sends") // the checkers refuse it
			for i := range uint64(20) {
				s.link(c, i, "group", m, i)
				c.send(append(repeat(olderWindow, letter(i, "hi")), tunnelClose(i, ""))...) // in one piece
				c.expect(tunnelClose(i, ""))
				m.expect(repeat(olderWindow, letter(i, "hi"))...)
				m.expect(tunnelClose(i, ""))
			}
			c.sync()
			m.sync()
		})},

		{Name: "V17 blocked sender hears of its peer's close alone", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("sends")
			s.link(c, 1, "group", m, 2)
			n := c.sendUntilStopped(1, 20*olderWindow, 4)
			c.sync()
			m.send(tunnelClose(2, ""))
			if got := c.next(true); got.Op != relaywire.TunnelClose {
				s.Fatalf("came %s, wanted TunnelClose and nothing before it, after %d messages", describe(got), n)
			}
			for i := range olderWindow { // what was sent before
				m.expect(letter(2, pattern(i, 4)))
			}
			m.expect(tunnelClose(2, ""))
			m.sync()
		})},

		{Name: "v0 rest of a closed tunnel waits for acknowledgements", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("sends")
			s.link(c, 1, "group", m, 2)
			n := c.sendUntilStopped(1, 20*olderWindow, 4)
			c.send(tunnelClose(1, ""))
			c.expect(tunnelClose(1, ""))
			// The peer may send on, into the void, and is not stuck in that. What comes
			// meanwhile it acknowledges later, so that there is a rest.
			came := 0
			for range 3 {
				m.send(repeat(olderWindow, letter(2, "void"))...)
				for m.check.open(2).window < 0 {
					switch got := m.next(true); got.Op {
					case relaywire.TunnelAllow:
					case relaywire.TunnelTransfer:
						came++
					default:
						s.Fatalf("came %s, wanted data or acknowledgements", describe(got))
					}
				}
			}
			m.send(repeat(came, acked(2))...)
			for ; came < n; came++ {
				if got := m.next(false); got.Op != relaywire.TunnelTransfer {
					s.Fatalf("came %s, wanted %d messages more", describe(got), n-came)
				}
				m.send(acked(2))
			}
			m.expect(tunnelClose(2, ""))
			m.sync()
			c.sync()
		})},

		{Name: "v0 rest of a closed tunnel that is not taken for 60 s is given up", virtual: "waits for 60 s", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("sends")
			s.link(c, 1, "group", m, 2)
			c.sendUntilStopped(1, 20*olderWindow, 4)
			c.send(tunnelClose(1, ""))
			c.expect(tunnelClose(1, ""))
			start := time.Now()
			for range olderWindow {
				m.next(false)
			}
			m.expectNothing(59 * time.Second)
			m.expect(tunnelClose(2, ""))
			s.timely("the close", start, 60*time.Second, 62*time.Second)
			m.sync()
		})},
	}...)
}

// letter is a whole message of a tunnel in the dialect of c.
func (c *script) letter(id uint64, body string) message {
	m := letter(id, body)
	if c.dialect == relaywire.V1 {
		m.Size = uint64(len(body))
	}
	return m
}

// olderMixedCases are those of section 8 that are not among the others.
func olderMixedCases() []Case {
	return []Case{
		{Name: "v0 message to a v1 program is cut into chunks of 65536", Run: play(func(s *stage) {
			older, c := s.older("sends"), s.attach("group")
			s.link(older, 1, "group", c, 2)
			for i, n := range []int{1, relaywire.ChunkLimit, relaywire.ChunkLimit + 1, 5*relaywire.ChunkLimit - 3, 16 << 20} {
				body := pattern(i, n)
				older.send(letter(1, body))
				c.expect(chunks(2, body)...)
				older.awaitAcks(1, 0)
			}
		})},

		{Name: "V16 empty message to a v1 program is acknowledged and dropped", Run: play(func(s *stage) {
			older, c := s.ungranted()
			older.send(letter(1, ""), letter(1, ""))
			older.awaitAcks(1, 0)
			older.send(letter(1, "a"), letter(1, ""), letter(1, "b"))
			c.send(tunnelAllow(2, 2))
			c.expect(chunk(2, 1, "a"), chunk(2, 1, "b"))
			older.awaitAcks(1, 0)
			c.sync()
		})},

		{Name: "V10 v1 program that grants nothing stops a sender of v0", Run: play(func(s *stage) {
			older, c := s.ungranted()
			n := older.sendUntilStopped(1, 20*olderWindow, 1000)
			older.sync()
			for i := range n {
				c.send(tunnelAllow(2, 1000))
				c.expect(chunk(2, 1000, pattern(i, 1000)))
			}
			older.awaitAcks(1, 0)
			older.sync()
			c.sync()
		})},

		{Name: "V18 chunks are joined", Run: play(func(s *stage) {
			older, c := s.older("group"), s.attach("sends")
			s.link(c, 1, "group", older, 2)
			for i, n := range []int{1, relaywire.ChunkLimit, relaywire.ChunkLimit + 1, 16 << 20} {
				body := pattern(i, n)
				c.sendAll(1, body)
				older.expect(letter(2, body))
				older.send(acked(2))
			}
			c.send(chunk(1, 3, "a"), chunk(1, 0, "b"), chunk(1, 0, "c"), chunk(1, 2, "de"))
			older.expect(letter(2, "abc"), letter(2, "de"))
			older.send(acked(2), acked(2))
			c.sync()
			older.sync()
		})},

		{Name: "V18 message of 64 MiB is joined, though the program takes one at a time", virtual: "moves 65 MiB, to which sockets add nothing", Run: play(func(s *stage) {
			older, c := s.older("group"), s.attach("sends")
			c.send(tunnelInit(1, "group", never))
			older.send(giveTakes(tunnelConfirm(older.expectOffer(), 2), 1))
			c.expect(tunnelResult(1))
			for i, n := range []int{64 << 20, 1 << 20} {
				body := pattern(i, n)
				c.sendAll(1, body)
				older.expect(letter(2, body))
				older.send(acked(2))
			}
		})},

		{Name: "V18 message of v1 above the limit closes the tunnel", Run: play(func(s *stage) {
			older, c := s.older("group"), s.attach("sends")
			for i, size := range []uint64{64<<20 + 1, maxMessage} {
				x, y := uint64(i), 100+uint64(i)
				s.link(c, x, "group", older, y)
				c.send(chunk(x, 2, "ok"), chunk(x, size, pattern(0, relaywire.ChunkLimit)), chunk(x, 0, "more"))
				c.expectTunnelClose(x, true)
				older.expect(letter(y, "ok"), tunnelClose(y, ""))
			}
			c.sync()
			older.sync()
		})},

		{Name: "v0 abandoned messages of v1 are discarded, and cost no window", Run: play(func(s *stage) {
			older, c := s.older("group"), s.attach("sends")
			c.send(tunnelInit(1, "group", never))
			older.send(giveTakes(tunnelConfirm(older.expectOffer(), 2), 1))
			c.expect(tunnelResult(1))
			c.awaitWindow(1, relaywire.TunnelWindow)
			for i := range 20 {
				c.send(chunk(1, 60_000, pattern(i, 50_000)), chunk(1, 4, "go"), chunk(1, 60_000, pattern(i, 50_000)), chunk(1, 0, pattern(i, 5000)))
				text := fmt.Sprintf("%04d", i)
				c.send(chunk(1, 4, text))
				older.expect(letter(2, text))
				older.expectNothing(10 * time.Millisecond)
				older.send(acked(2))
				c.awaitWindow(1, 1<<20)
			}
			c.send(chunk(1, 9, "unfinished"[:3]), tunnelClose(1, ""))
			c.expect(tunnelClose(1, ""))
			older.expect(tunnelClose(2, ""))
			older.sync()
		})},

		{Name: "v0 window of messages holds for chunks of v1", Run: play(func(s *stage) {
			older, c := s.older("group"), s.attach("sends")
			s.link(c, 1, "group", older, 2)
			for i := range 3 * olderWindow {
				text := pattern(i, 20)
				c.send(chunk(1, 20, text[:7]), chunk(1, 0, text[7:]))
			}
			for i := range 3 * olderWindow {
				if i >= olderWindow {
					older.send(acked(2))
				}
				older.expect(letter(2, pattern(i, 20)))
			}
			older.sync()
		})},
	}
}

// sendAll sends a message in chunks as the window allows.
func (c *script) sendAll(tunnel uint64, body string) {
	c.Helper()
	for _, m := range chunks(tunnel, body) {
		c.awaitWindow(tunnel, len(m.Body))
		c.send(m)
	}
}
