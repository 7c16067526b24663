package messaging

import (
	"fmt"
	"testing"
	"time"
)

func TestRequestsNotBegunMoveToAnotherMember(t *testing.T) {
	w := newWorld(t)
	c, a := w.program(""), w.program("echo")
	for i := range uint64(6) {
		w.request(c, i, "echo", fmt.Sprint("body ", i), 1000+i)
	}
	w.build(c, 6, "echo", 1000)
	a.mu.Lock()
	a.queue = a.queue[2:] // the program has read two
	a.mu.Unlock()
	b := w.program("echo")
	w.close(a)
	w.expect(b,
		handed(0, "body 2", 1002), handed(1, "body 3", 1003), handed(2, "body 4", 1004), handed(3, "body 5", 1005),
		offered(0))
	if n := w.plane.Retries.Total(); n != 5 {
		t.Errorf("%d retries were counted, want 5", n)
	}
	for i := range uint64(4) {
		w.reply(b, i, "")
		w.expect(c, answered(2+i, Replied, ""))
	}
	if from, id, ok := confirmed(b, 0); from != c.Conn || id != 6 || !ok {
		t.Errorf("Confirm = %v, %d, %v", from, id, ok)
	}
	// The two that were read are lost, and that shows at their deadlines only.
	w.pass(999 * time.Millisecond)
	w.expect(c)
	w.pass(3 * time.Millisecond)
	w.expect(c, answered(0, TimedOut, ""), answered(1, TimedOut, ""))
	if n := w.plane.Drops.Lost.Load(); n != 2 {
		t.Errorf("%d lost requests were counted, want 2", n)
	}
	w.rest(b, c)
}

func TestRequestsNotBegunWaitWhenNoOtherMemberIsThere(t *testing.T) {
	w := newWorld(t)
	c, a := w.program(""), w.program("echo")
	w.request(c, 1, "echo", "ping", 1000)
	w.request(c, 2, "echo", "short", 10)
	w.close(a)
	w.expect(c)
	w.pass(11 * time.Millisecond)
	w.expect(c, answered(2, Unreached, ""))
	b := w.program("echo")
	w.expect(b, handed(0, "ping", 1000))
	w.reply(b, 0, "pong")
	w.expect(c, answered(1, Replied, "pong"))
	w.rest(b, c)
}

func TestInProcessClientsAreToldOfALossAtOnce(t *testing.T) {
	w := newWorld(t)
	c, a := w.program(""), w.program("echo")
	c.Early = true
	w.request(c, 1, "echo", "ping", 1000)
	w.build(c, 2, "echo", 1000)
	w.request(c, 3, "nobody", "", 1000)
	a.read()
	w.expect(c)
	w.close(a)
	w.expect(c, answered(1, Lost, ""), unbuilt(2, Lost))
	w.pass(1001 * time.Millisecond)
	w.expect(c, answered(3, Unreached, ""))
	w.rest(c)
}

func TestClosedRequesterIsForgotten(t *testing.T) {
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	w.request(c, 1, "echo", "ping", 1000)
	w.request(c, 2, "later", "parked", 1000)
	w.build(c, 3, "echo", 1000)
	w.expect(m, handed(0, "ping", 1000), offered(0))
	w.close(c)
	if m.Load() != 1 { // the build is still to be confirmed
		t.Errorf("Load = %d, want 1", m.Load())
	}
	w.reply(m, 0, "to nobody")
	if from, _, ok := confirmed(m, 0); from != nil || !ok {
		t.Errorf("Confirm = %v, %v", from, ok)
	}
	if n := len(w.plane.waiting); n != 0 {
		t.Errorf("calls of a closed connection wait for %d names", n)
	}
	later := w.program("later")
	w.expect(later)
	w.expect(c)
	w.rest(m, later)
}

