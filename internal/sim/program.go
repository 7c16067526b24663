package sim

import (
	"fmt"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/tunnel"
)

// mostServed is how many requests a program takes before it has answered some.
const mostServed = 8

// A program is the other end of a connection to its node.
type program struct {
	n        *node
	conn     *messaging.Conn
	anchor   bool // the node's first
	open     map[uint64]*call
	asked    uint64
	inbox    []request // not passed on yet
	position uint64
	serving  int
	passes   bool // it is planned
	sealed   bool

	tunnels   *tunnel.Table
	mouths    map[uint64]*mouth
	tunnelled uint64 // ids of them
	unread    int    // octets of chunks that wait for it
	wantsRoom bool   // it was handed more than it had room for
	reads     bool   // it is planned
	closed    bool
	got       map[stream]uint64
	worker    *worker                 // of a member that has work to do
	hear      func(body []byte) error // of a program that takes part in something else
}

// A request is one that a program has been handed, or the offer of a tunnel.
type request struct {
	pos, id uint64
	body    []byte
	offer   bool
}

// attach gives a node one more program, which talks: a member of a cluster, unless
// that is negative, and of the first topics.
func (n *node) attach(cluster, topics int) *program {
	name, subscribed := "", make([]string, topics)
	if cluster >= 0 {
		name = fmt.Sprintf("cluster-%d", cluster)
	}
	for i := range subscribed {
		subscribed[i] = fmt.Sprintf("topic-%d", i)
	}
	p := n.connect(name, subscribed...)
	p.speak()
	p.dig()
	return p
}

// connect gives a node one more program: a member of a cluster, unless that has no
// name, and of topics.
func (n *node) connect(cluster string, topics ...string) *program {
	p := &program{n: n, anchor: len(n.all) == 0, open: map[uint64]*call{}, got: map[stream]uint64{}, mouths: map[uint64]*mouth{}}
	n.all = append(n.all, p)
	n.turn(func(now time.Time, m *machine) {
		p.conn = m.Plane.NewConn(cluster, p)
		p.conn.Early = p.anchor
		p.tunnels = tunnel.NewTable(p, m.Plane.Budget, &m.tunnels)
		m.Plane.Register(p.conn)
		if err := m.Core.Attach(now, p.conn.ID, cluster, &m.Out); err != nil {
			n.w.violated(n, "a program is refused: %v", err)
		}
		for _, topic := range topics {
			m.Core.Subscribe(now, p.conn.ID, topic, &m.Out)
		}
	})
	return p
}

// close ends the program, as the relay does when a connection is lost: out of all
// names first.
func (p *program) close() {
	n := p.n
	n.turn(func(now time.Time, m *machine) { m.Core.Detach(now, p.conn.ID, &m.Out) })
	n.turn(func(now time.Time, m *machine) {
		p.sealed = true
		p.tunnels.Close(now, &m.batch, reasonLeft)
		p.conn.Close(now, &m.batch)
		m.Plane.Forget(p.conn)
		p.closed = true
	})
}

// Request implements messaging.Sink.
func (p *program) Request(b *queue.Batch, id uint64, body []byte, _, _ uint64) (pos uint64, err error) {
	switch {
	case p.sealed:
		return 0, queue.ErrSealed
	case p.worker == nil && p.serving == mostServed || p.serving == inFlight:
		return 0, queue.ErrFull
	}
	c := p.n.w.call(body)
	if c.held {
		p.n.w.violated(p.n, "M3: request %d was handed over again", c.key)
	}
	c.held = true
	p.serving++
	pos = p.position
	p.position++
	p.inbox = append(p.inbox, request{pos: pos, id: id, body: append([]byte(nil), body...)})
	b.Add(p)
	return pos, nil
}

// Unstarted implements messaging.Sink.
func (p *program) Unstarted(pos uint64) (body []byte, ok bool) {
	for _, r := range p.inbox {
		if r.pos == pos && r.offer {
			return nil, true
		}
		if r.pos == pos {
			p.n.w.call(r.body).held = false
			return r.body, true
		}
	}
	return nil, false
}

// Flush implements queue.Flusher.
func (p *program) Flush(*queue.Batch) {
	if p.passes {
		return
	}
	p.passes = true
	w := p.n.w
	w.after(w.jitter(writerDelay), func() { p.n.run(p.pass) })
}

// pass passes on to the program what it was handed: from now on it has started.
func (p *program) pass() {
	p.passes = false
	if p.sealed {
		return
	}
	inbox := p.inbox
	p.inbox = nil
	for _, r := range inbox {
		if r.offer {
			p.consider(r.id)
		} else {
			p.serve(r)
		}
	}
}

