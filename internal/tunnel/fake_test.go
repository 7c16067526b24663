package tunnel

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wheel"
)

var start = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// A chunk is a chunk on its way: the size of the message it starts, and its
// octets, which say where in the stream of one end they belong.
type chunk struct{ size, from, n uint64 }

// octets returns what a chunk carries.
func (c chunk) octets() []byte {
	b := make([]byte, c.n)
	for i := range b {
		b[i] = octet(c.from + uint64(i))
	}
	return b
}

func octet(at uint64) byte { return byte(at*7 + at>>8) }

// A program is a Sink: it keeps what it is told about each of its tunnels, and
// checks the promises that hold at every moment.
type program struct {
	t        testing.TB
	table    *Table
	messages bool  // it counts them
	takes    int64 // so many of a new tunnel, if it does

	mu       sync.Mutex
	tunnels  map[uint64]*account
	room     int // octets of chunks that may wait unread; more than that are refused
	waiting  int
	wantRoom bool
	gone     bool // the connection is: nobody hears what comes
}

// An account is what a program knows of a tunnel.
type account struct {
	opened, closed bool
	reason         string

	granted, sent uint64 // by the node, to the node; here and below messages, if the program counts those
	chunks        []chunk

	got          []chunk
	unread       int // octets of got that the program has not read from its socket
	octets       uint64
	credit, most int64  // what the program granted, less what it got
	left         uint64 // of the message it is getting
}

func newProgram(t testing.TB, budget *queue.Budget, stats *Stats) *program {
	p := &program{t: t, tunnels: make(map[uint64]*account), room: 1 << 60}
	p.table = NewTable(p, budget, stats)
	return p
}

// count has the program count messages: it takes so many of a tunnel at first, of largest
// octets.
func (p *program) count(takes int64, largest int) {
	p.messages, p.takes = true, takes
	p.table = NewMessages(p, largest, p.table.budget, p.table.stats)
}

// reserve has the program build a tunnel, or confirm one.
func (p *program) reserve(id uint64) bool {
	if !p.table.Building(id) {
		return false
	}
	if p.messages {
		p.table.Takes(id, p.takes)
		s := p.account(id)
		s.granted, s.credit, s.most = Messages, p.takes, p.takes
	}
	return true
}

// window returns what it may send ahead.
func (p *program) window() uint64 {
	if p.messages {
		return Messages
	}
	return Window
}

// account returns what the program knows of id; the caller holds p.mu, or is alone.
func (p *program) account(id uint64) *account {
	s := p.tunnels[id]
	if s == nil {
		s = new(account)
		p.tunnels[id] = s
	}
	return s
}

// hear begins every message from the node about id.
func (p *program) hear(id uint64, what string) *account {
	s := p.account(id)
	if s.closed {
		p.t.Errorf("tunnel %d: %s after its close", id, what)
	}
	return s
}

func (p *program) TunnelOpen(_ *queue.Batch, id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.hear(id, "result")
	if s.opened || s.granted > 0 && !p.messages {
		p.t.Errorf("tunnel %d: a result came late", id)
	}
	s.opened = true
}

func (p *program) TunnelAllow(_ *queue.Batch, id, octets uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	s := p.hear(id, "allowance")
	s.granted += octets
	if octets == 0 || s.granted > s.sent+p.window() {
		p.t.Errorf("tunnel %d: allowance of %d makes %d with %d sent", id, octets, s.granted, s.sent)
	}
}

func (p *program) TunnelClose(_ *queue.Batch, id uint64, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	s := p.hear(id, "a second close")
	s.closed, s.reason = true, reason
}

