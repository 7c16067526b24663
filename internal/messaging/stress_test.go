package messaging

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wheel"
)

// A town is a plane with many goroutines around it: a loop that attends to it, a
// driver of its timers, and programs. Time passes as the programs do things.
type town struct {
	t      *testing.T
	plane  *Plane
	budget *queue.Budget
	clock  atomic.Int64 // since start
	attend chan struct{}
	tick   chan struct{}
	tasks  chan func()

	core *core.Core // the loop's
	out  core.Output

	begun sync.Map // bodies of requests that a program has read
}

func newTown(t *testing.T) *town {
	w := &town{
		t:      t,
		budget: queue.NewBudget(1 << 30),
		attend: make(chan struct{}, 1),
		tick:   make(chan struct{}, 1),
		tasks:  make(chan func()),
		core:   core.New(start, core.Config{Limit: 1 << 20}),
	}
	w.plane = New(Config{Timers: wheel.NewTimers(start, func() { poke(w.tick) }), Budget: w.budget, Wake: func() { poke(w.attend) }})
	return w
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (w *town) now() time.Time { return start.Add(time.Duration(w.clock.Load())) }

// loop does what the loop of a node does.
func (w *town) loop(stop chan struct{}) {
	var b queue.Batch
	for {
		select {
		case f := <-w.tasks:
			f()
		case <-w.attend:
			w.plane.Attend(w.now(), &b, &Asks{})
		case <-stop:
			return
		}
	}
}

// do has the loop run f and apply what follows from it.
func (w *town) do(f func()) {
	done := make(chan struct{})
	w.tasks <- func() {
		var b queue.Batch
		f()
		w.plane.Apply(w.now(), &b, w.out.Changes)
		w.out.Changes = w.out.Changes[:0]
		close(done)
	}
	<-done
}

func (w *town) drive(stop chan struct{}) {
	for {
		select {
		case <-w.tick:
			w.expire()
		case <-stop:
			return
		}
	}
}

func (w *town) expire() {
	var b queue.Batch
	now := w.now()
	w.plane.Timers.Advance(now, func(owner any) { owner.(Expirer).Expire(now, &b) })
	w.plane.Timers.Next()
}

// A citizen is a program in a town.
type citizen struct {
	program
	w       *town
	r       *rand.Rand
	b       queue.Batch
	next    uint64
	open    map[uint64]bool // own calls without an answer; guarded by mu
	replies []uint64        // requests read and not answered
	offers  []uint64        // offers read and not confirmed
}

func (w *town) citizen(r *rand.Rand, cluster string) *citizen {
	c := &citizen{w: w, r: r, open: make(map[uint64]bool)}
	c.Conn = w.plane.NewConn(cluster, c)
	c.Early = r.IntN(4) == 0
	w.do(func() {
		w.plane.Register(c.Conn)
		w.core.Attach(start, c.ID, cluster, &w.out)
	})
	return c
}

// ended notes the answer to a call of c. Any goroutine may call it.
func (c *citizen) ended(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open[id] {
		c.w.t.Errorf("connection %d: call %d got two answers, or was never made", c.ID, id)
	}
	delete(c.open, id)
}

func (c *citizen) call() {
	cluster := []byte{"abc"[c.r.IntN(3)]}
	timeout := []uint64{0, 1, 5, 50, 500, 5000}[c.r.IntN(6)]
	id := c.next
	c.next++
	c.mu.Lock()
	c.open[id] = true
	c.mu.Unlock()
	if c.r.IntN(5) == 0 {
		c.Build(c.w.now(), &c.b, id, cluster, timeout)
	} else {
		c.Conn.Request(c.w.now(), &c.b, id, cluster, fmt.Appendf(nil, "%d/%d", c.ID, id), timeout)
	}
}

func (c *citizen) readAll() {
	for _, d := range c.read() {
		switch d.what {
		case "request":
			if by, twice := c.w.begun.LoadOrStore(d.body, c.ID); twice {
				c.w.t.Errorf("request %s was begun by connections %d and %d", d.body, by, c.ID)
			}
			c.replies = append(c.replies, d.id)
		case "offer":
			c.offers = append(c.offers, d.id)
		case "answer", "unbuilt":
			c.ended(d.id)
		}
	}
}

// reply answers some of what was read, all of it if all is set.
func (c *citizen) reply(all bool) {
	for len(c.replies) > 0 && (all || c.r.IntN(20) > 0) {
		i := c.r.IntN(len(c.replies))
		c.Reply(c.w.now(), &c.b, c.replies[i], c.r.IntN(2) == 0, []byte("reply"))
		if c.r.IntN(30) == 0 {
			c.Reply(c.w.now(), &c.b, c.replies[i], false, []byte("again"))
		}
		c.replies[i] = c.replies[len(c.replies)-1]
		c.replies = c.replies[:len(c.replies)-1]
	}
	for len(c.offers) > 0 && (all || c.r.IntN(20) > 0) {
		i := len(c.offers) - 1
		from, id, ok := confirmed(c, c.offers[i])
		c.offers = c.offers[:i]
		if !ok {
			c.w.t.Errorf("connection %d: an offer could not be confirmed", c.ID)
		}
		if from != nil {
			from.Sink().(*citizen).ended(id)
		}
	}
}

// live has c do many things.
func (c *citizen) live(steps int) {
	for range steps {
		c.w.clock.Add(int64(c.r.IntN(40)) * 1000)
		switch c.r.IntN(10) {
		case 0, 1, 2, 3:
			c.call()
		case 4, 5, 6:
			c.readAll()
			c.reply(false)
		case 7:
			c.Publish(c.w.now(), &c.b, []byte("news"), []byte("event"))
		case 8:
			c.Conn.Broadcast(c.w.now(), &c.b, []byte("a"), []byte("broadcast"))
		case 9:
			topic := string(rune('x' + c.r.IntN(3)))
			sub := c.r.IntN(2) == 0
			c.w.do(func() {
				if sub {
					c.w.core.Subscribe(start, c.ID, topic, &c.w.out)
				} else {
					c.w.core.Unsubscribe(start, c.ID, topic, &c.w.out)
				}
			})
		}
		poke(c.w.tick)
		if c.r.IntN(5) == 0 {
			runtime.Gosched()
		}
	}
}

// close ends c, as the relay does.
func (c *citizen) close() {
	c.w.do(func() { c.w.core.Detach(start, c.ID, &c.w.out) })
	c.seal()
	c.Close(c.w.now(), &c.b)
	c.w.do(func() { c.w.plane.Forget(c.Conn) })
}

func TestManyConnectionsAtOnce(t *testing.T) {
	const (
		lasting = 5
		passing = 3
	)
	w := newTown(t)
	stop := make(chan struct{})
	var staff, wg sync.WaitGroup
	staff.Go(func() { w.loop(stop) })
	staff.Go(func() { w.drive(stop) })

	cs := make([]*citizen, lasting)
	for i := range cs {
		cluster := []string{"a", "b", ""}[i%3]
		cs[i] = w.citizen(rand.New(rand.NewPCG(uint64(i), 1)), cluster)
		wg.Go(func() { cs[i].live(3000) })
	}
	for i := range passing {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 2))
			for range 60 {
				c := w.citizen(r, []string{"a", "b", "c", ""}[r.IntN(4)])
				c.live(r.IntN(100))
				c.close()
			}
		})
	}
	wg.Wait()

	// All that is left is answered or passes its deadline.
	for range 20 {
		for _, c := range cs {
			c.readAll()
			c.reply(true)
		}
		w.clock.Add(int64(time.Second))
		poke(w.tick)
		w.do(func() {}) // what was posted is attended to, before or after
	}
	close(stop)
	staff.Wait()
	w.expire()
	for _, c := range cs {
		c.readAll()
		c.reply(true)
		if n := len(c.open); n > 0 {
			t.Errorf("connection %d: %d calls have no answer: %v", c.ID, n, c.open)
		}
	}
	for _, c := range cs {
		if n := c.Load(); n != 0 {
			t.Errorf("connection %d: load %d with nothing in hand", c.ID, n)
		}
		if n := len(c.served.tables[request].old) + len(c.served.tables[build].old); n > 0 {
			t.Errorf("connection %d: %d grants are left", c.ID, n)
		}
		if c.served.tables[request].live != 0 || c.served.tables[build].live != 0 {
			t.Errorf("connection %d: requests are left in hand", c.ID)
		}
	}

	rest := world{t: t, plane: w.plane, budget: w.budget, now: w.now()}
	for _, c := range cs {
		w.core.Detach(start, c.ID, &w.out)
		w.plane.Apply(rest.now, &rest.b, w.out.Changes)
		w.out.Changes = w.out.Changes[:0]
		c.seal()
		c.Close(rest.now, &rest.b)
		w.plane.Forget(c.Conn)
	}
	w.plane.Attend(rest.now, &rest.b, &Asks{})
	rest.rest()
	t.Logf("%d begun, %d retried, %d lost, %d late replies", func() (n int) {
		w.begun.Range(func(any, any) bool { n++; return true })
		return n
	}(), w.plane.Retries.Total(), w.plane.Drops.Lost.Load(), w.plane.Drops.LateReplies.Load())
}
