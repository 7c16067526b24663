package conform

import (
	"fmt"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// requestCases are those of section 7.
func requestCases() []Case {
	return []Case{
		{Name: "reply and fault reach the requester", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			c.send(request(3, "group", "a", never))
			m.expect(assigned(0, "a", never))
			m.send(reply(0, "A"))
			c.expect(reply(3, "A"))
			c.send(request(4, "group", "b", never))
			m.expect(assigned(1, "b", never))
			m.send(fault(1, "B"))
			c.expect(fault(4, "B"))
			m.sync()
			c.sync()
		})},

		{Name: "replies may come out of order", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			for i := range uint64(10) {
				c.send(request(100+i, "group", "ask", never))
				m.expect(assigned(i, "ask", never))
			}
			for i := uint64(10); i > 0; i-- {
				m.send(reply(i-1, fmt.Sprint(i-1)))
				c.expect(reply(100+i-1, fmt.Sprint(i-1)))
			}
		})},

		{Name: "any request id is legal", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			for i, id := range []uint64{^uint64(0), 1 << 63, 5, 1, 0} {
				c.send(request(id, "group", "ask", never))
				m.expect(assigned(uint64(i), "ask", never))
				m.send(reply(uint64(i), "answer"))
				c.expect(reply(id, "answer"))
			}
		})},

		{Name: "ids of requester and service are independent", Run: play(func(s *stage) {
			// Each asks the other, under the ids the other way round.
			a, b := s.attach("a"), s.attach("b")
			for i := range uint64(5) {
				a.send(request(4-i, "b", fmt.Sprint("a", i), never))
				b.expect(assigned(i, fmt.Sprint("a", i), never))
				b.send(request(4-i, "a", fmt.Sprint("b", i), never))
				a.expect(assigned(i, fmt.Sprint("b", i), never))
			}
			for i := range uint64(5) {
				a.send(reply(i, fmt.Sprint("to b", i)))
				b.expect(reply(4-i, fmt.Sprint("to b", i)))
				b.send(reply(i, fmt.Sprint("to a", i)))
				a.expect(reply(4-i, fmt.Sprint("to a", i)))
			}
		})},

		{Name: "ids are counted for each service", Run: play(func(s *stage) {
			a, b, c := s.attach("a"), s.attach("b"), s.attachClientOnly()
			for i := range uint64(5) {
				c.send(request(2*i, "a", "ask", never), request(2*i+1, "b", "ask", never))
				a.expect(assigned(i, "ask", never))
				b.expect(assigned(i, "ask", never))
			}
		})},

		{Name: "timeout_ms is handed on unchanged", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			for i, ms := range []uint64{never, 1<<31 - 1, 1 << 31, 1 << 32, ^uint64(0)} {
				c.send(request(uint64(i), "group", "ask", ms))
				m.expect(assigned(uint64(i), "ask", ms))
			}
		})},

		{Name: "R24 timeout does not come early", Run: play(func(s *stage) {
			s.attach("group")
			c := s.attachClientOnly()
			for i, ms := range []uint64{1, 2, 3, 10, 12, 50, 99} {
				start := time.Now()
				c.send(request(uint64(i), "group", "ask", ms))
				c.expect(replyTimeout(uint64(i)))
				s.timely("the timeout", start, time.Duration(ms)*time.Millisecond, time.Duration(ms)*time.Millisecond+prompt)
			}
			// Deadlines do not wait for each other.
			start := time.Now()
			c.send(request(1, "group", "ask", 100), request(2, "group", "ask", 50), request(3, "nobody", "ask", 75))
			for _, w := range []struct{ id, ms time.Duration }{{2, 50}, {3, 75}, {1, 100}} {
				c.expect(replyTimeout(uint64(w.id)))
				s.timely("the timeout", start, w.ms*time.Millisecond, w.ms*time.Millisecond+prompt)
			}
		})},

		{Name: "R24 timeout is less than 5 ms late", Timed: true, Run: play(func(s *stage) {
			c := s.attachClientOnly()
			s.attach("group")
			for i, ms := range []time.Duration{1, 5, 12, 50, 100} {
				start := time.Now()
				c.send(request(uint64(i), "group", "ask", uint64(ms)))
				c.expect(replyTimeout(uint64(i)))
				late := prompt
				if !Strict {
					late = s.n.slack(late)
				}
				if took := time.Since(start); took < ms*time.Millisecond || took > ms*time.Millisecond+late {
					s.Fatalf("timeout of %d ms after %v", ms, took)
				}
			}
		})},

		{Name: "R25 huge timeouts do not expire at once", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			huge := []uint64{1<<31 - 1, 1 << 31, 1<<32 + 1, 1<<63 - 1, 1 << 63, ^uint64(0)}
			for i, ms := range huge {
				c.send(request(uint64(i), "group", "ask", ms), request(uint64(100+i), "nobody", "ask", ms))
				m.expect(assigned(uint64(i), "ask", ms))
			}
			c.expectNothing(time.Hour)
			for i := range huge {
				m.send(reply(uint64(i), "answer"))
				c.expect(reply(uint64(i), "answer"))
			}
			c.sync()
		})},

		{Name: "R25 huge timeouts expire after 2^31-1 ms", virtual: "waits for 25 days", Run: play(func(s *stage) {
			c := s.attachClientOnly()
			start := time.Now()
			c.send(request(1, "nobody", "ask", 1<<31), request(2, "nobody", "ask", ^uint64(0)))
			const most = relaywire.MaxTimeout * time.Millisecond
			c.expectNothing(most - time.Millisecond)
			for range 2 {
				if got := c.next(false); got.Op != relaywire.Reply || !got.TimedOut {
					s.Fatalf("came %s, wanted a timeout", describe(got))
				}
			}
			s.timely("the timeout", start, most, most+prompt)
		})},

		{Name: "R53 request to a cluster without members times out, not earlier", Run: play(func(s *stage) {
			c := s.attachClientOnly()
			start := time.Now()
			c.send(request(1, "nobody", "ask", 100))
			c.expect(replyTimeout(1))
			s.timely("the timeout", start, 100*time.Millisecond, 100*time.Millisecond+prompt)
			c.sync()
		})},

		{Name: "request waits for the first member", Run: play(func(s *stage) {
			c := s.attachClientOnly()
			c.send(request(1, "group", "a", never), request(2, "group", "b", never))
			c.sync()
			time.Sleep(20 * time.Millisecond)
			m := s.attach("group")
			m.expect(assigned(0, "a", never), assigned(1, "b", never))
			m.send(reply(1, "B"), reply(0, "A"))
			c.expect(reply(2, "B"), reply(1, "A"))
			c.sync()
		})},

		{Name: "expired request is not handed to a later member", Run: play(func(s *stage) {
			c := s.attachClientOnly()
			c.send(request(1, "group", "ask", 20))
			c.expect(replyTimeout(1))
			m := s.attach("group")
			m.sync()
		})},

		{Name: "R54 timeout of 0 expires at once and reaches nobody", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			start := time.Now()
			c.send(request(1, "group", "ask", 0), request(2, "nobody", "ask", 0))
			for range 2 {
				if got := c.next(false); got.Op != relaywire.Reply || !got.TimedOut {
					s.Fatalf("came %s, wanted a timeout", describe(got))
				}
			}
			s.timely("the timeout", start, 0, prompt)
			m.sync()
			m.expectNothing(time.Second)
		})},

		{Name: "late reply is discarded", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			c.send(request(1, "group", "ask", wait))
			m.expect(assigned(0, "ask", wait))
			c.expect(replyTimeout(1))
			m.send(reply(0, "late"))
			m.sync()
			c.expectNothing(time.Second)
			c.sync()
		})},

		{Name: "R26 requests at once are spread over all members, the requester among them", Run: play(func(s *stage) {
			members := []*script{s.attach("group"), s.attach("group"), s.attach("group")}
			const requests = 300
			for i := range uint64(requests) {
				members[0].send(request(i, "group", "ask", never))
			}
			got := make(map[*script]int)
			for range requests {
				m, _ := s.nextOf(members...)
				got[m]++
			}
			if len(got) != len(members) {
				s.Fatalf("%d requests reached %d members, wanted %d", requests, len(got), len(members))
			}
		})},

		{Name: "R26 requests one by one are spread over all members", Run: play(func(s *stage) {
			members := []*script{s.attach("group"), s.attach("group"), s.attach("group")}
			c := s.attachClientOnly()
			got := make(map[*script]int)
			const requests = 60
			for i := range uint64(requests) {
				c.send(request(i, "group", "ask", never))
				m, r := s.nextOf(members...)
				m.send(reply(r.ID, "answer"))
				c.expect(reply(i, "answer"))
				got[m]++
			}
			if len(got) != len(members) {
				s.Fatalf("%d requests reached %d members, wanted %d", requests, len(got), len(members))
			}
		})},

		{Name: "R26 requests reach each of many members", Run: play(func(s *stage) {
			var members []*script
			for range 100 {
				members = append(members, s.attach("group"))
			}
			c := s.attachClientOnly()
			for i := range uint64(3000) { // too many to miss anyone even by pure chance
				c.send(request(i, "group", "ask", never))
			}
			for _, m := range members {
				m.expect(assigned(0, "ask", never))
			}
		})},

		{Name: "R27 1024 requests of a connection can be pending, and at a service", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			const n = 1024
			for i := range uint64(n) {
				c.send(request(i, "group", "ask", never))
			}
			for i := range uint64(n) {
				m.expect(assigned(i, "ask", never))
			}
			for i := uint64(n); i > 0; i-- {
				m.send(reply(i-1, "answer"))
			}
			for i := uint64(n); i > 0; i-- {
				c.expect(reply(i-1, "answer"))
			}
		})},

		{Name: "R27 request beyond 4096 pending ones times out at once", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			const n = 4096
			for i := range uint64(n) {
				c.send(request(i, "nobody", "ask", never))
			}
			c.sync()
			start := time.Now()
			c.send(request(n, "group", "ask", never))
			c.expect(replyTimeout(n))
			s.timely("the timeout", start, 0, prompt)
			m.sync()
			// Others have their own.
			m.send(request(0, "group", "ask", never))
			m.expect(assigned(0, "ask", never))
			// The first member there is makes room.
			late := s.attach("nobody")
			late.send(reply(late.expectAssigned("ask", never), "answer"))
			if got := c.next(false); got.Op != relaywire.Reply || string(got.Body) != "answer" {
				s.Fatalf("came %s, wanted the answer", describe(got))
			}
			c.send(request(n, "group", "again", never))
			m.expect(assigned(1, "again", never))
		})},

		{Name: "R28 success with an empty reply stays a success", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			c.send(request(1, "group", "", never))
			m.expect(assigned(0, "", never))
			m.send(reply(0, ""))
			c.expect(reply(1, ""))
		})},

		{Name: "R29 fault with an empty text stays a fault", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			c.send(request(1, "group", "ask", never))
			m.expect(assigned(0, "ask", never))
			m.send(fault(0, ""))
			c.expect(fault(1, ""))
		})},

		{Name: "R30 first of two replies wins", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			c.send(request(1, "group", "a", never), request(2, "group", "b", never))
			m.expect(assigned(0, "a", never), assigned(1, "b", never))
			m.send(reply(0, "first"), reply(0, "second"), fault(0, "third"), fault(1, "first"), reply(1, "second"))
			c.expect(reply(1, "first"), fault(2, "first"))
			m.sync()
			c.expectNothing(time.Second)
			c.sync()
		})},

		{Name: "R31 id used again while pending makes two requests", Run: play(func(s *stage) {
			m, c := s.attach("group"), s.attachClientOnly()
			c.send(request(1, "group", "a", never), request(1, "group", "b", wait), request(1, "group", "c", never))
			m.expect(assigned(0, "a", never), assigned(1, "b", wait), assigned(2, "c", never))
			m.send(reply(2, "C"))
			c.expect(reply(1, "C"), replyTimeout(1))
			m.send(reply(0, "A"), reply(1, "B"))
			c.expect(reply(1, "A"))
			m.sync()
			c.sync()
		})},

		{Name: "R32 reply from a client-only connection is ignored", Run: play(func(s *stage) {
			m, c, other := s.attach("group"), s.attachClientOnly(), s.attachClientOnly()
			c.send(request(0, "group", "ask", never))
			m.expect(assigned(0, "ask", never))
			for _, x := range []*script{c, other} {
				x.send(reply(0, "forged"), fault(0, "forged"))
				x.sync()
			}
			m.send(reply(0, "true"))
			c.expect(reply(0, "true"))
		})},

		{Name: "R56 reply to an unknown, a finished or another's request is ignored", Run: play(func(s *stage) {
			m, other, c := s.attach("group"), s.attach("other"), s.attachClientOnly()
			m.send(reply(0, "unknown"), fault(1<<40, "unknown"))
			m.sync()
			c.send(request(0, "group", "ask", never))
			m.expect(assigned(0, "ask", never))
			other.send(reply(0, "another's"))
			other.sync()
			m.send(reply(1, "not yet"), reply(0, "true"), reply(0, "finished"))
			m.sync()
			c.expect(reply(0, "true"))
			c.sync()
		})},

		{Name: "exactly one reply comes where reply and timeout meet", Run: play(func(s *stage) {
			// A Checker refuses a second one.
			m, c := s.attach("group"), s.attachClientOnly()
			for i := range uint64(20) {
				due := time.Now().Add(3 * time.Millisecond)
				c.send(request(i, "group", "ask", 3))
				if got, err := m.read(due); err == nil {
					time.Sleep(time.Until(due))
					m.send(reply(got.ID, "answer"))
				}
				if got := c.next(false); got.Op != relaywire.Reply || got.ID != i {
					s.Fatalf("came %s, wanted Reply %d", describe(got), i)
				}
			}
			m.send(reply(0, "late"))
			c.sync()
			c.expectNothing(time.Second)
		})},
	}
}