func (p *program) TunnelChunk(_ *queue.Batch, id, size uint64, octets []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return false
	}
	if p.wantRoom || p.waiting >= p.room {
		p.wantRoom = true
		return false
	}
	s := p.hear(id, "a chunk")
	n := int64(len(octets))
	cost := n
	switch {
	case p.messages && size > 0 && s.left == 0:
		cost = 1
	case p.messages:
		cost = 0
	case size == Empty:
		p.t.Errorf("tunnel %d: an empty message", id)
	}
	forced := size == 0 || s.left > 0 || s.credit > 0 && s.credit == s.most
	if n == 0 || !forced && cost > s.credit {
		p.t.Errorf("tunnel %d: a chunk of %d octets with a credit of %d", id, n, s.credit)
	}
	s.credit -= cost
	if size == Empty {
		s.left = 0
		s.got = append(s.got, chunk{Empty, s.octets, 0})
		return true
	}
	for i := range octets {
		if octets[i] != octet(s.octets+uint64(i)) {
			p.t.Errorf("tunnel %d: octet %d is another", id, s.octets+uint64(i))
			break
		}
	}
	if size > 0 {
		s.left = size
	}
	if uint64(n) > s.left {
		p.t.Errorf("tunnel %d: a chunk of %d octets, the message lacks %d", id, n, s.left)
	}
	s.left -= uint64(n)
	s.got = append(s.got, chunk{size, s.octets, uint64(n)})
	s.octets += uint64(n)
	s.unread += int(n)
	p.waiting += int(n)
	return true
}

// read has the program read n octets from its socket. It reports true when the
// table is to be told of room.
func (p *program) read(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = max(0, p.waiting-n)
	if p.wantRoom && p.waiting < max(p.room/2, 1) {
		p.wantRoom = false
		return true
	}
	return false
}

// queued returns how many ends wait for room.
func (p *program) queued() (n int) {
	p.table.turn.Lock()
	defer p.table.turn.Unlock()
	for e := p.table.turn.first; e != nil; e = e.after {
		n++
	}
	return n
}

// A world is two programs on a node, and its clock.
type world struct {
	t      testing.TB
	budget *queue.Budget
	stats  Stats
	timers *wheel.Timers
	now    time.Time
	b      queue.Batch
	x, y   *program
}

func newWorld(t testing.TB) *world { return newWorldOf(t, 1<<30) }

func newWorldOf(t testing.TB, memory int64) *world {
	w := &world{t: t, budget: queue.NewBudget(memory), now: start.Add(time.Second)}
	w.timers = wheel.NewTimers(start, func() {})
	w.x = newProgram(t, w.budget, &w.stats)
	w.y = newProgram(t, w.budget, &w.stats)
	return w
}

// open makes a tunnel from x, under id, to y, under id+1000.
func (w *world) open(id uint64) (x, y *end) {
	w.t.Helper()
	if !w.x.reserve(id) || !w.y.reserve(id+1000) {
		w.t.Fatalf("id %d is in use", id)
	}
	Open(w.now, &w.b, w.timers, w.x.table, id, w.y.table, id+1000)
	return &end{w, w.x, id}, &end{w, w.y, id + 1000}
}

func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.timers.Advance(w.now, func(owner any) { owner.(*Tunnel).Expire(w.now, &w.b) })
}

// rest checks that nothing is left once everything is closed.
func (w *world) rest() {
	w.t.Helper()
	for _, p := range []*program{w.x, w.y} {
		if n := len(p.table.ends); n != 0 {
			w.t.Errorf("%d tunnels are in the table", n)
		}
		if n := p.queued(); n != 0 {
			w.t.Errorf("%d ends wait for room", n)
		}
	}
	if n := w.stats.Open.Load(); n != 0 {
		w.t.Errorf("%d tunnels are counted as open", n)
	}
	if n := w.budget.Used(); n != 0 {
		w.t.Errorf("%d octets stay charged", n)
	}
	if at, ok := w.timers.Next(); ok {
		w.t.Errorf("a timer is left, for %v", at)
	}
}

// An end is one program's hold on a tunnel.
type end struct {
	w  *world
	p  *program
	id uint64
}

func (e *end) end() *End         { return e.p.table.End(e.id) }
func (e *end) account() *account { return e.p.account(e.id) }

// send sends a chunk of n octets; size is that of the message it starts. An end
// that is closed ignores it.
func (e *end) send(size, n uint64) error {
	s := e.account()
	c := chunk{size, s.octetsSent(), n}
	s.sent += n
	if n > 0 {
		s.chunks = append(s.chunks, c)
	}
	x := e.end()
	if x == nil {
		return nil
	}
	return x.Chunk(e.w.now, &e.w.b, size, c.octets())
}

func (s *account) octetsSent() uint64 {
	if len(s.chunks) == 0 {
		return 0
	}
	c := s.chunks[len(s.chunks)-1]
	return c.from + c.n
}

