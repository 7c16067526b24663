package conform

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// A raw program is the suite's own. It behaves towards the node as one written
// with a library in use does, with which it shares nothing: one reader,
// handlers in goroutines of their own behind queues, bounded in v1, ids counted upwards,
// no timers of its own for requests and tunnels being built. Whatever it sends
// and reads goes through a checker.
type raw struct {
	scene   *scene
	name    string // for reports
	conn    net.Conn
	dialect relaywire.Dialect
	service *Service // nil: client-only

	writing chan struct{} // holds a token while nobody writes
	out     []byte        // of whoever has the token

	accepted chan struct{} // closed by Accept
	ended    chan struct{} // closed when the reader is done; err and all else is final then
	err      error         // why it ended: ErrClosed for a Close without a reason, which was asked for

	broadcasts, requests *pool
	dropped              atomic.Int64 // broadcasts and events

	mu      sync.Mutex
	check   checker
	closing bool // Close was called
	nextID  uint64
	nextEnd uint64 // id of the next tunnel
	replies map[uint64]chan *message
	topics  map[string]*subscription
	tunnels map[uint64]*rawTunnel
}

// A subscription is what a program keeps for a topic.
type subscription struct {
	queue *pool
	event func(body string) // nil once unsubscribed
}

// attachRaw attaches a program of the suite's own.
func (s *scene) attachRaw(name string, svc *Service) (Program, error) {
	conn, err := s.dial()
	if err != nil {
		return nil, err
	}
	p := &raw{
		scene:    s,
		name:     name,
		conn:     conn,
		dialect:  s.lib.dialect,
		service:  svc,
		writing:  make(chan struct{}, 1),
		accepted: make(chan struct{}),
		ended:    make(chan struct{}),
		nextID:   s.lib.first,
		nextEnd:  s.lib.first,
		replies:  make(map[uint64]chan *message),
		topics:   make(map[string]*subscription),
		tunnels:  make(map[uint64]*rawTunnel),
	}
	p.writing <- struct{}{}
	cluster := ""
	if svc != nil {
		cluster = svc.Cluster
		p.broadcasts = s.pool(svc.Broadcasts, &p.dropped)
		p.requests = s.pool(svc.Requests, new(atomic.Int64))
	}
	var hello message
	hello, p.check = introduction(p.dialect, cluster)
	s.work.Go(p.read)
	if err := p.write(hello); err != nil {
		return nil, err
	}
	select {
	case <-p.accepted:
		return p, nil
	case <-p.ended:
		return nil, p.err
	}
}

// Close waits for the node's Close and the end of the stream behind it.
func (p *raw) Close() error {
	p.mu.Lock()
	first := !p.closing
	p.closing = true
	p.mu.Unlock()
	if first {
		if err := p.write(closing("")); err != nil {
			return err
		}
	}
	<-p.ended
	if p.err != ErrClosed {
		return fmt.Errorf("close of %s: %w", p.name, p.err)
	}
	return nil
}

func (p *raw) Done() <-chan struct{} { return p.ended }
func (p *raw) Err() error            { return p.err }
func (p *raw) Dropped() int          { return int(p.dropped.Load()) }

// write sends messages in one piece.
func (p *raw) write(ms ...message) error {
	<-p.writing // not a mutex: in a bubble, waiting for one holds up time
	defer func() { p.writing <- struct{}{} }()
	p.out = p.out[:0]
	var wrong error
	p.mu.Lock()
	for i := range ms {
		wrong = errors.Join(wrong, p.check.wrong(&ms[i]))
		p.check.sent(&ms[i])
		p.out = p.dialect.AppendToNode(p.out, &ms[i])
	}
	p.mu.Unlock()
	if wrong != nil {
		return fmt.Errorf("%s must not send this: %w", p.name, wrong)
	}
	if _, err := p.conn.Write(p.out); err != nil {
		return fmt.Errorf("%s cannot send: %w", p.name, err)
	}
	return nil
}

// answer sends what a handler has to say, which may be too late.
func (p *raw) answer(ms ...message) {
	if err := p.write(ms...); err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.closing {
			p.scene.errorf("%v", err)
		}
	}
}

func (p *raw) Broadcast(cluster, body string) error {
	return p.write(broadcast(cluster, body))
}

func (p *raw) Publish(topic, body string) error {
	return p.write(publish(topic, body))
}

func (p *raw) Subscribe(topic string, l Limit, event func(body string)) error {
	p.mu.Lock()
	p.topics[topic] = &subscription{p.scene.pool(l, &p.dropped), event}
	p.mu.Unlock()
	return p.write(subscribe(topic))
}

func (p *raw) Unsubscribe(topic string) error {
	p.mu.Lock()
	p.topics[topic].event = nil
	p.mu.Unlock()
	return p.write(unsubscribe(topic))
}

func (p *raw) Request(cluster, body string, timeout time.Duration) (string, error) {
	answer := make(chan *message, 1)
	p.mu.Lock()
	id := p.nextID
	p.nextID++
	p.replies[id] = answer
	p.mu.Unlock()
	start := time.Now()
	if err := p.write(request(id, cluster, body, uint64(timeout.Milliseconds()))); err != nil {
		return "", err
	}
	select {
	case m := <-answer:
		switch took := time.Since(start); {
		case m.TimedOut && took < timeout:
			return "", fmt.Errorf("request %d of %s timed out after %v, its time was %v", id, p.name, took, timeout)
		case m.TimedOut:
			return "", ErrTimeout
		case m.Fault:
			return "", Fault(m.Body)
		}
		return string(m.Body), nil
	case <-p.ended:
		return "", fmt.Errorf("request %d of %s: %w", id, p.name, p.err)
	}
}

