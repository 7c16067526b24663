package tunnel

import (
	"testing"
	"time"

	"github.com/project-iris/iris/internal/queue"
)

// A trickle is a Sink that takes so many chunks.
type trickle struct{ chunks int }

func (*trickle) TunnelOpen(*queue.Batch, uint64)          {}
func (*trickle) TunnelAllow(*queue.Batch, uint64, uint64) {}
func (*trickle) TunnelClose(*queue.Batch, uint64, string) {}

func (s *trickle) TunnelChunk(*queue.Batch, uint64, uint64, []byte) bool {
	s.chunks--
	return s.chunks >= 0
}

// Who sends large messages waits while the other end takes them, and no longer: its
// connection has more than this tunnel.
func TestSenderOfLargeMessagesWaitsWhileTheyMove(t *testing.T) {
	w := newWorld(t)
	from, to := new(trickle), new(trickle)
	x, y := NewMessages(from, 64<<20, w.budget, &w.stats), NewTable(to, w.budget, &w.stats)
	x.Building(1)
	y.Building(1)
	Open(w.now, &w.b, w.timers, x, 1, y, 1)
	sender, receiver := x.End(1), y.End(1)
	receiver.Allow(w.now, &w.b, 1<<40)
	send := func(messages int) {
		t.Helper()
		for range messages {
			if err := sender.Message(w.now, &w.b, make([]byte, 4<<20)); err != nil {
				t.Fatal(err)
			}
		}
		sender.Acknowledge(&w.b)
	}
	take := func(octets int) {
		to.chunks = octets / chunkLimit
		receiver.Room(&w.b)
	}
	if send(4); len(w.b.Crowds) > 0 {
		t.Fatal("16 MiB are a crowd")
	}
	if send(1); len(w.b.Crowds) != 1 {
		t.Fatalf("20 MiB are %d crowds", len(w.b.Crowds))
	}
	crowd := w.b.Crowds[0]
	for range 5 {
		if !crowd.Crowded(w.now) {
			t.Fatal("does not wait for who takes something every second")
		}
		take(chunkLimit)
		w.pass(time.Second)
	}
	crowd.Crowded(w.now)
	if w.pass(time.Second); crowd.Crowded(w.now) {
		t.Error("waits for who took nothing for a second")
	}
	take(8 << 20)
	if w.pass(time.Second); crowd.Crowded(w.now) {
		t.Error("waits for 12 MiB")
	}
	send(2)
	if !crowd.Crowded(w.now) {
		t.Error("does not wait for 20 MiB")
	}
	receiver.Close(w.now, &w.b)
	if crowd.Crowded(w.now) {
		t.Error("waits for an end that is closed")
	}
	w.rest()
}
