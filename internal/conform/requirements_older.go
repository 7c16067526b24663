package conform

import (
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// OlderRequirements returns the cases of protocol v0 (docs/relay-v0.md): at least one for
// each of V1 to V18, and what its tables say beyond the numbers.
func OlderRequirements() []Case {
	return slices.Concat(
		olderHandshakeCases(),
		olderStateCases(),
		olderNameCases(),
		olderRequestCases(),
		olderBuildCases(),
		olderDataCases(),
		olderTunnelCloseCases(),
		olderMixedCases(),
		olderLimitCases(),
	)
}

const olderInitDigits = "00 04 76312e30"

// olderHandshakeCases are those of section 2.
func olderHandshakeCases() []Case {
	return []Case{
		{Name: "V1 first octet of a connection is 00, and the whole Accept", Run: play(func(s *stage) {
			c := s.dial("program of V0")
			c.sendHex(olderInitDigits + "04 6563686f 04 0174 05 0174 0165")
			c.conn.SetReadDeadline(time.Now().Add(patience))
			got := make([]byte, 6)
			if _, err := io.ReadFull(c.conn, got); err != nil || hex.EncodeToString(got) != "000501740165" {
				s.Fatalf("came %x, error %v; wanted 00, and the event", got, err)
			}
		})},

		{Name: "V1 accepted member is reachable at once", Run: play(func(s *stage) {
			older, c := s.older("asks"), s.attachClientOnly()
			for i := range uint64(20) {
				app := fmt.Sprint("app ", i)
				m := s.older(app)
				for _, x := range []*script{older, c} {
					x.send(broadcast(app, "hi"), request(i, app, "ask", never), x.sized(tunnelInit(i, app, never)))
				}
				got := make(map[relaywire.Op]int)
				for range 6 {
					got[m.next(false).Op]++
				}
				if got[relaywire.Broadcast] != 2 || got[relaywire.Request] != 2 || got[relaywire.TunnelInit] != 2 {
					s.Fatalf("of 2 broadcasts, requests and tunnels came %v", got)
				}
			}
		})},

		{Name: "V1 Accept comes before anything due to a new member", Run: play(func(s *stage) {
			c := s.older("asks") // the checker refuses anything else as the first message
			for round := range uint64(20) {
				app := fmt.Sprint("app ", round)
				c.send(request(round, app, "parked", never), c.sized(tunnelInit(round, app, never)))
				m := s.dial("program of V0")
				m.dialect = relaywire.V0
				var hello message
				hello, m.check = introduction(relaywire.V0, app)
				m.send(hello)
				c.send(repeat(5, broadcast(app, "stray"))...)
				m.expect(olderAccept)
				for seen := 0; seen < 2; {
					if op := m.next(false).Op; op != relaywire.Broadcast {
						seen++
					}
				}
			}
		})},

		{Name: "v0 handshake octet by octet", Run: play(func(s *stage) {
			c := s.dial("program of V0")
			c.dialect = relaywire.V0
			var hello message
			hello, c.check = introduction(relaywire.V0, "app")
			c.check.sent(&hello)
			for _, b := range c.dialect.AppendToNode(nil, &hello) {
				c.write([]byte{b})
			}
			c.expect(olderAccept)
			c.sync()
		})},

		{Name: "v0 handshake of another opcode or version is dropped silently, whatever the app", Run: play(func(s *stage) {
			for _, in := range []string{
				"01", "07", "0d", "ff", "01 04 6563686f 0100",
				"00 00", "00 04 76302e39", "00 04 56312e30", "00 05 76312e3020", "00 04 76312e31", // no app
				"00 04 76302e39 04 6563686f",
				olderInitDigits + " 81 08", // an app of 1025 octets
				"00 ffffffffffffffffff02",
			} {
				c := s.dial("program of V0")
				start := time.Now()
				c.sendHex(in)
				c.expectEOF()
				s.timely("the end", start, 0, prompt)
			}
			s.older("app").sync()
		})},

		{Name: "v0 Init cut off is dropped silently", Run: play(func(s *stage) {
			for n := range 1 + 5 + 4 {
				c := s.dial("program of V0")
				c.write([]byte("\x00\x04v1.0\x04echo")[:n])
				c.halfClose()
				c.expectEOF()
			}
			s.older("app").sync()
		})},

		{Name: "v0 silent connection is closed after the handshake limit", virtual: "waits for the handshake limit", Run: play(func(s *stage) {
			start := time.Now()
			c := s.dial("program of V0")
			c.sendHex(olderInitDigits)
			c.expectEOF()
			s.timely("the end", start, 4500*time.Millisecond, 5500*time.Millisecond)
		})},

		{Name: "v0 app of 1024 octets, and none at all", Run: play(func(s *stage) {
			long := strings.Repeat("a", 1024)
			m := s.older(long)
			m.send(broadcast(long, "hi"))
			m.expect(delivered("hi"))
			c := s.older("")
			c.send(broadcast(long, "hello"))
			m.expect(delivered("hello"))
			c.sync()
		})},

		{Name: "v0 and v1 programs attach side by side", Run: play(func(s *stage) {
			for range 10 {
				s.older("app").sync()
				s.attach("app").sync()
				s.attachClientOnly().sync()
			}
		})},
	}
}

// perDialect makes a case with another program of each dialect.
func perDialect(name string, scene func(s *stage, other func(app string) *script)) []Case {
	return []Case{
		{Name: name + "/with one of v0", Run: play(func(s *stage) { scene(s, s.older) })},
		{Name: name + "/with one of v1", Run: play(func(s *stage) { scene(s, s.attach) })},
	}
}

// olderStateCases are those of section 3.
func olderStateCases() []Case {
	cases := slices.Concat(
		perDialect("V3 what was sent before Close is delivered, and 07 comes last", func(s *stage, other func(string) *script) {
			m, c := other("group"), s.older("leaves")
			m.send(subscribe("topic"))
			m.sync()
			s.link(c, 0, "group", m, 0)
			m.send(request(5, "leaves", "ask", never))
			c.expect(assigned(0, "ask", 0))
			var last []message
			for i := range 100 {
				last = append(last, broadcast("group", fmt.Sprint("b", i)), publish("topic", fmt.Sprint("e", i)), letter(0, fmt.Sprint("t", i)))
			}
			c.send(append(last, reply(0, "answer"), request(0, "group", "own", never), closing(""))...) // in one piece
			c.expectClose(false)
			next := make(map[relaywire.Op]int)
			for range 302 { // acknowledgements are no longer due
				got := m.next(false)
				body := string(got.Body)
				switch i := next[got.Op]; {
				case got.Op == relaywire.Broadcast && body == fmt.Sprint("b", i),
					got.Op == relaywire.Publish && body == fmt.Sprint("e", i),
					got.Op == relaywire.TunnelTransfer && body == fmt.Sprint("t", i),
					got.Op == relaywire.Reply && body == "answer" && i == 0,
					got.Op == relaywire.Request && body == "own" && i == 0:
				case got.Op == relaywire.TunnelClose && len(got.Body) == 0 && next[relaywire.TunnelTransfer] == 100:
				default:
					s.Fatalf("came %s, out of its turn", describe(got))
				}
				next[got.Op]++
			}
			if next[relaywire.TunnelClose] == 0 {
				m.expect(tunnelClose(0, ""))
			}
		}),
		perDialect("v0 closed member is unknown once Close is answered", func(s *stage, other func(string) *script) {
			for round := range 10 {
				left, stays := s.older("group"), other("group")
				left.close()
				for i := range uint64(10) {
					stays.send(request(i, "group", fmt.Sprint(round), never), stays.sized(tunnelInit(i, "group", never)))
				}
				for range 20 {
					stays.next(false)
				}
				stays.close()
			}
		}),
		perLeaving("v0 end of a connection closes its tunnels", func(s *stage, l leaving) {
			m, first := s.older("group"), s.attach("first")
			c := s.older("leaves")
			s.link(c, 0, "group", m, 7)
			s.link(first, 1, "leaves", c, 1)
			c.send(letter(0, "last"))
			m.expect(letter(7, "last"))
			c.awaitAcks(0, 0)
			if l.leave(c); l.orderly {
				first.expect(tunnelClose(1, ""))
			} else {
				first.expectTunnelClose(1, true)
			}
			m.expect(tunnelClose(7, "")) // V0 has no reasons
			m.sync()
			first.sync()
		}),
	)
	return append(cases, []Case{
		{Name: "V3 Close is answered at once whatever is pending", Run: play(func(s *stage) {
			m, other := s.older("group"), s.older("other")
			m.send(request(1, "other", "own", never), request(2, "nobody", "parked", never), m.sized(tunnelInit(1, "nobody", never)), m.sized(tunnelInit(2, "other", never)))
			other.next(false)
			other.next(false)
			other.send(request(1, "group", "served", never), other.sized(tunnelInit(1, "group", never)))
			m.next(false)
			m.next(false)
			start := time.Now()
			m.close()
			s.timely("the answer", start, 0, prompt)
		})},

		{Name: "V3 Close is answered though much is unread", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("sends")
			body := pattern(0, 4<<20)
			c.send(repeat(8, broadcast("group", body))...)
			c.sync()
			m.send(closing(""))
			for n := 0; ; n++ { // what it has not begun to read is not for it any more
				got := m.next(false)
				if got.Op == relaywire.Close {
					break
				}
				if n == 8 || got.Op != relaywire.Broadcast || string(got.Body) != body {
					s.Fatalf("came %s, wanted one of 8 broadcasts or Close", describe(got))
				}
			}
			m.expectEOF()
		})},

		{Name: "v0 input after Close is discarded", Run: play(func(s *stage) {
			watch, c := s.older("watch"), s.older("leaves")
			s.link(c, 1, "watch", watch, 1)
			c.send(closing(""), closing(""), acked(1), letter(1, "late"), reply(0, "late"), broadcast("watch", "late"), request(9, "watch", "late", never))
			if err := c.tryWrite(slices.Repeat([]byte{0xff}, 1<<20)); err != nil {
				s.Fatalf("input after Close: %v", err)
			}
			c.expectClose(false)
			watch.expect(tunnelClose(1, ""))
			watch.expectNothing(time.Second)
			watch.sync()
		})},

		{Name: "v0 closed connection ends after 1 s", virtual: "waits for 1 s and more", Run: play(func(s *stage) {
			c := s.older("leaves")
			c.send(closing(""))
			c.expectClose(false)
			c.readForASecond()
		})},

		{Name: "V2 dropped program is told nothing", Run: play(func(s *stage) {
			m := s.older("group")
			for _, op := range []int{0x00, 0x0d, 0x0e, 0x7f, 0x80, 0xff} {
				c := s.older("bad")
				s.link(c, 0, "group", m, uint64(op))
				before := c.dialect.AppendToNode(nil, &message{Op: relaywire.Broadcast, Name: []byte("group"), Body: []byte("before")})
				after := c.dialect.AppendToNode(nil, &message{Op: relaywire.Broadcast, Name: []byte("group"), Body: []byte("after")})
				start := time.Now()
				c.write(slices.Concat(before, []byte{byte(op)}, after))
				c.expectEOF()
				s.timely("the end", start, 0, prompt)
				m.expect(delivered("before"), tunnelClose(uint64(op), ""))
			}
			m.expectNothing(time.Second)
			m.sync()
		})},

		{Name: "V2 terminating node is silent, after all that is due", Run: play(func(s *stage) {
			m, c := s.older("group"), s.older("sends")
			s.link(c, 0, "group", m, 0)
			c.send(letter(0, "last"), broadcast("group", "hi"))
			c.sync()
			gone := make(chan struct{})
			go func() {
				s.n.Close()
				close(gone)
			}()
			for _, x := range []*script{m, c} {
				for {
					if _, err := x.read(time.Now().Add(patience)); err == io.EOF {
						break
					} else if err != nil {
						s.Fatalf("%s: %v; wanted the end of input", x.name, err)
					}
				}
				x.conn.Close()
			}
			<-gone
		})},

		{Name: "v0 bad varints and lengths drop the connection", Run: play(func(s *stage) {
			other := s.older("other")
			for _, before := range []string{"01", "010161", "02", "0200", "02000161", "0200016100", "03", "0300", "04", "05", "050174", "06",
				"08", "0800", "08000161", "0800016101", "09", "0900", "090000", "0a", "0a00", "0b", "0c"} {
				for _, bad := range badVarints[:1+len(before)%2] {
					c := s.older("bad")
					c.sendHex(before + bad)
					c.expectEOF()
				}
			}
			for before, limit := range map[string]uint64{"01": 64 << 10, "010161": 64 << 20, "0200": 64 << 10, "02000161": 64 << 20, "0300": 64 << 20,
				"04": 64 << 10, "05": 64 << 10, "050174": 64 << 20, "06": 64 << 10, "0800": 64 << 10, "0a00": 64 << 20} {
				for _, n := range []uint64{limit + 1, 1<<32 + 1, ^uint64(0)} {
					c := s.older("bad")
					start := time.Now()
					c.sendHex(before + padded(n, 0))
					c.expectEOF()
					s.timely("the end", start, 0, prompt)
				}
			}
			other.sync()
		})},
	}...)
}

