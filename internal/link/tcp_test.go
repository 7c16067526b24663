package link

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wire"
)

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
	const patience = time.Minute // for what takes a moment
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
		for end := time.Now().Add(patience); links[0].settling() || links[1].settling(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("renewal %d is not through after %v", renewed, patience)
			}
		}
	}
	close(stop)
	senders.Wait()
	for i, e := range ends {
		for end := time.Now().Add(patience); e.frames.Load() < int64(sent[1-i]) && !t.Failed(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("%d of %d messages arrived after %v", e.frames.Load(), sent[1-i], patience)
			}
		}
	}
	t.Logf("renewed %d times, with %d and %d messages sent", renewed, sent[0], sent[1])
}

// A reluctant is a sequence that does not read before it is told to.
type reluctant struct {
	*sequence
	from chan struct{}
}

func (r *reluctant) Data(l *Link, now time.Time, b *queue.Batch, f *wire.Frame) error {
	<-r.from
	return r.sequence.Data(l, now, b, f)
}

// TestSenderDoesNotWaitForASlowReader sends little at a time to a node that does not
// read, for longer than the system takes it: the sender, which writes itself, is never
// held up, and all arrives in order when the other side reads.
func TestSenderDoesNotWaitForASlowReader(t *testing.T) {
	key := netKey(t)
	from, to := newCounter(), &reluctant{&sequence{counter: newCounter(), t: t}, make(chan struct{})}
	ma, _, stopA := tcpNode(t, key, from)
	mb, addr, stopB := tcpNode(t, key, to)
	defer stopB()
	defer stopA()
	ma.Dial(mb.Identity.ID(), []netip.AddrPort{addr})
	l := <-from.up
	<-to.up
	var b queue.Batch
	number := uint64(0)
	for err := error(nil); err == nil; {
		f := wire.Frame{Type: wire.TypePublish, Flags: wire.Named, Name: wire.Name{Kind: wire.Topic}}
		_, err = l.Send(&b, wire.Publications, &f, wire.PublishHead{Number: number}.AppendBody(nil), queue.Payload{Data: make([]byte, number%(10<<10))})
		b.Flush()
		if err == nil {
			number++
		} else if !errors.Is(err, queue.ErrFull) {
			t.Fatal(err)
		}
	}
	atomic.StoreInt64(&to.wanted, int64(number))
	close(to.from)
	<-to.arrived
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
