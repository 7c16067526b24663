package conform

import (
	"fmt"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// buildCases are those of section 8.1.
func buildCases() []Case {
	return []Case{
		{Name: "R33 tunnel opens in the order of the protocol", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			c.send(tunnelInit(7, "group", never))
			m.expect(tunnelOffer(0))
			m.expectNothing(100 * time.Millisecond) // about a tunnel not confirmed
			m.send(tunnelConfirm(0, 9))
			m.expect(tunnelAllow(9, relaywire.TunnelWindow))
			c.expect(tunnelResult(7))
			// expect would pass over an allowance that comes before the result,
			// but a Checker refuses it.
			c.awaitWindow(7, relaywire.TunnelWindow)
			c.send(tunnelAllow(7, 1<<20))
			m.send(tunnelAllow(9, 1<<20))
			carry(c, 7, m, 9, "there")
			carry(m, 9, c, 7, "and back")
			c.sync()
			m.sync()
		})},

		{Name: "initiator is granted 4 MiB right after the result", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			c.send(tunnelInit(7, "group", never))
			m.send(tunnelConfirm(m.expectOffer(), 7))
			first, second := c.next(true), c.next(true)
			if first.Op != relaywire.TunnelResult || second.Op != relaywire.TunnelAllow || second.Size != relaywire.TunnelWindow {
				s.Fatalf("came %s and %s, wanted a result and an allowance of 4 MiB", describe(first), describe(second))
			}
		})},

		{Name: "R33 nothing precedes the result, however early it is due", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			for i := range uint64(10) {
				c.send(tunnelInit(i, "group", never))
				m.send(tunnelConfirm(m.expectOffer(), i), tunnelClose(i, ""))
				c.expect(tunnelResult(i), tunnelClose(i, ""))
				m.expect(tunnelClose(i, ""))
			}
			c.sync()
		})},

		{Name: "R34 allowance right behind TunnelConfirm counts", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			for i := range uint64(20) {
				c.send(tunnelInit(i, "group", never))
				m.send(tunnelConfirm(m.expectOffer(), 100+i), tunnelAllow(100+i, 3), tunnelAllow(100+i, 2))
				c.expect(tunnelResult(i))
				c.awaitWindow(i, 5)
				c.send(chunk(i, 5, "hello"))
				m.expect(chunk(100+i, 5, "hello"))
			}
		})},

		{Name: "builds are counted for each service", Run: play(func(s *stage) {
			a, b, c := s.attach("a"), s.attach("b"), s.attachClientOnly()
			c.send(request(0, "a", "ask", never), tunnelInit(10, "a", never), tunnelInit(11, "b", never))
			for range 2 {
				if got := a.next(false); got.ID != 0 {
					s.Fatalf("came %s, wanted id 0 of request and build alike", describe(got))
				}
			}
			b.expect(tunnelOffer(0))
		})},

		{Name: "builds may be confirmed in any order", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			var builds []uint64
			for i := range uint64(5) {
				c.send(tunnelInit(i, "group", never))
				builds = append(builds, m.expectOffer())
			}
			for i := 4; i >= 0; i-- {
				m.send(tunnelConfirm(builds[i], uint64(i)), tunnelAllow(uint64(i), 100))
				c.expect(tunnelResult(uint64(i)))
				c.awaitWindow(uint64(i), 1)
				c.send(chunk(uint64(i), 1, fmt.Sprint(i)))
				m.expect(chunk(uint64(i), 1, fmt.Sprint(i)))
			}
		})},

		{Name: "R53 tunnel to a cluster without members times out, not earlier", Run: play(func(s *stage) {
			c := s.attachClientOnly()
			start := time.Now()
			c.send(tunnelInit(1, "nobody", 100))
			c.expect(tunnelTimeout(1))
			s.timely("the result", start, 100*time.Millisecond, 100*time.Millisecond+prompt)
			c.send(tunnelInit(1, "nobody", 20)) // the id is free again
			c.expect(tunnelTimeout(1))
			m := s.attach("nobody") // nothing is left over
			m.sync()
		})},

		{Name: "tunnel build that is not confirmed times out, and is closed when it is", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			start := time.Now()
			c.send(tunnelInit(1, "group", wait))
			m.expect(tunnelOffer(0))
			c.expect(tunnelTimeout(1))
			s.timely("the result", start, wait*time.Millisecond, wait*time.Millisecond+prompt)
			m.send(tunnelConfirm(0, 5), tunnelAllow(5, 100))
			if got := m.next(true); got.Op != relaywire.TunnelClose || got.ID != 5 || len(got.Body) == 0 {
				s.Fatalf("came %s, wanted TunnelClose 5, any reason", describe(got))
			}
			m.sync()
			c.expectNothing(time.Second)
			s.tunnel(c, 1, "group", m, 5, 100)
		})},

		{Name: "tunnel timeout of 0 expires at once and reaches nobody", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			start := time.Now()
			c.send(tunnelInit(1, "group", 0))
			c.expect(tunnelTimeout(1))
			s.timely("the result", start, 0, prompt)
			m.sync()
			m.expectNothing(time.Second)
		})},

		{Name: "R25 huge tunnel timeouts do not expire at once", Run: play(func(s *stage) {
			c := s.attachClientOnly()
			for i, ms := range []uint64{1<<31 - 1, 1 << 31, 1<<32 + 1, 1<<63 - 1, 1 << 63, ^uint64(0)} {
				c.send(tunnelInit(uint64(i), "group", ms))
			}
			c.expectNothing(time.Minute)
			m := s.attach("group")
			for range 6 {
				build := m.expectOffer()
				m.send(tunnelConfirm(build, build))
				c.next(false)
			}
		})},

		{Name: "tunnel build waits for the first member", Run: play(func(s *stage) {
			c := s.attachClientOnly()
			c.send(tunnelInit(1, "group", never))
			c.sync()
			m := s.attach("group")
			m.send(tunnelConfirm(m.expectOffer(), 2), tunnelAllow(2, 100))
			c.expect(tunnelResult(1))
		})},

		{Name: "tunnel to oneself", Run: play(func(s *stage) {
			m := s.attach("group")
			s.tunnel(m, 1, "group", m, 2, 1<<20)
			m.send(chunk(1, 4, "ping"))
			m.expect(chunk(2, 4, "ping"))
			m.send(chunk(2, 4, "pong"), tunnelClose(2, ""))
			ends := make(map[uint64]bool)
			for range 3 {
				switch got := m.next(false); {
				case got.Op == relaywire.TunnelTransfer && got.ID == 1 && !ends[1]:
				case got.Op == relaywire.TunnelClose && len(got.Body) == 0 && !ends[got.ID]:
					ends[got.ID] = true
				default:
					s.Fatalf("came %s, wanted the chunk and two closes", describe(got))
				}
			}
			m.sync()
		})},

		{Name: "outbound and inbound tunnels live side by side", Run: play(func(s *stage) {
			a, b := s.attach("a"), s.attach("b")
			for i := range uint64(7) {
				s.tunnel(a, 2*i, "b", b, 2*i, 1<<20)
				s.tunnel(b, 2*i+1, "a", a, 2*i+1, 1<<20)
			}
			for i := range uint64(14) {
				carry(a, i, b, i, fmt.Sprint("to b ", i))
				carry(b, i, a, i, fmt.Sprint("to a ", i))
			}
		})},

		{Name: "R35 many builds proceed at once and hold nothing up", Run: play(func(s *stage) {
			m, c, other := s.attach("group"), s.attach("group of c"), s.attachClientOnly()
			const n = 200
			for i := range uint64(n) {
				c.send(tunnelInit(i, "group", never))
			}
			var builds []uint64
			for range n {
				builds = append(builds, m.expectOffer())
			}
			c.sync()
			m.sync()
			c.send(request(1, "group", "ask", never), broadcast("group", "hi"))
			for range 2 {
				if got := m.next(false); got.Op == relaywire.Request {
					m.send(reply(got.ID, "answer"))
				}
			}
			c.expect(reply(1, "answer"))
			other.send(broadcast("group of c", "hello"))
			c.expect(delivered("hello"))
			for i, build := range builds {
				m.send(tunnelConfirm(build, uint64(i)))
			}
			for range n {
				if got := c.next(false); got.Op != relaywire.TunnelResult || got.TimedOut {
					s.Fatalf("came %s, wanted a tunnel", describe(got))
				}
			}
		})},

		{Name: "acceptor that does not confirm within 3 s is dropped", virtual: "waits for 3 s", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			start := time.Now()
			c.send(tunnelInit(1, "group", 10_000))
			m.expect(tunnelOffer(0))
			m.expectNothing(2900 * time.Millisecond)
			m.expectClose(true)
			s.timely("the drop", start, 3*time.Second, 3*time.Second+50*time.Millisecond)
			// A node may have told of success early.
			if got := c.next(false); got.Op == relaywire.TunnelResult && !got.TimedOut {
				c.expectTunnelClose(1, true)
			} else if got.Op != relaywire.TunnelResult {
				s.Fatalf("came %s, wanted a result", describe(got))
			}
			s.timely("the result", start, 3*time.Second, 10*time.Second+prompt)
			c.sync()
		})},

		{Name: "tunnel ids may be used again after TunnelClose", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			for range 10 {
				s.tunnel(c, 5, "group", m, 6, 1<<20)
				carry(c, 5, m, 6, "hello")
				c.send(tunnelClose(5, ""))
				c.expect(tunnelClose(5, ""))
				m.expect(tunnelClose(6, ""))
			}
		})},

		{Name: "R58 TunnelInit with a live id drops the connection", Run: play(func(s *stage) {
			m := s.attach("group")
			outbound, inbound := s.attachClientOnly(), s.attach("inbound")
			s.tunnel(outbound, 1, "group", m, 1, 100)
			s.tunnel(m, 2, "inbound", inbound, 1, 100)
			for _, c := range []*script{outbound, inbound} {
				c.send(tunnelInit(1, "group", never))
				c.expectClose(true)
			}
			closed := []*message{m.next(false), m.next(false)}
			for _, got := range closed {
				if got.Op != relaywire.TunnelClose || len(got.Body) == 0 {
					s.Fatalf("came %s, wanted TunnelClose, any reason", describe(got))
				}
			}
			m.sync()
		})},

		{Name: "R58 TunnelInit with the id of a build drops the connection", Run: play(func(s *stage) {
			c := s.attachClientOnly()
			c.send(tunnelInit(1, "nobody", never), tunnelInit(1, "nobody", never))
			c.expectClose(true)
		})},

		{Name: "R59 TunnelConfirm of an unknown build drops the connection", Run: play(func(s *stage) {
			m, other, client, c := s.attach("group"), s.attach("other"), s.attachClientOnly(), s.attachClientOnly()
			c.send(tunnelInit(1, "group", never))
			m.expect(tunnelOffer(0))
			for _, x := range []*script{other, client} {
				x.send(tunnelConfirm(0, 1))
				x.expectClose(true)
			}
			m.send(tunnelConfirm(1, 1))
			m.expectClose(true)
		})},

		{Name: "R59 second TunnelConfirm of a build drops the connection", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 1, 100)
			m.send(tunnelConfirm(0, 2))
			m.expectClose(true)
			c.expectTunnelClose(1, true)
		})},

		{Name: "R60 TunnelConfirm with a live id drops the connection", Run: play(func(s *stage) {
			for _, live := range []string{"inbound", "outbound", "build"} {
				m, c, other, peer := s.attach("group "+live), s.attachClientOnly(), s.attachClientOnly(), s.attach("peer "+live)
				switch live {
				case "inbound":
					s.tunnel(c, 1, "group "+live, m, 1, 100)
				case "outbound":
					s.tunnel(m, 1, "peer "+live, peer, 1, 100)
				case "build":
					m.send(tunnelInit(1, "nobody", never))
				}
				other.send(tunnelInit(2, "group "+live, wait))
				m.send(tunnelConfirm(m.expectOffer(), 1))
				m.expectClose(true)
				switch live {
				case "inbound":
					c.expectTunnelClose(1, true)
				case "outbound":
					peer.expectTunnelClose(1, true)
				}
				other.expect(tunnelTimeout(2))
			}
		})},
	}
}