// say sends a message as a program does that counts them, and has it acknowledged. One
// of no octets is noted as a chunk of none.
func (e *end) say(n uint64) error {
	octets := e.account().say(n)
	x := e.end()
	if x == nil {
		return nil
	}
	err := x.Message(e.w.now, &e.w.b, octets)
	x.Acknowledge(&e.w.b)
	return err
}

// say notes a message that is sent, and returns what it carries.
func (s *account) say(n uint64) []byte {
	all := chunk{n, s.octetsSent(), n}
	s.sent++
	if n == 0 {
		s.chunks = append(s.chunks, chunk{Empty, all.from, 0})
	}
	for c := all; c.n > 0; c.size = 0 {
		part := min(c.n, chunkLimit)
		s.chunks = append(s.chunks, chunk{c.size, c.from, part})
		c.from, c.n = c.from+part, c.n-part
	}
	return all.octets()
}

// may reports whether the program may send a message of n octets.
func (e *end) may(n uint64) bool {
	if e.p.messages {
		n = 1
	}
	return e.window() >= n
}

// message sends a message of n octets in full chunks.
func (e *end) message(n uint64) {
	e.w.t.Helper()
	if e.p.messages {
		e.w.must(e.say(n))
		return
	}
	for size, left := n, n; left > 0; size = 0 {
		part := min(left, 1<<16)
		if err := e.send(size, part); err != nil {
			e.w.t.Fatal(err)
		}
		left -= part
	}
}

func (e *end) allow(octets uint64) {
	s := e.account()
	s.credit += int64(octets)
	s.most = max(s.most, s.credit)
	if x := e.end(); x != nil {
		x.Allow(e.w.now, &e.w.b, octets)
	}
}

// due returns which of the chunks that its peer sent come to the program.
func (e *end) due(peer *account) []chunk {
	if e.p.messages {
		return peer.chunks
	}
	return slices.DeleteFunc(slices.Clone(peer.chunks), func(c chunk) bool { return c.size == Empty })
}

// had returns how many messages have come as a whole and are not acknowledged.
func (s *account) had() int64 {
	if s.left > 0 {
		return s.most - s.credit - 1
	}
	return s.most - s.credit
}

// ack acknowledges up to n messages that came, as long as some did.
func (e *end) ack(n uint64) {
	s := e.account()
	for ; n > 0 && s.had() > 0; n-- {
		s.credit++
		if x := e.end(); x != nil {
			e.w.must(x.Ack(e.w.now, &e.w.b))
		}
	}
}

// take grants n, or acknowledges so many.
func (e *end) take(n uint64) {
	if e.p.messages {
		e.ack(n)
	} else {
		e.allow(n)
	}
}

func (e *end) close() {
	if x := e.end(); x != nil {
		x.Close(e.w.now, &e.w.b)
	}
}

// got checks the chunks that the program has got in all, as size and octets.
func (e *end) got(want ...chunk) {
	e.w.t.Helper()
	got := e.account().got
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			e.w.t.Fatalf("missing: chunk %v", want[i])
		case i >= len(want):
			e.w.t.Fatalf("unexpected: chunk %v", got[i])
		case got[i].size != want[i].size || got[i].n != want[i].n:
			e.w.t.Fatalf("chunk %d: size %d with %d octets, want size %d with %d", i, got[i].size, got[i].n, want[i].size, want[i].n)
		}
	}
}

// isOpen and isClosed check what the program knows of the end of the tunnel.
func (e *end) isOpen() {
	e.w.t.Helper()
	if s := e.account(); s.closed {
		e.w.t.Fatalf("tunnel %d is closed: %q", e.id, s.reason)
	}
}

func (e *end) isClosed(reason string) {
	e.w.t.Helper()
	if s := e.account(); !s.closed || s.reason != reason {
		e.w.t.Fatalf("tunnel %d: closed %v for %q, want %q", e.id, s.closed, s.reason, reason)
	}
	if e.end() != nil {
		e.w.t.Fatalf("tunnel %d is closed and in the table", e.id)
	}
}

// window returns what the program may still send.
func (e *end) window() uint64 { return e.account().granted - e.account().sent }

// cut ends the connection of a program.
func (w *world) cut(p *program, reason string) {
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	p.table.Close(w.now, &w.b, reason)
}
