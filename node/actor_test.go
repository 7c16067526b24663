package node

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// An actor is a program on the bare protocol, in either dialect. It answers requests
// with their bodies, keeps what else it hears, and never sends or takes more of a tunnel
// than was agreed on.
type actor struct {
	t       testing.TB
	dialect relaywire.Dialect
	nc      net.Conn
	writing chan struct{} // holds a token while nobody writes
	done    chan struct{} // closed when nothing more comes

	accepted chan struct{}
	heard    chan []byte // broadcasts and events
	asked    chan relaywire.Message
	offered  chan *pipe
	answer   func(*relaywire.Message) // of a request; its body comes back if it is nil

	mu      sync.Mutex
	next    uint64 // id of a request or a tunnel
	closing bool
	replies map[uint64]chan relaywire.Message
	pipes   map[uint64]*pipe
}

// play attaches a program. It detaches at the end of the test.
func play(t testing.TB, dial func() (net.Conn, error), d relaywire.Dialect, cluster string, answer func(*relaywire.Message)) *actor {
	t.Helper()
	nc, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(patience))
	a := &actor{
		t: t, dialect: d, nc: nc, answer: answer,
		writing: make(chan struct{}, 1), done: make(chan struct{}), accepted: make(chan struct{}),
		heard: make(chan []byte, 1<<10), asked: make(chan relaywire.Message, 1<<10), offered: make(chan *pipe, 16),
		replies: make(map[uint64]chan relaywire.Message), pipes: make(map[uint64]*pipe),
	}
	hello := relaywire.Message{Op: relaywire.Init, Version: []byte(relaywire.VersionV0), Name: []byte(cluster)}
	if d == relaywire.V1 {
		hello.Magic, hello.Version = []byte(relaywire.ClientMagic), []byte(relaywire.Version)
	}
	a.writing <- struct{}{}
	go a.read()
	a.send(hello)
	t.Cleanup(a.close)
	select {
	case <-a.accepted:
	case <-a.done:
		t.Fatal("a program was not accepted")
	}
	return a
}

// close detaches, as is due.
func (a *actor) close() {
	a.mu.Lock()
	a.closing = true
	a.mu.Unlock()
	a.send(relaywire.Message{Op: relaywire.Close})
	<-a.done
	a.nc.Close()
}

// vanish breaks the connection off.
func (a *actor) vanish() {
	a.mu.Lock()
	a.closing = true
	a.mu.Unlock()
	a.nc.Close()
	<-a.done
}

func (a *actor) send(m relaywire.Message) {
	<-a.writing
	defer func() { a.writing <- struct{}{} }()
	if _, err := a.nc.Write(a.dialect.AppendToNode(nil, &m)); err != nil && !errors.Is(err, net.ErrClosed) {
		a.t.Errorf("send %v: %v", m.Op, err)
	}
}

// read handles messages until the node has closed the connection, which it must not do
// unasked.
func (a *actor) read() {
	defer close(a.done)
	err := a.receive()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closing {
		a.t.Errorf("a program of %v was cut off: %v", a.dialect, err)
	}
	for _, p := range a.pipes {
		close(p.came)
	}
	for _, r := range a.replies {
		close(r)
	}
}

func (a *actor) receive() error {
	buf := make([]byte, 64<<10)
	r, w := 0, 0
	var m relaywire.Message
	for {
		n, err := a.dialect.ParseToClient(&relaywire.DefaultLimits, buf[r:w], &m)
		switch {
		case err == nil:
			r += n
			m.Name, m.Body = bytes.Clone(m.Name), bytes.Clone(m.Body)
			a.handle(m)
			continue
		case err != relaywire.ErrShort:
			return err
		case n > len(buf):
			buf = append(make([]byte, 0, n), buf[r:w]...)[:n]
		default:
			copy(buf, buf[r:w])
		}
		r, w = 0, w-r
		n, err = a.nc.Read(buf[w:])
		if w += n; n == 0 {
			return err
		}
	}
}

