package conform

import (
	"bytes"
	"fmt"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// A leaving is a way in which a connection ends.
type leaving struct {
	name    string
	orderly bool
	leave   func(c *script)
}

var leavings = []leaving{
	{"close in order", true, (*script).close},
	{"end of input", false, func(c *script) { c.halfClose(); c.expectEOF(); c.conn.Close() }},
	{"closed socket", false, func(c *script) { c.conn.Close() }},
	{"reset", false, (*script).reset},
}

// perLeaving makes a case of each way to leave.
func perLeaving(name string, scene func(s *stage, l leaving)) []Case {
	var cases []Case
	for _, l := range leavings {
		cases = append(cases, Case{Name: name + "/" + l.name, Run: play(func(s *stage) { scene(s, l) })})
	}
	return cases
}

// wait is a timeout that a case waits for, in milliseconds, after something
// else must have happened within it.
const wait = 500

// closeCases are those of the graceful close, section 5.1.
func closeCases() []Case {
	return []Case{
		{Name: "R9 broadcasts sent before Close are delivered", Run: play(func(s *stage) {
			m := s.attach("group")
			c := s.attachClientOnly()
			for i := range 100 {
				c.send(broadcast("group", fmt.Sprint(i)))
			}
			c.close()
			for i := range 100 {
				m.expect(delivered(fmt.Sprint(i)))
			}
		})},

		{Name: "R9 events sent before Close are delivered", Run: play(func(s *stage) {
			m := s.attachClientOnly()
			m.send(subscribe("topic"))
			m.sync()
			c := s.attachClientOnly()
			c.send(publish("topic", "a"), publish("topic", "b"), closing("")) // in one piece
			c.expectClose(false)
			m.expect(publish("topic", "a"), publish("topic", "b"))
		})},

		{Name: "R9 replies sent before Close are delivered", Run: play(func(s *stage) {
			m := s.attach("group")
			c := s.attachClientOnly()
			c.send(request(1, "group", "a", never), request(2, "group", "b", never))
			m.expect(assigned(0, "a", never), assigned(1, "b", never))
			m.send(reply(0, "A"), fault(1, "B"), closing(""))
			m.expectClose(false)
			c.expect(reply(1, "A"), fault(2, "B"))
		})},

		{Name: "R9 tunnel data sent before Close is delivered, then the tunnel is closed", Run: play(func(s *stage) {
			m := s.attach("group")
			c := s.attachClientOnly()
			s.tunnel(c, 1, "group", m, 2, 1<<20)
			s.tunnel(c, 2, "group", m, 3, 0)
			c.send(chunk(1, 4, "last"), chunk(2, 8, "in "), chunk(2, 0, "parts"), closing(""))
			c.expectClose(false) // and no TunnelClose
			m.expect(chunk(2, 4, "last"), tunnelClose(2, ""))
			m.expectNothing(time.Second)
			m.send(tunnelAllow(3, 100))
			m.expect(chunk(3, 8, "in "), chunk(3, 0, "parts"), tunnelClose(3, ""))
		})},

		{Name: "R9 the node ends its side after its Close", Run: play(func(s *stage) {
			c := s.attach("group")
			c.send(subscribe("topic"), closing(""))
			other := s.attachClientOnly()
			c.expectClose(false)
			for range 10 {
				other.send(publish("topic", "late"), broadcast("group", "late"))
			}
			other.sync()
			c.expectEOF()
		})},

		{Name: "R10 closed service is unknown once Close is answered", Run: play(func(s *stage) {
			for round := range 10 {
				left, stays := s.attach("group"), s.attach("group")
				left.close()
				for i := range 10 {
					stays.send(request(uint64(i), "group", fmt.Sprint(round), never), tunnelInit(uint64(i), "group", never))
				}
				for range 20 {
					if got := stays.next(false); got.Op != relaywire.Request && got.Op != relaywire.TunnelInit {
						s.Fatalf("came %s, wanted a request or tunnel", describe(got))
					}
				}
				stays.close()
			}
		})},

		{Name: "R10 names can be used again after Close", Run: play(func(s *stage) {
			for round := range 25 {
				m := s.attach("group")
				m.send(subscribe("topic"))
				m.sync()
				c := s.attachClientOnly()
				c.send(broadcast("group", fmt.Sprint("b", round)))
				m.expect(delivered(fmt.Sprint("b", round)))
				c.send(publish("topic", fmt.Sprint("e", round)))
				m.expect(publish("topic", fmt.Sprint("e", round)))
				c.send(request(0, "group", "ask", never))
				m.expect(assigned(0, "ask", never)) // ids start anew
				m.close()
				c.close()
			}
			c := s.attachClientOnly()
			start := time.Now()
			c.send(request(0, "group", "ask", 20), tunnelInit(0, "group", 40))
			c.expect(replyTimeout(0), tunnelTimeout(0))
			s.timely("the timeout", start, 40*time.Millisecond, 40*time.Millisecond+prompt)
		})},

		{Name: "R11 Close is answered at once whatever is pending", Run: play(func(s *stage) {
			m := s.attach("group")
			other := s.attach("other")
			m.send(request(1, "other", "own", never), request(2, "nobody", "parked", never), tunnelInit(1, "nobody", never), tunnelInit(2, "other", never))
			first, second := other.next(false), other.next(false)
			if first.Op == second.Op {
				s.Fatalf("came %s and %s, wanted a request and a tunnel", describe(first), describe(second))
			}
			other.send(request(1, "group", "served", never), tunnelInit(1, "group", never))
			m.next(false)
			m.next(false)
			start := time.Now()
			m.close()
			s.timely("the answer", start, 0, prompt)
		})},

		{Name: "R11 Close is answered though much is unread", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			body := pattern(0, 4<<20)
			for range 12 {
				c.send(broadcast("group", body))
			}
			c.sync()
			start := time.Now()
			m.send(closing(""))
			for n := 0; ; n++ {
				got := m.next(false)
				if got.Op == relaywire.Close && len(got.Body) == 0 {
					break
				}
				if n == 12 || got.Op != relaywire.Broadcast || string(got.Body) != body {
					s.Fatalf("came %s, wanted one of 12 broadcasts or Close", describe(got))
				}
			}
			s.timely("the answer", start, 0, prompt)
			m.expectEOF()
		})},

		{Name: "R52 input after Close is discarded", Run: play(func(s *stage) {
			watch := s.attach("watch")
			c := s.attach("group")
			s.tunnel(c, 1, "watch", watch, 1, 1<<20)
			late := []message{closing(""), tunnelAllow(1, 5), chunk(1, 4, "late"), reply(0, "late"), broadcast("watch", "late"), request(9, "watch", "late", never)}
			c.send(append([]message{closing("")}, late...)...)
			c.sendHex("0e ff 00 01")
			if err := c.tryWrite(bytes.Repeat([]byte{0xff}, 1<<20)); err != nil {
				s.Fatalf("input after Close: %v", err)
			}
			c.expectClose(false)
			watch.expect(tunnelClose(1, ""))
			watch.expectNothing(time.Second)
			watch.sync()
		})},

		{Name: "closed connection ends after 1 s", virtual: "waits for 1 s and more", Run: play(func(s *stage) {
			c := s.attachClientOnly()
			c.send(closing(""))
			c.expectClose(false)
			c.readForASecond()
		})},

		{Name: "terminating node closes its connections with a reason", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			m.send(subscribe("topic"))
			m.sync()
			gone := make(chan struct{})
			go func() {
				s.n.Close()
				close(gone)
			}()
			m.expectClose(true)
			m.conn.Close()
			c.expectClose(true)
			c.conn.Close()
			<-gone
			if conn, err := s.n.Dial(); err == nil {
				conn.Close()
				s.Fatal("a node that is gone accepts a connection")
			}
		})},
	}
}

