package node

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"
)

// A listener checks that what each publisher numbers comes once and in order.
type listener struct {
	t    *testing.T
	who  string
	slow func() // called for every message; nil: not

	mu   sync.Mutex
	next map[uint32]uint32 // by publisher
	got  int
	all  chan struct{} // closed when so many have come
	want int
}

func newListener(t *testing.T, who string, want int) *listener {
	return &listener{t: t, who: who, next: make(map[uint32]uint32), want: want, all: make(chan struct{})}
}

// probe is what publishers send until they are heard; it does not count.
const probe = ^uint32(0)

func numbered(publisher, n uint32, size int) []byte {
	b := binary.BigEndian.AppendUint32(nil, publisher)
	b = binary.BigEndian.AppendUint32(b, n)
	return append(b, bytes.Repeat([]byte{byte(n)}, size)...)
}

func (l *listener) hear(msg []byte) {
	p, n := binary.BigEndian.Uint32(msg), binary.BigEndian.Uint32(msg[4:])
	l.mu.Lock()
	defer l.mu.Unlock()
	if n == probe {
		l.next[p] += 0 // heard
		return
	}
	if l.slow != nil {
		l.slow()
	}
	if want := l.next[p]; n != want {
		l.t.Errorf("%s: from %d came %d, wanted %d", l.who, p, n, want)
	}
	if rest := msg[8:]; len(rest) > 0 && (rest[0] != byte(n) || rest[len(rest)-1] != byte(n)) {
		l.t.Errorf("%s: message %d of %d is not what was sent", l.who, n, p)
	}
	l.next[p] = n + 1
	if l.got++; l.got == l.want {
		close(l.all)
	}
}

func (l *listener) heard(publisher uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.next[publisher]
	return ok
}

func (l *listener) wait() {
	l.t.Helper()
	select {
	case <-l.all:
	case <-time.After(patience):
		l.mu.Lock()
		defer l.mu.Unlock()
		l.t.Errorf("%s: %d of %d messages came: %v", l.who, l.got, l.want, l.next)
	}
}

// open has a publisher say something until all listeners have heard it.
func open(t *testing.T, publisher uint32, send func(msg []byte) error, ls ...*listener) {
	t.Helper()
	eventually(t, "everybody hears", func() bool {
		if err := send(numbered(publisher, probe, 0)); err != nil {
			t.Fatal(err)
		}
		for _, l := range ls {
			if !l.heard(publisher) {
				return false
			}
		}
		return true
	})
}

// lossless fails if a node declared that something was lost, or had to ask for it.
func lossless(t *testing.T, nodes ...*Node) {
	t.Helper()
	for i, n := range nodes {
		d := &n.plane.Drops
		for what, v := range map[string]uint64{
			"gaps": d.Gaps(), "overrun": d.Overrun.Load(), "held back": d.HeldBack.Load(), "waited": d.Waited.Load(),
			"late replies": d.LateReplies.Load(), "lost": d.Lost.Load() + d.NodeDead.Load(),
		} {
			if v > 0 {
				t.Errorf("node %d: %s: %d", i, what, v)
			}
		}
	}
}

// TestNetworkDeliversInOrder has two programs of every node publish to listeners on
// every node, of topics and of clusters.
func TestNetworkDeliversInOrder(t *testing.T) {
	const perNode, messages = 2, 2000
	type publish = func(c *Client) func(msg []byte) error
	for what, publish := range map[string]publish{
		"events":     func(c *Client) func(msg []byte) error { return func(m []byte) error { return c.Publish("news", m) } },
		"broadcasts": func(c *Client) func(msg []byte) error { return func(m []byte) error { return c.Broadcast("news", m) } },
	} {
		t.Run(what, func(t *testing.T) {
			nodes := joined(t, 3)
			var ls []*listener
			for i, n := range nodes {
				l := newListener(t, fmt.Sprint("listener ", i), len(nodes)*perNode*messages)
				c := attached(t, n, "news", &handler{broadcast: l.hear})
				if what == "events" {
					if err := c.Subscribe("news", l.hear); err != nil {
						t.Fatal(err)
					}
				}
				ls = append(ls, l)
			}
			var work sync.WaitGroup
			for i, n := range nodes {
				for k := range perNode {
					c := attached(t, n, "", nil)
					id, send := uint32(10*i+k), publish(c)
					open(t, id, send, ls...)
					work.Go(func() {
						for m := range uint32(messages) {
							if err := send(numbered(id, m, int(m%700))); err != nil {
								t.Error(err)
								return
							}
						}
					})
				}
			}
			work.Wait()
			for _, l := range ls {
				l.wait()
			}
			lossless(t, nodes...)
		})
	}
}

