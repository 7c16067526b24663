package messaging

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/queue"
)

// Whoever leaves, wherever the turn is: the next in turn stays the next, and a
// turn behind the last member goes on with the first.
func TestMemberThatLeavesCostsNobodyItsTurn(t *testing.T) {
	for size := 2; size <= 5; size++ {
		for turn := range size {
			for first := range size {
				for second := range size - 1 {
					w := newWorld(t)
					c, ms := w.program(""), w.programs("echo", size)
					for i := range turn {
						w.request(c, 1, "echo", "", 1000)
						w.reply(ms[i], 0, "")
					}
					order := slices.Concat(ms[turn:], ms[:turn])
					for _, i := range []int{first, second} {
						if len(ms) > 1 {
							w.close(ms[i])
							order = slices.DeleteFunc(order, func(p *program) bool { return p == ms[i] })
							ms = slices.Delete(ms, i, i+1)
						}
					}
					for i, m := range order {
						m.read()
						w.request(c, 1, "echo", "", 1000)
						ds := m.read()
						if len(ds) != 1 {
							t.Fatalf("%d members, turn at %d, %d and then %d left: choice %d is out of turn", size, turn, first, second, i)
						}
						w.reply(m, ds[0].id, "")
					}
					w.rest(append(ms, c)...)
				}
			}
		}
	}
}

func TestRequestTwoMembersRefuseGoesToTheThirdAtOnce(t *testing.T) {
	w := newWorld(t)
	c, ms := w.program(""), w.programs("echo", 3)
	ms[0].seal()
	ms[1].seal()
	c.Conn.Request(w.now, &w.b, 1, []byte("echo"), []byte("ping"), 1000) // the loop stands
	w.expect(ms[2], handed(0, "ping", 1000))
	w.rest(append(ms, c)...)
}

func TestRequestGoesToABusyMemberWhenOneThatRefusesLeaves(t *testing.T) {
	w := newWorld(t)
	c, busy := w.program(""), w.program("echo")
	w.request(c, 1, "echo", "first", 1000)
	a, b := w.program("echo"), w.program("echo")
	a.seal()
	b.seal()
	w.request(c, 2, "echo", "second", 1000)
	w.expect(busy, handed(0, "first", 1000))
	w.close(a)
	w.expect(busy, handed(1, "second", 1000))
	w.rest(b, busy, c)
}

func TestMemberThatJoinsBeforeTheLoopHearsOfARequestGetsIt(t *testing.T) {
	w := newWorld(t)
	c := w.program("")
	c.Conn.Request(w.now, &w.b, 1, []byte("echo"), []byte("ping"), 1000)
	m := new(program)
	m.Conn = w.plane.NewConn("echo", m)
	w.plane.Register(m.Conn)
	w.plane.Apply(w.now, &w.b, []core.Change{{Kind: core.Cluster, Name: "echo", Conn: m.ID, Join: true}})
	w.expect(m)
	w.attend()
	w.expect(m, handed(0, "ping", 1000))
	w.rest(c, m)
}

func TestRequestThatGaveUpBeforeTheLoopHeardOfItLeavesNothing(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		w := newWorld(t)
		c := w.program("")
		c.Conn.Request(w.now, &w.b, 1, []byte("echo"), nil, 5)
		w.now = w.now.Add(6 * time.Millisecond)
		c.Expire(w.now, &w.b)
		if reversed {
			slices.Reverse(w.plane.notes)
		}
		w.attend()
		w.expect(c, answered(1, Unreached, ""))
		if n := len(w.plane.waiting); n != 0 {
			t.Errorf("the loop waits for %d names", n)
		}
		w.rest(c)
	}
}

