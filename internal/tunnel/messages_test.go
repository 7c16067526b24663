package tunnel

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/queue"
)

// A teller is a program with one tunnel, which counts messages or octets. As a Sink it
// holds what comes against what its peer sent.
type teller struct {
	w      *world
	counts bool
	table  *Table
	id     uint64
	peer   *teller

	window int64  // what it may send
	sent   []uint // lengths of the whole messages it sent, that its peer can get
	unsent uint   // octets missing of the one it is sending
	length uint   // of that one

	room         int // chunks that it takes
	full         bool
	got          int   // messages
	have         uint  // octets of the next one
	left         uint  // that are missing of it
	credit, most int64 // messages or octets
	unacked      int   // messages it has got
	closed       bool
	reason       string
}

// letterOctets are those of all messages, which begin at different places of them.
var letterOctets = func() []byte {
	b := make([]byte, 512<<10)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}()

// letterOf returns octets of the kth message, from one on.
func letterOf(k int, from, n uint) []byte {
	return letterOctets[uint(k)*997%(64<<10)+from:][:n:n]
}

func (p *teller) TunnelOpen(*queue.Batch, uint64) {}

func (p *teller) TunnelAllow(_ *queue.Batch, id, n uint64) {
	most := int64(Window)
	if p.counts {
		most = Messages
	}
	if p.window += int64(n); n == 0 || p.window > most || p.closed || id != p.id {
		p.w.t.Errorf("tunnel %d: an allowance of %d makes %d (closed: %v)", id, n, p.window, p.closed)
	}
}

func (p *teller) TunnelClose(_ *queue.Batch, id uint64, reason string) {
	if p.closed || id != p.id {
		p.w.t.Errorf("tunnel %d: a second close", id)
	}
	p.closed, p.reason = true, reason
}

func (p *teller) TunnelChunk(_ *queue.Batch, id, size uint64, octets []byte) bool {
	if p.room == 0 {
		p.full = true
		return false
	}
	p.room--
	n := int64(len(octets))
	free := size == 0 || p.left > 0 // it goes on, or comes in place of an abandoned one
	switch {
	case p.closed || id != p.id || n == 0 || n > chunkLimit:
		p.w.t.Fatalf("tunnel %d: a chunk of %d octets (closed: %v)", id, n, p.closed)
	case p.counts && !free:
		if p.credit--; p.credit < 0 {
			p.w.t.Fatal("a message beyond the window")
		}
	case !p.counts:
		if !free && p.credit < n && !(p.credit > 0 && p.credit == p.most) {
			p.w.t.Fatalf("%d octets with a credit of %d", n, p.credit)
		}
		p.credit -= n
	}
	switch size {
	case 0:
	case Empty:
		if !p.counts || n != 1 {
			p.w.t.Fatalf("an empty message of %d octets for a program that counts messages: %v", n, p.counts)
		}
		p.left, p.have, octets = 0, 0, nil
	default:
		p.left, p.have = uint(size), 0
	}
	p.left -= uint(len(octets))
	p.compare(octets)
	p.have += uint(len(octets))
	if p.left == 0 {
		p.skipEmpty()
		if p.got >= len(p.peer.sent) || p.peer.sent[p.got] != p.have {
			p.w.t.Fatalf("message %d has %d octets, of %v", p.got, p.have, p.peer.sent[:min(len(p.peer.sent), p.got+1)])
		}
		p.got++
		p.unacked++
		p.have = 0
	}
	return true
}

// compare compares what has come of a message with what was sent, unless that is
// abandoned later.
func (p *teller) compare(octets []byte) {
	k := p.got
	for !p.counts && k < len(p.peer.sent) && p.peer.sent[k] == 0 {
		k++
	}
	if want := letterOf(k, p.have, uint(len(octets))); !bytes.Equal(octets, want) {
		p.w.t.Fatalf("message %d is another from octet %d on", k, p.have)
	}
}

// skipEmpty passes over what a program that counts octets does not get.
func (p *teller) skipEmpty() {
	for !p.counts && p.got < len(p.peer.sent) && p.peer.sent[p.got] == 0 {
		p.got++
	}
}

