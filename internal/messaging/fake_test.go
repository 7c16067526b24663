package messaging

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wheel"
)

var start = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

var errSealed, errFull = errors.New("sealed"), errors.New("full")

// A delivery is one call of a Sink.
type delivery struct {
	what    string
	id, pos uint64
	body    string
	timeout uint64
	out     Outcome
}

func (d delivery) String() string {
	switch d.what {
	case "request":
		return fmt.Sprintf("request %d %q for %d ms", d.id, d.body, d.timeout)
	case "answer", "unbuilt":
		return fmt.Sprintf("%s %d %q, outcome %d", d.what, d.id, d.body, d.out)
	}
	return fmt.Sprintf("%s %d %q", d.what, d.id, d.body)
}

// A program is a Sink that records what it takes, and its connection.
type program struct {
	*Conn
	mu       sync.Mutex
	queue    []delivery // not read yet
	position uint64
	sealed   bool
	failed   string
	left     uint64      // of the time of the request handed over last
	refuse   func() bool // if set, says whether to refuse a request
}

func (p *program) take(d delivery) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sealed {
		return 0, errSealed
	}
	d.pos = p.position
	p.position++
	p.queue = append(p.queue, d)
	return d.pos, nil
}

func (p *program) Request(b *queue.Batch, id uint64, body []byte, timeout, left uint64) (uint64, error) {
	p.left = left
	if p.refuse != nil && p.refuse() {
		return 0, errFull
	}
	return p.take(delivery{what: "request", id: id, body: string(body), timeout: timeout})
}

func (p *program) Offer(b *queue.Batch, id uint64) (uint64, error) {
	return p.take(delivery{what: "offer", id: id})
}

func (p *program) Answer(b *queue.Batch, id uint64, out Outcome, body []byte) {
	p.take(delivery{what: "answer", id: id, out: out, body: string(body)})
}

func (p *program) Unbuilt(b *queue.Batch, id uint64, out Outcome) {
	p.take(delivery{what: "unbuilt", id: id, out: out})
}

func (p *program) Broadcast(b *queue.Batch, l queue.Payload) error {
	_, err := p.take(delivery{what: "broadcast", body: string(l.Data)})
	return err
}

func (p *program) Event(b *queue.Batch, topic []byte, l queue.Payload) error {
	_, err := p.take(delivery{what: "event", body: string(topic) + ":" + string(l.Data)})
	return err
}

func (p *program) Gap(b *queue.Batch, topic []byte, lost uint64) {
	p.take(delivery{what: "gap", id: lost, body: string(topic)})
}

func (p *program) Fail(reason string) {
	p.mu.Lock()
	p.failed = reason
	p.mu.Unlock()
}

// Unstarted returns what the program has not read.
func (p *program) Unstarted(pos uint64) ([]byte, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.queue {
		if d.pos == pos {
			return []byte(d.body), true
		}
	}
	return nil, false
}

func (p *program) Flush(*queue.Batch) {}

// seal ends the program's queue, as the relay does before Conn.Close.
func (p *program) seal() {
	p.mu.Lock()
	p.sealed = true
	p.mu.Unlock()
}

// read returns what has come since it was called last.
func (p *program) read() []delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	ds := p.queue
	p.queue = nil
	return ds
}

// A world is a plane with a clock that stands still until it is moved, and with
// the loop's part played by the test.
type world struct {
	t      testing.TB
	plane  *Plane
	budget *queue.Budget
	now    time.Time
	b      queue.Batch
	wakes  int
}

func newWorld(t testing.TB) *world { return newWorldOf(t, 1<<30) }

func newWorldOf(t testing.TB, memory int64) *world {
	w := &world{t: t, budget: queue.NewBudget(memory), now: start.Add(123456 * time.Microsecond)}
	w.plane = New(Config{Timers: wheel.NewTimers(start, func() {}), Budget: w.budget, Wake: func() { w.wakes++ }})
	return w
}

// program attaches a program, as a member of cluster unless that is empty.
func (w *world) program(cluster string) *program {
	p := new(program)
	p.Conn = w.plane.NewConn(cluster, p)
	w.plane.Register(p.Conn)
	if cluster != "" {
		w.apply(core.Change{Kind: core.Cluster, Name: cluster, Conn: p.ID, Join: true})
	}
	return p
}

