package node

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// The benchmarks run the node, the client and the service in one process: what
// they show is allocations, which must be none, and the cost of a change. How
// fast the node is beside others is measured with separate processes.

// benchNode starts a node for one benchmark.
func benchNode(b *testing.B) *Node {
	n, err := New(Config{Dev: true})
	if err != nil {
		b.Fatal(err)
	}
	if err := n.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { n.Close() })
	return n
}

// onHosts runs a benchmark with both ends on one node, and on two that are linked.
func onHosts(b *testing.B, f func(b *testing.B, near, far *Node)) {
	b.Run("hosts=1", func(b *testing.B) {
		n := benchNode(b)
		f(b, n, n)
	})
	b.Run("hosts=2", func(b *testing.B) {
		nodes := startNetwork(b, 2)
		f(b, nodes[0], nodes[1])
	})
}

// program reads and writes without allocating.
type program struct {
	b    *testing.B
	nc   net.Conn
	in   []byte
	r, w int
	out  []byte
}

func benchProgram(b *testing.B, n *Node, cluster string) *program {
	nc, err := net.Dial("tcp", n.addrs[0])
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { nc.Close() })
	p := &program{b: b, nc: nc, in: make([]byte, 256<<10)}
	init := relaywire.Message{Op: relaywire.Init, Magic: []byte(relaywire.ClientMagic), Version: []byte(relaywire.Version), Name: []byte(cluster)}
	p.add(&init)
	p.flush()
	var m relaywire.Message
	p.next(&m)
	return p
}

func (p *program) add(m *relaywire.Message) { p.out = m.AppendToNode(p.out) }

func (p *program) flush() error {
	_, err := p.nc.Write(p.out)
	p.out = p.out[:0]
	return err
}

// more reports whether a whole message is there without reading.
func (p *program) more(m *relaywire.Message) bool {
	n, err := relaywire.DefaultLimits.ParseToClient(p.in[p.r:p.w], m)
	if err != nil {
		return false
	}
	p.r += n
	return true
}

// next waits for a message.
func (p *program) next(m *relaywire.Message) error {
	for !p.more(m) {
		copy(p.in, p.in[p.r:p.w])
		p.w -= p.r
		p.r = 0
		n, err := p.nc.Read(p.in[p.w:])
		if err != nil {
			return err
		}
		p.w += n
	}
	return nil
}

// echo answers requests until the connection ends.
func (p *program) echo() {
	var m relaywire.Message
	for p.next(&m) == nil {
		for ok := true; ok; ok = p.more(&m) {
			if m.Op == relaywire.Request {
				p.add(&relaywire.Message{Op: relaywire.Reply, ID: m.ID, Body: m.Body})
			}
		}
		if p.flush() != nil {
			return
		}
	}
}

func benchRequests(b *testing.B, outstanding int) {
	onHosts(b, func(b *testing.B, near, far *Node) { benchRequestsTo(b, near, far, outstanding) })
}

func benchRequestsTo(b *testing.B, near, far *Node, outstanding int) {
	go benchProgram(b, far, "echo").echo()
	p := benchProgram(b, near, "")
	q := relaywire.Message{Op: relaywire.Request, Name: []byte("echo"), Body: make([]byte, 128), Timeout: 60_000}
	var m relaywire.Message
	run := func(count int) {
		sent, got := 0, 0
		for got < count {
			for sent < count && sent-got < outstanding {
				q.ID = uint64(sent)
				p.add(&q)
				sent++
			}
			if len(p.out) > 0 {
				p.flush()
			}
			if err := p.next(&m); err != nil {
				b.Error(err)
				return
			}
			for got++; p.more(&m); got++ {
			}
		}
	}
	run(10_000)
	b.ReportAllocs()
	b.ResetTimer()
	run(b.N)
}

func BenchmarkRequest(b *testing.B)    { benchRequests(b, 1) }
func BenchmarkRequest256(b *testing.B) { benchRequests(b, 256) }

func benchPublish(b *testing.B, subscribers int) {
	onHosts(b, func(b *testing.B, near, far *Node) { benchPublishTo(b, near, far, subscribers) })
}

