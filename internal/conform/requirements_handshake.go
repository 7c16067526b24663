package conform

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// never is a timeout that no case waits for, in milliseconds.
const never = 3_600_000

// connectionCases are those of section 1.
func connectionCases() []Case {
	return []Case{
		{Name: "R1 messages are written one after the other", Run: play(func(s *stage) {
			m := s.attach("group")
			m.send(subscribe("topic"))
			m.sync()
			const rounds, size = 8, 200_000
			senders := []*script{s.attachClientOnly(), s.attachClientOnly(), s.attachClientOnly()}
			for round := range rounds {
				for i, c := range senders {
					body := fmt.Sprint(round, i, pattern(round*3+i, size))
					switch i {
					case 0:
						c.send(broadcast("group", body))
					case 1:
						c.send(publish("topic", body))
					case 2:
						c.send(request(7, "group", body, never))
					}
				}
			}
			// A body that is torn or mixed equals none of those sent.
			due := make(map[string]int)
			for round := range rounds {
				for i := range 3 {
					due[fmt.Sprint(round, i, pattern(round*3+i, size))]++
				}
			}
			for range 3 * rounds {
				got := m.next(false)
				if due[string(got.Body)]--; due[string(got.Body)] < 0 {
					s.Fatalf("came %s, which nobody sent or which came before", describe(got))
				}
			}
			m.sync()
		})},

		{Name: "R2 silent connection affects nobody", Run: play(func(s *stage) {
			for range 20 {
				s.dial("silent")
			}
			s.dial("slow").sendHex("00 11 69726973") // a part of the magic string
			m := s.attach("group")
			c := s.attachClientOnly()
			c.send(broadcast("group", "hi"))
			m.expect(delivered("hi"))
		})},

		{Name: "R2 silent connection is closed after the handshake limit", virtual: "waits for the handshake limit", Run: play(func(s *stage) {
			start := time.Now()
			init := initOf("group")
			whole := init.AppendToNode(nil)
			silent, half, slow := s.dial("silent"), s.dial("half"), s.dial("slow")
			half.write(whole[:len(whole)-1])
			for i := range 4 { // an octet now and then buys no time
				slow.write(whole[i : i+1])
				time.Sleep(time.Second)
			}
			for _, c := range []*script{silent, half, slow} {
				c.expectEOF()
				s.timely("the end", start, 4500*time.Millisecond, 5500*time.Millisecond)
			}
			s.attach("group").sync()
		})},

		{Name: "idle connection lives on", virtual: "waits for an hour", Run: play(func(s *stage) {
			m := s.attach("group")
			c := s.attachClientOnly()
			time.Sleep(time.Hour)
			c.send(broadcast("group", "hi"))
			m.expect(delivered("hi"))
		})},

		{Name: "100 connections at once", Run: play(func(s *stage) {
			var all []*script
			for range 100 {
				c := s.dial("service")
				c.send(initOf("group"))
				all = append(all, c)
			}
			for _, c := range all {
				c.expect(accept)
			}
			all[99].send(broadcast("group", "all"))
			for _, c := range all {
				c.expect(delivered("all"))
			}
			for _, c := range all {
				c.send(closing(""))
			}
			for _, c := range all {
				c.expectClose(false)
			}
		})},
	}
}