// olderNameCases are those of section 4.
func olderNameCases() []Case {
	return slices.Concat(
		perDialect("V4 broadcast reaches every member once, its sender too", func(s *stage, other func(string) *script) {
			a, b, outside := s.older("group"), other("group"), other("outside")
			for i, from := range []*script{a, b, outside} {
				for _, body := range []string{fmt.Sprint("from ", i), ""} {
					from.send(broadcast("group", body))
					a.expect(delivered(body))
					b.expect(delivered(body))
				}
			}
			for _, x := range []*script{a, b, outside} {
				x.expectNothing(time.Second)
				x.sync()
			}
		}),
		perDialect("V4 event reaches every subscriber once, its publisher too", func(s *stage, other func(string) *script) {
			a, b, outside := s.older("a"), other("a"), other("a")
			a.send(subscribe("topic"), subscribe(""))
			b.send(subscribe("topic"), subscribe(""))
			a.sync()
			b.sync()
			for _, from := range []*script{a, b, outside} {
				for _, m := range []message{publish("topic", "event"), publish("topic", ""), publish("", "event")} {
					from.send(m, broadcast("topic", "stray"), publish("a", "stray"))
					a.expect(m)
					b.expect(m)
				}
			}
			outside.sync()
		}),
		perDialect("V5 subscription is effective within 10 ms", func(s *stage, other func(string) *script) {
			a, b := s.older("a"), other("a")
			a.send(subscribe("topic"))
			s.settle()
			b.send(publish("topic", "heard"))
			a.expect(publish("topic", "heard"))
			a.send(unsubscribe("topic"))
			s.settle()
			b.send(publish("topic", "unheard"))
			a.expectNothing(time.Second)
			a.sync()
		}),
		[]Case{
			{Name: "V4 second subscription, and unsubscription without one, are ignored", Run: play(func(s *stage) {
				m := s.older("a")
				m.send(unsubscribe("topic"), subscribe("topic"), subscribe("topic"), unsubscribe("other"), publish("topic", "once"))
				m.expect(publish("topic", "once"))
				m.send(unsubscribe("topic"), unsubscribe("topic"), publish("topic", "unheard"))
				m.sync()
			})},
			{Name: "V4 subscriptions change in the order of the wire", Run: play(func(s *stage) {
				m := s.older("a")
				for i := range 100 {
					m.send(subscribe("topic"), publish("topic", fmt.Sprint(i)), unsubscribe("topic"), publish("topic", "unheard"))
				}
				for i := range 100 {
					m.expect(publish("topic", fmt.Sprint(i)))
				}
				m.sync()
			})},
			{Name: "V4 no broadcast is lost, doubled or out of order", Run: play(func(s *stage) {
				a, b, c := s.older("group"), s.older("group"), s.attach("group")
				all := []*script{a, b, c}
				for i := range 100 {
					for j, x := range all {
						x.send(broadcast("group", fmt.Sprintf("%d %d", j, i)))
					}
				}
				for _, m := range all {
					next := make([]int, len(all))
					for range 100 * len(all) {
						var j, i int
						got := m.next(false)
						if n, _ := fmt.Sscanf(string(got.Body), "%d %d", &j, &i); n != 2 || i != next[j] {
							s.Fatalf("%s: came %s, wanted message %v", m.name, describe(got), next)
						}
						next[j]++
					}
					m.sync()
				}
			})},
		},
	)
}

