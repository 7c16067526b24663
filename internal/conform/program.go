package conform

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// A program is attached to the node and behaves towards it as one written with
// a v1 library in use does: one reader, handlers in goroutines of their own
// behind bounded queues, ids counted upwards, no timers of its own for requests
// and tunnels being built. Whatever it reads goes through a Checker. Its methods
// may be called concurrently.
type program struct {
	scene   *scene
	name    string // for reports
	conn    net.Conn
	service *service // nil: client-only

	writing chan struct{} // holds a token while nobody writes
	out     []byte        // of whoever has the token

	accepted chan struct{} // closed by Accept
	ended    chan struct{} // closed when the reader is done; err and all else is final then
	err      error         // why it ended, nil: a Close without a reason, which was asked for

	broadcasts, requests *pool

	mu      sync.Mutex
	check   Checker
	closing bool // Close was called
	nextID  uint64
	nextEnd uint64 // id of the next tunnel
	replies map[uint64]chan *message
	topics  map[string]*subscription
	tunnels map[uint64]*tunnel
}

// A service is what a program registers beside its cluster. A message without
// a handler fails the case.
type service struct {
	broadcast func(body string)
	request   func(r *call)
	tunnel    func(t *tunnel)

	broadcasts, requests limit // zero: those of the library
	discard              int   // inbound tunnels forget the octets of larger messages, 0: of none
}

// A subscription is what a program keeps for a topic.
type subscription struct {
	queue *pool
	event func(body string) // nil once unsubscribed
}

// What operations end with beside success and a fault.
var (
	errTimeout = errors.New("time is over")
	errClosed  = errors.New("closed")
)

// A faultError is the text a service failed a request with.
type faultError string

func (e faultError) Error() string { return fmt.Sprintf("fault %q", string(e)) }

// attach connects a program, as a service if svc is given, and returns once the
// node has accepted it.
func (s *scene) attach(svc *service) (*program, error) {
	conn, err := s.node.Dial()
	if err != nil {
		return nil, err
	}
	p := &program{
		scene:    s,
		conn:     conn,
		service:  svc,
		writing:  make(chan struct{}, 1),
		accepted: make(chan struct{}),
		ended:    make(chan struct{}),
		nextID:   s.lib.first,
		nextEnd:  s.lib.first,
		replies:  make(map[uint64]chan *message),
		topics:   make(map[string]*subscription),
		tunnels:  make(map[uint64]*tunnel),
	}
	p.writing <- struct{}{}
	p.name = s.add(p)
	cluster := ""
	if svc != nil {
		cluster = s.lib.cluster
		p.broadcasts = s.pool(svc.broadcasts)
		p.requests = s.pool(svc.requests)
	}
	s.work.Go(p.read)
	if err := p.write(initOf(cluster)); err != nil {
		return nil, err
	}
	select {
	case <-p.accepted:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("%s is not accepted: %w", p.name, p.lost())
	}
}

// close closes the connection in order. It waits for the node's Close and the
// end of the stream behind it, and fails if they do not come or give a reason.
func (p *program) close() error {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	if err := p.write(closing("")); err != nil {
		return err
	}
	<-p.ended
	if p.err != nil {
		return fmt.Errorf("close of %s: %w", p.name, p.err)
	}
	return nil
}

// write sends messages in one piece.
func (p *program) write(ms ...message) error {
	<-p.writing // not a mutex: in a bubble, waiting for one holds up time
	defer func() { p.writing <- struct{}{} }()
	p.out = p.out[:0]
	p.mu.Lock()
	for i := range ms {
		p.check.sent(&ms[i])
		p.out = ms[i].AppendToNode(p.out)
	}
	p.mu.Unlock()
	if _, err := p.conn.Write(p.out); err != nil {
		return fmt.Errorf("%s cannot send: %w", p.name, err)
	}
	return nil
}

// answer sends what a handler has to say, which may be too late.
func (p *program) answer(ms ...message) {
	if err := p.write(ms...); err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.closing {
			p.scene.errorf("%v", err)
		}
	}
}

func (p *program) broadcast(body string) error {
	return p.write(broadcast(p.scene.lib.cluster, body))
}

func (p *program) publish(topic, body string) error {
	return p.write(publish(topic, body))
}

func (p *program) subscribe(topic string, l limit, event func(body string)) error {
	p.mu.Lock()
	p.topics[topic] = &subscription{p.scene.pool(l), event}
	p.mu.Unlock()
	return p.write(subscribe(topic))
}