// serve has the program work on a request, and answer it.
func (p *program) serve(r request) {
	w := p.n.w
	c := w.call(r.body)
	if c.begun++; c.begun > 1 {
		w.violated(p.n, "M1: request %d was begun %d times", c.key, c.begun)
	}
	if p.worker != nil {
		p.worker.take(r)
		return
	}
	after := time.Duration(w.rng.ExpFloat64() * float64(w.Traffic.Handler))
	slow := w.rng.Float64() < w.Traffic.Slow
	if slow {
		after = 2 * w.Traffic.Timeout // when nobody waits any more
	}
	w.after(after, func() { p.reply(r) })
}

func (p *program) reply(r request) {
	p.n.turn(func(now time.Time, m *machine) {
		if !p.closed {
			p.serving--
			p.conn.Reply(now, &m.batch, r.id, false, r.body)
			p.conn.Relieved()
		}
	})
}

// Answer implements messaging.Sink.
func (p *program) Answer(_ *queue.Batch, id uint64, out messaging.Outcome, body []byte) {
	n := p.n
	c := p.open[id]
	switch {
	case p.closed:
		n.w.violated(n, "M4: a program that is closed is told of its request %d", id)
		return
	case c == nil:
		n.w.violated(n, "M4: a request is answered twice, or was never made: %d", id)
		return
	}
	delete(p.open, id)
	c.answered, c.out = true, out
	n.w.trace.add(uint64(n.w.now), c.key, uint64(out))
	if out == messaging.Replied && (c.begun == 0 || n.w.call(body) != c) {
		n.w.violated(n, "M4: request %d has the reply to another", c.key)
	}
	n.w.workAnswered(out, n.w.now-c.asked)
	p.checkAnswer("request", c.key, out, c.due)
}

// checkAnswer looks at how a request or build ended, and when.
func (p *program) checkAnswer(what string, key uint64, out messaging.Outcome, due time.Time) {
	n, now := p.n, p.n.clock()
	switch out {
	case messaging.Replied:
	case messaging.TimedOut, messaging.Unreached, messaging.Busy:
		if now.Before(due) {
			n.w.violated(n, "M4: %s %d ended %v early with outcome %d", what, key, due.Sub(now), out)
		}
	case messaging.Lost:
		if !p.anchor {
			n.w.violated(n, "M4: %s %d of a program that is told at the deadline was lost before", what, key)
		}
	default:
		n.w.violated(n, "M4: %s %d ended with outcome %d", what, key, out)
	}
	limit := due
	if n.thawed.After(limit) {
		limit = n.thawed
	}
	if late := now.Sub(limit); late > grace {
		n.w.violated(n, "M4: %s %d was answered %v late", what, key, late)
	}
}

// Broadcast implements messaging.Sink.
func (p *program) Broadcast(_ *queue.Batch, l queue.Payload) error {
	return p.deliver(core.Cluster, p.conn.Cluster, l.Data)
}

// Event implements messaging.Sink.
func (p *program) Event(_ *queue.Batch, topic []byte, l queue.Payload) error {
	return p.deliver(core.Topic, string(topic), l.Data)
}

func (p *program) deliver(k core.Kind, name string, body []byte) error {
	if p.hear != nil {
		return p.hear(body)
	}
	if p.sealed {
		return queue.ErrSealed
	}
	w := p.n.w
	s, number := parseNumber(body)
	if s.kind != k || s.title() != name {
		w.violated(p.n, "M5: a message of %v came as one to %s", s, name)
	}
	last, begun := p.got[s]
	if number <= last {
		w.violated(p.n, "M5: of %v number %d came after %d", s, number, last)
	}
	p.got[s] = number
	if !p.anchor {
		return nil
	}
	n := p.n
	n.got[s] = number
	n.w.found.delivered++
	if begun || w.Traffic.Complete {
		n.skipped += number - last - 1
	}
	if gaps := n.m.Plane.Drops.Gaps(); n.skipped > gaps {
		w.violated(n, "M5: up to number %d of %v %d were skipped, and %d declared lost", number, s, n.skipped, gaps)
	}
	return nil
}

// Gap implements messaging.Sink.
func (p *program) Gap(*queue.Batch, []byte, uint64) {}

// Fail implements messaging.Sink.
func (p *program) Fail(reason string) { p.n.w.violated(p.n, "a program is thrown out: %s", reason) }
