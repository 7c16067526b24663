package tunnel

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wheel"
)

// A model is what is known of some tunnels from what was done to them and what
// the programs were told. The programs complain of what breaks the protocol.
type model struct {
	testing.TB
	ops     []byte
	budget  *queue.Budget
	scarce  bool // the budget is small
	counts  int  // a bit for each party that counts messages
	stats   Stats
	timers  *wheel.Timers
	now     time.Time
	b       queue.Batch
	ids     uint64
	pieces  int
	parties [2]*party
	seats   []*seat // of open tunnels, in the order they were opened
	stale   []*End
	closer  *seat  // does what closes its end
	want    string // for this reason
}

// A party is a program that reads when it likes.
type party struct {
	*model
	table    *Table
	messages bool // it counts them
	ends     map[uint64]*seat
	room     int
	full     bool // has refused a chunk, and not said that there is room since
	gone     bool
}

// A seat is what one end is to its program.
type seat struct {
	*party
	id       uint64
	end      *End
	peer     *seat
	window   int64   // what it may send, as far as it was told; messages, if it counts those, as is credit
	sent     uint64  // octets, with one for an empty message
	missing  uint64  // of the message it sends
	out      []piece // what it sent, not delivered yet
	credit   int64
	most     int64
	left     uint64
	draining bool
	reason   string    // why its peer closed
	since    time.Time // of the last credit or delivery, or its peer's close
}

type piece struct {
	size   uint64
	octets []byte
}

var modelOctets = func() []byte {
	b := make([]byte, 256<<10)
	r := rand.New(rand.NewPCG(5, 5))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}()

func (p *party) TunnelOpen(_ *queue.Batch, id uint64) {
	if s := p.ends[id]; s == nil || s.window != 0 && !p.messages {
		p.Fatalf("tunnel %d is opened in its midst", id)
	}
}

func (p *party) TunnelAllow(_ *queue.Batch, id, octets uint64) {
	if p.gone {
		return
	}
	s := p.ends[id]
	if s == nil {
		p.Fatalf("tunnel %d: allowance of %d after its close", id, octets)
	}
	if s.window += int64(octets); s.window > s.whole() || octets == 0 {
		p.Fatalf("tunnel %d: allowance of %d makes %d", id, octets, s.window)
	}
}

func (p *party) TunnelChunk(_ *queue.Batch, id, size uint64, octets []byte) bool {
	if p.gone {
		return false
	}
	s := p.ends[id]
	if s == nil {
		p.Fatalf("tunnel %d: chunk after its close", id)
	}
	if p.room <= 0 {
		p.full = true
		return false
	}
	if s.waiting() == 0 {
		p.Fatalf("tunnel %d: chunk that nobody sent", id)
	}
	if c := s.peer.out[0]; c.size != size || !bytes.Equal(c.octets, octets) {
		p.Fatalf("tunnel %d: got %d octets, size %d, where %d, size %d are next", id, len(octets), size, len(c.octets), c.size)
	}
	if !s.due() {
		p.Fatalf("tunnel %d: %d octets with credit %d", id, len(octets), s.credit)
	}
	p.room -= len(octets)
	s.peer.out = s.peer.out[1:]
	s.credit -= s.cost(size, octets)
	if size > 0 {
		s.left = size
	}
	if size == Empty {
		s.left = 1
	}
	s.left -= uint64(len(octets))
	s.since = p.now
	return true
}

func (p *party) TunnelClose(_ *queue.Batch, id uint64, reason string) {
	if p.gone {
		return
	}
	s := p.ends[id]
	if s == nil {
		p.Fatalf("tunnel %d is closed twice", id)
	}
	waiting := s.waiting()
	switch {
	case s == p.closer && reason == p.want:
	case s == p.closer && reason == NoMemory && p.scarce && !s.draining:
		for s.sent > s.end.taken { // what was not accepted any more
			last := s.out[len(s.out)-1]
			s.out = s.out[:len(s.out)-1]
			s.sent -= uint64(len(last.octets))
		}
	case s.draining && reason == Undelivered && waiting > 0 && p.now.Sub(s.since) >= patience:
	case s.draining && reason == s.reason && waiting == 0:
	default:
		p.Fatalf("tunnel %d closes for %q with %d chunks waiting; its peer's reason: %q", id, reason, waiting, s.reason)
	}
	s.over(reason)
}