func (p *teller) end() *End { return p.table.End(p.id) }

// send sends a message of n octets, or some of one.
func (p *teller) send(r *rand.Rand, n uint) {
	e := p.end()
	if e == nil || p.closed {
		return
	}
	if p.counts {
		if p.window == 0 {
			return
		}
		p.window--
		p.sent = append(p.sent, n)
		p.w.must(e.Message(p.w.now, &p.w.b, letterOf(len(p.sent)-1, 0, n)))
		return
	}
	size := uint64(0)
	if p.unsent == 0 || r.IntN(8) == 0 { // perhaps in place of one that is not complete
		p.length, p.unsent = max(n, 1), max(n, 1)
		size = uint64(p.length)
	}
	part := min(p.unsent, 1+r.UintN(chunkLimit))
	if int64(part) > p.window {
		if size > 0 {
			p.unsent = 0
		}
		return
	}
	p.window -= int64(part)
	octets := letterOf(len(p.sent), p.length-p.unsent, part)
	if p.unsent -= part; p.unsent == 0 {
		p.sent = append(p.sent, p.length)
	}
	p.w.must(e.Chunk(p.w.now, &p.w.b, size, octets))
}

// take has the program take n chunks more, and room for them.
func (p *teller) take(n int) {
	if p.room += n; p.full && n > 0 {
		p.full = false
		p.table.Room(&p.w.b)
	}
}

// allow acknowledges up to n messages, or allows octets.
func (p *teller) allow(n int) {
	e := p.end()
	if e == nil {
		return
	}
	if !p.counts {
		p.credit += int64(n)
		p.most = max(p.most, p.credit)
		e.Allow(p.w.now, &p.w.b, uint64(n))
		return
	}
	for ; n > 0 && p.unacked > 0 && !p.closed; n-- {
		p.unacked--
		p.credit++
		p.w.must(e.Ack(p.w.now, &p.w.b))
	}
	if p.unacked == 0 && p.credit == p.most && !p.closed {
		if err := e.Ack(p.w.now, &p.w.b); err != ErrAck {
			p.w.t.Fatalf("an acknowledgement of nothing: %v", err)
		}
	}
}

// acknowledge is what the program's connection does behind its messages.
func (p *teller) acknowledge() {
	if e := p.end(); e != nil && p.counts {
		e.Acknowledge(&p.w.b)
	}
}

// check checks what holds between any two steps.
func (p *teller) check() {
	e := p.end()
	if e == nil || p.closed {
		return
	}
	if p.counts && (e.window != p.window || e.window+e.owed != Messages) {
		p.w.t.Fatalf("may send %d messages, knows of %d, is owed %d; wanted %d in all", e.window, p.window, e.owed, Messages)
	}
	if e.credit != p.credit {
		p.w.t.Fatalf("takes %d messages or octets more, and says %d", e.credit, p.credit)
	}
	if n := e.waits.Len(); (n == 0) != e.waits.Empty() || e.waits.Empty() && e.starts != 0 {
		p.w.t.Fatalf("%d messages begin in %d octets that wait", e.starts, n)
	}
}

// A mixture is a tunnel of two programs, on a node or on two.
type mixture struct {
	*world
	ends      [2]*teller
	near, far *half   // nil: on one node
	first     *teller // to close
	both      bool    // did
}

func newMixture(t testing.TB, r *rand.Rand, counts [2]bool, wire bool, memory int64) *mixture {
	m := &mixture{world: newWorldOf(t, memory)}
	for i, p := range []*program{m.x, m.y} {
		e := &teller{w: m.world, counts: counts[i], id: 1 + 1000*uint64(i), room: r.IntN(10)}
		if p.table = NewTable(e, m.budget, &m.stats); counts[i] {
			p.table = NewMessages(e, 64<<20, m.budget, &m.stats)
			e.window = Messages
			e.credit = []int64{0, 1, Messages, Messages, 1 << 20}[r.IntN(5)]
			e.most = e.credit
		}
		e.table = p.table
		m.ends[i] = e
	}
	m.ends[0].peer, m.ends[1].peer = m.ends[1], m.ends[0]
	for _, e := range m.ends {
		if e.counts {
			e.table.Takes(e.id, e.credit)
		}
	}
	if wire {
		_, _, m.near, m.far = m.splice(1 + r.IntN(4))
	} else {
		m.open(1)
	}
	return m
}

