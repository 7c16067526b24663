package queue

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// A model is what a queue is to hold, kept in plain slices: every accepted frame
// in one stream, of which some prefix is written and some suffix was cut.
type model struct {
	t      testing.TB
	q      *Queue
	budget *Budget
	limit  int

	stream  []byte
	starts  []int // of the frames in stream
	written int
	passed  int // octets handed to the writer, or kept

	cutFrom int
	cut     []byte

	open, sealed, discarded, claimed, owed, wantRoom bool

	next    []byte // what Next returned, until Wrote
	refused int    // of the last appends, by the budget
}

func newModel(t testing.TB, budget *Budget, limit int) *model {
	return &model{t: t, q: New(budget, limit), budget: budget, limit: limit}
}

func (m *model) waiting() int { return len(m.stream) - m.written }

// noise is where the octets of frames come from.
var noise = func() []byte {
	b := make([]byte, 300<<10)
	r := rand.New(rand.NewPCG(3, 3))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}()

// frame returns the n octets of the next frame: those of another begin elsewhere.
func (m *model) frame(n int) []byte {
	return noise[(len(m.starts)*2749)%(50<<10):][:n]
}

func (m *model) accept(f []byte) {
	m.starts = append(m.starts, len(m.stream))
	m.stream = append(m.stream, f...)
}

func (m *model) ask() bool {
	if m.owed || !m.open {
		return false
	}
	m.owed = true
	return true
}

// append appends a frame of n octets, of which the first head and the last tail
// are given apart from the payload.
func (m *model) append(n, head, tail int, shared bool) {
	f := m.frame(n)
	head = min(head, n)
	tail = min(tail, n-head)
	p := Payload{Data: f[head : n-tail]}
	if shared {
		p.Shared = NewBody(m.budget, p.Data)
		defer p.Shared.Release()
	}
	pos, flush, err := m.q.Append(f[:head], p, f[n-tail:])
	want := error(nil)
	switch {
	case m.sealed:
		want = ErrSealed
	case m.waiting() > m.limit:
		want = ErrFull
		m.wantRoom = true
	case errors.Is(err, ErrMemory) && 2*m.budget.Used()+int64(n+LargeBlock) > m.budget.Limit():
		want = ErrMemory // no more than half of the budget is ever refused
		m.refused++
		m.wantRoom = true
	}
	if err != want {
		m.t.Fatalf("Append of %d octets to %d of %d: %v, want %v", n, m.waiting(), m.limit, err, want)
	}
	if err == nil {
		if pos != uint64(len(m.stream)) {
			m.t.Fatalf("Append: position %d, want %d", pos, len(m.stream))
		}
		m.accept(f)
	}
	if want := !m.sealed && m.ask(); flush != want {
		m.t.Fatalf("Append: flush %v, want %v", flush, want)
	}
}

func (m *model) appendIfRoom(room, n, head int) {
	f := m.frame(n)
	head = min(head, n)
	flush, err := m.q.AppendIfRoom(room, f[:head], f[head:])
	want := error(nil)
	switch {
	case m.sealed:
		want = ErrSealed
	case m.waiting() >= room || m.wantRoom && m.waiting() > 0:
		want = ErrNoRoom
		m.wantRoom = true
	case err != nil && m.waiting() > 0 && 2*m.budget.Used()+int64(n+LargeBlock) > m.budget.Limit():
		want = ErrNoRoom
		m.wantRoom = true
	default:
		m.accept(f)
	}
	if err != want {
		m.t.Fatalf("AppendIfRoom(%d) with %d waiting: %v, want %v", room, m.waiting(), err, want)
	}
	if want := err == nil && m.ask(); flush != want {
		m.t.Fatalf("AppendIfRoom: flush %v, want %v", flush, want)
	}
}

func (m *model) claim() {
	want := !m.claimed && m.open && !m.discarded && m.waiting() > 0
	m.owed = false
	if got := m.q.Claim(); got != want {
		m.t.Fatalf("Claim = %v, want %v", got, want)
	}
	m.claimed = m.claimed || want
}

func (m *model) takeNext() {
	if !m.claimed || m.next != nil {
		return
	}
	p := m.q.Next()
	if m.discarded || m.waiting() == 0 {
		if p != nil {
			m.t.Fatalf("Next returned %d octets, want none", len(p))
		}
		m.claimed = false
		return
	}
	if len(p) == 0 || len(p) > m.waiting() {
		m.t.Fatalf("Next returned %d octets of %d", len(p), m.waiting())
	}
	m.next = p
	m.passed = max(m.passed, m.written+len(p))
}

func (m *model) wrote(n, room int) {
	if m.next == nil {
		return
	}
	if !bytes.Equal(m.next, m.stream[m.written:][:len(m.next)]) {
		m.t.Fatal("the octets in the hands of the writer are not those appended")
	}
	n = min(n, len(m.next))
	m.next = nil
	m.written += n
	want := m.wantRoom && m.waiting() < room
	if got := m.q.Wrote(n, room); got != want {
		m.t.Fatalf("Wrote: room %v, want %v", got, want)
	}
	m.wantRoom = m.wantRoom && !want
}

func (m *model) unclaim() {
	if !m.claimed || m.next != nil {
		return
	}
	m.q.Unclaim()
	m.claimed = false
}

func (m *model) keep() {
	if m.sealed {
		return
	}
	m.q.Keep()
	m.passed = len(m.stream)
}

func (m *model) uncork() {
	if m.sealed {
		return
	}
	if got := m.q.Open(); got != (m.waiting() > 0) {
		m.t.Fatalf("Open = %v with %d waiting", got, m.waiting())
	}
	m.open = true
}