// waiting returns how many chunks have not been delivered. Empty messages do not come to
// a program that counts octets.
func (s *seat) waiting() int {
	out := &s.peer.out
	for len(*out) > 0 && (*out)[0].size == Empty && !s.messages {
		*out = (*out)[1:]
	}
	return len(*out)
}

// due reports whether the chunk next in line may be delivered.
func (s *seat) due() bool {
	c := s.peer.out[0]
	return c.size == 0 || s.left > 0 || s.credit >= s.cost(c.size, c.octets) || s.credit > 0 && s.credit == s.most
}

// cost returns what a chunk takes of the credit.
func (s *seat) cost(size uint64, octets []byte) int64 {
	switch {
	case !s.messages:
		return int64(len(octets))
	case size > 0 && s.left == 0:
		return 1
	}
	return 0
}

// whole returns the whole window.
func (p *party) whole() int64 {
	if p.messages {
		return Messages
	}
	return Window
}

// over notes that s has ended.
func (s *seat) over(reason string) {
	delete(s.ends, s.id)
	s.peer.out = nil
	if s.end != nil {
		s.stale = append(s.stale, s.end)
	}
	if !s.draining {
		s.peer.draining, s.peer.reason, s.peer.since = true, reason, s.now
	}
}

func (s *seat) alive() bool { return !s.gone && s.ends[s.id] == s }

func newModel(t testing.TB, ops []byte) *model {
	m := &model{TB: t, ops: ops, now: time.Unix(0, 0)}
	m.budget = queue.NewBudget(1 << 30)
	if m.scarce = m.op()%4 == 0; m.scarce {
		m.budget = queue.NewBudget(512 << 10)
	}
	m.timers = wheel.NewTimers(m.now, func() {})
	m.counts = m.op() % 4
	for i := range m.parties {
		m.connect(i)
	}
	return m
}

// op returns the next octet of those that tell what happens; 0 after the last.
func (m *model) op() int {
	if len(m.ops) == 0 {
		return 0
	}
	o := m.ops[0]
	m.ops = m.ops[1:]
	return int(o)
}

func (m *model) connect(i int) {
	p := &party{model: m, ends: make(map[uint64]*seat), room: 1 << 20}
	if p.messages = m.counts>>i&1 == 1; p.messages {
		p.table = NewMessages(p, modelLargest, m.budget, &m.stats)
	} else {
		p.table = NewTable(p, m.budget, &m.stats)
	}
	m.parties[i] = p
}

func (m *model) open(p, q *party) {
	m.ids++ // wraps: ids are used again
	x, y := &seat{party: p, id: m.ids % 16 * 2}, &seat{party: q, id: m.ids%16*2 + 1}
	if p.ends[x.id] != nil || q.ends[y.id] != nil {
		return
	}
	x.peer, y.peer = y, x
	p.ends[x.id], q.ends[y.id] = x, y
	if !p.table.Building(x.id) || !q.table.Building(y.id) {
		m.Fatalf("tunnel %d: the ids of a closed tunnel are still in use", x.id)
	}
	for _, s := range []*seat{x, y} {
		if s.messages {
			s.credit = int64(m.op() % 150)
			s.most, s.window = s.credit, Messages
			s.table.Takes(s.id, s.credit)
		}
	}
	Open(m.now, &m.b, m.timers, p.table, x.id, q.table, y.id)
	x.end, y.end = p.table.End(x.id), q.table.End(y.id)
	m.seats = append(m.seats, x, y)
}

