package tunnel

import (
	"testing"
	"time"

	"github.com/project-iris/iris/internal/queue"
)

// counting makes a world of programs of which x counts messages, y, or both. They take
// 128 of a tunnel at first, of 1 MiB.
func counting(t testing.TB, x, y bool) *world {
	w := newWorld(t)
	if x {
		w.x.count(Messages, 1<<20)
	}
	if y {
		w.y.count(Messages, 1<<20)
	}
	return w
}

func TestMessagesAreAcknowledgedWhenTheyAreHeld(t *testing.T) { // V8, V9, V10
	w := counting(t, true, true)
	x, y := w.open(1)
	for i := range uint64(1 << 20) {
		if x.window() == 0 {
			// The peer's window, the forward buffer and one that shows that it is full.
			if want := uint64(Messages + ahead + Messages); i != want {
				t.Errorf("%d messages went ahead, want %d", i, want)
			}
			break
		}
		x.message(10)
	}
	if err := x.end().Message(w.now, &w.b, nil); err != ErrCredit { // V11
		t.Errorf("a message more: %v", err)
	}
	if n := len(y.account().got); n != Messages {
		t.Errorf("%d messages came with %d allowed", n, Messages)
	}
	y.ack(1)
	if n := len(y.account().got); n != Messages+1 || x.window() != 0 {
		t.Errorf("%d messages came, may send %d", n, x.window())
	}
	y.ack(1 << 20)
	if n := uint64(len(y.account().got)); n != x.account().sent {
		t.Errorf("%d messages came of %d", n, x.account().sent)
	}
	if x.window() != Messages {
		t.Errorf("may send %d after all were taken", x.window())
	}
	x.close()
	w.rest()
}

func TestLargeMessagesAreHeldByTheOctet(t *testing.T) {
	w := counting(t, true, false)
	x, y := w.open(1)
	for range 4 {
		x.message(1 << 20)
	}
	if x.window() != Messages {
		t.Errorf("may send %d with 4 MiB held", x.window())
	}
	x.message(1)
	x.message(1 << 20)
	if x.window() != Messages-2 {
		t.Errorf("may send %d with more than 4 MiB held", x.window())
	}
	y.allow(1 << 20)
	if x.window() != Messages-2 {
		t.Errorf("may send %d with still as much held", x.window())
	}
	y.allow(1)
	y.allow(1 << 20)
	if x.window() != Messages {
		t.Errorf("may send %d with 3 MiB held", x.window())
	}
	x.close()
	y.allow(1 << 30)
	y.isClosed("")
	w.rest()
}

func TestAcknowledgementTooManyIsAViolation(t *testing.T) { // V12
	w := counting(t, true, true)
	w.y.takes = 3
	x, y := w.open(1)
	ack := func(e *end) error { return e.end().Ack(w.now, &w.b) }
	if err := ack(y); err != ErrAck {
		t.Errorf("with nothing sent: %v", err)
	}
	x.message(1)
	x.message(1 << 20)
	y.ack(2)
	if err := ack(y); err != ErrAck {
		t.Errorf("the third of two: %v", err)
	}
	if err := ack(x); err != ErrAck {
		t.Errorf("by the sender: %v", err)
	}
	x.close()
	w.rest()
}

func TestProgramThatTakesNothingGetsNothing(t *testing.T) {
	w := counting(t, true, true)
	w.y.takes = 0
	x, y := w.open(1)
	x.message(1)
	x.message(0)
	y.got()
	if err := y.end().Ack(w.now, &w.b); err != ErrAck {
		t.Errorf("an acknowledgement of nothing: %v", err)
	}
	x.close()
	w.pass(61 * time.Second)
	y.isClosed(Undelivered)
	w.rest()
}

func TestEmptyMessageCountsLikeAnyOther(t *testing.T) { // V16
	w := counting(t, true, true)
	w.y.takes = 2
	x, y := w.open(1)
	for range 3 {
		x.message(0)
	}
	empty := chunk{Empty, 0, 0}
	y.got(empty, empty)
	y.ack(1)
	y.got(empty, empty, empty)
	x.message(5)
	y.got(empty, empty, empty)
	y.ack(1)
	y.got(empty, empty, empty, chunk{5, 0, 5})
	if x.window() != Messages {
		t.Errorf("may send %d, all have come", x.window())
	}
	x.close()
	w.rest()
}

// A program that counts octets gets no empty messages. They cost it nothing, and hold
// nothing up.
func TestEmptyMessageIsAcknowledgedAndDropped(t *testing.T) {
	w := counting(t, true, false)
	x, y := w.open(1)
	x.message(0)
	if x.window() != Messages || x.end().peer.waits.Len() > 0 {
		t.Error("an empty message waits for nothing")
	}
	y.allow(10)
	x.message(0)
	x.message(20) // more than all that was ever granted
	x.message(0)
	y.got(chunk{20, 0, 20})
	if c := y.end().credit; c != -10 || x.window() != Messages {
		t.Errorf("a credit of %d is left, may send %d", c, x.window())
	}
	x.close()
	y.isClosed("")
	w.rest()
}

