package splice

import (
	"fmt"
	"net"
	"testing"

	"github.com/project-iris/iris/internal/session"
)

// onLoopback has the nodes of w meet over TCP.
func onLoopback(w *network) {
	w.listen = func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		return l
	}
	w.dial = func(l net.Listener) (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }
}

var benchSizes = []int{64, 4 << 10, 64 << 10}

// Messages from a program's reader on one node to a program's queue on the other.
func BenchmarkTunnel(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint("octets=", size), func(b *testing.B) {
			w := newNetwork(b)
			onLoopback(w)
			from, to := w.node(), w.node()
			y, id := to.accept(from)
			y.discards, y.grants = true, true
			x := from.initiate(to, id)
			x.until(func() bool { return x.opened })
			y.allow(64 << 20)
			message := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				x.send(message)
			}
			y.until(func() bool { return y.octets == int64(b.N*size) })
		})
	}
}

// The same octets over the same connection, and nothing else.
func BenchmarkPlainTLS(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint("octets=", size), func(b *testing.B) {
			w := newNetwork(b)
			onLoopback(w)
			from, to := w.node(), w.node()
			gate := session.NewGate(session.GateConfig{Identity: to.identity, Refused: to.Refused})
			defer gate.Close()
			l := w.listen()
			defer l.Close()
			done := make(chan int64, 1)
			gate.Serve(l, func(c *session.Conn) {
				defer c.Close()
				buf := make([]byte, 64<<10)
				total := int64(0)
				for {
					n, err := c.Read(buf)
					total += int64(n)
					if err != nil {
						done <- total
						return
					}
				}
			})
			nc, err := w.dial(l)
			if err != nil {
				b.Fatal(err)
			}
			c, err := from.identity.Dial(b.Context(), nc, session.PurposeTunnel, 14142, to.identity.ID())
			if err != nil {
				b.Fatal(err)
			}
			message := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(message); err != nil {
					b.Fatal(err)
				}
			}
			c.CloseWrite()
			<-done
			c.Close()
		})
	}
}