// send sends a chunk, good or bad.
func (m *model) send(s *seat, size uint64, n int) {
	m.pieces++
	octets := modelOctets[m.pieces*997%(60<<10):][:n]
	if int64(n) > s.window {
		if err := s.end.Chunk(m.now, &m.b, size, octets); err != ErrCredit {
			m.Fatalf("%d octets with an allowance of %d: %v", n, s.window, err)
		}
		return
	}
	m.closer, m.want = s, NoMemory+" or else"
	if n > 0 {
		s.window -= int64(n)
		missing := s.missing
		if size > 0 {
			missing = size
		}
		switch {
		case s.draining:
		case size == 0 && s.missing == 0:
			m.want = BadChunk
		case size > MaxMessage:
			m.want = BadSize
		case size > s.peer.largest():
			m.want = TooLarge
		case uint64(n) > missing:
			m.want = BadSum
		default:
			s.missing = missing - uint64(n)
			s.put(size, octets)
		}
	}
	if err := s.end.Chunk(m.now, &m.b, size, octets); err != nil {
		m.Fatalf("%d octets with an allowance of %d: %v", n, s.window, err)
	}
	m.closer = nil
}

// modelLargest is the largest message that a program takes which counts them.
const modelLargest = 150_000

func (p *party) largest() uint64 {
	if p.messages {
		return modelLargest
	}
	return MaxMessage
}

// put notes a chunk that is sent.
func (s *seat) put(size uint64, octets []byte) {
	s.out = append(s.out, piece{size, octets})
	s.sent += uint64(len(octets))
}

// message sends a message of a program that counts them.
func (m *model) message(s *seat, n int) {
	m.pieces++
	octets := modelOctets[m.pieces*997%(60<<10):][:n]
	if s.window == 0 {
		if err := s.end.Message(m.now, &m.b, octets); err != ErrCredit {
			m.Fatalf("a message more than allowed: %v", err)
		}
		return
	}
	s.window--
	if !s.draining {
		if n == 0 {
			s.put(Empty, []byte{0})
		}
		for size, rest := uint64(n), octets; len(rest) > 0; size = 0 {
			k := min(len(rest), chunkLimit)
			s.put(size, rest[:k])
			rest = rest[k:]
		}
	}
	m.closer, m.want = s, NoMemory+" or else"
	if err := s.end.Message(m.now, &m.b, octets); err != nil {
		m.Fatalf("a message that was allowed: %v", err)
	}
	m.closer = nil
}

// had returns how many messages the program has got, as a whole, and not acknowledged.
func (s *seat) had() int64 {
	if s.left > 0 {
		return s.most - s.credit - 1
	}
	return s.most - s.credit
}

// ack acknowledges a message, rightly or not.
func (m *model) ack(s *seat) {
	if s.had() == 0 {
		if err := s.end.Ack(m.now, &m.b); err != ErrAck {
			m.Fatalf("acknowledged a message more than came: %v", err)
		}
		return
	}
	s.credit++
	s.since = m.now
	if err := s.end.Ack(m.now, &m.b); err != nil {
		m.Fatalf("acknowledged a message that came: %v", err)
	}
}

// say has a program send some that counts them, and then, as it comes, be told that
// they were taken or close the tunnel, of which it hears no more then.
func (m *model) say(s *seat, n int) {
	n *= m.op() % 3
	for range 1 + m.op()%4*(m.op()%64) {
		if !s.alive() || s.window == 0 {
			break
		}
		m.message(s, n)
	}
	if !s.alive() {
		return
	}
	if m.op()%32 == 0 {
		m.close(s)
	}
	s.end.Acknowledge(&m.b)
	if s.alive() && s.window == 0 {
		m.message(s, n)
	}
}

func (m *model) allow(s *seat, n uint64) {
	if s.messages {
		for ; n > 0 && s.alive(); n /= 4 {
			m.ack(s)
		}
		return
	}
	s.credit += int64(n)
	s.most = max(s.most, s.credit)
	if n > 0 {
		s.since = m.now
	}
	s.end.Allow(m.now, &m.b, n)
}

func (m *model) read(p *party, n int) {
	p.room = n
	if p.full {
		p.full = false
		p.table.Room(&m.b)
	}
}

func (m *model) close(s *seat) {
	m.closer, m.want = s, ""
	s.end.Close(m.now, &m.b)
	m.closer = nil
	if s.alive() {
		m.Fatalf("tunnel %d: its close is not confirmed", s.id)
	}
}

func (m *model) cut(i int, reason string) {
	p := m.parties[i]
	p.gone = true
	for _, s := range m.seats {
		if s.party == p && p.ends[s.id] == s {
			s.over(reason)
		}
	}
	p.table.Close(m.now, &m.b, reason)
	m.connect(i)
}