func (w *world) programs(cluster string, n int) []*program {
	ps := make([]*program, n)
	for i := range ps {
		ps[i] = w.program(cluster)
	}
	return ps
}

func (w *world) apply(changes ...core.Change) {
	w.plane.Apply(w.now, &w.b, changes)
	w.attend()
}

func (w *world) topic(p *program, topic string, join bool) {
	w.apply(core.Change{Kind: core.Topic, Name: topic, Conn: p.ID, Join: join})
}

// attend plays the loop when it has been woken.
func (w *world) attend() {
	for w.wakes > 0 {
		w.wakes = 0
		w.plane.Attend(w.now, &w.b, &Asks{})
	}
	w.b.Flush()
}

// leave takes the program out of its cluster.
func (w *world) leave(p *program) {
	w.apply(core.Change{Kind: core.Cluster, Name: p.Cluster, Conn: p.ID})
}

// close ends a program, as the relay does.
func (w *world) close(p *program) {
	if p.Cluster != "" {
		w.leave(p)
	}
	p.seal()
	p.Close(w.now, &w.b)
	w.plane.Forget(p.Conn)
	w.attend()
}

// at moves the clock, stopping wherever timers ask to be advanced.
func (w *world) at(now time.Time) {
	for {
		next, ok := w.plane.Timers.Next()
		if !ok || next.After(now) {
			break
		}
		w.advance(next)
	}
	w.advance(now)
}

func (w *world) pass(d time.Duration) { w.at(w.now.Add(d)) }

func (w *world) advance(now time.Time) {
	if now.After(w.now) {
		w.now = now
	}
	w.plane.Timers.Advance(w.now, func(owner any) { owner.(Expirer).Expire(w.now, &w.b) })
	w.attend()
}

func (w *world) request(p *program, id uint64, cluster, body string, timeout uint64) {
	p.Conn.Request(w.now, &w.b, id, []byte(cluster), []byte(body), timeout)
	w.attend()
}

func (w *world) build(p *program, id uint64, cluster string, timeout uint64) {
	p.Build(w.now, &w.b, id, []byte(cluster), timeout)
	w.attend()
}

func (w *world) reply(p *program, id uint64, body string) {
	p.Reply(w.now, &w.b, id, false, []byte(body))
	w.attend()
}

// expect checks what a program has been handed since it was last asked.
func (w *world) expect(p *program, want ...delivery) {
	w.t.Helper()
	got := p.read()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			w.t.Fatalf("missing: %v", want[i])
		case i >= len(want):
			w.t.Fatalf("unexpected: %v", got[i])
		}
		got[i].pos = 0
		if got[i] != want[i] {
			w.t.Fatalf("delivery %d: got %v, want %v", i, got[i], want[i])
		}
	}
}

// rest checks that nothing is left of all that happened, once the programs are
// closed.
func (w *world) rest(open ...*program) {
	w.t.Helper()
	for _, p := range open {
		w.close(p)
	}
	if n := w.budget.Used(); n != 0 {
		w.t.Errorf("%d octets stay charged to the budget", n)
	}
	if at, ok := w.plane.Timers.Next(); ok {
		w.t.Errorf("a timer is left, for %v", at)
	}
	if n := len(w.plane.waiting); n != 0 {
		w.t.Errorf("calls wait for %d clusters", n)
	}
	if n := len(w.plane.conns); n != 0 {
		w.t.Errorf("%d connections are known", n)
	}
	for i := range w.plane.shards {
		if s := w.plane.shards[i].Load(); len(s.clusters)+len(s.topics) > 0 {
			w.t.Errorf("names are left: %v %v", s.clusters, s.topics)
		}
	}
}

func handed(id uint64, body string, timeout uint64) delivery {
	return delivery{what: "request", id: id, body: body, timeout: timeout}
}

func answered(id uint64, out Outcome, body string) delivery {
	return delivery{what: "answer", id: id, out: out, body: body}
}

func unbuilt(id uint64, out Outcome) delivery {
	return delivery{what: "unbuilt", id: id, out: out}
}

func offered(id uint64) delivery { return delivery{what: "offer", id: id} }

// confirmed has a program confirm a build, of a program of the same node.
func confirmed(m interface{ Confirm(uint64) (Offer, bool) }, id uint64) (from *Conn, tunnel uint64, ok bool) {
	o, ok := m.Confirm(id)
	return o.From, o.Tunnel, ok
}
