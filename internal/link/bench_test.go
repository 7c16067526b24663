package link

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// A counter is a handler that counts, and answers if it is told to.
type counter struct {
	up      chan *Link
	frames  atomic.Int64
	octets  atomic.Int64
	echo    bool
	wanted  int64
	arrived chan struct{}
}

func newCounter() *counter {
	return &counter{up: make(chan *Link, 200), arrived: make(chan struct{}, 1), wanted: -1}
}

func (c *counter) Up(l *Link)                                          { c.up <- l }
func (c *counter) Down(*Link, error)                                   {}
func (c *counter) Failed(ring.ID)                                      {}
func (c *counter) Control(*Link, wire.Message, *wire.Frame) error      { return nil }
func (c *counter) Dropped(*Link, time.Time, *queue.Batch, *wire.Frame) {}
func (c *counter) Room(*Link, *queue.Batch)                            {}
func (c *counter) Idle(*Link, *queue.Batch)                            {}
func (c *counter) Data(l *Link, _ time.Time, b *queue.Batch, f *wire.Frame) error {
	c.octets.Add(int64(len(f.Body)))
	if c.echo {
		_, err := l.Send(b, wire.Requests, f, nil, queue.Payload{Data: f.Body})
		return err
	}
	if c.frames.Add(1) == atomic.LoadInt64(&c.wanted) {
		c.arrived <- struct{}{}
	}
	return nil
}

// tcpNode is a manager that listens on the loopback interface.
func tcpNode(t testing.TB, key *session.Key, h Handler) (m *Manager, addr netip.AddrPort, stop func()) {
	c, err := session.NewCredential("test", key)
	if err != nil {
		t.Fatal(err)
	}
	id, err := session.NewIdentity(c, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	refused := session.NewRefusals(log, time.Now)
	m = NewManager(Config{
		Identity: id, Refused: refused, Log: log, Budget: queue.NewBudget(1 << 30), Max: 1000, Handler: h,
		Dial: func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr.String())
		},
		Hello: func() (wire.State, []wire.Addr) { return wire.Active, nil },
	})
	gate := session.NewGate(session.GateConfig{Identity: id, Refused: refused})
	gate.Serve(l, m.Serve)
	return m, l.Addr().(*net.TCPAddr).AddrPort(), func() {
		l.Close()
		m.Stop()
		gate.Close()
	}
}

func netKey(t testing.TB) *session.Key {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := session.KeyOf(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// tcpPair returns a link over the loopback interface with its data connection up.
func tcpPair(t testing.TB, a, b *counter) (l *Link) {
	key := netKey(t)
	ma, _, stopA := tcpNode(t, key, a)
	mb, addr, stopB := tcpNode(t, key, b)
	t.Cleanup(func() {
		stopA()
		stopB()
	})
	ma.Dial(mb.Identity.ID(), []netip.AddrPort{addr})
	l = <-a.up
	<-b.up
	l.openData()
	for !l.carrying.Load() {
		time.Sleep(time.Millisecond)
	}
	return l
}

func benchmarkSend(b *testing.B, size int, lane Lane) {
	from, to := newCounter(), newCounter()
	l := tcpPair(b, from, to)
	f := wire.Frame{Type: wire.TypePublish, Flags: wire.Named, Name: wire.Name{Kind: wire.Topic, Key: ring.ID{Hi: 1}}}
	head := wire.PublishHead{}.AppendBody(nil)
	body := make([]byte, size)
	var batch queue.Batch
	b.ReportAllocs()
	b.SetBytes(int64(size))
	atomic.StoreInt64(&to.wanted, int64(b.N))
	b.ResetTimer()
	for i := range b.N {
		for {
			_, err := l.Send(&batch, lane, &f, head, queue.Payload{Data: body})
			if err == nil {
				break
			}
			batch.Flush()
			runtime.Gosched()
		}
		if i%64 == 63 {
			batch.Flush()
		}
	}
	batch.Flush()
	<-to.arrived
}

func BenchmarkSend128(b *testing.B)  { benchmarkSend(b, 128, wire.Publications) }
func BenchmarkSend1K(b *testing.B)   { benchmarkSend(b, 1024, wire.Publications) }
func BenchmarkSend16K(b *testing.B)  { benchmarkSend(b, 16<<10, wire.Publications) }
func BenchmarkSend256K(b *testing.B) { benchmarkSend(b, 256<<10, wire.Publications) }

func BenchmarkPingPong(b *testing.B) {
	from, to := newCounter(), newCounter()
	to.echo = true
	l := tcpPair(b, from, to)
	f := wire.Frame{Type: wire.TypeRequest, Flags: wire.Named, Name: wire.Name{Kind: wire.Topic, Key: ring.ID{Hi: 1}}}
	body := make([]byte, 128)
	var batch queue.Batch
	b.ReportAllocs()
	sent := int64(0)
	for b.Loop() {
		sent++
		atomic.StoreInt64(&from.wanted, sent)
		l.Send(&batch, wire.Requests, &f, nil, queue.Payload{Data: body})
		batch.Flush()
		<-from.arrived
	}
}
