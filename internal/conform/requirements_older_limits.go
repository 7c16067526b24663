package conform

import (
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// olderLimitCases are those of what V0 takes from v1 without another word: limits, and
// input that is not whole.
func olderLimitCases() []Case {
	return []Case{
		slowReader("V4 member that does not read is dropped in silence and disturbs nobody", func(s *stage) *script {
			return s.older("group")
		}, broadcast, delivered),

		{Name: "v0 names of 64 KiB are accepted", Run: play(func(s *stage) {
			c := s.older("app")
			long := pattern(0, 64<<10)
			c.send(subscribe(long), publish(long, "event"), unsubscribe(long), broadcast(long, "hi"))
			c.expect(publish(long, "event"))
			c.send(request(1, long, "ask", 1), c.sized(tunnelInit(1, long, 50)))
			c.expect(replyTimeout(1), tunnelTimeout(1))
		})},

		{Name: "v0 huge timeouts do not expire at once", Run: play(func(s *stage) {
			c := s.older("asks")
			for i, ms := range []uint64{1 << 31, 1 << 32, 1 << 63, ^uint64(0)} {
				c.send(request(uint64(i), "nobody", "ask", ms), c.sized(tunnelInit(uint64(i), "nobody", ms)))
			}
			c.expectNothing(time.Hour)
			c.sync()
		})},

		{Name: "v0 messages may come in any pieces", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("sends")
			s.link(c, 1, "group", m, 2)
			ms := []message{subscribe("topic"), publish("topic", "event"), letter(1, "hi"), letter(1, ""), request(1, "group", "ask", never), tunnelClose(1, "")}
			for i := range ms {
				in := c.dialect.AppendToNode(nil, &ms[i])
				for _, b := range in[:len(in)-1] {
					c.write([]byte{b})
				}
				c.check.sent(&ms[i])
				c.write(in[len(in)-1:])
				switch ms[i].Op {
				case relaywire.Publish:
					c.expect(ms[i])
				case relaywire.TunnelTransfer:
					c.awaitAcks(1, 0)
				}
			}
			c.expect(tunnelClose(1, ""))
			m.expect(letter(2, "hi"), letter(2, ""))
			for range 2 {
				if got := m.next(false); got.Op != relaywire.TunnelClose && string(got.Body) != "ask" {
					s.Fatalf("came %s, wanted the close and the request", describe(got))
				}
			}
		})},

		{Name: "v0 input that ends within a message is a lost connection", Run: play(func(s *stage) {
			m := s.older("group")
			for _, whole := range []message{
				broadcast("group", "never"), request(1, "group", "never", never), reply(1, "never"),
				subscribe("topic"), unsubscribe("topic"), publish("topic", "never"), m.sized(tunnelInit(1, "group", never)),
				m.sized(tunnelConfirm(300, 300)), letter(300, "never"), acked(300), tunnelClose(300, ""),
			} {
				in := m.dialect.AppendToNode(nil, &whole)
				for n := 1; n < len(in); n++ {
					c := s.older("loses")
					c.write(in[:n])
					c.halfClose()
					c.expectEOF()
				}
			}
			m.expectNothing(time.Second)
			m.sync()
		})},

		{Name: "V13 messages of a tunnel that is being built are ignored without an answer", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("asks")
			c.send(c.sized(tunnelInit(1, "group", never)))
			offer := m.expectOffer()
			c.send(letter(1, "early"), acked(1))
			c.write(c.dialect.AppendToNode(nil, &message{Op: relaywire.TunnelClose, ID: 1})) // which the checker need not know of
			c.sync()
			m.send(m.sized(tunnelConfirm(offer, 2)))
			c.expect(c.sized(tunnelResult(1)))
			c.send(letter(1, "hi"))
			m.expect(letter(2, "hi"))
			c.awaitAcks(1, 0)
			m.sync()
		})},

		{Name: "V9 node reads ahead of a program of v1 that grants nothing", Run: play(func(s *stage) {
			older, c := s.ungranted()
			const least = 3 * olderWindow // 256 beyond the node's own window
			n := older.sendUntilStopped(1, 20*olderWindow, 4)
			if n < least {
				s.Fatalf("%d messages could be sent, wanted %d", n, least)
			}
			older.send(letter(1, "one more")) // V11
			older.expectEOF()
			c.send(tunnelAllow(2, 1<<40))
			for i := range n {
				c.expect(chunk(2, 4, pattern(i, 4)))
			}
			c.expectTunnelClose(2, true)
			c.sync()
		})},

		{Name: "V12 acknowledgement of nothing drops a program that v1 sends to", Run: play(func(s *stage) {
			older, c := s.older("group"), s.attach("sends")
			s.link(c, 1, "group", older, 2)
			c.send(chunk(1, 4, "ab"), chunk(1, 0, "c"))
			c.sync()
			older.send(acked(2)) // for a message that it has not got
			older.expectEOF()
			c.expectTunnelClose(1, true)
			c.sync()
		})},

		{Name: "V18 half a message is joined no further when its tunnel is closed", Run: play(func(s *stage) {
			older, c := s.older("group"), s.attach("sends")
			for i := range uint64(20) { // the ids again, and what was joined for one is not in the next
				s.link(c, 1, "group", older, 2)
				c.send(chunk(1, 1<<20, pattern(int(i), relaywire.ChunkLimit)))
				closes, hears, x, y := c, older, uint64(1), uint64(2)
				if i%2 == 1 {
					closes, hears, x, y = older, c, 2, 1
				}
				closes.send(tunnelClose(x, ""))
				closes.expect(tunnelClose(x, ""))
				hears.expect(tunnelClose(y, ""))
			}
			s.link(c, 1, "group", older, 2)
			c.send(chunk(1, 2, "ok"))
			older.expect(letter(2, "ok"))
			c.sync()
			older.sync()
		})},
	}
}
