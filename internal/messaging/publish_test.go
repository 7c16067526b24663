package messaging

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/project-iris/iris/internal/queue"
)

func event(topic, body string) delivery { return delivery{what: "event", body: topic + ":" + body} }

func broadcast(body string) delivery { return delivery{what: "broadcast", body: body} }

func TestBroadcastReachesEveryMemberOnce(t *testing.T) {
	w := newWorld(t)
	c, ms, other := w.program(""), w.programs("echo", 3), w.program("other")
	send := func(p *program, cluster, body string) {
		t.Helper()
		p.Conn.Broadcast(w.now, &w.b, []byte(cluster), []byte(body))
	}
	send(c, "echo", "from outside")
	send(ms[1], "echo", "from a member")
	send(c, "echo", "") // R21
	send(c, "nobody", "lost")
	send(c, "", "to the client-only ones") // R22
	for _, m := range ms {
		w.expect(m, broadcast("from outside"), broadcast("from a member"), broadcast(""))
	}
	w.expect(c)
	w.expect(other)
	w.close(ms[0])
	ms[1].seal() // is closing: the others get it all the same
	send(c, "echo", "to the rest")
	w.expect(ms[2], broadcast("to the rest"))
	w.rest(ms[1], ms[2], other, c)
}

func TestEventReachesEverySubscriberOnce(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.program(""), w.program("echo"), w.program("")
	w.topic(a, "news", true)
	w.topic(b, "news", true)
	w.topic(b, "", true) // a name like any other
	w.topic(c, "echo", true)
	publish := func(p *program, topic, body string) {
		t.Helper()
		p.Publish(w.now, &w.b, []byte(topic), []byte(body))
	}
	publish(a, "news", "one")
	publish(c, "news", "two")
	publish(c, "", "empty topic")
	publish(c, "nobody", "lost")
	publish(a, "echo", "not the cluster")
	w.expect(a, event("news", "one"), event("news", "two"))
	w.expect(b, event("news", "one"), event("news", "two"), event("", "empty topic"))
	w.expect(c, event("echo", "not the cluster"))
	w.topic(a, "news", false)
	publish(a, "news", "three")
	w.expect(a)
	w.expect(b, event("news", "three"))
	w.topic(b, "news", false)
	w.topic(b, "", false)
	w.topic(c, "echo", false)
	publish(a, "news", "four")
	w.expect(b)
	w.rest(a, b, c)
}

func TestLargeBodyIsSharedByAllWhoGetIt(t *testing.T) {
	w := newWorld(t)
	c := w.program("")
	var qs []*queue.Queue
	for range 20 {
		q := queue.New(w.budget, 1<<20)
		m := &sharing{q: q}
		conn := w.plane.NewConn("", m)
		w.plane.Register(conn)
		w.topic(&program{Conn: conn}, "news", true)
		qs = append(qs, q)
	}
	names := w.budget.Used()
	for _, size := range []int{queue.ShareAbove, 1 << 20} {
		body := strings.Repeat("x", size)
		c.Publish(w.now, &w.b, []byte("news"), []byte(body))
		if used := w.budget.Used() - names; used > int64(size+len(qs)*queue.SmallBlock) {
			t.Errorf("%d octets are held for a body of %d that waits for %d programs", used, size, len(qs))
		}
		for i, q := range qs {
			q.Open()
			q.Claim()
			var out []byte
			for p := q.Next(); p != nil; p = q.Next() {
				out = append(out, p...)
				q.Wrote(len(p), 0)
			}
			if string(out) != "<"+body {
				t.Fatalf("program %d got %d octets, want %d", i, len(out), size+1)
			}
		}
		if used := w.budget.Used() - names; used != 0 {
			t.Errorf("%d octets stay held", used)
		}
	}
}

// sharing is a Sink with a queue.
type sharing struct {
	program
	q *queue.Queue
}

func (s *sharing) Event(b *queue.Batch, _ []byte, p queue.Payload) error {
	_, _, err := s.q.Append([]byte{'<'}, p, nil)
	return err
}

// All subscribers see the same order, and each publisher's own.
func TestConcurrentPublishersAreSeenInOneOrder(t *testing.T) {
	const events = 500
	w := newWorld(t)
	subs, pubs := w.programs("", 4), w.programs("", 4)
	for _, s := range subs {
		w.topic(s, "news", true)
	}
	var wg sync.WaitGroup
	for i, p := range pubs {
		wg.Go(func() {
			var b queue.Batch
			for n := range events {
				p.Publish(w.now, &b, []byte("news"), fmt.Appendf(nil, "%d/%d", i, n))
			}
		})
	}
	wg.Wait()
	var first []string
	for i, s := range subs {
		var got []string
		next := make([]int, len(pubs))
		for _, d := range s.read() {
			var pub, n int
			fmt.Sscanf(d.body, "news:%d/%d", &pub, &n)
			if n != next[pub] {
				t.Fatalf("subscriber %d: event %d of publisher %d came when %d was next", i, n, pub, next[pub])
			}
			next[pub]++
			got = append(got, d.body)
		}
		if first == nil {
			first = got
		}
		if len(got) != events*len(pubs) || !slices.Equal(got, first) {
			t.Fatalf("subscriber %d got %d events, want %d in the order of the first subscriber", i, len(got), events*len(pubs))
		}
	}
	for _, s := range subs {
		w.topic(s, "news", false)
	}
	w.rest(append(subs, pubs...)...)
}