// handle never waits for the node, which may wait for it.
func (a *actor) handle(m relaywire.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch m.Op {
	case relaywire.Accept:
		close(a.accepted)
	case relaywire.Broadcast, relaywire.Publish:
		a.heard <- m.Body
	case relaywire.Request:
		a.asked <- m
		back := relaywire.Message{Op: relaywire.Reply, ID: m.ID, Body: m.Body}
		if a.answer != nil {
			a.answer(&back)
		}
		if back.Op == relaywire.Reply {
			go a.send(back)
		}
	case relaywire.Reply:
		a.replies[m.ID] <- m // a second one finds none, and the test hangs
		delete(a.replies, m.ID)
	case relaywire.TunnelInit:
		p := a.newPipe()
		begin := []relaywire.Message{{Op: relaywire.TunnelConfirm, ID: m.ID, Tunnel: p.id, Size: window0}}
		if a.dialect == relaywire.V1 {
			begin = append(begin, relaywire.Message{Op: relaywire.TunnelAllow, ID: p.id, Size: window1})
		} else {
			p.credit = int(m.Size)
		}
		go func() {
			for _, m := range begin {
				a.send(m)
			}
			a.offered <- p
		}()
	case relaywire.TunnelResult:
		p := a.pipes[m.ID]
		if a.dialect == relaywire.V0 {
			p.credit = int(m.Size)
		}
		p.built <- !m.TimedOut
	case relaywire.TunnelAllow:
		p := a.pipes[m.ID]
		if p == nil {
			a.t.Errorf("an allowance for tunnel %d, which is closed", m.ID)
			return
		}
		if a.dialect == relaywire.V0 {
			m.Size = 1
		}
		p.credit += int(m.Size)
		p.pulse()
	case relaywire.TunnelTransfer:
		if p := a.pipes[m.ID]; p == nil {
			a.t.Errorf("a message of tunnel %d, which is closed", m.ID)
		} else if a.dialect == relaywire.V0 {
			p.take(m.Body)
		} else {
			p.join(m)
		}
	case relaywire.TunnelClose:
		p := a.pipes[m.ID]
		if p == nil {
			a.t.Errorf("tunnel %d was closed a second time", m.ID)
			return
		}
		delete(a.pipes, m.ID)
		p.reason = string(m.Body)
		close(p.came)
		p.pulse()
	}
}

// request returns the answer, which the program may wait for as long as its connection.
func (a *actor) request(cluster string, body []byte, timeout time.Duration) relaywire.Message {
	a.mu.Lock()
	id := a.next
	a.next++
	reply := make(chan relaywire.Message, 1)
	a.replies[id] = reply
	a.mu.Unlock()
	a.send(relaywire.Message{Op: relaywire.Request, ID: id, Name: []byte(cluster), Body: body, Timeout: uint64(timeout.Milliseconds())})
	return <-reply
}

// hear fails unless want comes next.
func (a *actor) hear(want []byte) {
	a.t.Helper()
	select {
	case got := <-a.heard:
		same(a.t, got, want)
	case <-a.done:
		a.t.Fatalf("a message of %d octets did not come", len(want))
	}
}

// until hears on until text comes.
func (a *actor) until(text string) {
	a.t.Helper()
	for {
		select {
		case got := <-a.heard:
			if string(got) == text {
				return
			}
		case <-a.done:
			a.t.Fatalf("%q did not come", text)
		}
	}
}

// What a program takes of a tunnel ahead of itself.
const (
	window0 = 100      // messages, in v0
	window1 = 40 << 20 // octets, in v1
)

// A pipe is a program's end of a tunnel. The fields but channels are under its lock.
type pipe struct {
	*actor
	id     uint64
	built  chan bool
	came   chan []byte   // whole messages; closed when the tunnel is
	more   chan struct{} // there is credit, or an end
	credit int           // messages or octets
	ahead  int           // messages that were not taken, in v0
	part   []byte        // of a message that has come, in v1
	size   uint64        // of that
	reason string        // of the close
}

// newPipe makes an end under the lock.
func (a *actor) newPipe() *pipe {
	p := &pipe{actor: a, id: a.next, built: make(chan bool, 1), came: make(chan []byte, 4<<10), more: make(chan struct{}, 1)}
	a.next++
	a.pipes[p.id] = p
	return p
}

