package tunnel

import (
	"slices"
	"testing"

	"github.com/project-iris/iris/internal/queue"
)

// A diary is a Sink that notes what it hears.
type diary struct{ heard []string }

func (d *diary) TunnelOpen(*queue.Batch, uint64)          { d.heard = append(d.heard, "open") }
func (d *diary) TunnelAllow(*queue.Batch, uint64, uint64) { d.heard = append(d.heard, "allow") }
func (d *diary) TunnelClose(*queue.Batch, uint64, string) { d.heard = append(d.heard, "close") }

func (d *diary) TunnelChunk(*queue.Batch, uint64, uint64, []byte) bool {
	d.heard = append(d.heard, "chunk")
	return true
}

// Programs that count messages may break when they handle an acknowledgement after the
// close that came right behind it.
func TestBlockedSenderIsReleasedByTheCloseAlone(t *testing.T) {
	w := newWorld(t)
	from, to := new(diary), new(diary)
	x, y := NewMessages(from, 1<<20, w.budget, &w.stats), NewMessages(to, 1<<20, w.budget, &w.stats)
	x.Building(1)
	y.Building(1)
	Open(w.now, &w.b, w.timers, x, 1, y, 1)
	sender, receiver := x.End(1), y.End(1)
	for sender.window > 0 {
		if err := sender.Message(w.now, &w.b, []byte("waits")); err != nil {
			t.Fatal(err)
		}
		sender.Acknowledge(&w.b)
	}
	from.heard = nil
	receiver.Close(w.now, &w.b)
	if want := []string{"close"}; !slices.Equal(from.heard, want) {
		t.Errorf("the sender heard %q, wanted %q", from.heard, want)
	}
}
