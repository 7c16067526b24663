package messaging

import (
	"testing"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wheel"
	"github.com/project-iris/iris/internal/wire"
)

// A sink of frames that keeps the last one.
type last struct {
	wires
	head []byte
}

func (l *last) Send(_ *queue.Batch, _ wire.Lane, _ *wire.Frame, head []byte, _ queue.Payload) (uint64, error) {
	l.head = append(l.head[:0], head...)
	return 0, nil
}

// far returns a plane with a member of echo and a subscriber of news on another node,
// and a program here.
func far(kind core.Kind, name string) (p *Plane, c *null, peer *Peer, l *last) {
	p = New(Config{Timers: wheel.NewTimers(start, func() {}), Budget: queue.NewBudget(1 << 30), Wake: func() {}, Network: "test", Workers: 2})
	p.Join()
	c = attach(p, core.Cluster, "")
	l = new(last)
	var b queue.Batch
	id := ring.ID{Hi: 7}
	peer = p.LinkUp(start, &b, id, l)
	key := p.Key(kind, name)
	var asks Asks
	if kind == core.Topic {
		c.Publish(start, &b, []byte(name), nil)
	} else {
		c.Conn.Request(start, &b, 0, []byte(name), nil, 1)
	}
	p.Attend(start, &b, &asks)
	p.Member(&b, directory.Change{Name: key, Node: id, Members: 1, Workers: 2}, &asks)
	p.publish()
	return p, c, peer, l
}

func TestRequestToAnotherNodeDoesNotAlloc(t *testing.T) {
	_, c, peer, l := far(core.Cluster, "echo")
	var b queue.Batch
	now, name, body := start.Add(time.Second), []byte("echo"), make([]byte, 128)
	var f wire.Frame
	reply := make([]byte, 0, 256)
	round := func() {
		now = now.Add(50 * time.Microsecond)
		c.Conn.Request(now, &b, 1, name, body, 1000)
		h, _, err := wire.ParseRequestHead(l.head)
		if err != nil {
			t.Fatal(err)
		}
		f = wire.Frame{Type: wire.TypeReply, Body: append(wire.ReplyHead{Number: h.Number, Load: wire.Load{Workers: 2, Handler: 5}}.AppendBody(reply[:0]), body...)}
		if err := peer.Receive(now, &b, &f); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		round()
	}
	if n := testing.AllocsPerRun(10_000, round); n > 0 {
		t.Errorf("a request to another node and its reply cost %v allocations", n)
	}
}

func TestPublishToOtherNodesDoesNotAlloc(t *testing.T) {
	_, one, _, _ := far(core.Topic, "news")
	for what, c := range map[string]*null{"another node": one, "many, by routers": star()} {
		var b queue.Batch
		topic, event := []byte("news"), make([]byte, 128)
		round := func() { c.Publish(start, &b, topic, event) }
		for range 20_000 { // what is kept has its size then
			round()
		}
		if n := testing.AllocsPerRun(100, round); n > 0 {
			t.Errorf("an event for %s costs %v allocations", what, n)
		}
	}
}

func BenchmarkRequestToAnotherNode(b *testing.B) {
	_, c, peer, l := far(core.Cluster, "echo")
	var batch queue.Batch
	now, name, body := start.Add(time.Second), []byte("echo"), make([]byte, 128)
	reply := make([]byte, 0, 256)
	var f wire.Frame
	b.ReportAllocs()
	for b.Loop() {
		c.Conn.Request(now, &batch, 1, name, body, 1000)
		h, _, _ := wire.ParseRequestHead(l.head)
		f = wire.Frame{Type: wire.TypeReply, Body: append(wire.ReplyHead{Number: h.Number, Load: wire.Load{Workers: 2, Handler: 5}}.AppendBody(reply[:0]), body...)}
		peer.Receive(now, &batch, &f)
	}
}

func BenchmarkPublishToAnotherNode(b *testing.B) {
	_, c, _, _ := far(core.Topic, "news")
	var batch queue.Batch
	topic, event := []byte("news"), make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		c.Publish(start, &batch, topic, event)
	}
}