// encodingCases are those of section 2.
func encodingCases() []Case {
	return []Case{
		{Name: "R3 names are octets, compared one by one", Run: play(func(s *stage) {
			names := []string{"\xff\xfe", "a\x00b", "a", "A", "caf\u00e9", "cafe\u0301", " ", "\xed\xa0\x80"}
			members := make([]*script, len(names))
			for i, name := range names {
				members[i] = s.attach(name)
			}
			c := s.attachClientOnly()
			for _, name := range names {
				c.send(subscribe(name))
			}
			for i, name := range names {
				c.send(broadcast(name, "to "+name), publish(name, "on "+name))
				c.expect(publish(name, "on "+name))
				members[i].expect(delivered("to " + name))
			}
			for _, m := range members {
				m.sync()
			}
		})},

		{Name: "R3 texts and payloads pass unchanged", Run: play(func(s *stage) {
			m := s.attach("group")
			c := s.attachClientOnly()
			const odd = "\x00\xff\xc3(\xed\xa0\x80\r\n"
			c.send(request(1, "group", odd, never), request(2, "group", odd, never))
			m.expect(assigned(0, odd, never), assigned(1, odd, never))
			m.send(fault(0, odd), reply(1, odd))
			c.expect(fault(1, odd), reply(2, odd))
		})},

		{Name: "R4 varints are written in the shortest form", Run: play(func(s *stage) {
			// Scripts refuse any message that is longer than need be.
			m := s.attach("group")
			c := s.attachClientOnly()
			for i := range 64 {
				for _, v := range []uint64{1<<i - 1, 1 << i, ^uint64(0)} {
					id := m.expectNextAssigned(c, request(v, "group", strings.Repeat("x", i*5), max(v, never)))
					m.send(reply(id, strings.Repeat("y", i*5)))
					c.expect(reply(v, strings.Repeat("y", i*5)))
				}
			}
			for i, v := range []uint64{0, 1, 127, 128, 1 << 14, 1<<35 - 1, 1 << 63, ^uint64(0)} {
				s.tunnel(c, v, "group", m, v, 1<<20)
				carry(c, v, m, v, pattern(i, 127+i))
			}
		})},

		{Name: "R5 padded varints are accepted", Run: play(func(s *stage) {
			m := s.attach("group")
			c := s.attachClientOnly()
			name := padded(5, 10) + hex.EncodeToString([]byte("group"))
			c.sendHex("03" + name + padded(2, 9) + "6869")
			m.expect(delivered("hi"))

			c.check.sent(&message{Op: relaywire.Request, ID: 300})
			c.sendHex("04" + padded(300, 10) + name + padded(0, 2) + padded(never, 10))
			m.expect(assigned(0, "", never))
			m.sendHex("05" + padded(0, 10) + "01" + padded(1, 7) + "21")
			c.expect(reply(300, "!"))

			topic := padded(1, 10) + hex.EncodeToString([]byte("t"))
			c.check.sent(&message{Op: relaywire.Subscribe, Name: []byte("t")})
			c.sendHex("06" + topic + "08" + topic + padded(1, 3) + "65" + "07" + topic + "08" + topic + "00")
			c.expect(publish("t", "e"))

			c.check.sent(&message{Op: relaywire.TunnelInit, ID: 1})
			c.sendHex("09" + padded(1, 10) + name + padded(never, 10))
			m.expect(tunnelOffer(0))
			m.check.sent(&message{Op: relaywire.TunnelConfirm, ID: 0, Tunnel: 2})
			m.check.sent(&message{Op: relaywire.TunnelAllow, ID: 2, Size: 100})
			m.sendHex("0a" + padded(0, 10) + padded(2, 10) + "0b" + padded(2, 10) + padded(100, 10))
			c.expect(tunnelResult(1))
			c.awaitWindow(1, 1)
			c.check.sent(&message{Op: relaywire.TunnelTransfer, ID: 1, Body: []byte("!")})
			c.sendHex("0c" + padded(1, 10) + padded(1, 10) + padded(1, 10) + "21" + "0d" + padded(1, 10))
			c.expect(tunnelClose(1, ""))
			m.expect(chunk(2, 1, "!"), tunnelClose(2, ""))
		})},

		{Name: "R5 padded varints are accepted in a handshake", Run: play(func(s *stage) {
			c := s.dial("client")
			in := "00" + padded(uint64(len(relaywire.ClientMagic)), 10) + hex.EncodeToString([]byte(relaywire.ClientMagic))
			in += padded(uint64(len(relaywire.Version)), 10) + hex.EncodeToString([]byte(relaywire.Version))
			c.sendHex(in + padded(0, 10))
			c.expect(accept)
			c.sync()
		})},

		{Name: "R6 announced length reserves no memory", alone: true, Run: play(func(s *stage) {
			s.attachClientOnly().sync()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			const connections = 40
			for range connections {
				c := s.attachClientOnly()
				body := binary.AppendUvarint(nil, 64<<20)
				c.write(append(append([]byte("\x03\x01c"), body...), make([]byte, 2048)...))
			}
			s.attachClientOnly().sync()
			runtime.ReadMemStats(&after)
			// Reserving would take 2.5 GiB. That all parts were read cannot be
			// seen from here, but most were.
			if got := after.TotalAlloc - before.TotalAlloc; got > connections<<20 {
				s.Fatalf("%d messages of 64 MiB, begun with 2 KiB each, took %d octets of memory", connections, got)
			}
		})},

		{Name: "R6 R49 huge length in a handshake is refused at once", Run: play(func(s *stage) {
			magic := "0011" + hex.EncodeToString([]byte(relaywire.ClientMagic))
			version := "0b" + hex.EncodeToString([]byte(relaywire.Version))
			for _, before := range []string{"00", magic, magic + version} {
				for _, n := range []uint64{1025, 1 << 31, 1 << 63, ^uint64(0)} {
					c := s.dial("client")
					start := time.Now()
					c.sendHex(before + padded(n, 0))
					c.expectEOF()
					s.timely("the end", start, 0, prompt)
				}
			}
			s.attachClientOnly().sync()
		})},
	}
}

