package conform

import (
	"fmt"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// limitCases are those of section 9 that hold for what is legal.
func limitCases() []Case {
	return []Case{
		{Name: "names and fault texts of 64 KiB are accepted", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			long := pattern(0, 64<<10)
			c.send(subscribe(long), publish(long, "event"), unsubscribe(long), broadcast(long, "hi"))
			c.expect(publish(long, "event"))
			c.send(request(1, long, "ask", 1), tunnelInit(1, long, 50))
			c.expect(replyTimeout(1), tunnelTimeout(1))
			c.send(request(2, "group", "ask", never))
			m.expect(assigned(0, "ask", never))
			m.send(fault(0, long))
			c.expect(fault(2, long))
		})},

		{Name: "payloads of 64 MiB are accepted", virtual: "moves 256 MiB, to which sockets add nothing", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			m.send(subscribe("topic"))
			m.sync()
			body := pattern(0, 64<<20)
			c.send(broadcast("group", body))
			m.expect(delivered(body))
			c.send(publish("topic", body))
			m.expect(publish("topic", body))
			c.send(request(1, "group", body, never))
			m.expect(assigned(0, body, never))
			m.send(reply(0, body))
			c.expect(reply(1, body))
		})},

		{Name: "10000 topics of a connection are accepted, more are not", Run: play(func(s *stage) {
			c, other := s.attachClientOnly(), s.attachClientOnly()
			const n = 10_000
			for i := range n {
				c.send(subscribe(fmt.Sprint("topic ", i)))
			}
			for _, topic := range []string{"topic 0", "topic 9999"} {
				c.send(publish(topic, "event"))
				c.expect(publish(topic, "event"))
			}
			c.send(subscribe("one more"))
			c.expectClose(true)
			other.sync()
		})},
	}
}

// A field is a varint in a message to the node. What precedes it is in digits.
type field struct {
	name, before string
	limit        uint64 // of a length; 0: it is no length
}

var fields = []field{
	{"cluster of a Broadcast", "03", 64 << 10},
	{"message of a Broadcast", "030163", 64 << 20},
	{"id of a Request", "04", 0},
	{"cluster of a Request", "0400", 64 << 10},
	{"body of a Request", "04000163", 64 << 20},
	{"timeout of a Request", "040001630178", 0},
	{"id of a Reply", "05", 0},
	{"body of a Reply", "050001", 64 << 20},
	{"fault of a Reply", "050000", 64 << 10},
	{"topic of a Subscribe", "06", 64 << 10},
	{"topic of an Unsubscribe", "07", 64 << 10},
	{"topic of a Publish", "08", 64 << 10},
	{"event of a Publish", "080174", 64 << 20},
	{"id of a TunnelInit", "09", 0},
	{"cluster of a TunnelInit", "0900", 64 << 10},
	{"timeout of a TunnelInit", "09000163", 0},
	{"build id of a TunnelConfirm", "0a", 0},
	{"id of a TunnelConfirm", "0a00", 0},
	{"id of a TunnelAllow", "0b", 0},
	{"space of a TunnelAllow", "0b00", 0},
	{"id of a TunnelTransfer", "0c", 0},
	{"size of a TunnelTransfer", "0c00", 0},
	{"payload of a TunnelTransfer", "0c0001", relaywire.ChunkLimit},
	{"id of a TunnelClose", "0d", 0},
}

