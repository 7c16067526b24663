package iris_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/project-iris/iris"
	"github.com/project-iris/iris/node"
)

// The benchmarks run the node and both programs in one process: they show
// allocations and the cost of a change. How fast it is beside others is measured
// with separate processes, see docs/performance.md.

// benchConfig starts a node for one benchmark.
func benchConfig(b *testing.B) iris.Config {
	n, err := node.New(node.Config{Dev: true})
	if err != nil {
		b.Fatal(err)
	}
	if err := n.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { n.Close() })
	s, err := n.Status()
	if err != nil {
		b.Fatal(err)
	}
	return iris.Config{Address: s.Relay[0]}
}

func benchPair(b *testing.B, h iris.Handler) *iris.Client {
	config := benchConfig(b)
	service, err := config.Register(context.Background(), "bench", h)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { service.Close() })
	client, err := config.Connect(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close() })
	return client
}

var echo = iris.HandlerFunc(func(_ context.Context, body []byte) ([]byte, error) { return body, nil })

func BenchmarkRequest(b *testing.B) {
	client := benchPair(b, echo)
	body := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Request(context.Background(), "bench", body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRequest256(b *testing.B) {
	client := benchPair(b, echo)
	body := make([]byte, 128)
	b.ReportAllocs()
	b.SetParallelism(128)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := client.Request(context.Background(), "bench", body); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRequestAsync256(b *testing.B) {
	client := benchPair(b, echo)
	body := make([]byte, 128)
	done := make(chan error, 1)
	left, sent := int64(b.N), atomic.Int64{}
	var next func(reply []byte, err error)
	next = func(_ []byte, err error) {
		if err != nil {
			b.Error(err)
		}
		if n := atomic.AddInt64(&left, -1); n == 0 {
			done <- nil
		}
		if sent.Add(1) <= int64(b.N) {
			client.RequestAsync(context.Background(), "bench", body, next)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range 256 {
		if sent.Add(1) <= int64(b.N) { // next sends meanwhile
			client.RequestAsync(context.Background(), "bench", body, next)
		}
	}
	<-done
}

func BenchmarkPublish(b *testing.B) {
	client := benchPair(b, echo)
	var got atomic.Int64
	done := make(chan struct{})
	total := int64(b.N)
	if _, err := client.Subscribe(context.Background(), "bench", func(context.Context, []byte) {
		if got.Add(1) == total {
			close(done)
		}
	}); err != nil {
		b.Fatal(err)
	}
	event := make([]byte, 128)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		for int64(i)-got.Load() > 100_000 {
			client.Flush(context.Background())
		}
		if err := client.Publish(context.Background(), "bench", event); err != nil {
			b.Fatal(err)
		}
	}
	<-done
}

type sink struct {
	iris.NopHandler
	got chan int
}

func (s sink) HandleTunnel(ctx context.Context, t *iris.Tunnel) {
	for {
		msg, err := t.Recv(ctx)
		if err != nil {
			s.got <- 0
			return
		}
		s.got <- len(msg)
	}
}

func BenchmarkTunnel64K(b *testing.B) {
	s := sink{got: make(chan int, 1024)}
	client := benchPair(b, s)
	t, err := client.Tunnel(context.Background(), "bench")
	if err != nil {
		b.Fatal(err)
	}
	msg := make([]byte, 64<<10)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for range b.N {
			t.Send(context.Background(), msg)
		}
	}()
	for range b.N {
		if n := <-s.got; n != len(msg) {
			b.Fatalf("got %d octets", n)
		}
	}
	b.StopTimer()
	go t.Close()
	for n := 1; n != 0; n = <-s.got {
	}
}
