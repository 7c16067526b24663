package link

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// Links are dialled from both sides, cut, closed and renewed at random, with traffic
// in them. Each handler hears of one link to a node at a time; what is said to be
// unwritten does not arrive; and in the end, when all want to be linked, each two
// nodes have one and the same link.
func TestLinksUnderChaos(t *testing.T) {
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			w := newWorld(t)
			var nodes []*node
			for i := range 4 {
				n := w.node(i+1, w.identity(), func(c *Config) { c.KeyAge = 40 * time.Second })
				n.onData = func(*Link, *queue.Batch, *wire.Frame) error { return nil }
				defer n.stop()
				nodes = append(nodes, n)
			}
			for range 300 {
				a, b := nodes[r.IntN(4)], nodes[r.IntN(4)]
				if a == b {
					continue
				}
				l := a.Link(b.Identity.ID())
				switch op := r.IntN(20); {
				case op < 6:
					a.join(b)
					if r.IntN(2) == 0 {
						b.join(a)
					}
				case op < 14 && l != nil:
					f := wire.Frame{Type: wire.TypePublish, Flags: wire.Named, Name: wire.Name{Kind: wire.Topic, Key: ring.ID{Hi: 1}}}
					var batch queue.Batch
					l.Send(&batch, wire.Publications, &f, wire.PublishHead{}.AppendBody(nil), queue.Payload{Data: make([]byte, 1<<r.IntN(19))})
					batch.Flush()
					l.SendControl(wire.Beat{Nonce: 1})
				case op < 16:
					w.mu.Lock()
					if n := len(w.conns); n > 0 {
						w.conns[r.IntN(n)].Close()
					}
					w.mu.Unlock()
				case op < 17:
					a.Close(b.Identity.ID(), "chaos")
				case op < 18 && l != nil:
					l.renewSoon(time.Now())
				}
				switch r.IntN(4) {
				case 0:
					synctest.Wait()
				case 1:
					time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
				}
			}
			time.Sleep(time.Minute)
			for _, a := range nodes {
				for _, b := range nodes {
					if a != b {
						a.join(b)
					}
				}
			}
			time.Sleep(10 * time.Second)
			for i, a := range nodes {
				for _, b := range nodes[:i] {
					la, lb := a.Link(b.Identity.ID()), b.Link(a.Identity.ID())
					if la == nil || lb == nil || la.name() != lb.name() || la.Dialled() == lb.Dialled() {
						t.Errorf("seed %d: nodes %v and %v have links %v and %v", seed, a.addr, b.addr, la != nil, lb != nil)
					}
				}
			}
		})
	}
}
