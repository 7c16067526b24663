package splice

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/queue"
)

var stressOctets = func() []byte {
	b := make([]byte, 2<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}()

// Many tunnels at once: programs send, take, close and lose their connections when
// they like. What one gets is the beginning of what the other sent, and all of it
// if that one closed. In a bubble, so that no load makes a tunnel open too late.
func TestManyTunnelsAtOnce(t *testing.T) { synctest.Test(t, manyTunnels) }

func manyTunnels(t *testing.T) {
	const tunnels = 16
	w := newNetwork(t)
	nodes := []*node{w.node(), w.node(), w.node()}
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range uint64(tunnels) {
		r := rand.New(rand.NewPCG(i, 5))
		from := r.IntN(3)
		a, b := nodes[from], nodes[(from+1+r.IntN(2))%3]
		y, id := b.accept(a)
		x := a.initiate(b, id)
		x.until(func() bool { return x.opened })
		all.Go(func() {
			<-begin
			ends := [2]*program{x, y}
			first, how := r.IntN(2), r.IntN(3)
			var sent [2][]byte
			var work sync.WaitGroup
			for k, p := range ends {
				seed := r.Uint64()
				work.Go(func() {
					r := rand.New(rand.NewPCG(seed, 6))
					p.allow(1 + r.Uint64N(1<<20))
					for range 10 + r.IntN(20) {
						n := 1 + r.IntN(1<<(1+r.IntN(19)))
						message := stressOctets[r.IntN(1<<20):][:n]
						sent[k] = append(sent[k], message...)
						p.send(message)
						p.allow(r.Uint64N(1 << 20))
					}
					if k != first {
						return
					}
					var batch queue.Batch
					switch how {
					case 0:
						p.close()
					case 1:
						p.mu.Lock()
						p.closed = true // it hears no more
						p.mu.Unlock()
						p.table.Close(time.Now(), &batch, "gone")
						batch.Flush()
					case 2:
						a.lose(r)
					}
				})
				// It takes everything in the end, so that nobody waits for ever.
				work.Go(func() {
					time.Sleep(time.Duration(seed % 50 * uint64(time.Millisecond)))
					p.allow(1 << 40)
				})
			}
			work.Wait()
			if how == 2 {
				x.close()
			}
			for k, p := range ends {
				p.until(func() bool { return p.closed })
				p.mu.Lock()
				if !bytes.HasPrefix(sent[1-k], p.got) {
					t.Errorf("tunnel %d, end %d: %d octets are not the first of the %d sent", i, k, len(p.got), len(sent[1-k]))
				}
				if how < 2 && k != first && p.reason != reasonLost && len(p.got) != len(sent[1-k]) {
					t.Errorf("tunnel %d, end %d: %d octets of %d, closed for %q", i, k, len(p.got), len(sent[1-k]), p.reason)
				}
				p.mu.Unlock()
			}
		})
	}
	close(begin)
	all.Wait()
}

// lose closes one of the connections that n has dialled.
func (n *node) lose(r *rand.Rand) {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.dials[r.IntN(len(n.dials))].Close()
}