func benchPublishTo(b *testing.B, near, far *Node, subscribers int) {
	topic := []byte("news")
	done := make(chan bool)
	for range subscribers {
		p := benchProgram(b, far, "")
		p.add(&relaywire.Message{Op: relaywire.Subscribe, Name: topic})
		p.flush()
		go func() {
			var m relaywire.Message
			for p.next(&m) == nil {
				for ok := true; ok; ok = p.more(&m) {
					if len(m.Body) == 1 {
						done <- true
					}
				}
			}
		}()
	}
	p := benchProgram(b, near, "")
	event := relaywire.Message{Op: relaywire.Publish, Name: topic, Body: make([]byte, 128)}
	last := relaywire.Message{Op: relaywire.Publish, Name: topic, Body: make([]byte, 1)}
	run := func(count int) {
		for i := range count {
			p.add(&event)
			if len(p.out) > 16<<10 {
				p.flush()
			}
			if i%20_000 == 19_999 || i == count-1 { // stay within what may wait
				p.add(&last)
				p.flush()
				for range subscribers {
					<-done
				}
			}
		}
	}
	for {
		if s, _ := far.Status(); len(s.Topics) == 1 && s.Topics[0].Members == subscribers {
			break
		}
	}
	for found := false; !found; { // the subscription has to get around
		p.add(&last)
		p.flush()
		select {
		case found = <-done:
			for range subscribers - 1 {
				<-done
			}
		case <-time.After(50 * time.Millisecond):
		}
	}
	run(100_000)
	b.ReportAllocs()
	b.ResetTimer()
	run(b.N)
}

func BenchmarkPublish1(b *testing.B) { benchPublish(b, 1) }
func BenchmarkPublish4(b *testing.B) { benchPublish(b, 4) }

// BenchmarkTunnel moves 64 KiB messages one way.
func BenchmarkTunnel(b *testing.B) { onHosts(b, benchTunnel) }

func benchTunnel(b *testing.B, near, far *Node) {
	var m relaywire.Message
	s := benchProgram(b, far, "sink")
	c := benchProgram(b, near, "")
	c.add(&relaywire.Message{Op: relaywire.TunnelInit, ID: 1, Name: []byte("sink"), Timeout: 10_000})
	c.flush()
	s.next(&m)
	s.add(&relaywire.Message{Op: relaywire.TunnelConfirm, ID: m.ID, Tunnel: 1})
	s.add(&relaywire.Message{Op: relaywire.TunnelAllow, ID: 1, Size: 64 << 20})
	s.flush()
	go func() {
		var m relaywire.Message
		for s.next(&m) == nil {
			for ok := true; ok; ok = s.more(&m) {
				if m.Op == relaywire.TunnelTransfer {
					s.add(&relaywire.Message{Op: relaywire.TunnelAllow, ID: 1, Size: uint64(len(m.Body))})
				}
			}
			s.flush()
		}
	}()
	chunk := relaywire.Message{Op: relaywire.TunnelTransfer, ID: 1, Size: relaywire.ChunkLimit, Body: make([]byte, relaywire.ChunkLimit)}
	credit := 0
	take := func() {
		if m.Op == relaywire.TunnelAllow {
			credit += int(m.Size)
		}
	}
	run := func(count int) {
		for range count {
			for credit < relaywire.ChunkLimit {
				if c.next(&m) != nil {
					return
				}
				take()
			}
			for c.more(&m) {
				take()
			}
			c.add(&chunk)
			c.flush()
			credit -= relaywire.ChunkLimit
		}
	}
	run(1000)
	b.SetBytes(relaywire.ChunkLimit)
	b.ReportAllocs()
	b.ResetTimer()
	run(b.N)
}

// BenchmarkCopy is the floor of BenchmarkRequest: the same round trip through
// something that only copies octets.
func BenchmarkCopy(b *testing.B) {
	pipe := func() (x, y net.Conn) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		if x, err = net.Dial("tcp", l.Addr().String()); err != nil {
			b.Fatal(err)
		}
		if y, err = l.Accept(); err != nil {
			b.Fatal(err)
		}
		return x, y
	}
	client, front := pipe()
	back, service := pipe()
	defer client.Close()
	defer service.Close()
	forward := func(from, to net.Conn) {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				to.Close()
				return
			}
			to.Write(buf[:n])
		}
	}
	go forward(front, back)
	go forward(back, front)
	go forward(service, service)
	msg := binary.BigEndian.AppendUint64(nil, 7)
	msg = append(msg, make([]byte, 140)...)
	b.ReportAllocs()
	for b.Loop() {
		client.Write(msg)
		if _, err := io.ReadFull(client, msg); err != nil {
			b.Fatal(err)
		}
	}
}