// expectNextAssigned lets c send a request and returns the id under which m gets it.
func (m *script) expectNextAssigned(c *script, r message) uint64 {
	m.Helper()
	c.send(r)
	return m.expectAssigned(string(r.Body), r.Timeout)
}

// padded returns the digits of a varint of at least n octets.
func padded(v uint64, n int) string {
	b := binary.AppendUvarint(nil, v)
	for len(b) < n {
		b[len(b)-1] |= 0x80
		b = append(b, 0)
	}
	return hex.EncodeToString(b)
}

// handshakeCases are those of section 4.
func handshakeCases() []Case {
	return []Case{
		{Name: "service is accepted", Run: play(func(s *stage) {
			s.attach("group").sync()
		})},

		{Name: "client without a cluster is accepted", Run: play(func(s *stage) {
			s.attachClientOnly().sync()
		})},

		{Name: "service has every right of a client", Run: play(func(s *stage) {
			a, b := s.attach("a"), s.attach("b")
			a.send(subscribe("topic"), broadcast("b", "hi"), request(0, "b", "ask", never), publish("topic", "event"))
			a.expect(publish("topic", "event"))
			b.expect(delivered("hi"), assigned(0, "ask", never))
			s.tunnel(a, 0, "b", b, 0, 1<<20)
		})},

		{Name: "handshake octet by octet", Run: play(func(s *stage) {
			c := s.dial("client")
			m := initOf("group")
			c.check.sent(&m)
			for _, b := range m.AppendToNode(nil) {
				c.write([]byte{b})
			}
			c.expect(accept)
			c.sync()
		})},

		{Name: "messages right behind the Init are handled", Run: play(func(s *stage) {
			c := s.dial("client")
			c.send(initOf("group"), subscribe("topic"), publish("topic", "event"))
			c.expect(accept, publish("topic", "event"))
		})},

		{Name: "Accept comes first though the connection is closed at once", Run: play(func(s *stage) {
			m := s.attach("group")
			for i := range 20 {
				c := s.dial("client")
				c.send(initOf(""), broadcast("group", fmt.Sprint(i)), closing(""))
				c.expect(accept)
				c.expectClose(false)
				m.expect(delivered(fmt.Sprint(i)))
			}
		})},

		{Name: "R7 R48 other version is denied", Run: play(func(s *stage) {
			for _, version := range []string{"", "v1.0", "v1.0-draft", "v1.0-draft3", "V1.0-draft2", "v1.0-draft2 ", "\xff", strings.Repeat("9", 1024)} {
				c := s.dial("client")
				m := initOf(strings.Repeat("x", 1000))
				m.Version = []byte(version)
				c.send(m)
				c.expect(deny(version))
				c.expectEOF()
			}
		})},

		{Name: "R7 Deny waits for the whole Init", Run: play(func(s *stage) {
			c := s.dial("client")
			m := initOf("group")
			m.Version = []byte("v2")
			in := m.AppendToNode(nil)
			for _, b := range in[:len(in)-1] {
				c.write([]byte{b})
			}
			c.expectNothing(time.Second)
			c.write(in[len(in)-1:])
			c.expect(deny("v2"))
			c.expectEOF()
		})},

		{Name: "denied service is no member", Run: play(func(s *stage) {
			c := s.dial("client")
			m := initOf("group")
			m.Version = []byte("v2")
			c.send(m)
			c.expect(deny("v2"))
			member := s.attach("group")
			for i := range 32 {
				id := member.expectNextAssigned(member, request(uint64(i), "group", "ask", never))
				member.send(reply(id, ""))
				member.expect(reply(uint64(i), ""))
			}
		})},

		{Name: "R47 first message other than Init is dropped silently", Run: play(func(s *stage) {
			for op := 1; op < 256; op++ {
				c := s.dial("client")
				c.sendHex(fmt.Sprintf("%02x", op))
				c.expectEOF()
			}
			for _, in := range []string{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "\x03\x05group\x02hi", "\x16\x03\x01\x02\x00"} {
				c := s.dial("client")
				c.write([]byte(in))
				c.expectEOF()
			}
			s.attachClientOnly().sync()
		})},

		{Name: "R48 wrong magic is dropped silently, before the version is read", Run: play(func(s *stage) {
			for _, magic := range []string{"", "iris-klient-magic", "IRIS-client-magic", relaywire.NodeMagic, relaywire.ClientMagic + "x", "iris-client-magi", "\x00"} {
				c := s.dial("client")
				c.write(append(binary.AppendUvarint([]byte{0}, uint64(len(magic))), magic...))
				start := time.Now()
				c.expectEOF()
				s.timely("the end", start, 0, prompt)

				c = s.dial("client")
				m := initOf("")
				m.Magic = []byte(magic)
				c.send(m)
				c.expectEOF()
			}
		})},

		{Name: "malformed Init is dropped silently", Run: play(func(s *stage) {
			magic := "0011" + hex.EncodeToString([]byte(relaywire.ClientMagic))
			version := "0b" + hex.EncodeToString([]byte(relaywire.Version))
			for _, before := range []string{"00", magic, magic + version} {
				for _, bad := range badVarints {
					c := s.dial("client")
					c.sendHex(before + bad)
					c.expectEOF()
				}
			}
		})},

		{Name: "Init cut off is dropped silently", Run: play(func(s *stage) {
			m := initOf("group")
			in := m.AppendToNode(nil)
			for n := range in {
				c := s.dial("client")
				c.write(in[:n])
				c.halfClose()
				c.expectEOF()
			}
			s.attachClientOnly().sync()
		})},

		{Name: "handshake strings of 1024 octets are accepted, longer ones not", Run: play(func(s *stage) {
			long := strings.Repeat("c", 1024)
			m := s.attach(long)
			c := s.attachClientOnly()
			c.send(broadcast(long, "hi"))
			m.expect(delivered("hi"))

			c = s.dial("client")
			c.send(initOf(long + "c"))
			c.expectEOF()

			c = s.dial("client")
			other := initOf("")
			other.Version = []byte(long + "c")
			c.send(other)
			c.expectEOF()
		})},

		{Name: "R8 accepted service is reachable at once", Run: play(func(s *stage) {
			c := s.attachClientOnly()
			for i := range 25 {
				cluster := fmt.Sprint("group ", i)
				m := s.attach(cluster)
				c.send(broadcast(cluster, "hi"), request(uint64(i), cluster, "ask", never), tunnelInit(uint64(i), cluster, never))
				got := map[relaywire.Op]bool{}
				for range 3 {
					got[m.next(false).Op] = true
				}
				if !got[relaywire.Broadcast] || !got[relaywire.Request] || !got[relaywire.TunnelInit] {
					s.Fatalf("of a broadcast, a request and a tunnel came %v", got)
				}
			}
		})},

		{Name: "R8 all services accepted at once are reachable", Run: play(func(s *stage) {
			c := s.attachClientOnly()
			for round := range 5 {
				cluster := fmt.Sprint("group ", round)
				var all []*script
				for range 25 {
					m := s.dial("service")
					m.send(initOf(cluster))
					all = append(all, m)
				}
				for _, m := range all {
					m.expect(accept)
				}
				c.send(broadcast(cluster, "hi"))
				for _, m := range all {
					m.expect(delivered("hi"))
				}
			}
		})},

		{Name: "Accept comes before anything due to a new service", Run: play(func(s *stage) {
			// A Checker refuses anything else as the first message.
			c := s.attachClientOnly()
			for round := range 20 {
				cluster := fmt.Sprint("group ", round)
				c.send(request(uint64(round), cluster, "parked", never), tunnelInit(uint64(round), cluster, never))
				m := s.dial("service")
				m.send(initOf(cluster))
				for range 5 {
					c.send(broadcast(cluster, "stray"))
				}
				m.expect(accept)
				for seen := 0; seen < 2; {
					switch got := m.next(false); got.Op {
					case relaywire.Request, relaywire.TunnelInit:
						seen++
					}
				}
			}
		})},
	}
}

// badVarints are an 11th octet and values of 2^64 or more, in digits.
var badVarints = []string{strings.Repeat("80", 10) + "00", strings.Repeat("ff", 9) + "02", strings.Repeat("80", 9) + "7f"}