// chunkCases are those of section 8.2.
func chunkCases() []Case {
	cases := []Case{
		{Name: "chunks pass unchanged, both ways", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 2, 8<<20)
			one := pattern(1, relaywire.ChunkLimit)
			for _, w := range []struct {
				from *script
				x    uint64
				to   *script
				y    uint64
			}{{c, 1, m, 2}, {m, 2, c, 1}} {
				for _, part := range []message{
					chunk(0, 1, "a"),                                     // a whole message
					chunk(0, 3, "b"), chunk(0, 0, "c"), chunk(0, 0, "d"), // octet by octet
					chunk(0, relaywire.ChunkLimit, one),
					chunk(0, relaywire.ChunkLimit+1, one), chunk(0, 0, "e"),
					chunk(0, relaywire.ChunkLimit+1, "f"), chunk(0, 0, one),
					chunk(0, 2*relaywire.ChunkLimit, one), chunk(0, 0, one[:7]), chunk(0, 0, one[7:]),
				} {
					part.ID = w.x
					w.from.send(part)
					part.ID = w.y
					w.to.expect(part)
				}
			}
		})},

		{Name: "message begun before the last one is complete abandons it", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 2, 1000)
			c.send(chunk(1, 10, "abandoned"), chunk(1, 10, "again"), chunk(1, 4, "who"), chunk(1, 0, "m"), chunk(1, 1, "!"))
			m.expect(chunk(2, 10, "abandoned"), chunk(2, 10, "again"), chunk(2, 4, "who"), chunk(2, 0, "m"), chunk(2, 1, "!"))
		})},

		{Name: "R36 chunk above the limit drops the connection", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 2, 1<<20)
			long := pattern(0, relaywire.ChunkLimit+1)
			c.send(chunk(1, 4, "well"), chunk(1, uint64(len(long)), long))
			c.expectClose(true)
			m.expect(chunk(2, 4, "well"))
			m.expectTunnelClose(2, true)
			m.sync()
		})},

		{Name: "R40 empty chunks are discarded and change nothing", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 2, 1000)
			c.send(chunk(1, 0, ""), chunk(1, 5, ""), chunk(1, 10, "hello"), chunk(1, 0, ""), chunk(1, 7, ""), chunk(1, 1<<40, ""), chunk(1, 0, "world"))
			m.expect(chunk(2, 10, "hello"), chunk(2, 0, "world"))
			m.expectNothing(time.Second)
			m.sync()
			c.sync()
			c.send(chunk(1, 5, ""), chunk(1, 0, "begun?")) // no
			c.expectTunnelClose(1, true)
			m.expectTunnelClose(2, true)
		})},

		{Name: "R39 announced size of 2^31-1 is legal", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 2, 1000)
			c.send(chunk(1, maxMessage, "a"), chunk(1, 0, "b"))
			m.expect(chunk(2, maxMessage, "a"), chunk(2, 0, "b"))
			c.sync()
		})},

		{Name: "R41 R61 R63 tunnel messages of an unknown id are ignored without an answer", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 2, 1000)
			for _, id := range []uint64{0, 2, 300, ^uint64(0)} {
				c.send(chunk(id, 3, "abc"), chunk(id, 0, "abc"), chunk(id, 1<<31, "abc"), chunk(id, 0, ""), tunnelAllow(id, 100), tunnelAllow(id, 0), tunnelClose(id, ""))
			}
			c.sync()
			c.send(tunnelClose(1, ""))
			c.expect(tunnelClose(1, ""))
			m.expect(tunnelClose(2, ""))
			c.send(chunk(1, 3, "abc"), tunnelAllow(1, 100), tunnelClose(1, ""))
			m.send(chunk(2, 3, "abc"), tunnelAllow(2, 100), tunnelClose(2, ""))
			for _, x := range []*script{c, m} {
				x.sync()
				x.expectNothing(time.Second)
			}
		})},
	}
	for _, v := range []struct {
		name string
		bad  func(id uint64) []message
		good []message // what the peer gets
	}{
		{"R37 continuation without a message", func(id uint64) []message {
			return []message{chunk(id, 2, "ok"), chunk(id, 0, "bad")}
		}, []message{chunk(0, 2, "ok")}},
		{"R38 payload beyond the announced size", func(id uint64) []message {
			return []message{chunk(id, 4, "abc"), chunk(id, 0, "de")}
		}, []message{chunk(0, 4, "abc")}},
		{"R38 payload beyond the announced size, behind an abandoned message", func(id uint64) []message {
			return []message{chunk(id, 100, "abc"), chunk(id, 4, "abc"), chunk(id, 0, "de")}
		}, []message{chunk(0, 100, "abc"), chunk(0, 4, "abc")}},
		{"R38 first chunk beyond the announced size", func(id uint64) []message {
			return []message{chunk(id, 2, "abc")}
		}, nil},
		{"R39 announced size above 2^31-1", func(id uint64) []message {
			return []message{chunk(id, 2, "ok"), chunk(id, 1<<31, "bad")}
		}, []message{chunk(0, 2, "ok")}},
		{"R39 announced size of 2^64-1", func(id uint64) []message {
			return []message{chunk(id, ^uint64(0), "bad")}
		}, nil},
	} {
		for _, acceptor := range []bool{false, true} {
			name := v.name + " closes the tunnel with a reason"
			if acceptor {
				name += "/by the acceptor"
			}
			cases = append(cases, Case{Name: name, Run: play(func(s *stage) {
				m, c := s.attach("group"), s.attachClientOnly()
				s.tunnel(c, 1, "group", m, 2, 1000)
				s.tunnel(c, 3, "group", m, 4, 1000)
				bad, x, peer, y := c, uint64(1), m, uint64(2)
				if acceptor {
					bad, x, peer, y = m, 2, c, 1
				}
				bad.send(append(v.bad(x), chunk(x, 4, "more"), tunnelClose(x, ""))...)
				bad.expectTunnelClose(x, true)
				for _, w := range v.good {
					w.ID = y
					peer.expect(w)
				}
				peer.expectTunnelClose(y, true)
				bad.sync()
				peer.sync()
				carry(c, 3, m, 4, "the other tunnel")
				s.tunnel(c, 1, "group", m, 2, 1000)
			})})
		}
	}
	return cases
}
