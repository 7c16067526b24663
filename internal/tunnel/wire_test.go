package tunnel

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/queue"
)

const lost = "connection lost"

// A frame is what halves send each other.
type frame struct {
	what   byte // 'c' chunk, 'a' credit, 'f' final
	n      uint64
	octets []byte
	reason string
}

// A half is a Wire: one side of a simulated connection. It checks what is promised
// to connections.
type half struct {
	w      *world
	table  *Table
	peer   *half
	out    []frame // not arrived
	room   int     // frames of chunks that may be under way
	full   bool    // refused a chunk
	credit int64   // of the other side
	sent   uint64
	final  *uint64
	heard  bool // the other side's end
	over   bool // closed when all has arrived
	reset  bool // the connection was: nothing more arrives
	gone   bool
}

func (h *half) TunnelOpen(*queue.Batch, uint64) {}

func (h *half) TunnelAllow(_ *queue.Batch, _, octets uint64) {
	h.check("allowance")
	h.send(frame{what: 'a', n: octets})
}

func (h *half) TunnelFinal(_ *queue.Batch, _, final uint64, reason string) {
	h.check("final")
	if h.final != nil || h.heard {
		h.w.t.Errorf("a second end of the tunnel, %d octets for %q", final, reason)
	}
	if final < h.sent {
		h.w.t.Errorf("the end is at %d octets, %d are out", final, h.sent)
	}
	h.final = &final
	h.send(frame{what: 'f', n: final, reason: reason})
}

func (h *half) TunnelClose(*queue.Batch, uint64, string) {
	h.check("close")
	if h.final == nil && !h.heard {
		h.w.t.Error("closed, and the other side was not told")
	}
	h.over = true
}

func (h *half) TunnelChunk(_ *queue.Batch, _, size uint64, octets []byte) bool {
	h.check("chunk")
	if h.full || h.room <= 0 {
		h.full = true
		return false
	}
	h.room--
	h.sent += uint64(len(octets))
	if h.credit -= int64(len(octets)); h.credit < 0 {
		h.w.t.Errorf("%d octets went beyond the credit", -h.credit)
	}
	if h.final != nil && h.sent > *h.final {
		h.w.t.Errorf("%d octets are out, the end was said to be at %d", h.sent, *h.final)
	}
	if h.heard {
		h.w.t.Error("a chunk for a program that has ended")
	}
	h.send(frame{'c', size, append([]byte(nil), octets...), ""})
	return true
}

func (h *half) send(f frame) {
	if !h.reset {
		h.out = append(h.out, f)
	}
}

func (h *half) check(what string) {
	if h.over || h.gone {
		h.w.t.Errorf("%s after the close", what)
	}
}

// carry has up to n frames arrive at the other side, and the end if all have. It
// reports whether anything did.
func (h *half) carry(n int) (moved bool) {
	w := h.w
	for ; n > 0 && len(h.out) > 0; n-- {
		f := h.out[0]
		h.out, moved = h.out[1:], true
		if f.what == 'c' {
			h.room++
		}
		p := h.peer
		e := p.table.End(0)
		switch {
		case p.gone:
		case f.what == 'c':
			if e != nil {
				w.must(e.Chunk(w.now, &w.b, f.n, f.octets))
			}
		case f.what == 'a':
			p.credit += int64(f.n)
			if e != nil {
				e.Allow(w.now, &w.b, f.n)
			}
		case f.what == 'f':
			p.heard = true
			if e != nil {
				w.must(e.Final(w.now, &w.b, f.n, f.reason))
			}
		}
		if h.full && !h.gone {
			h.full = false
			h.table.Room(&w.b)
		}
	}
	if len(h.out) == 0 && (h.over || h.reset) && !h.peer.gone {
		h.peer.lose()
		moved = true
	}
	return moved
}

func (w *world) must(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Fatal(err)
	}
}

// lose is the end of what comes from the other side.
func (h *half) lose() {
	if !h.gone {
		h.table.Close(h.w.now, &h.w.b, lost)
		h.gone = true
	}
}

// splice makes a tunnel from x to y, each on a node of its own.
func (w *world) splice(room int) (x, y *end, near, far *half) {
	near, far = &half{w: w, room: room}, &half{w: w, room: room}
	near.peer, far.peer = far, near
	for _, h := range []*half{near, far} {
		h.table = NewWire(h, w.budget, &w.stats)
		h.table.Building(0)
	}
	w.x.reserve(1)
	w.y.reserve(1001)
	Open(w.now, &w.b, w.timers, far.table, 0, w.y.table, 1001)
	Open(w.now, &w.b, w.timers, w.x.table, 1, near.table, 0)
	return &end{w, w.x, 1}, &end{w, w.y, 1001}, near, far
}

// settle lets everything under way arrive.
func settle(near, far *half) {
	for moved := true; moved; {
		a, b := near.carry(1), far.carry(1)
		moved = a || b
	}
}

