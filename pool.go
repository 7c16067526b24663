package iris

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

const (
	batchOctets = 64 << 10 // of bodies in one batch
	batchJobs   = 512
	ownBody     = 16 << 10 // a body of that many octets gets memory of its own
)

// A pool runs handlers of one kind, as many at a time as its limits permit, and
// starts them in the order of arrival.
//
// The reading goroutine of the connection gathers a batch of jobs and pushes it
// when input has run out. Workers are goroutines that end when there is nothing
// left to do. One that takes a job and leaves others waiting starts the next
// worker, but never while one is starting already: short handlers are run by a
// worker or two, one after the other, and handlers that block get all the workers
// they may have.
type pool struct {
	limits Limits
	gate   *gate
	log    *slog.Logger
	what   string // for the log
	run    func(j *job) (answered bool)

	requests bool           // what it handles are requests
	counts   *counters      // of the client, for the kind
	lost     *atomic.Uint64 // dropped, of a subscription; or nil

	// Of the reading goroutine.
	open   *batch // not yet pushed
	added  int64  // octets of all jobs ever
	seen   int64  // taken, when it was last looked at
	logged time.Time
	unsaid uint64 // drops not yet logged

	taken atomic.Int64 // octets of the jobs that no longer wait

	mu       sync.Mutex
	queue    []*batch // with jobs that wait
	waiting  int      // how many jobs
	workers  int
	starting bool // a worker has not taken its first job yet
	stopped  bool
}

// A batch is jobs that arrived together.
type batch struct {
	jobs []job
	next int // the first that waits
	left atomic.Int32
	data []byte // bodies

	// Of requests.
	arrived  time.Time
	contexts []requestContext // made together, and not used again since a handler may keep one
}

// A job is one message for a handler.
type job struct {
	conn    *conn
	id      uint64
	body    []byte
	timeout time.Duration // of a request, from the arrival of its batch
	batch   *batch
	at      int // its place there
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// counters are what Counts is taken from.
type counters struct{ handled, dropped, expired atomic.Uint64 }

func (c *counters) read() Counts {
	return Counts{Handled: c.handled.Load(), Dropped: c.dropped.Load(), Expired: c.expired.Load()}
}

// drop counts n messages that no handler will see.
func (p *pool) drop(n uint64) {
	p.counts.dropped.Add(n)
	if p.lost != nil {
		p.lost.Add(n)
	}
}

// add takes in a message, which the caller may use again. Only the reading
// goroutine calls it, and push afterwards. It reports whether there was nothing
// to push before.
func (p *pool) add(c *conn, m *relaywire.Message) (first bool) {
	size := int64(len(m.Body))
	if p.added-p.seen+size > int64(p.limits.Memory) {
		p.seen = p.taken.Load()
		if p.added-p.seen+size > int64(p.limits.Memory) {
			p.overflow(1)
			return false
		}
	}
	p.added += size
	b := p.open
	if b != nil && (len(b.jobs) >= batchJobs || len(b.data)+len(m.Body) > batchOctets) {
		p.push()
		b = nil
	}
	if first = b == nil; first {
		b = batches.Get().(*batch)
		p.open = b
	}
	body := m.Body
	if len(body) >= ownBody {
		body = append([]byte(nil), body...)
	} else {
		// Where this moves data, earlier jobs keep the old memory.
		at := len(b.data)
		b.data = append(b.data, body...)
		body = b.data[at:len(b.data):len(b.data)]
	}
	timeout := time.Duration(min(m.Timeout, relaywire.MaxTimeout)) * time.Millisecond
	b.jobs = append(b.jobs, job{conn: c, id: m.ID, body: body, timeout: timeout, batch: b, at: len(b.jobs)})
	return first
}

// overflow drops n messages that are over the limit.
func (p *pool) overflow(n int) {
	p.drop(uint64(n))
	p.unsaid += uint64(n)
	if now := time.Now(); now.Sub(p.logged) >= time.Second {
		p.log.Warn("dropped: more waits for a handler than its limit allows; raise the limit or make the handler faster",
			"what", p.what, "dropped", p.unsaid, "limit", p.limits.Memory, "threads", p.limits.Threads)
		p.logged, p.unsaid = now, 0
	}
}

// push has what was added handled.
func (p *pool) push() {
	b := p.open
	if b == nil {
		return
	}
	p.open = nil
	b.left.Store(int32(len(b.jobs)))
	if p.requests {
		b.arrived = time.Now()
		b.contexts = make([]requestContext, len(b.jobs))
	}
	p.mu.Lock()
	full := p.waiting+len(b.jobs) > p.limits.jobs()
	if !p.stopped && !full {
		p.waiting += len(b.jobs)
		p.queue = append(p.queue, b)
		p.hire()
		p.mu.Unlock()
		return
	}
	stopped := p.stopped
	p.mu.Unlock()
	p.added -= b.octets()
	if stopped {
		p.drop(uint64(len(b.jobs)))
	} else {
		p.overflow(len(b.jobs))
	}
}

// octets returns those of all bodies.
func (b *batch) octets() (n int64) {
	for i := range b.jobs {
		n += int64(len(b.jobs[i].body))
	}
	return n
}

// hire starts a worker if there may be one more and none is starting.
func (p *pool) hire() {
	if p.starting || p.workers >= p.limits.Threads || !p.gate.enter() {
		return
	}
	p.starting = true
	p.workers++
	go p.work()
}

func (p *pool) work() {
	defer p.gate.leave()
	var last *conn
	for fresh := true; ; fresh = false {
		p.mu.Lock()
		if fresh {
			p.starting = false
		}
		if len(p.queue) == 0 {
			p.workers--
			p.mu.Unlock()
			if last != nil {
				last.out.flush()
			}
			return
		}
		p.waiting--
		b := p.queue[0]
		j := &b.jobs[b.next]
		if b.next++; b.next == len(b.jobs) {
			p.queue[0] = nil
			if p.queue = p.queue[1:]; len(p.queue) == 0 {
				p.queue = nil
			}
		}
		if len(p.queue) > 0 {
			p.hire()
		}
		p.mu.Unlock()
		p.taken.Add(int64(len(j.body)))
		if last != nil {
			last.out.poke() // what was answered does not wait for what now may take its time
		}
		last = nil
		if p.run(j) {
			last = j.conn
		}
		b.done()
	}
}

// done ends a job; the last one ends the batch.
func (b *batch) done() {
	if b.left.Add(-1) > 0 {
		return
	}
	clear(b.jobs)
	b.jobs, b.data, b.next, b.contexts = b.jobs[:0], b.data[:0], 0, nil
	batches.Put(b)
}

// stop drops what waits, and what is yet to come.
func (p *pool) stop() {
	var n uint64
	p.mu.Lock()
	if !p.stopped {
		p.stopped = true
		for _, b := range p.queue {
			n += uint64(len(b.jobs) - b.next)
		}
		p.queue = nil
	}
	p.mu.Unlock()
	if n > 0 { // without the lock: a log may do anything
		p.drop(n)
		p.log.Warn("dropped: the program closed before a handler was free", "what", p.what, "dropped", n)
	}
}

// A gate counts the goroutines that run handlers of a client.
type gate struct {
	mu     sync.Mutex
	n      int
	closed bool
	empty  chan struct{} // closed when the gate is closed and n is 0
}

// enter reports whether handlers may still be started.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.n++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n == 0 && g.closed {
		close(g.empty)
	}
}

// close lets nobody enter any more.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.closed = true
	if g.n == 0 {
		close(g.empty)
	}
}
