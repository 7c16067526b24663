package messaging

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wheel"
)

// A null is a Sink that remembers only the last request it took.
type null struct {
	program
	id uint64
}

func (n *null) Request(_ *queue.Batch, id uint64, _ []byte, _, _ uint64) (uint64, error) {
	n.id = id
	return 0, nil
}
func (n *null) Answer(*queue.Batch, uint64, Outcome, []byte)    {}
func (n *null) Gap(*queue.Batch, []byte, uint64)                {}
func (n *null) Event(*queue.Batch, []byte, queue.Payload) error { return nil }
func (n *null) Broadcast(*queue.Batch, queue.Payload) error     { return nil }
func (n *null) Offer(*queue.Batch, uint64) (uint64, error)      { return 0, nil }
func (n *null) Unbuilt(_ *queue.Batch, id uint64, out Outcome)  {}
func (n *null) Unstarted(pos uint64) (body []byte, ok bool)     { return nil, false }

func nullPlane() *Plane {
	return New(Config{Timers: wheel.NewTimers(start, func() {}), Budget: queue.NewBudget(1 << 30), Wake: func() {}})
}

// attach makes a null program a member of a name.
func attach(p *Plane, kind core.Kind, name string) *null {
	n := new(null)
	n.Conn = p.NewConn("", n)
	p.Register(n.Conn)
	if name != "" {
		var b queue.Batch
		p.Apply(start, &b, []core.Change{{Kind: kind, Name: name, Conn: n.ID, Join: true}})
	}
	return n
}

func TestRequestAndReplyDoNotAllocate(t *testing.T) {
	p := nullPlane()
	m := attach(p, core.Cluster, "echo")
	c := attach(p, core.Cluster, "")
	var b queue.Batch
	now, name, body := start.Add(time.Second), []byte("echo"), make([]byte, 128)
	if n := testing.AllocsPerRun(10_000, func() {
		now = now.Add(50 * time.Microsecond)
		c.Conn.Request(now, &b, 1, name, body, 1000)
		m.Reply(now, &b, m.id, false, body)
	}); n > 0 {
		t.Errorf("a request and its reply cost %v allocations", n)
	}
}

func TestPublishAndBroadcastDoNotAllocate(t *testing.T) {
	p := nullPlane()
	for range 5 {
		attach(p, core.Topic, "news")
		attach(p, core.Cluster, "echo")
	}
	c := attach(p, core.Topic, "")
	var b queue.Batch
	topic, cluster, body := []byte("news"), []byte("echo"), make([]byte, 128)
	if n := testing.AllocsPerRun(1000, func() {
		c.Publish(start, &b, topic, body)
		c.Conn.Broadcast(start, &b, cluster, body)
	}); n > 0 {
		t.Errorf("an event and a broadcast cost %v allocations", n)
	}
}

func BenchmarkRequestReply(b *testing.B) {
	for _, members := range []int{1, 10, 100} {
		b.Run(fmt.Sprint("members=", members), func(b *testing.B) {
			p := nullPlane()
			ms := make([]*null, members)
			for i := range ms {
				ms[i] = attach(p, core.Cluster, "echo")
			}
			c := attach(p, core.Cluster, "")
			var batch queue.Batch
			now, name, body := start.Add(time.Second), []byte("echo"), make([]byte, 128)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ { // idle members take turns
				c.Conn.Request(now, &batch, 1, name, body, 1000)
				m := ms[i%members]
				m.Reply(now, &batch, m.id, false, body)
			}
		})
	}
}

// Programs in parallel, each a member of a cluster of its own that it asks.
func BenchmarkRequestReplyParallel(b *testing.B) {
	p := nullPlane()
	var mu sync.Mutex // of the loop
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		mu.Lock()
		name := fmt.Append(nil, p.ids.Load())
		m := attach(p, core.Cluster, string(name))
		mu.Unlock()
		var batch queue.Batch
		now, body := start.Add(time.Second), make([]byte, 128)
		for pb.Next() {
			m.Conn.Request(now, &batch, 1, name, body, 1000)
			m.Reply(now, &batch, m.id, false, body)
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	for _, targets := range []int{1, 10, 100} {
		b.Run(fmt.Sprint("subscribers=", targets), func(b *testing.B) {
			p := nullPlane()
			for range targets {
				attach(p, core.Topic, "news")
			}
			c := attach(p, core.Topic, "")
			var batch queue.Batch
			topic, body := []byte("news"), make([]byte, 128)
			b.ReportAllocs()
			for b.Loop() {
				c.Publish(start, &batch, topic, body)
			}
		})
	}
}

func BenchmarkParkAndExpire(b *testing.B) {
	p := nullPlane()
	c := attach(p, core.Cluster, "")
	var batch queue.Batch
	now, name, body := start.Add(time.Second), []byte("nobody"), make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		c.Conn.Request(now, &batch, 1, name, body, 1)
		p.Attend(now, &batch, &Asks{})
		now = now.Add(2 * time.Millisecond)
		c.Expire(now, &batch)
		p.Attend(now, &batch, &Asks{})
	}
}