// lossCases are the pending items of a connection that is closed or lost,
// sections 5.1 and 5.2.
func lossCases() []Case {
	var cases []Case
	add := func(name string, scene func(s *stage, l leaving)) {
		cases = append(cases, perLeaving(name, scene)...)
	}

	add("own request of a lost requester is forgotten", func(s *stage, l leaving) {
		m := s.attach("group")
		c := s.attachClientOnly()
		c.send(request(0, "group", "ask", never), request(1, "later", "parked", never))
		m.expect(assigned(0, "ask", never))
		c.sync()
		l.leave(c)
		s.settle()
		later := s.attach("later")
		m.send(reply(0, "late"))
		m.sync()
		later.expectNothing(time.Second)
		later.sync()
	})

	add("R12 request being served by a lost member times out", func(s *stage, l leaving) {
		a := s.attach("group")
		c := s.attachClientOnly()
		start := time.Now()
		c.send(request(5, "group", "ask", wait))
		a.expect(assigned(0, "ask", wait))
		b := s.attach("group")
		l.leave(a)
		c.expect(replyTimeout(5))
		s.timely("the timeout", start, wait*time.Millisecond, wait*time.Millisecond+prompt)
		b.sync() // nobody else got it
	})

	add("subscription of a lost connection is removed", func(s *stage, l leaving) {
		c, other := s.attachClientOnly(), s.attachClientOnly()
		c.send(subscribe("topic"))
		c.sync()
		other.send(publish("topic", "in flight"))
		c.expect(publish("topic", "in flight"))
		l.leave(c)
		s.settle()
		again := s.attachClientOnly()
		again.send(subscribe("topic"))
		again.sync()
		other.send(publish("topic", "once"))
		again.expect(publish("topic", "once"))
		again.sync()
	})

	add("R13 all tunnels of a lost connection are closed", func(s *stage, l leaving) {
		m, k, c := s.attach("m"), s.attach("k"), s.attach("c")
		for i := range uint64(4) {
			s.tunnel(c, i, "m", m, i, 1<<20)
			s.tunnel(k, i, "c", c, 10+i, 1<<20)
		}
		s.tunnel(c, 20, "c", c, 21, 1<<20)
		for i := range uint64(4) {
			c.send(chunk(i, 4, "last"), chunk(10+i, 5, "words"))
		}
		for range 4 {
			m.expectAnyChunk("last")
			k.expectAnyChunk("words")
		}
		c.sync()
		l.leave(c)
		for _, peer := range []*script{m, k} {
			closed := make(map[uint64]bool)
			for range 4 {
				got := peer.next(false)
				if got.Op != relaywire.TunnelClose || closed[got.ID] || (len(got.Body) == 0) != l.orderly {
					s.Fatalf("%s:\n  came   %s\n  wanted a TunnelClose of each tunnel, %s", peer.name, describe(got), reasonOrNot(!l.orderly))
				}
				closed[got.ID] = true
			}
			peer.sync()
		}
	})

	add("peer of a lost connection gets what it sent, then TunnelClose", func(s *stage, l leaving) {
		m, c := s.attach("group"), s.attachClientOnly()
		s.tunnel(c, 1, "group", m, 2, 0)
		c.send(chunk(1, 4, "wait"), chunk(1, 8, "for "), chunk(1, 0, "it"))
		c.sync()
		l.leave(c)
		m.expectNothing(time.Second)
		m.send(tunnelAllow(2, 100))
		m.expect(chunk(2, 4, "wait"), chunk(2, 8, "for "), chunk(2, 0, "it"))
		m.expectTunnelClose(2, !l.orderly)
		m.sync()
	})

	add("tunnel build of a lost initiator is closed once it is confirmed", func(s *stage, l leaving) {
		m, c := s.attach("group"), s.attachClientOnly()
		c.send(tunnelInit(1, "group", never), tunnelInit(2, "later", never))
		m.expect(tunnelOffer(0))
		c.sync()
		l.leave(c)
		s.settle()
		later := s.attach("later")
		m.send(tunnelConfirm(0, 7), tunnelAllow(7, 1<<20))
		// An initiator that closed in order may or may not be a reason.
		if got := m.next(true); got.Op != relaywire.TunnelClose || got.ID != 7 || len(got.Body) == 0 && !l.orderly {
			s.Fatalf("came %s, wanted TunnelClose 7, any reason", describe(got))
		}
		m.sync()
		later.expectNothing(time.Second)
		later.sync()
		s.tunnel(m, 8, "group", m, 7, 1<<20) // the id is free again
	})

	add("tunnel build that a lost acceptor did not confirm times out", func(s *stage, l leaving) {
		m, c := s.attach("group"), s.attachClientOnly()
		start := time.Now()
		c.send(tunnelInit(1, "group", wait))
		m.expect(tunnelOffer(0))
		l.leave(m)
		c.expect(tunnelTimeout(1))
		s.timely("the result", start, 0, wait*time.Millisecond+prompt)
		c.sync()
	})

	add("R14 lost service is chosen no more", func(s *stage, l leaving) {
		for range 5 {
			lost, stays := s.attach("group"), s.attach("group")
			lost.sync()
			l.leave(lost)
			s.settle()
			for i := range 10 {
				stays.send(request(uint64(i), "group", "ask", never), tunnelInit(uint64(i), "group", never))
			}
			for range 20 {
				if got := stays.next(false); got.Op != relaywire.Request && got.Op != relaywire.TunnelInit {
					s.Fatalf("came %s, wanted a request or tunnel", describe(got))
				}
			}
			stays.close()
		}
	})

	cases = append(cases, Case{
		Name: "request not yet written to a lost member goes to another", Run: play(func(s *stage) {
			stuck := s.attach("group")
			c := s.attachClientOnly()
			event := pattern(0, 4<<20)
			for range 12 { // more than sockets take
				c.send(broadcast("group", event))
			}
			c.sync()
			c.send(request(1, "group", "ask", never))
			c.sync()
			other := s.attach("group")
			stuck.reset()
			other.expect(assigned(0, "ask", never))
			other.send(reply(0, "answer"))
			c.expect(reply(1, "answer"))
			other.sync()
		}),
	})
	return cases
}

