//go:build !race

package link

import (
	"net/netip"
	"runtime"
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