func (m *mixture) settle() {
	if m.near != nil {
		settle(m.near, m.far)
	}
}

// drain has both programs take everything, as long as something comes.
func (m *mixture) drain() {
	for before := -1; before != m.ends[0].got+m.ends[1].got; {
		before = m.ends[0].got + m.ends[1].got
		for _, e := range m.ends {
			e.take(1 << 30)
			e.allow(1 << 30)
			e.acknowledge()
			e.check()
		}
		m.settle()
	}
}

// Programs that count messages, and others, send each other what they like. Nothing is
// lost, doubled or out of order, and no window or acknowledgement.
func TestMessageTunnelsAgainstModel(t *testing.T) {
	for _, v := range []struct {
		name   string
		counts [2]bool
		wire   bool
	}{
		{"both", [2]bool{true, true}, false},
		{"initiator", [2]bool{true, false}, false},
		{"acceptor", [2]bool{false, true}, false},
		{"both, on two nodes", [2]bool{true, true}, true},
		{"initiator, on two nodes", [2]bool{true, false}, true},
		{"acceptor, on two nodes", [2]bool{false, true}, true},
	} {
		for seed := range uint64(8) {
			t.Run(fmt.Sprint(v.name, "/seed=", seed), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 11))
				memory := int64(1 << 30)
				scarce := seed%4 == 3
				if scarce {
					memory = 1 << 20
				}
				m := newMixture(t, r, v.counts, v.wire, memory)
				m.play(r, seed%2 == 1)
				if scarce {
					m.drain() // what came is what was sent; whether all did is not said
					m.cut(m.x, "")
					m.cut(m.y, "")
					if m.near != nil {
						settle(m.near, m.far)
						m.near.lose()
						m.far.lose()
					}
					m.rest()
					return
				}
				m.finish()
			})
		}
	}
}

// play has them do things, and perhaps close.
func (m *mixture) play(r *rand.Rand, close bool) {
	for range 400 {
		e := m.ends[r.IntN(2)]
		switch op := r.IntN(100); {
		case op < 50:
			for range 1 + r.IntN(20) {
				n := r.UintN(1 << r.IntN(12))
				if r.IntN(30) == 0 {
					n = r.UintN(400_000)
				}
				e.send(r, n)
			}
			if r.IntN(3) > 0 {
				e.acknowledge()
			}
		case op < 55:
			e.acknowledge()
		case op < 70:
			if e.counts {
				e.allow(r.IntN(40))
			} else {
				e.allow(r.IntN(1 << r.IntN(20)))
			}
		case op < 85:
			e.take(r.IntN(40))
		case op < 99 && m.near != nil:
			[]*half{m.near, m.far}[r.IntN(2)].carry(1 + r.IntN(6))
		case op == 99 && close && r.IntN(4) == 0:
			if x := e.end(); x != nil {
				if m.first == nil {
					m.first = e
				}
				m.both = m.both || m.first != e
				x.Close(m.now, &m.b)
			}
		}
		for _, e := range m.ends {
			e.check()
		}
	}
}

