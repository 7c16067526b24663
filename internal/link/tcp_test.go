package link

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// memory returns what is in use after a collection.
func memory() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// An idle link of which both connections are up costs each of its nodes no more than
// this, once it has carried what programs usually say; and once it has carried long
// messages both ways, which leaves the buffers of TLS as large as they get.
func TestIdleLinkIsSmall(t *testing.T) {
	for _, c := range []struct {
		what  string
		sizes []int
		most  int
	}{
		{"messages of 1 KiB", []int{1 << 10, 1 << 10}, 64 << 10},
		{"long messages", []int{20 << 10, 1 << 20}, 96 << 10},
	} {
		per := idleLink(t, c.sizes)
		t.Logf("%s: %d octets for each end of an idle link", c.what, per)
		if per > c.most {
			t.Errorf("%s: %d octets for each end of an idle link, want at most %d", c.what, per, c.most)
		}
	}
}

// idleLink returns what each end of a link costs, that has carried messages of the
// sizes both ways.
func idleLink(t *testing.T, sizes []int) int {
	const links = 20
	key := netKey(t)
	hub := newCounter()
	m, addr, stop := tcpNode(t, key, hub)
	defer stop()
	var others []*Manager
	ends := make([]*counter, links)
	for i := range links {
		ends[i] = newCounter()
		other, _, stop := tcpNode(t, key, ends[i])
		defer stop()
		others = append(others, other)
	}
	before := memory()
	for i, other := range others {
		other.Dial(m.Identity.ID(), []netip.AddrPort{addr})
		for _, l := range []*Link{<-hub.up, <-ends[i].up} {
			var b queue.Batch
			for _, size := range sizes {
				f := wire.Frame{Type: wire.TypePublish, Flags: wire.Named, Name: wire.Name{Kind: wire.Topic, Key: ring.ID{Hi: 1}}}
				if _, err := l.Send(&b, wire.Publications, &f, wire.PublishHead{}.AppendBody(nil), queue.Payload{Data: make([]byte, size)}); err != nil {
					t.Fatal(err)
				}
			}
			b.Flush()
			for range 50 {
				l.SendControl(wire.Leaves{Contacts: make([]wire.Contact, 20)})
			}
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for _, c := range append(ends, hub) {
		want := int64(len(sizes))
		if c == hub {
			want *= links
		}
		for c.frames.Load() < want {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d messages arrived", c.frames.Load(), want)
			}
			time.Sleep(time.Millisecond)
		}
	}
	return (memory() - before) / links / 2
}

// A sequence is a handler that wants to see the numbers of a stream, each once.
type sequence struct {
	*counter
	t    *testing.T
	next uint64
}

func (s *sequence) Data(l *Link, now time.Time, b *queue.Batch, f *wire.Frame) error {
	h, _, err := wire.ParsePublishHead(f.Body)
	if err != nil || h.Number != s.next {
		s.t.Errorf("number %d came, want %d (%v)", h.Number, s.next, err)
	}
	s.next = h.Number + 1
	return s.counter.Data(l, now, b, f)
}

func (s *sequence) Down(l *Link, err error) {
	if err.(*Error).Reason != Stopped && err.(*Error).Reason != ClosedByPeer {
		s.t.Errorf("link is down: %v", err)
	}
}

func TestReplacementOverTCP(t *testing.T) {
	key := netKey(t)
	ends := [2]*sequence{{counter: newCounter(), t: t}, {counter: newCounter(), t: t}}
	ma, _, stopA := tcpNode(t, key, ends[0])
	mb, addr, stopB := tcpNode(t, key, ends[1])
	defer stopB()
	defer stopA()
	ma.Dial(mb.Identity.ID(), []netip.AddrPort{addr})
	links := [2]*Link{<-ends[0].up, <-ends[1].up}

	stop := make(chan struct{})
	var senders sync.WaitGroup
	var sent [2]uint64
	for i, l := range links {
		senders.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 0))
			body := make([]byte, 200<<10)
			var b queue.Batch
			for {
				select {
				case <-stop:
					return
				default:
				}
				size := r.IntN(500)
				if r.IntN(100) == 0 {
					size = r.IntN(len(body))
				}
				f := wire.Frame{Type: wire.TypePublish, Flags: wire.Named, Name: wire.Name{Kind: wire.Topic}}
				_, err := l.Send(&b, wire.Publications, &f, wire.PublishHead{Number: sent[i]}.AppendBody(nil), queue.Payload{Data: body[:size]})
				b.Flush()
				switch {
				case err == nil:
					sent[i]++
				case errors.Is(err, queue.ErrFull):
					time.Sleep(time.Millisecond)
				default:
					t.Errorf("send: %v", err)
					return
				}
			}
		})
	}
	renewed := 0
	for start := time.Now(); time.Since(start) < time.Second; renewed++ {
		links[0].dialling <- struct{}{}
		err := links[0].renewAll()
		<-links[0].dialling
		if err != nil {
			t.Fatalf("renewal %d: %v", renewed, err)
		}
		for links[0].settling() || links[1].settling() {
			time.Sleep(time.Millisecond)
		}
	}
	close(stop)
	senders.Wait()
	for i, e := range ends {
		for e.frames.Load() < int64(sent[1-i]) && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
	}
	t.Logf("renewed %d times, with %d and %d messages sent", renewed, sent[0], sent[1])
}

// settling reports whether connections are being replaced.
func (l *Link) settling() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range []*role{l.control, l.data} {
		if r.replacing || r.nextOut.Load() != nil || len(r.nextIn) > 0 || r.in != r.out {
			return true
		}
	}
	return false
}