// The next call may be the same one reused, and be parked, before the loop hears
// of the end of the one before.
func TestRequestParkedNextIsNotTakenForTheOneBefore(t *testing.T) {
	w := newWorld(t)
	c := w.program("")
	w.request(c, 1, "echo", "before", 5)
	w.now = w.now.Add(6 * time.Millisecond)
	c.Expire(w.now, &w.b)
	c.Conn.Request(w.now, &w.b, 2, []byte("other"), []byte("next"), 1000)
	w.attend()
	if n := len(w.plane.waiting); n != 1 {
		t.Errorf("the loop waits for %d names, want 1", n)
	}
	m, other := w.program("echo"), w.program("other")
	w.expect(m)
	w.expect(other, handed(0, "next", 1000))
	w.rest(c, m, other)
}

// slow is a program to which handing over takes until after the deadline.
type slow struct {
	program
	meanwhile func()
}

func (s *slow) Request(b *queue.Batch, id uint64, body []byte, timeout, left uint64) (uint64, error) {
	pos, err := s.program.Request(b, id, body, timeout, left)
	s.meanwhile()
	return pos, err
}

func (s *slow) Offer(b *queue.Batch, id uint64) (uint64, error) {
	pos, err := s.program.Offer(b, id)
	s.meanwhile()
	return pos, err
}

func TestRequestThatEndsWhileItIsHandedOverIsTakenBack(t *testing.T) {
	w := newWorld(t)
	c, s := w.program(""), new(slow)
	s.Conn = w.plane.NewConn("echo", s)
	s.meanwhile = func() {
		w.now = w.now.Add(10 * time.Millisecond)
		c.Expire(w.now, &w.b)
	}
	w.plane.Register(s.Conn)
	w.apply(core.Change{Kind: core.Cluster, Name: "echo", Conn: s.ID, Join: true})
	w.request(c, 1, "echo", "", 5)
	w.build(c, 2, "echo", 5)
	w.expect(c, answered(1, TimedOut, ""), unbuilt(2, TimedOut))
	if s.Load() != 1 {
		t.Errorf("Load = %d, want that of the build to confirm", s.Load())
	}
	w.reply(&s.program, 0, "late")
	if from, _, ok := confirmed(s, 0); from != nil || !ok {
		t.Errorf("Confirm = %v, %v", from, ok)
	}
	w.expect(c)
	if s.Load() != 0 {
		t.Errorf("Load = %d", s.Load())
	}
	w.rest(&s.program, c)
}

// Requests and builds have ids of their own.
func TestBuildThatExpiresLeavesTheRequestOfTheSameIdAlone(t *testing.T) {
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	w.request(c, 1, "echo", "", 1000)
	w.build(c, 2, "echo", 5)
	w.pass(6 * time.Millisecond)
	w.expect(c, unbuilt(2, TimedOut))
	w.reply(m, 0, "pong")
	w.expect(c, answered(1, Replied, "pong"))
	if m.Load() != 1 {
		t.Errorf("Load = %d, want that of the build to confirm", m.Load())
	}
	w.rest(c, m)
}

// It may be on its way already when the confirm stops it.
func TestLimitThatComesAfterTheConfirmFailsNobody(t *testing.T) {
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	w.build(c, 1, "echo", 1000)
	g, _ := m.served.tables[build].find(0)
	m.Confirm(0)
	g.limit.Expire(w.now.Add(confirmLimit), &w.b)
	if m.failed != "" {
		t.Errorf("failed: %s", m.failed)
	}
	w.rest(c, m)
}

func TestCallsMoveOnInTheOrderTheyWereHandedOverIn(t *testing.T) {
	w := newWorld(t)
	c, a := w.program(""), w.program("echo")
	var want []string
	for i := range uint64(100) { // ids 0, 20 ... stay open while the ring turns
		w.request(c, i, "echo", fmt.Sprint(i), 1000)
		if i%20 != 0 {
			w.reply(a, i, "")
			continue
		}
		w.build(c, 1000+i, "echo", 1000)
		want = append(want, "request "+fmt.Sprint(i), "offer ")
	}
	b := w.program("echo")
	w.close(a)
	var got []string
	for _, d := range b.read() {
		got = append(got, d.what+" "+d.body)
	}
	if !slices.Equal(got, want) {
		t.Errorf("moved on as %s, want %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
	w.rest(b, c)
}