// pass lets time pass. With late set, credit comes when a deadline is off the
// wheel, just before its tunnel hears of it.
func (m *model) pass(d time.Duration, late bool) {
	m.now = m.now.Add(d)
	m.timers.Advance(m.now, func(owner any) {
		for _, s := range m.seats {
			if late && s.alive() && s.draining && s.end.tunnel == owner {
				m.allow(s, 1)
			}
		}
		owner.(*Tunnel).Expire(m.now, &m.b)
	})
}

// step does one thing.
func (m *model) step() {
	lengths := [...]int{1, 8, 100, 4000, 20_000, 1 << 16}
	what := m.op() % 32
	p := m.parties[m.op()%2]
	if what < 2 || len(m.seats) == 0 {
		m.open(p, m.parties[m.op()%2])
		return
	}
	s := m.seats[m.op()%len(m.seats)]
	n := lengths[m.op()%len(lengths)]
	switch {
	case what < 19 && s.messages:
		m.say(s, n)
	case what < 11:
		for range m.op() % 4 * n >> 12 * 4 / 3 { // now and then all that is allowed
			if !s.alive() || s.window < int64(n) || s.draining {
				break
			}
			m.send(s, uint64(n), n)
		}
		if s.alive() {
			m.send(s, uint64(n*(1+m.op()%4)), n)
		}
	case what < 18:
		if s.missing > 0 {
			m.send(s, 0, int(min(uint64(n), s.missing)))
		}
	case what == 18:
		bad := [...]uint64{0, 1, MaxMessage + 1, 5}
		m.send(s, bad[m.op()%4], m.op()%12)
	case what < 24:
		m.allow(s, uint64(n*(m.op()%4)))
	case what < 28:
		m.read(p, n*m.op()/4)
	case what == 28:
		m.close(s)
	case what == 29:
		m.pass(time.Duration(m.op())*200*time.Millisecond, m.op()%4 == 0)
	case what == 30:
		if m.op()%8 == 0 {
			m.cut(m.op()%2, "peer disconnected")
		}
	case len(m.stale) > 0: // messages that crossed with a close
		e := m.stale[m.op()%len(m.stale)]
		send, ack := e.Message(m.now, &m.b, nil), e.Ack(m.now, &m.b)
		if !e.table.messages {
			send = e.Chunk(m.now, &m.b, 8, modelOctets[:8])
			e.Allow(m.now, &m.b, 8)
		}
		if send != nil || ack != nil {
			m.Fatalf("after the close: a message: %v; an acknowledgement: %v", send, ack)
		}
		e.Acknowledge(&m.b)
		e.Close(m.now, &m.b)
	}
}

// check checks what holds between any two steps.
func (m *model) check() {
	alive := m.seats[:0]
	open := make(map[*Tunnel]bool)
	for _, s := range m.seats {
		if !s.alive() {
			continue
		}
		alive = append(alive, s)
		open[s.end.tunnel] = true
		s.peer.waiting() // without empty messages that do not come
		window, octets, starts := s.whole(), int64(0), 0
		for _, c := range s.out {
			octets += int64(len(c.octets))
			if c.size > 0 {
				starts++
			}
		}
		most := int64(step) // may be owed, less one
		switch {
		case !s.messages:
			window -= octets
		case octets > Window || starts > ahead:
			most = Messages + 1
		default:
			most = 1
		}
		if owed := s.end.owed; s.window+owed != window || owed >= most {
			m.Fatalf("tunnel %d: may send %d, and %d soon, want %d (its peer is gone: %v)", s.id, s.window, owed, window, s.draining)
		}
		switch waiting := s.waiting(); {
		case waiting == 0 && s.draining:
			m.Fatalf("tunnel %d: not closed after its peer, with nothing to deliver", s.id)
		case waiting > 0 && s.due() && !s.full:
			m.Fatalf("tunnel %d: %d chunks wait for nothing", s.id, waiting)
		case s.draining && m.now.Sub(s.since) > 2*patience+51*time.Second:
			m.Fatalf("tunnel %d: waits for its program since %v", s.id, m.now.Sub(s.since))
		}
	}
	m.seats = alive
	if n := m.stats.Open.Load(); n != int64(len(open)) {
		m.Fatalf("%d tunnels are counted as open, want %d", n, len(open))
	}
}