// tunnel builds one and returns both ends.
func (a *actor) tunnel(cluster string, to *actor) (near, far *pipe) {
	a.t.Helper()
	a.mu.Lock()
	near = a.newPipe()
	a.mu.Unlock()
	a.send(relaywire.Message{Op: relaywire.TunnelInit, ID: near.id, Name: []byte(cluster), Size: window0, Timeout: uint64(patience.Milliseconds())})
	select {
	case ok := <-near.built:
		if !ok {
			a.t.Fatal("a tunnel was not built")
		}
	case <-a.done:
		a.t.Fatal("the node closed the connection instead of building a tunnel")
	}
	if a.dialect == relaywire.V1 {
		a.send(relaywire.Message{Op: relaywire.TunnelAllow, ID: near.id, Size: window1})
	}
	select {
	case far = <-to.offered:
	case <-to.done:
		a.t.Fatal("the member was cut off when a tunnel was built")
	}
	return near, far
}

func (p *pipe) pulse() {
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// take keeps a message that has come as a whole.
func (p *pipe) take(body []byte) {
	if p.ahead++; p.dialect == relaywire.V0 && p.ahead > window0 {
		p.t.Errorf("message %d ahead of a program that takes %d", p.ahead, window0)
	}
	p.came <- body
}

// join puts chunks together.
func (p *pipe) join(m relaywire.Message) {
	if m.Size > 0 {
		p.part, p.size = nil, m.Size
	}
	if p.part = append(p.part, m.Body...); uint64(len(p.part)) == p.size {
		p.take(p.part)
		p.part = nil
	}
}

// spend waits until the node allows n more, and reports false when the tunnel is closed.
func (p *pipe) spend(n int) bool {
	for {
		p.mu.Lock()
		open := p.pipes[p.id] == p
		enough := p.credit >= n
		if open && enough {
			p.credit -= n
		}
		p.mu.Unlock()
		switch {
		case !open:
			return false
		case enough:
			return true
		}
		select {
		case <-p.more:
		case <-p.done:
			return false
		}
	}
}

// put sends a message, in v1 one that is not empty.
func (p *pipe) put(body []byte) bool {
	if p.dialect == relaywire.V0 {
		if !p.spend(1) {
			return false
		}
		p.send(relaywire.Message{Op: relaywire.TunnelTransfer, ID: p.id, Body: body})
		return true
	}
	for size := len(body); len(body) > 0; size = 0 {
		n := min(len(body), relaywire.ChunkLimit)
		if !p.spend(n) {
			return false
		}
		p.chunk(size, body[:n])
		body = body[n:]
	}
	return true
}

func (p *pipe) chunk(size int, octets []byte) {
	p.send(relaywire.Message{Op: relaywire.TunnelTransfer, ID: p.id, Size: uint64(size), Body: octets})
}

// get returns the next message, and tells the node that it was taken; false: there is
// none any more.
func (p *pipe) get() ([]byte, bool) {
	body, ok := <-p.came
	if !ok {
		return nil, false
	}
	p.mu.Lock()
	p.ahead--
	open := p.pipes[p.id] == p
	p.mu.Unlock()
	if open {
		p.send(relaywire.Message{Op: relaywire.TunnelAllow, ID: p.id, Size: uint64(len(body))})
	}
	return body, true
}

// want fails unless the next message is this one.
func (p *pipe) want(body []byte) {
	p.t.Helper()
	got, ok := p.get()
	if !ok {
		p.t.Errorf("the tunnel was closed (%q) before a message of %d octets", p.reason, len(body))
		return
	}
	same(p.t, got, body)
}

// over fails unless the tunnel is closed next, and returns the reason.
func (p *pipe) over() string {
	p.t.Helper()
	if got, ok := p.get(); ok {
		p.t.Errorf("%d octets came instead of the close", len(got))
	}
	return p.reason
}

func (p *pipe) close() { p.send(relaywire.Message{Op: relaywire.TunnelClose, ID: p.id}) }

func same(t testing.TB, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("came %d octets %.16x, wanted %d, %.16x", len(got), got, len(want), want)
	}
}