// finish has both take everything, and close.
func (m *mixture) finish() {
	open := m.ends[0].end() != nil && m.ends[1].end() != nil
	m.drain()
	for i, e := range m.ends {
		e.skipEmpty()
		switch {
		case !open && !e.closed && e.most > 0:
			m.t.Errorf("end %d is not closed after its peer", i)
		case open && (e.most > 0 || !e.counts) && e.got != len(e.peer.sent):
			m.t.Errorf("end %d: %d messages of %d came", i, e.got, len(e.peer.sent))
		case open && e.counts && (e.peer.most > 0 || !e.peer.counts) && e.window != Messages:
			m.t.Errorf("end %d may send %d messages, wanted %d", i, e.window, Messages)
		case e.closed && e.reason != "":
			m.t.Errorf("end %d is closed for %q", i, e.reason)
		case m.first == e.peer && !m.both && e.most > 0 && e.got != len(e.peer.sent):
			m.t.Errorf("end %d: %d messages of %d came before the close", i, e.got, len(e.peer.sent))
		}
	}
	for _, e := range m.ends {
		if x := e.end(); x != nil {
			x.Close(m.now, &m.b)
		}
	}
	m.settle()
	for range 3 { // who takes nothing ever
		m.pass(61 * time.Second)
		m.settle()
	}
	m.rest()
}

// Who is owed the rest of a closed tunnel may send on, into the void, and is given up when
// it takes nothing for 60 s.
func TestEndThatIsOwedMessagesIsNotStuckAndNotWaitedForForGood(t *testing.T) {
	for _, wire := range []bool{false, true} {
		t.Run(fmt.Sprint("wire=", wire), func(t *testing.T) {
			r := rand.New(rand.NewPCG(2, 1)) // of which y takes 128
			m := newMixture(t, r, [2]bool{true, true}, wire, 1<<30)
			x, y := m.ends[0], m.ends[1]
			x.room, y.room = 1<<30, 1<<30
			most := int(y.most)
			for range 2*most + 300 {
				x.send(r, 10)
				x.acknowledge()
				m.settle()
			}
			if y.got != most || len(x.sent) < most+300 {
				t.Fatalf("%d messages of %d came, wanted the window of %d", y.got, len(x.sent), most)
			}
			x.end().Close(m.now, &m.b)
			m.settle()
			for range 3 * Messages {
				y.send(r, 10)
				y.acknowledge()
				y.check()
			}
			if y.closed || y.window != Messages {
				t.Fatalf("closed: %v; may send %d messages into the void, wanted %d", y.closed, y.window, Messages)
			}
			m.pass(59 * time.Second)
			y.allow(1) // the time begins anew
			m.pass(59 * time.Second)
			if y.closed {
				t.Fatal("given up, though it took a message within 60 s")
			}
			m.pass(2 * time.Second)
			m.settle()
			if !y.closed || y.reason != Undelivered || y.got != most+1 {
				t.Errorf("closed: %v, for %q, with %d messages of %d", y.closed, y.reason, y.got, most+1)
			}
			m.rest()
		})
	}
}

// A program that counts messages takes none above its limit.
func TestMessageAboveTheLimitOfItsProgramClosesTheTunnel(t *testing.T) {
	for _, wire := range []bool{false, true} {
		t.Run(fmt.Sprint("wire=", wire), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 1))
			m := newMixture(t, r, [2]bool{false, true}, wire, 1<<30)
			x, y := m.ends[0], m.ends[1]
			y.room = 1 << 30
			m.settle()
			m.must(x.end().Chunk(m.now, &m.b, 64<<20, letterOf(0, 0, 10))) // abandoned
			m.must(x.end().Chunk(m.now, &m.b, 64<<20+1, make([]byte, 10)))
			m.settle()
			if !x.closed || x.reason != TooLarge || !y.closed || y.reason != TooLarge || y.got != 0 {
				t.Errorf("closed for %q and %q, wanted %q", x.reason, y.reason, TooLarge)
			}
			m.rest()
		})
	}
}

// Programs that count octets have no word for an empty message, and must not invent one.
func TestEmptyMessageComesFromProgramsThatCountMessagesOnly(t *testing.T) {
	m := newMixture(t, rand.New(rand.NewPCG(1, 1)), [2]bool{false, true}, false, 1<<30)
	x, y := m.ends[0], m.ends[1]
	m.must(x.end().Chunk(m.now, &m.b, Empty, []byte{0}))
	if x.reason != BadSize || y.reason != BadSize {
		t.Errorf("closed for %q and %q, wanted %q", x.reason, y.reason, BadSize)
	}
	m.rest()
}