func TestProgramsOnTwoNodesAreToldAsOnOne(t *testing.T) {
	w := newWorld(t)
	x, y, near, far := w.splice(4)
	if !x.account().opened || x.window() != Window || y.window() != Window {
		t.Fatalf("the initiator was told %v; granted %d and %d", x.account().opened, x.window(), y.window())
	}
	y.allow(1 << 30)
	x.allow(1 << 30)
	x.message(1 << 20)
	y.message(5)
	if y.account().octets > 0 {
		t.Fatal("octets went out without credit of the other node")
	}
	settle(near, far)
	if y.account().octets != 1<<20 || x.account().octets != 5 {
		t.Fatalf("%d and %d octets came", y.account().octets, x.account().octets)
	}
	x.close()
	settle(near, far)
	y.isClosed("")
	w.rest()
}

// A program that sends and does not read, and one that does the same, learn of it
// when one of them closes, though nothing can move.
func TestCloseOvertakesWhatWaitsForCredit(t *testing.T) {
	w := newWorld(t)
	x, y, near, far := w.splice(4)
	settle(near, far)
	fill := func(e *end) {
		for e.window() >= 1<<16 {
			e.message(1 << 16)
			settle(near, far)
		}
	}
	fill(x)
	fill(y)
	sent := x.account().sent
	if sent < 2*Window-step {
		t.Errorf("%d octets are between the two, want up to %d", sent, 2*Window)
	}
	x.close()
	x.isClosed("")
	settle(near, far)
	y.isOpen()
	if y.window() <= Window-step {
		t.Errorf("the window is %d: the program is stuck in a send", y.window())
	}
	for range 100 {
		y.message(1 << 16) // into the void
	}
	settle(near, far)
	y.allow(sent)
	settle(near, far)
	y.isClosed("")
	if n := y.account().octets; n != sent {
		t.Errorf("%d octets came of %d", n, sent)
	}
	w.rest()
}

func TestBothCloseOnTwoNodes(t *testing.T) {
	w := newWorld(t)
	x, y, near, far := w.splice(4)
	settle(near, far)
	x.message(2 * Window / 2)
	y.message(100)
	x.close()
	y.close()
	settle(near, far)
	x.isClosed("")
	y.isClosed("")
	w.rest()
}

func TestLostConnectionClosesBothEndsAfterWhatCame(t *testing.T) {
	w := newWorld(t)
	x, y, near, far := w.splice(4)
	settle(near, far)
	x.message(100)
	near.carry(1)
	x.message(200)
	near.lose()
	far.lose()
	x.isClosed(lost)
	y.isOpen()
	y.allow(1000)
	y.got(chunk{size: 100, n: 100})
	y.isClosed(lost)
	w.rest()
}

func TestReasonCrossesTheConnection(t *testing.T) {
	for _, test := range []struct {
		name, x, y string
		do         func(w *world, x *end, near *half)
	}{
		{"bad chunk", BadChunk, BadChunk, func(_ *world, x *end, _ *half) { x.send(0, 1) }},
		{"connection of the program", "", "gone", func(w *world, x *end, _ *half) { w.cut(x.p, "gone") }},
		{"failed", "key limit", "key limit", func(w *world, _ *end, near *half) {
			near.table.End(0).Fail(w.now, &w.b, "key limit")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			x, y, near, far := w.splice(100)
			settle(near, far)
			x.message(100)
			test.do(w, x, near)
			if test.x != "" {
				x.isClosed(test.x)
			}
			settle(near, far)
			y.isOpen()
			y.allow(100)
			settle(near, far)
			y.got(chunk{size: 100, n: 100})
			y.isClosed(test.y)
			w.rest()
		})
	}
}

func TestOtherNodeRunsOutOfMemory(t *testing.T) {
	w := newWorldOf(t, 100*queue.LargeBlock)
	x, y, near, far := w.splice(1000)
	w.y.table.budget = queue.NewBudget(1)
	y.end().waits.Budget = w.y.table.budget
	settle(near, far)
	x.message(100)
	settle(near, far)
	x.isClosed(NoMemory)
	y.isClosed(NoMemory)
	if !near.over || !far.over {
		t.Error("the connection stays")
	}
}

func TestEndsThatAreGoneWhenTheTunnelOpens(t *testing.T) {
	for _, first := range []bool{true, false} {
		w := newWorld(t)
		h := &half{w: w}
		h.table = NewWire(h, w.budget, &w.stats)
		h.table.Building(0)
		w.x.table.Building(1)
		w.cut(w.x, "")
		want := Gone
		if first {
			Open(w.now, &w.b, w.timers, w.x.table, 1, h.table, 0)
		} else {
			want = Left
			Open(w.now, &w.b, w.timers, h.table, 0, w.x.table, 1)
		}
		if !h.over || h.final == nil || h.out[0].reason != want {
			t.Errorf("the other node is told %v", h.out)
		}
		w.rest()
	}
}