// inputCases are those of section 10 that the sections before leave.
func inputCases() []Case {
	var cases []Case
	for _, f := range fields {
		cases = append(cases, Case{Name: "R5 bad varint drops the connection/" + f.name, Run: play(func(s *stage) {
			other := s.attachClientOnly()
			for _, bad := range badVarints {
				c := s.attachClientOnly()
				c.sendHex(f.before + bad)
				c.expectClose(true)
			}
			other.sync()
		})})
		if f.limit == 0 {
			continue
		}
		cases = append(cases, Case{Name: "R6 length above its limit drops the connection at once/" + f.name, Run: play(func(s *stage) {
			other := s.attachClientOnly()
			for _, n := range []uint64{f.limit + 1, 1 << 32, 1 << 62, 1<<63 - 1, 1 << 63, ^uint64(0)} {
				c := s.attachClientOnly()
				start := time.Now()
				c.sendHex(f.before + padded(n, 0))
				c.expectClose(true)
				s.timely("the end", start, 0, prompt)
			}
			other.sync()
		})})
	}
	return append(cases, []Case{
		{Name: "R50 Init and Deny after the handshake drop the connection", Run: play(func(s *stage) {
			for _, cluster := range []string{"", "group"} {
				c := s.attachClientOnly()
				c.send(initOf(cluster))
				c.expectClose(true)
				c = s.attach("group")
				c.sendHex("01 00 00")
				c.expectClose(true)
			}
		})},

		{Name: "R51 unknown opcodes drop the connection", Run: play(func(s *stage) {
			for op := 0x0e; op < 256; op++ {
				c := s.attachClientOnly()
				c.sendHex(fmt.Sprintf("%02x", op))
				c.expectClose(true)
			}
		})},

		{Name: "R55 boolean other than 0 and 1 drops the connection", Run: play(func(s *stage) {
			for _, v := range []int{2, 0x7f, 0x80, 0xff} {
				m, c := s.attach("group"), s.attachClientOnly()
				c.send(request(1, "group", "ask", never))
				m.expect(assigned(0, "ask", never))
				m.sendHex(fmt.Sprintf("0500%02x00", v))
				m.expectClose(true)
				c.sync() // no reply
			}
		})},

		{Name: "input that ends within a message is a lost connection", Run: play(func(s *stage) {
			m := s.attach("group")
			for _, whole := range []message{
				broadcast("group", "never"), request(1, "group", "never", never), reply(1, "never"), fault(1, "never"),
				subscribe("topic"), unsubscribe("topic"), publish("topic", "never"), tunnelInit(1, "group", never),
				tunnelConfirm(300, 300), tunnelAllow(300, 300), chunk(300, 300, "never"), tunnelClose(300, ""),
			} {
				in := whole.AppendToNode(nil)
				for n := 1; n < len(in); n++ {
					c := s.attachClientOnly()
					c.write(in[:n])
					c.halfClose()
					c.expectEOF()
				}
			}
			m.expectNothing(time.Second)
			m.sync()
		})},

		{Name: "messages may come in any pieces", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			ms := []message{subscribe("topic"), request(1, "group", "ask", never), publish("topic", "event"), broadcast("group", "hi")}
			var in []byte
			for i := range ms {
				c.check.sent(&ms[i])
				in = ms[i].AppendToNode(in)
			}
			for _, b := range in {
				c.write([]byte{b})
			}
			c.expect(publish("topic", "event"))
			for range 2 {
				if got := m.next(false); string(got.Body) != "ask" && string(got.Body) != "hi" {
					s.Fatalf("came %s, wanted the request and the broadcast", describe(got))
				}
			}
		})},

		{Name: "R64 client-only connections get nothing meant for services", Run: play(func(s *stage) {
			// Checkers refuse it.
			c := s.attachClientOnly()
			var others []*script
			for range 5 {
				others = append(others, s.attachClientOnly())
			}
			for _, cluster := range []string{"", "group"} {
				c.send(broadcast(cluster, "hi"), request(1, cluster, "ask", 50), tunnelInit(1, cluster, 100))
				c.expect(replyTimeout(1), tunnelTimeout(1))
			}
			for _, x := range others {
				x.sync()
			}
		})},

		{Name: "R64 nothing is answered twice, and nothing follows an end", Run: play(func(s *stage) {
			// The races in which a node might; Checkers refuse it.
			m, c := s.attach("group"), s.attachClientOnly()
			for i := range uint64(10) {
				c.send(request(1, "group", "ask", 2), tunnelInit(1, "group", 2))
				time.Sleep(2 * time.Millisecond)
				for {
					got, err := m.read(time.Now().Add(5 * time.Millisecond))
					if err != nil {
						break
					}
					switch got.Op {
					case relaywire.Request:
						m.send(reply(got.ID, "late"), reply(got.ID, "later"))
					case relaywire.TunnelInit:
						m.send(tunnelConfirm(got.ID, 10+i), tunnelAllow(10+i, 100), chunk(10+i, 0, ""), tunnelClose(10+i, ""), tunnelClose(10+i, ""))
					}
				}
				for replied, over := false, false; !replied || !over; {
					switch got := c.next(false); got.Op {
					case relaywire.Reply:
						replied = true
					case relaywire.TunnelResult:
						over = got.TimedOut
					case relaywire.TunnelClose:
						over = true
					default:
						s.Fatalf("came %s, wanted the ends of a request and a tunnel", describe(got))
					}
				}
			}
			c.sync()
			c.expectNothing(time.Second)
			m.expectNothing(time.Second)
		})},
	}...)
}
