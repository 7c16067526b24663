package conform

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// pushUntilBlocked sends chunks of 64 KiB, each a message, until no allowance
// comes any more, and returns how many. More than limit octets fail the case.
func (c *script) pushUntilBlocked(tunnel uint64, limit int) int {
	c.Helper()
	quiet := time.Second
	if !c.n.virtual {
		quiet = 200 * time.Millisecond
	}
	for n := 0; ; {
		for ; c.window(tunnel) >= relaywire.ChunkLimit; n++ {
			if n*relaywire.ChunkLimit > limit {
				c.Fatalf("%s could send %d octets that nobody reads, wanted at most %d", c.name, n*relaywire.ChunkLimit, limit)
			}
			c.send(chunk(tunnel, relaywire.ChunkLimit, pattern(n, relaywire.ChunkLimit)))
		}
		m, err := c.read(time.Now().Add(quiet))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return n
		case err != nil:
			c.Fatalf("%s waits for an allowance: %v", c.name, err)
		case m.Op != relaywire.TunnelAllow:
			c.Fatalf("%s:\n  came   %s\n  wanted an allowance", c.name, describe(m))
		}
	}
}

// bound is how much a node and the sockets may take of what nobody reads.
const bound = 64 << 20

// flowCases are those of section 8.3.
func flowCases() []Case {
	return []Case{
		{Name: "R42 message of 16 MiB passes, there and back", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 2, 64<<20)
			carry(c, 1, m, 2, pattern(1, 16<<20))
			carry(m, 2, c, 1, pattern(2, 16<<20))
		})},

		{Name: "R42 message of 16 MiB passes to oneself", Run: play(func(s *stage) {
			m := s.attach("group")
			s.tunnel(m, 1, "group", m, 2, 64<<20)
			carry(m, 1, m, 2, pattern(1, 16<<20))
			carry(m, 2, m, 1, pattern(2, 16<<20))
		})},

		{Name: "message larger than the window of its receiver passes", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 2, relaywire.ChunkLimit)
			carry(c, 1, m, 2, pattern(1, 6<<20))
			carry(c, 1, m, 2, pattern(2, 6<<20))
		})},

		{Name: "R43 R44 peer that grants nothing stops the sender", Run: play(func(s *stage) {
			m, c, other := s.attach("group"), s.attachClientOnly(), s.attach("other")
			s.tunnel(c, 1, "group", m, 2, 0)
			n := c.pushUntilBlocked(1, bound)
			if n == 0 {
				s.Fatal("nothing could be sent, wanted about 4 MiB")
			}
			// The connections are not blocked.
			c.send(request(1, "other", "ask", never), broadcast("group", "hi"))
			other.expect(assigned(0, "ask", never))
			other.send(reply(0, "answer"))
			c.expect(reply(1, "answer"))
			m.expect(delivered("hi"))
			m.expectNothing(time.Second)
			// Nothing is lost.
			for i := range n {
				m.send(tunnelAllow(2, relaywire.ChunkLimit))
				m.expect(chunk(2, relaywire.ChunkLimit, pattern(i, relaywire.ChunkLimit)))
			}
			c.awaitWindow(1, relaywire.TunnelWindow)
			c.sync()
			m.sync()
		})},

		{Name: "R43 R44 R46 peer that reads nothing stops the sender and is not dropped", Run: play(func(s *stage) {
			m, c, other := s.attach("group"), s.attachClientOnly(), s.attach("other")
			s.tunnel(c, 1, "group", m, 2, 1<<40)
			n := c.pushUntilBlocked(1, bound)
			c.send(request(1, "other", "ask", never))
			other.expect(assigned(0, "ask", never))
			other.send(reply(0, "answer"))
			c.expect(reply(1, "answer"))
			for i := range n {
				m.expect(chunk(2, relaywire.ChunkLimit, pattern(i, relaywire.ChunkLimit)))
			}
			c.awaitWindow(1, relaywire.TunnelWindow)
			c.sync()
			m.sync()
		})},

		{Name: "R44 acceptor is stopped, too", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 2, 0)
			n := m.pushUntilBlocked(2, bound)
			m.sync()
			c.send(tunnelAllow(1, 1<<40))
			for i := range n {
				c.expect(chunk(1, relaywire.ChunkLimit, pattern(i, relaywire.ChunkLimit)))
			}
		})},

		{Name: "R46 many tunnels to a peer that reads nothing do not overflow its queue", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			const tunnels, each = 24, relaywire.TunnelWindow / relaywire.ChunkLimit
			for i := range uint64(tunnels) {
				s.tunnel(c, i, "group", m, i, 64<<20)
			}
			body := pattern(0, relaywire.ChunkLimit)
			for i := range uint64(tunnels) {
				for range each {
					c.send(chunk(i, relaywire.ChunkLimit, body))
				}
			}
			c.sync()
			got := make(map[uint64]int)
			for range tunnels * each {
				m1 := m.next(false)
				if m1.Op != relaywire.TunnelTransfer || string(m1.Body) != body {
					s.Fatalf("came %s, wanted a chunk", describe(m1))
				}
				got[m1.ID]++
			}
			for id, n := range got {
				if n != each {
					s.Fatalf("%d chunks of tunnel %d came, wanted %d", n, id, each)
				}
			}
			m.sync()
		})},

		{Name: "R46 busy tunnel lets other messages of the connection through", Run: play(func(s *stage) {
			m, c, other := s.attach("group"), s.attachClientOnly(), s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 2, 1<<40)
			body := pattern(0, relaywire.ChunkLimit)
			// The tunnel always has more to deliver than m reads.
			flow := func() {
				for c.window(1) >= relaywire.ChunkLimit {
					c.send(chunk(1, relaywire.ChunkLimit, body))
				}
			}
			flow()
			for round := range uint64(3) {
				other.send(request(round, "group", "ask", never), broadcast("group", "hi"))
				for due, octets := 2, 0; due > 0; {
					switch got := m.next(false); got.Op {
					case relaywire.TunnelTransfer:
						if octets += len(got.Body); octets > bound {
							s.Fatalf("after %d octets of a tunnel nothing else came", octets)
						}
						c.sync() // sees what was granted so far
						flow()
					case relaywire.Request:
						m.send(reply(got.ID, "answer"))
						due--
					case relaywire.Broadcast:
						due--
					}
				}
				other.expect(reply(round, "answer"))
			}
		})},

		{Name: "ten abandoned messages cost no window", Run: play(func(s *stage) {
			// As libraries do: an abandoned message is granted when the next
			// begins, a whole one when it is taken.
			m, c := s.attach("group"), s.attachClientOnly()
			const window, size = 1 << 20, 8 << 20
			s.tunnel(c, 1, "group", m, 2, window)
			received := 0
			take := func(want message) {
				m.expect(want)
				if want.Size > 0 && received > 0 {
					m.send(tunnelAllow(2, uint64(received)))
					received = 0
				}
				received += len(want.Body)
			}
			body := pattern(0, relaywire.ChunkLimit)
			for range 10 {
				c.awaitWindow(1, 20*relaywire.ChunkLimit)
				for i := range 20 {
					announced := uint64(0)
					if i == 0 {
						announced = size
					}
					c.send(chunk(1, announced, body))
					take(chunk(2, announced, body))
				}
			}
			for i := range 20 {
				c.send(chunk(1, 8, fmt.Sprintf("small %02d", i)))
				take(chunk(2, 8, fmt.Sprintf("small %02d", i)))
				m.send(tunnelAllow(2, 8))
				received = 0
			}
		})},

		{Name: "first chunk waits until all of it is granted", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 2, 100)
			c.send(chunk(1, 60, pattern(0, 60)), chunk(1, 60, pattern(1, 60)))
			m.expect(chunk(2, 60, pattern(0, 60)))
			m.send(tunnelAllow(2, 19))
			m.expectNothing(time.Second)
			m.send(tunnelAllow(2, 1))
			m.expect(chunk(2, 60, pattern(1, 60)))
		})},

		{Name: "abandoned message forces one start, not two", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 2, 100)
			c.send(chunk(1, 500, pattern(0, 100)), chunk(1, 8, "forced 1"), chunk(1, 8, "waits  2"))
			m.expect(chunk(2, 500, pattern(0, 100)), chunk(2, 8, "forced 1"))
			m.expectNothing(time.Second)
			m.send(tunnelAllow(2, 15))
			m.expectNothing(time.Second)
			m.send(tunnelAllow(2, 1))
			m.expect(chunk(2, 8, "waits  2"))
		})},

		{Name: "R45 odd allowances do no harm", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 2, 0)
			c.send(chunk(1, 5, "hello"))
			m.send(tunnelAllow(2, 0), tunnelAllow(3, 100))
			m.expectNothing(time.Second)
			for range 3 {
				m.send(tunnelAllow(2, ^uint64(0)), tunnelAllow(2, math.MaxInt64), tunnelAllow(2, 1<<63))
			}
			m.expect(chunk(2, 5, "hello"))
			c.send(chunk(1, 5, "again"))
			m.expect(chunk(2, 5, "again"))
			m.sync()
		})},

		{Name: "R62 chunk beyond the allowance drops the connection", Run: play(func(s *stage) {
			for _, acceptor := range []bool{false, true} {
				m, c := s.attach(fmt.Sprint("group ", acceptor)), s.attachClientOnly()
				s.tunnel(c, 1, fmt.Sprint("group ", acceptor), m, 1, 0)
				bad, peer := c, m
				if acceptor {
					bad, peer = m, c
				}
				for range relaywire.TunnelWindow / relaywire.ChunkLimit {
					bad.send(chunk(1, relaywire.ChunkLimit, pattern(0, relaywire.ChunkLimit)))
				}
				bad.sync() // up to here it was legal
				bad.send(chunk(1, 1, "!"))
				bad.expectClose(true)
				peer.send(tunnelAllow(1, 1<<40))
				for range relaywire.TunnelWindow / relaywire.ChunkLimit {
					peer.expect(chunk(1, relaywire.ChunkLimit, pattern(0, relaywire.ChunkLimit)))
				}
				peer.expectTunnelClose(1, true)
				peer.sync()
			}
		})},
	}
}