func TestNodeThatSendsOtherThanItSaid(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(w *world, e *End) error
	}{
		{"end before what came", func(w *world, e *End) error { return e.Final(w.now, &w.b, 99, "") }},
		{"two ends", func(w *world, e *End) error {
			w.must(e.Final(w.now, &w.b, 200, ""))
			return e.Final(w.now, &w.b, 200, "")
		}},
		{"more than in all", func(w *world, e *End) error {
			w.must(e.Final(w.now, &w.b, 200, ""))
			return e.Chunk(w.now, &w.b, 101, make([]byte, 101))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			x, y, near, far := w.splice(4)
			settle(near, far)
			x.message(100)
			settle(near, far)
			e := far.table.End(0)
			if err := test.do(w, e); err != ErrFinal {
				t.Fatalf("got %v, want %v", err, ErrFinal)
			}
			far.heard = e.ending
			e.Fail(w.now, &w.b, "broken")
			y.allow(100)
			y.isClosed("broken")
			near.lose()
			x.isClosed(lost)
			w.rest()
		})
	}
}

// The program at the other node has 60 s for what it still gets, not for what the
// network takes to bring.
func TestPatienceIsThatOfTheReceivingNode(t *testing.T) {
	w := newWorld(t)
	x, y, near, far := w.splice(4)
	settle(near, far)
	y.allow(100)
	x.message(100)
	x.message(100)
	x.close()
	w.pass(time.Hour)
	near.carry(1)
	near.out[0], near.out[1] = near.out[1], near.out[0] // the end overtakes
	near.carry(1)
	w.pass(time.Hour)
	y.isOpen()
	near.carry(1)
	w.pass(61 * time.Second)
	w.pass(61 * time.Second)
	y.isClosed(Undelivered)
	settle(near, far)
	w.rest()
}

// takeAll has both programs take all there is.
func takeAll(ends []*end, near, far *half) {
	for _, e := range ends {
		if !e.p.messages {
			e.allow(1 << 40)
		}
	}
	for more := true; more; {
		settle(near, far)
		more = false
		for _, e := range ends {
			if s := e.account(); e.p.messages && !s.closed && s.had() > 0 {
				more = true
				e.ack(1 << 40)
			}
		}
	}
}

// Two programs on two nodes do this and that, over a connection that is slow and
// may be reset.
func TestSplicedTunnelsAgainstModel(t *testing.T) {
	for seed := range uint64(48) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			w := newWorld(t)
			for i, p := range []*program{w.x, w.y} {
				if seed>>i&1 == 1 {
					p.count(1+r.Int64N(200), 1<<20)
				}
			}
			x, y, near, far := w.splice(1 + r.IntN(4))
			ends, halves := [2]*end{x, y}, [2]*half{near, far}
			var first *end   // to close
			var due uint64   // what it sent before
			var self [2]bool // closed, instead of being closed
			reset := false
			w.x.room, w.y.room = 1<<r.IntN(22), 1<<r.IntN(22)
			for range 600 {
				i := r.IntN(2)
				e, h := ends[i], halves[i]
				switch op := r.IntN(100); {
				case op < 40:
					n := 1 + r.Uint64N(1<<(1+r.IntN(16)))
					for range r.IntN(12) {
						if n = min(n, 1<<16); e.may(n) && !e.account().closed {
							e.message(n)
						}
					}
					if e.may(0) && e.p.messages && !e.account().closed {
						e.message(uint64(op%3) * r.Uint64N(200_000)) // empty now and then
					}
				case op < 50:
					e.take(r.Uint64N(1 << (1 + r.IntN(22))))
				case op < 60:
					if e.p.read(r.IntN(1 << (1 + r.IntN(21)))) {
						e.p.table.Room(&w.b)
					}
				case op < 98:
					h.carry(1 + r.IntN(6))
				case op == 98 && seed%3 > 0 && r.IntN(4) == 0:
					if first == nil && !e.account().closed {
						first, due = e, e.account().octetsSent()
					}
					self[i] = self[i] || !e.account().closed
					e.close()
				case op == 99 && seed%3 == 2 && r.IntN(8) == 0:
					// What is under way is lost, on one side at first.
					reset = true
					h.lose()
					for _, h := range halves {
						h.reset = true
						h.out = h.out[:r.IntN(len(h.out)+1)]
					}
				}
			}
			for _, e := range ends {
				e.p.room = 1 << 40
				e.p.read(0)
				e.p.wantRoom = false
				e.p.table.Room(&w.b)
			}
			takeAll(ends[:], near, far)
			for i, e := range ends {
				a, b := e.account(), ends[1-i].account()
				sent := e.due(b)
				for k, c := range a.got {
					if c != sent[k] {
						t.Fatalf("end %d: chunk %d is %v, sent was %v", i, k, c, sent[k])
					}
				}
				switch {
				case first == nil && !reset:
					e.isOpen()
					if len(a.got) != len(sent) || e.p.messages && e.window() != Messages || !e.p.messages && e.window() <= Window-step {
						t.Errorf("end %d: %d chunks came of %d, may send %d", i, len(a.got), len(sent), e.window())
					}
				case !a.closed:
					t.Errorf("end %d: not closed", i)
				case !reset && !self[i] && a.octets != due:
					t.Errorf("end %d: %d octets came of %d", i, a.octets, due)
				}
			}
			if first == nil && !reset {
				x.close()
				settle(near, far)
			}
			w.rest()
		})
	}
}