// olderRequestCases are those of section 5.
func olderRequestCases() []Case {
	cases := slices.Concat(
		perDialect("v0 request to another is answered", func(s *stage, other func(string) *script) {
			c, m := s.older("asks"), other("group")
			olderAsks(s, c, "group", m)
		}),
		perDialect("v0 member answers another", func(s *stage, other func(string) *script) {
			c, m := other("asks"), s.older("group")
			olderAsks(s, c, "group", m)
		}),
		perDialect("v0 replies late, twice or to nothing are ignored", func(s *stage, other func(string) *script) {
			m, c := s.older("group"), other("asks")
			m.send(reply(0, "nothing"), reply(1<<40, "nothing"))
			m.sync()
			c.send(request(1, "group", "ask", wait))
			m.expect(assigned(0, "ask", 0))
			c.expect(replyTimeout(1))
			m.send(reply(0, "late"))
			c.send(request(1, "group", "ask", never))
			m.expect(assigned(1, "ask", 0))
			m.send(reply(2, "not yet"), reply(1, "first"), reply(1, "second"))
			c.expect(reply(1, "first"))
			m.sync()
			c.expectNothing(time.Second)
			c.sync()
		}),
		perLeaving("v0 request of a lost member ends as a timeout", func(s *stage, l leaving) {
			m, c := s.older("group"), s.older("asks")
			c.send(request(1, "group", "ask", wait))
			m.expect(assigned(0, "ask", 0))
			l.leave(m)
			c.expect(replyTimeout(1))
			c.sync()
		}),
	)
	return append(cases, []Case{
		{Name: "v0 request times out, not earlier", Run: play(func(s *stage) {
			c := s.older("asks")
			s.older("group")
			for i, ms := range []uint64{1, 10, 50, 0} {
				for _, app := range []string{"group", "nobody"} {
					start := time.Now()
					c.send(request(uint64(i), app, "ask", ms))
					c.expect(replyTimeout(uint64(i)))
					s.timely("the timeout", start, time.Duration(ms)*time.Millisecond, time.Duration(ms)*time.Millisecond+prompt)
				}
			}
			c.sync()
		})},

		{Name: "v0 fault of a v1 service is a timeout at once", Run: play(func(s *stage) {
			c, m := s.older("asks"), s.attach("group")
			for i, text := range []string{"because", ""} {
				start := time.Now()
				c.send(request(uint64(i), "group", "ask", never))
				m.expect(assigned(uint64(i), "ask", never))
				m.send(fault(uint64(i), text))
				c.expect(replyTimeout(uint64(i)))
				s.timely("the timeout", start, 0, prompt)
			}
			c.sync()
		})},

		{Name: "v0 request waits for the first member", Run: play(func(s *stage) {
			c := s.older("asks")
			c.send(request(0, "group", "ask", never))
			c.sync()
			m := s.older("group")
			m.expect(assigned(0, "ask", 0))
			m.send(reply(0, "answer"))
			c.expect(reply(0, "answer"))
		})},

		{Name: "v0 requests are spread over members of both protocols", Run: play(func(s *stage) {
			a, b, c := s.older("group"), s.attach("group"), s.older("asks")
			for i := range uint64(64) {
				c.send(request(i, "group", "ask", never))
			}
			for _, m := range []*script{a, b} {
				m.next(false)
			}
		})},

		{Name: "v0 request beyond 4096 pending ones times out at once", Run: play(func(s *stage) {
			c := s.older("asks")
			for i := range uint64(4097) {
				c.send(request(i, "nobody", "", never))
			}
			c.expect(replyTimeout(4096))
			c.sync()
		})},
	}...)
}

// olderAsks has c ask m, the only member of app.
func olderAsks(s *stage, c *script, app string, m *script) {
	told := func(ms uint64) uint64 { // V0 has no word for the timeout
		if m.dialect == relaywire.V0 {
			return 0
		}
		return ms
	}
	ids := []uint64{0, ^uint64(0), 5, 1 << 40}
	for i, id := range ids {
		c.send(request(id, app, fmt.Sprint("ask ", i), never))
		m.expect(assigned(uint64(i), fmt.Sprint("ask ", i), told(never)))
	}
	for i := len(ids) - 1; i >= 0; i-- {
		body := fmt.Sprint("answer ", i)
		if i == 2 {
			body = "" // is a success
		}
		m.send(reply(uint64(i), body))
		c.expect(reply(ids[i], body))
	}
	m.sync()
	c.sync()
}