// The message after an abandoned one is what the program gets for its allowance.
func TestAbandonedMessageCostsNothing(t *testing.T) {
	w := counting(t, false, true)
	w.y.takes = 1
	x, y := w.open(1)
	send := func(size, n uint64) {
		t.Helper()
		w.must(x.send(size, n))
	}
	send(100_000, 40_000)
	send(50, 20) // in place of it
	send(70, 70)
	want := []chunk{{100_000, 0, 40_000}, {50, 0, 20}, {70, 0, 70}}
	y.got(want...)
	send(80, 30) // has to wait for an allowance of its own
	y.got(want...)
	send(90, 90)
	y.ack(1)
	y.got(append(want, chunk{80, 0, 30}, chunk{90, 0, 90})...)
	if err := y.end().Ack(w.now, &w.b); err != nil {
		t.Error("the second message could not be acknowledged:", err)
	}
	if err := y.end().Ack(w.now, &w.b); err != ErrAck {
		t.Error("an abandoned message was acknowledged:", err)
	}
	x.close()
	w.rest()
}

func TestWithoutMemoryTheTunnelEndsAmidAMessage(t *testing.T) {
	for _, both := range []bool{false, true} {
		w := newWorldOf(t, 6*queue.LargeBlock)
		w.x.count(Messages, 1<<20)
		if both {
			w.y.count(0, 1<<20)
		}
		x, y := w.open(1)
		x.message(100)
		x.message(1 << 20)
		x.isClosed(NoMemory)
		if x.account().granted != Messages+1 {
			t.Errorf("%d messages were acknowledged, want the first alone", x.account().granted-Messages)
		}
		y.isOpen()
		if both {
			w.pass(61 * time.Second)
			y.isClosed(Undelivered)
		} else {
			y.allow(1 << 30) // what was accepted still comes
			if n := len(y.account().got); n < 2 || n > 7 {
				t.Errorf("%d chunks of 64 KiB were held in %d octets", n, w.budget.Limit())
			}
			y.isClosed(NoMemory)
		}
		w.rest()
	}
}

// A message and what came with it, a close: nothing is heard after its confirmation, nor
// acknowledged before.
func TestMessagesBeforeACloseAreNotAcknowledged(t *testing.T) { // V17
	w := counting(t, true, true)
	x, y := w.open(1)
	for range 3 {
		w.must(x.end().Message(w.now, &w.b, x.account().say(5)))
	}
	e := x.end()
	x.close()
	e.Acknowledge(&w.b)
	if x.account().granted != Messages {
		t.Errorf("%d messages were acknowledged", x.account().granted-Messages)
	}
	y.got(chunk{5, 0, 5}, chunk{5, 0, 5}, chunk{5, 0, 5})
	y.isClosed("")
	w.rest()
}

// Empty messages, long ones, and the end of what one sends cross the connection of two
// nodes; nobody else's credit bounds what its own program takes.
func TestMessagesCrossTheConnection(t *testing.T) {
	for _, test := range []struct {
		x, y bool
	}{{true, true}, {true, false}, {false, true}} {
		w := counting(t, test.x, test.y)
		w.y.takes = 2
		x, y, near, far := w.splice(4)
		settle(near, far)
		take := uint64(1)
		if !test.y {
			take = 1 << 20
		}
		y.take(2 * take)
		lengths := []uint64{3, 0, 100_000, 0, 7}
		var want []chunk
		for _, n := range lengths {
			switch {
			case n == 0 && !test.x: // it has none
			case n == 0 && !test.y:
				x.message(n)
			case n == 0:
				x.message(n)
				want = append(want, chunk{Empty, 0, 0})
			case n > chunkLimit:
				x.message(n)
				want = append(want, chunk{n, 0, chunkLimit}, chunk{0, 0, n - chunkLimit})
			default:
				x.message(n)
				want = append(want, chunk{n, 0, n})
			}
		}
		settle(near, far)
		for range lengths {
			y.take(take)
		}
		settle(near, far)
		y.got(want...)
		if test.x && x.window() != Messages {
			t.Errorf("may send %d messages, all have come", x.window())
		}
		if owed := far.table.End(0); owed.window+owed.owed != Window {
			t.Errorf("of the window between the nodes are left %d and %d", owed.window, owed.owed)
		}
		y.message(9)
		x.close()
		settle(near, far)
		y.isClosed("")
		w.rest()
	}
}