// tunnelCloseCases are those of section 8.4.
func tunnelCloseCases() []Case {
	var cases []Case
	// Each case is played with either end in the part of a.
	add := func(name, virtual string, credit uint64, scene func(s *stage, a, b *script)) {
		for _, acceptor := range []bool{false, true} {
			full := name
			if acceptor {
				full += "/by the acceptor"
			}
			cases = append(cases, Case{Name: full, virtual: virtual, Run: play(func(s *stage) {
				m, c := s.attach("group"), s.attachClientOnly()
				s.tunnel(c, 1, "group", m, 1, credit)
				if acceptor {
					c, m = m, c
				}
				scene(s, c, m)
			})})
		}
	}

	add("closed tunnel ends at both ends at once", "", 1000, func(s *stage, a, b *script) {
		start := time.Now()
		a.send(tunnelClose(1, ""))
		a.expect(tunnelClose(1, ""))
		b.expect(tunnelClose(1, ""))
		s.timely("the close", start, 0, prompt)
		a.sync()
		b.sync()
	})

	add("data before a close is delivered before it, be it a whole message or not", "", 1<<20, func(s *stage, a, b *script) {
		body := pattern(0, 200_000)
		a.send(chunks(1, body)...)
		a.send(chunk(1, 9, "begun"), tunnelClose(1, ""))
		a.expect(tunnelClose(1, ""))
		b.expect(chunks(1, body)...)
		b.expect(chunk(1, 9, "begun"), tunnelClose(1, ""))
	})

	add("closer gets its TunnelClose at once, undelivered data or not", "", 0, func(s *stage, a, b *script) {
		a.send(chunk(1, 5, "to be"))
		b.send(chunk(1, 4, "lost"))
		a.sync()
		b.sync()
		start := time.Now()
		a.send(tunnelClose(1, ""))
		a.expect(tunnelClose(1, ""))
		s.timely("the close", start, 0, prompt)
		a.sync()
		b.expectNothing(time.Second)
		b.send(tunnelAllow(1, 100))
		b.expect(chunk(1, 5, "to be"), tunnelClose(1, ""))
	})

	add("what the closer sends behind its TunnelClose is ignored", "", 1000, func(s *stage, a, b *script) {
		a.send(chunk(1, 2, "ok"), tunnelClose(1, ""), chunk(1, 4, "late"), chunk(1, 0, "late"), tunnelAllow(1, 100), tunnelClose(1, ""))
		a.expect(tunnelClose(1, ""))
		b.expect(chunk(1, 2, "ok"), tunnelClose(1, ""))
		a.sync()
		b.sync()
	})

	add("blocked sender is released when its peer closes", "", 0, func(s *stage, a, b *script) {
		b.pushUntilBlocked(1, bound)
		start := time.Now()
		a.send(tunnelClose(1, ""))
		a.expect(tunnelClose(1, ""))
		b.expect(tunnelClose(1, ""))
		s.timely("the close", start, 0, prompt)
	})

	add("blocked sender can close", "", 0, func(s *stage, a, b *script) {
		n := a.pushUntilBlocked(1, bound)
		start := time.Now()
		a.send(tunnelClose(1, ""))
		a.expect(tunnelClose(1, ""))
		s.timely("the close", start, 0, prompt)
		b.send(tunnelAllow(1, 1<<40))
		for i := range n {
			b.expect(chunk(1, relaywire.ChunkLimit, pattern(i, relaywire.ChunkLimit)))
		}
		b.expect(tunnelClose(1, ""))
	})

	add("end that is owed a closed peer's data is not stuck in a send", "", 0, func(s *stage, a, b *script) {
		a.send(chunk(1, 4, "rest"))
		b.pushUntilBlocked(1, bound)
		a.send(tunnelClose(1, ""))
		a.expect(tunnelClose(1, ""))
		for range 200 {
			b.awaitWindow(1, relaywire.ChunkLimit)
			b.send(chunk(1, relaywire.ChunkLimit, pattern(0, relaywire.ChunkLimit)))
		}
		b.awaitWindow(1, relaywire.TunnelWindow)
		b.send(tunnelAllow(1, 100))
		b.expect(chunk(1, 4, "rest"), tunnelClose(1, ""))
		a.sync()
	})

	add("end that is owed a closed peer's data can close at once", "", 0, func(s *stage, a, b *script) {
		a.send(chunk(1, 4, "rest"), tunnelClose(1, ""))
		a.expect(tunnelClose(1, ""))
		a.sync()
		start := time.Now()
		b.send(tunnelClose(1, ""))
		b.expect(tunnelClose(1, ""))
		s.timely("the close", start, 0, prompt)
		b.sync()
	})

	add("end that grants nothing for 60 s loses a closed peer's data", "waits for 60 s", 10, func(s *stage, a, b *script) {
		a.send(chunk(1, 10, "0123456789"), chunk(1, 10, "abcdefghij"), tunnelClose(1, ""))
		a.expect(tunnelClose(1, ""))
		start := time.Now()
		b.expect(chunk(1, 10, "0123456789"))
		b.expectNothing(50 * time.Second)
		b.send(tunnelAllow(1, 1)) // not enough, but a sign of life
		b.expectNothing(55 * time.Second)
		b.expectTunnelClose(1, true)
		s.timely("the close", start, 110*time.Second, 111*time.Second)
		b.sync()
	})

	add("tunnel closed by both ends at the same time", "", 1000, func(s *stage, a, b *script) {
		for i := range uint64(20) {
			// Each end closes before it can know of the other.
			a.send(tunnelClose(1, ""))
			b.send(tunnelClose(1, ""))
			a.expect(tunnelClose(1, ""))
			b.expect(tunnelClose(1, ""))
			a.sync()
			b.sync()
			cluster := fmt.Sprint("again ", i)
			m := s.attach(cluster)
			s.tunnel(a, 1, cluster, m, 1, 1000)
			b = m
		}
	})

	return cases
}