func (p *program) unsubscribe(topic string) error {
	p.mu.Lock()
	p.topics[topic].event = nil
	p.mu.Unlock()
	return p.write(unsubscribe(topic))
}

// request asks a member of the library's cluster. The error may be errTimeout
// or a faultError.
func (p *program) request(body string, timeout time.Duration) (string, error) {
	answer := make(chan *message, 1)
	p.mu.Lock()
	id := p.nextID
	p.nextID++
	p.replies[id] = answer
	p.mu.Unlock()
	start := time.Now()
	if err := p.write(request(id, p.scene.lib.cluster, body, uint64(timeout.Milliseconds()))); err != nil {
		return "", err
	}
	select {
	case m := <-answer:
		switch took := time.Since(start); {
		case m.TimedOut && took < timeout:
			return "", fmt.Errorf("request %d of %s timed out after %v, its time was %v", id, p.name, took, timeout)
		case m.TimedOut:
			return "", errTimeout
		case m.Fault:
			return "", faultError(m.Body)
		}
		return string(m.Body), nil
	case <-p.ended:
		return "", fmt.Errorf("request %d of %s: %w", id, p.name, p.lost())
	}
}

// A call is a request as its service sees it.
type call struct {
	p       *program
	id      uint64
	body    string
	timeout time.Duration
}

func (r *call) reply(body string) { r.p.answer(reply(r.id, body)) }
func (r *call) fail(text string)  { r.p.answer(fault(r.id, text)) }

// lost says why nothing will come any more; p.ended is closed.
func (p *program) lost() error {
	if p.err == nil {
		return errClosed
	}
	return p.err
}

// read handles what the node sends until nothing more can come.
func (p *program) read() {
	defer close(p.ended)
	defer p.conn.Close()
	p.err = p.receive()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || !p.closing {
		p.scene.errorf("%s: %v", p.name, p.lost())
	}
}

// receive returns nil after a Close without a reason and the end of the stream.
func (p *program) receive() error {
	in := make([]byte, 128<<10)
	start, end := 0, 0
	farewell := io.ErrUnexpectedEOF // what the end of the stream means
	var m message
	for {
		n, err := relaywire.DefaultLimits.ParseToClient(in[start:end], &m)
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
			if err := p.handle(&m); err != nil {
				return err
			}
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
func (p *program) handle(m *message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m.Op {
	case relaywire.Accept:
		close(p.accepted)
	case relaywire.Broadcast:
		if p.service.broadcast == nil {
			return fmt.Errorf("stray broadcast %.60q", m.Body)
		}
		body := string(m.Body)
		p.broadcasts.add(len(body), func() { p.service.broadcast(body) })
	case relaywire.Request:
		if p.service.request == nil {
			return fmt.Errorf("stray request %.60q", m.Body)
		}
		r := &call{p, m.ID, string(m.Body), time.Duration(min(m.Timeout, relaywire.MaxTimeout)) * time.Millisecond}
		expiry := time.Now().Add(r.timeout)
		p.requests.add(len(r.body), func() {
			if time.Now().Before(expiry) {
				p.service.request(r)
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
		if p.service.tunnel == nil {
			return errors.New("stray tunnel")
		}
		t := p.newTunnel()
		t.discard = p.service.discard
		build := m.ID
		p.scene.work.Go(func() {
			p.answer(tunnelConfirm(build, t.id), tunnelAllow(t.id, window))
			p.service.tunnel(t)
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
	return nil
}

// A limit bounds the queue before a handler: how many messages are handled at
// once while the others wait, and how many octets may wait. A message beyond
// that is dropped and nobody is told.
type limit struct {
	threads int
	memory  int
	dropped chan struct{} // pulsed for every dropped message, nil: nobody looks
}

// A pool runs handlers within a limit.
type pool struct {
	scene *scene
	limit limit

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
func (s *scene) pool(l limit) *pool {
	if l.threads == 0 {
		l.threads = s.lib.threads
	}
	if l.memory == 0 {
		l.memory = 64 << 20
	}
	return &pool{scene: s, limit: l}
}

func (q *pool) add(size int, handle func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.octets+size > q.limit.memory {
		pulse(q.limit.dropped)
		return
	}
	q.octets += size
	q.jobs = append(q.jobs, job{size, handle})
	if q.busy < q.limit.threads {
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