// expectAnyChunk reads a chunk of any tunnel and grants it.
func (c *script) expectAnyChunk(body string) {
	c.Helper()
	m := c.next(false)
	if m.Op != relaywire.TunnelTransfer || string(m.Body) != body {
		c.Fatalf("%s:\n  came   %s\n  wanted a chunk %q", c.name, describe(m), body)
	}
	c.send(tunnelAllow(m.ID, uint64(len(body))))
}

// dropCases are those of section 5.3. A program that is dropped has sent an
// unknown opcode.
func dropCases() []Case {
	const violation = "0e"
	return []Case{
		{Name: "R15 violation is answered by Close with a reason", Run: play(func(s *stage) {
			c := s.attachClientOnly()
			start := time.Now()
			c.sendHex(violation)
			c.expectClose(true)
			s.timely("the end", start, 0, prompt)
		})},

		{Name: "R15 reason of a drop survives input behind the violation", Run: play(func(s *stage) {
			c := s.attachClientOnly()
			c.write(bytes.Repeat([]byte{0xff}, 100_000))
			c.write(bytes.Repeat([]byte{0xff}, 1<<20))
			c.expectClose(true)
		})},

		{Name: "R15 drop disturbs nobody", Run: play(func(s *stage) {
			m, c, bad := s.attach("group"), s.attachClientOnly(), s.attach("bad")
			s.tunnel(c, 1, "group", m, 1, 1<<20)
			bad.sendHex(violation)
			bad.expectClose(true)
			carry(c, 1, m, 1, "still here")
			c.send(broadcast("group", "hi"))
			m.expect(delivered("hi"))
		})},

		{Name: "R15 what came before a violation counts, what comes after does not", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			before, after := broadcast("group", "before"), broadcast("group", "after")
			c.write(after.AppendToNode(append(before.AppendToNode(nil), 0x0e)))
			c.expectClose(true)
			m.expect(delivered("before"))
			m.expectNothing(time.Second)
			m.sync()
		})},

		{Name: "R15 dropped connection is cleaned up like a lost one", Run: play(func(s *stage) {
			bad, c := s.attach("group"), s.attachClientOnly()
			bad.send(subscribe("topic"))
			s.tunnel(c, 1, "group", bad, 1, 1<<20)
			c.send(tunnelInit(2, "group", wait), request(1, "group", "ask", wait))
			for range 2 {
				bad.next(false)
			}
			bad.sendHex(violation)
			bad.expectClose(true)
			c.expectTunnelClose(1, true)
			ends := map[relaywire.Op]bool{}
			for range 2 {
				got := c.next(false)
				if ends[got.Op] = got.TimedOut; !got.TimedOut {
					s.Fatalf("came %s, wanted two timeouts", describe(got))
				}
			}
			if !ends[relaywire.Reply] || !ends[relaywire.TunnelResult] {
				s.Fatalf("came timeouts of %v, wanted one of a reply and one of a tunnel", ends)
			}
			m := s.attach("group")
			c.send(request(2, "group", "ask", never))
			m.expect(assigned(0, "ask", never))
		})},

		{Name: "R15 dropped connection ends after 1 s", virtual: "waits for 1 s and more", Run: play(func(s *stage) {
			c := s.attachClientOnly()
			c.sendHex(violation)
			c.expectClose(true)
			c.readForASecond()
		})},
	}
}
