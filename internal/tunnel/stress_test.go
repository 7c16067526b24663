package tunnel

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/queue"
)

// crowd is a program with goroutines: one that sends, grants and closes, for all
// its tunnels, and one that reads and says when there is room.
type crowd struct {
	*program
	w   *world
	r   *rand.Rand
	b   queue.Batch
	ids []uint64
}

// send sends a message if the tunnel's window has room for it.
func (c *crowd) send(id uint64) {
	n := 1 + c.r.Uint64N(1<<c.r.IntN(14))
	if c.messages {
		c.say(id, n*c.r.Uint64N(4))
		return
	}
	c.mu.Lock()
	a := c.account(id)
	ok := !a.closed && a.granted-a.sent >= n
	k := chunk{n, a.octetsSent(), n}
	if ok {
		a.sent += n
		a.chunks = append(a.chunks, k)
	}
	c.mu.Unlock()
	if e := c.table.End(id); ok && e != nil {
		if err := e.Chunk(c.w.now, &c.b, n, k.octets()); err != nil {
			c.t.Errorf("tunnel %d: %v", id, err)
		}
	}
}

// say sends a message of a program that counts them.
func (c *crowd) say(id, n uint64) {
	c.mu.Lock()
	a := c.account(id)
	ok := !a.closed && a.granted > a.sent
	var octets []byte
	if ok {
		octets = a.say(n)
	}
	c.mu.Unlock()
	if e := c.table.End(id); ok && e != nil {
		if err := e.Message(c.w.now, &c.b, octets); err != nil {
			c.t.Errorf("tunnel %d: %v", id, err)
		}
		e.Acknowledge(&c.b)
	}
}

// ack acknowledges what came.
func (c *crowd) ack(id uint64) {
	c.mu.Lock()
	a := c.account(id)
	n := a.most - a.credit
	a.credit = a.most
	c.mu.Unlock()
	for e := c.table.End(id); n > 0 && e != nil; n-- {
		if err := e.Ack(c.w.now, &c.b); err != nil {
			c.t.Errorf("tunnel %d: %v", id, err)
		}
	}
}

func (c *crowd) allow(id, octets uint64) {
	c.mu.Lock()
	a := c.account(id)
	a.credit += int64(octets)
	a.most = max(a.most, a.credit)
	c.mu.Unlock()
	if e := c.table.End(id); e != nil {
		e.Allow(c.w.now, &c.b, octets)
	}
}

func (c *crowd) work(steps int) {
	for range steps {
		id := c.ids[c.r.IntN(len(c.ids))]
		switch op := c.r.IntN(300); {
		case op < 150:
			c.send(id)
		case op < 299 && c.messages:
			c.ack(id)
		case op < 299:
			c.allow(id, c.r.Uint64N(10_000))
		default:
			if e := c.table.End(id); e != nil {
				e.Close(c.w.now, &c.b)
			}
		}
	}
}

// Both programs send, grant and close as they like while others read for them,
// deadlines pass, and in the end one of the connections is lost, or both are.
func TestTunnelsThatEndInTheMidstOfThings(t *testing.T) {
	const (
		tunnels = 8
		steps   = 1000
	)
	for seed := range uint64(12) {
		w := newWorld(t)
		var cs [2]*crowd
		for i, p := range []*program{w.x, w.y} {
			if seed>>i&1 == 1 {
				p.count(100, 1<<20)
			}
			p.room = 10_000
			cs[i] = &crowd{program: p, w: w, r: rand.New(rand.NewPCG(seed, uint64(i)))}
		}
		for id := range uint64(tunnels) {
			w.open(id)
			cs[0].ids = append(cs[0].ids, id)
			cs[1].ids = append(cs[1].ids, id+1000)
		}
		stop := make(chan struct{})
		var helpers, wg sync.WaitGroup
		for i, c := range cs {
			helpers.Go(func() {
				var b queue.Batch
				for {
					select {
					case <-stop:
						return
					default:
						if c.read(3000) {
							c.table.Room(&b)
						}
					}
				}
			})
			wg.Go(func() {
				c.work(steps)
				if seed%3 <= uint64(i) { // neither, one or both
					c.mu.Lock()
					c.gone = true
					c.mu.Unlock()
					c.table.Close(w.now, &c.b, "peer disconnected")
				}
			})
		}
		helpers.Go(func() {
			var b queue.Batch
			for now := w.now; ; now = now.Add(time.Second) {
				select {
				case <-stop:
					return
				default:
					w.timers.Advance(now, func(owner any) { owner.(*Tunnel).Expire(now, &b) })
				}
			}
		})
		wg.Wait()
		close(stop)
		helpers.Wait()
		w.cut(w.x, "")
		w.cut(w.y, "")
		w.rest()
		for id := range uint64(tunnels) {
			x, y := &end{w, w.x, id}, &end{w, w.y, id + 1000}
			for _, ends := range [][2]*end{{x, y}, {y, x}} {
				got, sent := ends[0].account().got, ends[0].due(ends[1].account())
				if len(got) > len(sent) {
					t.Fatalf("seed %d: tunnel %d: %d chunks came of %d", seed, id, len(got), len(sent))
				}
				for i := range got {
					if got[i] != sent[i] {
						t.Fatalf("seed %d: tunnel %d: chunk %d is %v, sent was %v", seed, id, i, got[i], sent[i])
					}
				}
			}
		}
	}
}