// read handles what the node sends until nothing more can come.
func (p *raw) read() {
	defer close(p.ended)
	defer p.conn.Close()
	p.err = p.receive()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.err == nil && p.closing:
		p.err = ErrClosed
	case p.err == nil:
		p.err = errors.New("the node closed the connection, unasked and without a reason")
	}
}

// receive returns nil after a Close without a reason and the end of the stream.
func (p *raw) receive() error {
	in := make([]byte, 128<<10)
	start, end := 0, 0
	farewell := io.ErrUnexpectedEOF // what the end of the stream means
	var m message
	for {
		n, err := p.dialect.ParseToClient(&relaywire.DefaultLimits, in[start:end], &m)
		switch err {
		case nil:
			start += n
			p.mu.Lock()
			err = p.check.received(&m)
			p.mu.Unlock()
			if err != nil {
				return fmt.Errorf("the node must not send this: %w\n  came   %s", err, describe(&m))
			}
			if m.Op == relaywire.Close {
				farewell = nil
				if len(m.Body) > 0 {
					farewell = fmt.Errorf("the node closed the connection: %s", m.Body)
				}
			}
			p.handle(&m)
		case relaywire.ErrShort:
			if n > len(in) {
				in = append(make([]byte, 0, n), in[start:end]...)[:n]
			} else {
				copy(in, in[start:end])
			}
			start, end = 0, end-start
			k, err := p.conn.Read(in[end:])
			end += k
			if err == io.EOF && end == 0 {
				return farewell
			}
			if err != nil {
				return err
			}
		default:
			return fmt.Errorf("the node sent what is no message: %w: %x", err, in[start:min(end, start+32)])
		}
	}
}

// handle does what a library does with a message. It never blocks. The Checker
// has found the message to be in its place.
func (p *raw) handle(m *message) {
	if p.dialect == relaywire.V0 {
		giveSize(m)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m.Op {
	case relaywire.Accept:
		close(p.accepted)
	case relaywire.Broadcast:
		body := string(m.Body)
		p.broadcasts.add(len(body), func() { p.service.Broadcast(body) })
	case relaywire.Request:
		id := m.ID
		r := &Call{
			Body:    string(m.Body),
			Timeout: time.Duration(min(m.Timeout, relaywire.MaxTimeout)) * time.Millisecond,
			Reply:   func(body string) { p.answer(reply(id, body)) },
			Fail:    func(text string) { p.answer(fault(id, text)) },
		}
		if p.dialect == relaywire.V0 {
			r.Timeout = -1
		}
		expiry := time.Now().Add(r.Timeout)
		p.requests.add(len(r.Body), func() {
			if r.Timeout < 0 || time.Now().Before(expiry) {
				p.service.Request(r)
			}
		})
	case relaywire.Reply:
		clone := *m
		clone.Body = append([]byte(nil), m.Body...)
		p.replies[m.ID] <- &clone
		delete(p.replies, m.ID)
	case relaywire.Publish:
		t := p.topics[string(m.Name)]
		if t.event == nil {
			break // on its way when the topic was unsubscribed
		}
		body, event := string(m.Body), t.event
		t.queue.add(len(body), func() { event(body) })
	case relaywire.TunnelInit:
		t := p.newTunnel()
		t.discard = p.service.Discard
		build := m.ID
		p.scene.work.Go(func() {
			begin := []message{{Op: relaywire.TunnelConfirm, ID: build, Tunnel: t.id, Size: olderWindow}}
			if p.dialect != relaywire.V0 {
				begin = append(begin, tunnelAllow(t.id, window))
			}
			p.answer(begin...)
			p.service.Tunnel(t)
		})
	case relaywire.TunnelResult:
		t := p.tunnels[m.ID]
		if m.TimedOut {
			delete(p.tunnels, m.ID)
		}
		t.result <- m.TimedOut
	case relaywire.TunnelAllow:
		t := p.tunnels[m.ID]
		t.credit += int(m.Size)
		pulse(t.allowed)
	case relaywire.TunnelTransfer:
		p.tunnels[m.ID].take(m)
	case relaywire.TunnelClose:
		t := p.tunnels[m.ID]
		delete(p.tunnels, m.ID)
		t.reason = string(m.Body)
		close(t.ended)
	}
}

// A pool runs handlers within a limit.
type pool struct {
	scene   *scene
	limit   Limit
	dropped *atomic.Int64

	mu     sync.Mutex
	jobs   []job
	octets int // of jobs
	busy   int // goroutines
}

// A job is a message and what to do with it.
type job struct {
	size   int
	handle func()
}

// pool returns a pool with l, or where that is zero with the library's limits.
// What it drops is counted in dropped; nobody else is told.
func (s *scene) pool(l Limit, dropped *atomic.Int64) *pool {
	if l.Threads == 0 {
		l.Threads = s.lib.threads
	}
	if l.Memory == 0 {
		l.Memory = s.lib.memory
	}
	return &pool{scene: s, limit: l, dropped: dropped}
}

func (q *pool) add(size int, handle func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.octets+size > q.limit.Memory {
		q.dropped.Add(1)
		return
	}
	q.octets += size
	q.jobs = append(q.jobs, job{size, handle})
	if q.busy < q.limit.Threads {
		q.busy++
		q.scene.work.Go(q.work)
	}
}

// work handles messages until there are none.
func (q *pool) work() {
	for {
		q.mu.Lock()
		if len(q.jobs) == 0 {
			q.busy--
			q.mu.Unlock()
			return
		}
		j := q.jobs[0]
		q.jobs[0] = job{}
		q.jobs = q.jobs[1:]
		q.octets -= j.size
		q.mu.Unlock()
		j.handle()
	}
}

// pulse wakes the one who waits for c, a channel with room for one element, or
// the next who will. A nil c is fine.
func pulse(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