func TestMemberThatRefusesIsPassedOver(t *testing.T) {
	w := newWorld(t)
	c, ms := w.program(""), w.programs("echo", 3)
	ms[0].seal() // has not left the cluster yet
	for i := range uint64(8) {
		w.request(c, i, "echo", "", 1000)
	}
	if a, b := len(ms[1].read()), len(ms[2].read()); a+b != 8 || a < 2 || b < 2 {
		t.Errorf("the two others got %d and %d of 8 requests", a, b)
	}
	if ms[0].Load() != 0 {
		t.Errorf("the member that took nothing has a load of %d", ms[0].Load())
	}
	w.rest(append(ms, c)...)
}

func TestRequestsThatAllMembersRefuseWait(t *testing.T) {
	w := newWorld(t)
	c, ms := w.program(""), w.programs("echo", 4)
	for _, m := range ms {
		m.seal()
	}
	w.request(c, 1, "echo", "ping", 1000)
	w.expect(c)
	for _, m := range ms {
		w.close(m)
	}
	w.expect(c)
	m := w.program("echo")
	w.expect(m, handed(0, "ping", 1000))
	w.rest(m, c)
}

// A member that closes while it is being handed a call may hand it on before the
// goroutine that handed it over has noted so. Its late note must not undo what
// came after.
func TestLateNoteOfAnAttemptChangesNothing(t *testing.T) {
	hand := func(w *world, c *program, body string) (note func() bool) {
		cl := w.plane.cluster([]byte("echo"))
		call, given, _ := c.calls.add(c.Conn, w.now, request, 1, 1000)
		m := cl.pick(nil)
		id, ok := m.hand(w.now, &w.b, grant{ticket: call, term: given}, request, []byte(body))
		if !ok {
			t.Fatal("not handed over")
		}
		return func() bool { return call.attempted(attempt{member: m, id: id}) }
	}
	t.Run("handed on", func(t *testing.T) {
		w := newWorld(t)
		c, a := w.program(""), w.program("echo")
		note := hand(w, c, "ping")
		b := w.program("echo")
		w.close(a)
		note()
		w.expect(b, handed(0, "ping", 1000))
		w.pass(1001 * time.Millisecond)
		w.expect(c, answered(1, TimedOut, ""))
		if b.Load() != 0 {
			t.Errorf("the member has a load of %d after the deadline", b.Load())
		}
		w.rest(b, c)
	})
	t.Run("parked", func(t *testing.T) {
		w := newWorld(t)
		c, a := w.program(""), w.program("echo")
		note := hand(w, c, "ping")
		w.close(a)
		note()
		b := w.program("echo")
		w.expect(b, handed(0, "ping", 1000))
		w.reply(b, 0, "pong")
		w.expect(c, answered(1, Replied, "pong"))
		w.rest(b, c)
	})
	// The loop hands over a call that was parked.
	t.Run("parked before", func(t *testing.T) {
		w := newWorld(t)
		c := w.program("")
		w.request(c, 1, "echo", "ping", 1000)
		call := w.plane.waiting["echo"].tickets[0].ticket
		delete(w.plane.waiting, "echo") // unpark has it
		body, given, _ := call.parked()
		a := w.program("echo")
		w.plane.cluster([]byte("echo")).pick(nil)
		id, ok := a.hand(w.now, &w.b, grant{ticket: call, term: given}, request, body)
		if !ok {
			t.Fatal("not handed over")
		}
		w.close(a)
		call.attempted(attempt{member: a.Conn, id: id})
		b := w.program("echo")
		w.expect(b, handed(0, "ping", 1000))
		w.rest(b, c)
	})
}

// What a program had in hand when it ended is no load of its node any more.
func TestProgramThatEndedIsNoLoad(t *testing.T) {
	w := newWorld(t)
	c, a, b := w.program(""), w.program("echo"), w.program("echo")
	for i := range uint64(8) {
		w.request(c, i, "echo", "", 1000)
	}
	w.build(c, 8, "echo", 1000)
	a.read()
	w.close(a)
	open := uint16(0)
	for _, d := range b.read() {
		open++
		if d.what == "request" {
			w.reply(b, d.id, "")
			open--
		}
	}
	if n := w.plane.cluster([]byte("echo")).says(w.plane).InFlight; n != open {
		t.Errorf("the node says that it has %d in hand, want %d", n, open)
	}
	w.rest(b, c)
}