// TestNetworkResubscribing has a program unsubscribe and subscribe again, over and
// over, while another node publishes: nothing comes twice, and nothing out of order.
func TestNetworkResubscribing(t *testing.T) {
	nodes := joined(t, 2)
	sub, pub := attached(t, nodes[0], "", nil), attached(t, nodes[1], "", nil)
	send := func(m []byte) error { return pub.Publish("news", m) }
	var mu sync.Mutex
	last, came := -1, 0
	hear := func(msg []byte) {
		mu.Lock()
		defer mu.Unlock()
		if n := int(binary.BigEndian.Uint32(msg[4:])); n <= last {
			t.Errorf("%d came after %d", n, last)
		} else {
			last, came = n, came+1
		}
	}
	stop := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for n := uint32(0); ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := send(numbered(0, n, 100)); err != nil {
				t.Error(err)
				return
			}
			if n%16 == 15 {
				time.Sleep(time.Millisecond) // a pace that both can hold
			}
		}
	})
	for i := range 100 {
		if err := sub.Subscribe("news", hear); err != nil {
			t.Fatal(err)
		}
		if i%10 == 9 { // now and then long enough to hear something
			was := 0
			mu.Lock()
			was = came
			mu.Unlock()
			eventually(t, "events come", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return came > was
			})
		}
		if err := sub.Unsubscribe("news"); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	work.Wait()
}

// TestNetworkSlowSubscriber has a subscriber on another node that takes nothing: one
// beside it, and one on a third node, hear everything in time.
func TestNetworkSlowSubscriber(t *testing.T) {
	nodes := joined(t, 3)
	const messages = 4000
	pub := attached(t, nodes[0], "", nil)
	send := func(m []byte) error { return pub.Publish("news", m) }
	stuck := make(chan struct{})
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { close(stuck) }) })
	ls := []*listener{newListener(t, "beside the slow one", messages), newListener(t, "on a third node", messages)}
	for i, l := range ls {
		if err := attached(t, nodes[1+i], "", nil).Subscribe("news", l.hear); err != nil {
			t.Fatal(err)
		}
	}
	open(t, 0, send, ls...)
	if err := attached(t, nodes[1], "", nil).Subscribe("news", func([]byte) { <-stuck }); err != nil {
		t.Fatal(err)
	}
	for n := range uint32(messages) {
		if err := send(numbered(0, n, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range ls {
		l.wait()
	}
	lossless(t, nodes...)
	once.Do(func() { close(stuck) })
}

// TestNetworkDeliversLargeMessages has large messages with small ones right behind
// them.
func TestNetworkDeliversLargeMessages(t *testing.T) {
	nodes := joined(t, 3)
	sizes := []int{0, 32 << 10, 1 << 20, 10, 40 << 20, 100}
	publisher := attached(t, nodes[0], "", nil)
	for what, send := range map[string]func(m []byte) error{
		"event":     func(m []byte) error { return publisher.Publish("large", m) },
		"broadcast": func(m []byte) error { return publisher.Broadcast("large", m) },
	} {
		var ls []*listener
		for i, n := range nodes[1:] {
			l := newListener(t, fmt.Sprintf("%s, listener %d", what, i), len(sizes))
			if what == "event" {
				if err := attached(t, n, "", nil).Subscribe("large", l.hear); err != nil {
					t.Fatal(err)
				}
			} else {
				attached(t, n, "large", &handler{broadcast: l.hear})
			}
			ls = append(ls, l)
		}
		open(t, 0, send, ls...)
		for n, size := range sizes {
			if err := send(numbered(0, uint32(n), size)); err != nil {
				t.Fatal(err)
			}
		}
		for _, l := range ls {
			l.wait()
		}
	}
	lossless(t, nodes...)
}