// finish has every program take everything, and then go.
func (m *model) finish() {
	for _, p := range m.parties {
		m.read(p, 1<<40)
	}
	for _, s := range m.seats {
		switch {
		case !s.alive():
		case s.messages:
			for s.alive() && s.had() > 0 {
				m.ack(s)
			}
		default:
			m.allow(s, 1<<40)
		}
	}
	m.check()
	for _, s := range m.seats {
		if s.messages && s.most == 0 || s.peer.messages && s.peer.most == 0 {
			continue // it never takes anything
		}
		if s.waiting() > 0 || s.window+s.end.owed != s.whole() {
			m.Fatalf("tunnel %d: %d chunks wait though all can go; may send %d", s.id, s.waiting(), s.window)
		}
	}
	for i, s := range m.seats {
		if i%3 == 0 && s.alive() {
			m.close(s)
		}
	}
	m.check()
	m.cut(0, "")
	m.check()
	m.cut(1, "")
	m.check()
	if n := m.budget.Used(); n != 0 {
		m.Fatalf("%d octets of the budget are used for nothing", n)
	}
	if _, waiting := m.timers.Next(); waiting {
		m.Fatal("a deadline is left")
	}
}

func playTunnels(t testing.TB, ops []byte) {
	m := newModel(t, ops)
	for len(m.ops) > 0 {
		m.step()
		m.check()
	}
	m.finish()
}

func TestTunnelsAgainstModel(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			playTunnels(t, randomOps(seed, 2500))
		})
	}
}

func randomOps(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	ops := make([]byte, n)
	for i := range ops {
		ops[i] = byte(r.Uint32())
	}
	return ops
}

func FuzzTunnel(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomOps(seed, 400))
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) <= 1000 {
			playTunnels(t, ops)
		}
	})
}

// A reader is a program of which goroutines send, read and say that there is room.
type reader struct {
	mu     sync.Mutex
	change sync.Cond
	room   int
	full   bool
	ends   map[uint64]*stream
}

// A stream is one end of the reader's.
type stream struct {
	window, octets, taken int64
	messages, acked       int64
	sum                   uint32
	closed                int
}

func newReader() *reader {
	r := &reader{ends: make(map[uint64]*stream), room: 1 << 16}
	r.change.L = &r.mu
	return r
}

func (r *reader) TunnelOpen(*queue.Batch, uint64) {}

func (r *reader) TunnelAllow(_ *queue.Batch, id, octets uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends[id].window += int64(octets)
	r.change.Broadcast()
}

func (r *reader) TunnelClose(_ *queue.Batch, id uint64, _ string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends[id].closed++
	r.change.Broadcast()
}

func (r *reader) TunnelChunk(_ *queue.Batch, id, size uint64, octets []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.room <= 0 {
		r.full = true
		r.change.Broadcast()
		return false
	}
	s := r.ends[id]
	r.room -= len(octets)
	if size > 0 {
		s.messages++
	}
	s.octets += int64(len(octets))
	s.sum = addUp(s.sum, octets)
	r.change.Broadcast()
	return true
}

// addUp depends on the order of octets.
func addUp(sum uint32, octets []byte) uint32 {
	for _, o := range octets {
		sum = sum*31 + uint32(o)
	}
	return sum
}

// until waits, with r.mu held for ok.
func (r *reader) until(ok func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !ok() {
		r.change.Wait()
	}
}

// Programs send, take, read and close on goroutines of their own. Nothing is lost.
func TestTunnelsUnderManyGoroutines(t *testing.T) { tunnelsUnderManyGoroutines(t, [2]bool{}) }

// Of either kind, too.
func TestMessageTunnelsUnderManyGoroutines(t *testing.T) {
	for _, counts := range [][2]bool{{true, true}, {true, false}, {false, true}} {
		tunnelsUnderManyGoroutines(t, counts)
	}
}