func (m *model) seal(last []byte, cut bool) {
	m.q.Seal(cut)
	m.q.Farewell(last)
	if m.sealed {
		return
	}
	m.sealed, m.open = true, true
	m.cutFrom = len(m.stream)
	if cut {
		for i, at := range m.starts {
			if at >= m.passed {
				m.cutFrom, m.starts = at, m.starts[:i]
				break
			}
		}
		m.cut = bytes.Clone(m.stream[m.cutFrom:])
		m.stream = m.stream[:m.cutFrom]
	}
	m.stream = append(m.stream, last...)
}

// checkCut reads what was cut, at a position and of a length.
func (m *model) checkCut(at, n int) {
	pos := max(m.cutFrom+at, 0)
	at = pos - m.cutFrom
	b, ok := m.q.CutAt([]byte("before"), uint64(pos), n)
	if want := m.sealed && 0 <= at && at < len(m.cut); ok != want {
		m.t.Fatalf("CutAt(%d) = %v, want %v: %d octets from %d on were cut", pos, ok, want, len(m.cut), m.cutFrom)
	}
	want := []byte("before")
	if ok {
		want = append(want, m.cut[at:min(at+n, len(m.cut))]...)
	}
	if !bytes.Equal(b, want) {
		m.t.Fatalf("CutAt(%d, %d) returned other octets than were appended", pos, n)
	}
}

func (m *model) uncut() {
	m.q.Uncut()
	m.cut = nil
}

func (m *model) discard() {
	m.q.Discard()
	m.sealed, m.open, m.discarded = true, true, true
}

func (m *model) check() {
	want := m.waiting()
	if m.discarded {
		if m.claimed {
			return // the writer frees it
		}
		want = 0
	}
	if got := m.q.bytes; got != want {
		m.t.Fatalf("Waiting = %d, want %d", got, want)
	}
	if got := m.q.Sealed(); got != m.sealed {
		m.t.Fatalf("Sealed = %v, want %v", got, m.sealed)
	}
	if got, want := m.q.Drained(), m.sealed && want == 0 && !m.claimed; got != want {
		m.t.Fatalf("Drained = %v, want %v", got, want)
	}
	if n := len(m.next); n > 0 && (m.next[0] != m.stream[m.written] || m.next[n-1] != m.stream[m.written+n-1]) {
		m.t.Fatal("the octets in the hands of the writer have changed")
	}
}

// finish writes out what is left.
func (m *model) finish() {
	m.wrote(1<<30, 0)
	m.uncork()
	m.uncut()
	if !m.claimed {
		m.claim()
	}
	for m.claimed {
		m.takeNext()
		m.wrote(1<<30, 0)
	}
	m.check()
}

// sizes are where blocks of either kind end, and thereabouts.
var sizes = [16]int{
	1, 2, 9, 100, 128, 1000, SmallBlock - 1, SmallBlock, SmallBlock + 1, 10_000,
	1 << 16, 1<<16 + 9, LargeBlock - 1, LargeBlock, LargeBlock + 1, 3*LargeBlock + 5,
}

// play runs a script on two queues that share a budget and so the pooled memory:
// what one uses after it is free shows in the other.
func play(t testing.TB, script []byte) {
	const limit = 200 << 10
	budget := NewBudget(2 << 20)
	ms := [2]*model{newModel(t, budget, limit), newModel(t, budget, limit)}
	for len(script) >= 3 {
		op, x, y := script[0], script[1], script[2]
		script = script[3:]
		m := ms[op>>7]
		size := sizes[x&15]
		switch op & 31 {
		case 0, 1, 2, 3, 4, 5:
			m.append(size, int(y&15), int(y>>4&3)*5, false)
		case 6, 7:
			m.append(size+int(y)+30, 1+int(y&15), int(y>>4&1)*9, true)
		case 8, 9, 10:
			m.appendIfRoom(int(y)<<10, size, int(x>>4))
		case 11, 12, 13:
			m.claim()
		case 14, 15, 16, 17, 18, 19:
			m.takeNext()
		case 20, 21:
			m.wrote(int(y)<<4, int(x)<<10)
		case 22, 23, 24, 25:
			m.wrote(1<<30, int(x)<<10)
		case 26:
			m.unclaim()
		case 27:
			m.uncork()
		case 28:
			m.keep()
		case 29:
			m.checkCut(int(x)<<8+int(y)-1, size)
		case 30: // rare, as not much happens after it
			switch {
			case y < 40:
				m.seal(m.frame(int(x)), y%4 != 0)
			case y < 44:
				m.discard()
			case y < 60:
				m.uncut()
			}
		case 31:
			for m.claimed && m.next == nil && m.waiting() > int(x)<<10 {
				m.takeNext()
				m.wrote(1<<30, int(y)<<10)
			}
		}
		m.check()
	}
	for _, m := range ms {
		if m.sealed {
			for at := 0; at < len(m.cut); at += 1 + len(m.cut)/7 {
				m.checkCut(at, 5000)
			}
		}
		m.finish()
	}
	if n := budget.Used(); n != 0 {
		t.Fatalf("%d octets stay charged to the budget", n)
	}
}

func TestQueueAgainstModel(t *testing.T) {
	for seed := range uint64(120) {
		r := rand.New(rand.NewPCG(seed, 1))
		script := make([]byte, 3*(50+r.IntN(400)))
		for i := range script {
			script[i] = byte(r.Uint32())
		}
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { play(t, script) })
	}
}

func FuzzQueue(f *testing.F) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		script := make([]byte, 3*(20+r.IntN(100)))
		for i := range script {
			script[i] = byte(r.Uint32())
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		play(t, script[:min(len(script), 3*1000)])
	})
}