// tunnelsUnderManyGoroutines has programs play that count messages, or not.
func tunnelsUnderManyGoroutines(t *testing.T, counts [2]bool) {
	const tunnels, messages = 4, 1500
	var stats Stats
	now := time.Unix(0, 0)
	budget := queue.NewBudget(1 << 30)
	timers := wheel.NewTimers(now, func() {})
	var readers [2]*reader
	var tables [2]*Table
	for i := range readers {
		readers[i] = newReader()
		if tables[i] = NewTable(readers[i], budget, &stats); counts[i] {
			tables[i] = NewMessages(readers[i], 64<<20, budget, &stats)
		}
	}
	var work, rooms sync.WaitGroup
	stop := make(chan struct{})
	for i, r := range readers {
		rooms.Go(func() {
			var b queue.Batch
			for {
				done := false
				r.until(func() bool {
					select {
					case <-stop:
						done = true
					default:
					}
					return r.full || done
				})
				if done {
					return
				}
				r.mu.Lock()
				r.room, r.full = 1<<16, false
				r.mu.Unlock()
				tables[i].Room(&b)
			}
		})
	}
	var sums, totals [tunnels][2]int64
	for id := range uint64(tunnels) {
		for i, r := range readers {
			r.mu.Lock()
			r.ends[id] = new(stream)
			r.mu.Unlock()
			tables[i].Building(id)
			if counts[i] {
				r.ends[id].window = Messages
				tables[i].Takes(id, Messages)
			}
		}
		Open(time.Unix(0, 0), new(queue.Batch), timers, tables[0], id, tables[1], id)
		var closers sync.WaitGroup // one end closes once it has sent and got everything
		for i, r := range readers {
			e, s := tables[i].End(id), r.ends[id]
			rnd := rand.New(rand.NewPCG(id, uint64(i)))
			closers.Go(func() { // sends
				var b queue.Batch
				var sum uint32
				for range messages {
					n := 1 + rnd.IntN(1<<rnd.IntN(15))
					octets := modelOctets[rnd.IntN(1<<15):][:n]
					cost := int64(n)
					if counts[i] {
						cost = 1
					}
					r.until(func() bool { return s.window >= cost })
					r.mu.Lock()
					s.window -= cost
					r.mu.Unlock()
					sum = addUp(sum, octets)
					totals[id][i] += int64(n)
					if counts[i] {
						if err := e.Message(now, &b, octets); err != nil {
							t.Error(err)
						}
						e.Acknowledge(&b)
						continue
					}
					if err := e.Chunk(now, &b, uint64(n), octets); err != nil {
						t.Error(err)
					}
				}
				sums[id][i] = int64(sum)
			})
			work.Go(func() { // takes
				var b queue.Batch
				if !counts[i] {
					e.Allow(now, &b, 1<<17)
				}
				for {
					var n int64
					over := false
					r.until(func() bool {
						n, over = s.octets-s.taken, s.closed > 0
						return n > 0 || over
					})
					if over {
						return
					}
					r.mu.Lock()
					s.taken += n
					messages := s.messages - s.acked
					s.acked = s.messages
					r.mu.Unlock()
					for range messages {
						if counts[i] {
							if err := e.Ack(now, &b); err != nil {
								t.Error(err)
							}
						}
					}
					if !counts[i] {
						e.Allow(now, &b, uint64(n))
					}
				}
			})
		}
		work.Go(func() {
			closers.Wait()
			i := id % 2
			r, s := readers[i], readers[i].ends[id]
			r.until(func() bool { return s.octets == totals[id][1-i] })
			tables[i].End(id).Close(now, new(queue.Batch))
		})
	}
	work.Wait()
	close(stop)
	for _, r := range readers {
		r.mu.Lock()
		r.change.Broadcast()
		r.mu.Unlock()
	}
	rooms.Wait()
	for id := range tunnels {
		for i, r := range readers {
			s := r.ends[uint64(id)]
			if s.octets != totals[id][1-i] || int64(s.sum) != sums[id][1-i] || s.closed != 1 {
				t.Errorf("tunnel %d: got %d octets of %d, in order: %v, and %d closes", id, s.octets, totals[id][1-i], int64(s.sum) == sums[id][1-i], s.closed)
			}
		}
	}
	if n := budget.Used(); n != 0 || stats.Open.Load() != 0 {
		t.Errorf("%d octets of the budget are used, %d tunnels open", n, stats.Open.Load())
	}
}
