package relay

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/tunnel"
	"github.com/project-iris/iris/internal/wheel"
)

// older is the node's side of a connection of V0, whose queue the test empties.
type older struct {
	*conn
	t      *testing.T
	budget *queue.Budget
	b      queue.Batch
	buf    []byte
}

func newOlder(t *testing.T, memory int64) *older {
	l := memnet.Listen("older")
	near, err := l.Dial()
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close(); l.Close() })
	budget := queue.NewBudget(memory)
	plane := messaging.New(messaging.Config{Timers: wheel.NewTimers(time.Now(), func() {}), Budget: budget, Wake: func() {}})
	server := NewServer(Config{Plane: plane, Tunnels: new(tunnel.Stats), Limits: relaywire.DefaultLimits, Log: slog.New(slog.DiscardHandler)})
	c := newConn(server, far)
	c.speak(relaywire.V0)
	c.queue.Open()
	return &older{conn: c, t: t, budget: budget}
}

// chunk brings n octets, each of value v; they start a message of size, or go on.
func (o *older) chunk(id, size uint64, v byte, n int) bool {
	return o.TunnelChunk(&o.b, id, size, bytes.Repeat([]byte{v}, n))
}

// take takes what waits in the queue, as tunnel id, length and values of each message.
func (o *older) take() (got []string) {
	o.t.Helper()
	o.queue.Claim()
	for p := o.queue.Next(); p != nil; p = o.queue.Next() {
		o.buf = append(o.buf, p...)
		o.queue.Wrote(len(p), room/2)
	}
	for len(o.buf) > 0 {
		var m relaywire.Message
		n, err := relaywire.V0.ParseToClient(&relaywire.DefaultLimits, o.buf, &m)
		if err != nil {
			o.t.Fatal(err)
		}
		o.buf = o.buf[n:]
		var parts string
		for i, v := range m.Body {
			if i == 0 || v != m.Body[i-1] {
				parts += string(v)
			}
		}
		got = append(got, fmt.Sprint(m.ID, " ", len(m.Body), parts))
	}
	return got
}

func (o *older) took(want ...string) {
	o.t.Helper()
	if got := o.take(); fmt.Sprint(got) != fmt.Sprint(want) {
		o.t.Fatalf("came %q, wanted %q", got, want)
	}
}

// charged checks what is charged for parts of messages, with an empty queue.
func (o *older) charged(least, most int64) {
	o.t.Helper()
	if used := o.budget.Used(); used < least || used > most {
		o.t.Fatalf("%d octets are charged, wanted %d to %d", used, least, most)
	}
}

func TestChunksOfSeveralTunnelsAreJoined(t *testing.T) {
	o := newOlder(t, 1<<30)
	for id := range uint64(3) {
		o.chunk(id, 300, 'a'+byte(id), 100)
	}
	o.took()
	o.charged(300, 600)
	o.chunk(7, 50, 'w', 50) // as a whole
	o.chunk(8, tunnel.Empty, 0, 1)
	o.took("7 50w", "8 0")
	for id := range uint64(3) {
		o.chunk(id, 0, 'k'+byte(id), 150)
	}
	o.took()
	for id := range uint64(3) {
		o.chunk(2-id, 0, 'x', 50)
	}
	o.took("2 300cmx", "1 300blx", "0 300akx")
	o.charged(0, 0)
}

func TestAbandonedMessageDoesNotCome(t *testing.T) {
	o := newOlder(t, 1<<30)
	for _, next := range []struct {
		size uint64
		n    int
		want string
	}{
		{10, 10, "1 10n"},
		{tunnel.Empty, 1, "1 0"},
		{200, 100, "1 200nx"},
	} {
		o.chunk(1, 1000, 'a', 400)
		o.chunk(1, 0, 'a', 400)
		o.chunk(1, next.size, 'n', next.n)
		if uint64(next.n) < next.size && next.size != tunnel.Empty {
			o.took()
			o.chunk(1, 0, 'x', int(next.size)-next.n)
		}
		o.took(next.want)
		o.charged(0, 0)
	}
}

// Messages that are complete wait for room. Others, which need none yet, are joined
// meanwhile.
func TestMessageForWhichThereIsNoRoomComesLater(t *testing.T) {
	o := newOlder(t, 1<<30)
	o.chunk(1, 100, 'a', 40)
	o.chunk(3, 100, 'o', 40) // abandoned
	if !o.chunk(9, room, 'f', room) {
		t.Fatal("no room in an empty queue")
	}
	for range 3 {
		if o.chunk(1, 0, 'b', 60) || o.chunk(2, 10, 'c', 10) || o.chunk(3, 10, 'd', 10) || o.chunk(4, tunnel.Empty, 0, 1) {
			t.Fatal("there is room in a full queue")
		}
		if !o.chunk(5, 100, 'e', 50) {
			t.Fatal("a part of a message wants room")
		}
	}
	o.took(fmt.Sprint("9 ", room, "f"))
	if !o.chunk(1, 0, 'b', 60) || !o.chunk(2, 10, 'c', 10) || !o.chunk(3, 10, 'd', 10) || !o.chunk(4, tunnel.Empty, 0, 1) || !o.chunk(5, 0, 'e', 50) {
		t.Fatal("no room in an empty queue")
	}
	o.took("1 100ab", "2 10c", "3 10d", "4 0", "5 100e")
	o.charged(0, 0)
}

func TestMemoryFollowsWhatCameOfAMessage(t *testing.T) {
	const chunk, largest = relaywire.ChunkLimit, 8 << 20
	for _, end := range []struct {
		name string
		do   func(o *older)
	}{
		{"complete", func(o *older) { o.chunk(1, 0, 'z', chunk); o.take() }},
		{"abandoned", func(o *older) { o.chunk(1, 1, 'n', 1); o.take() }},
		{"tunnel closed", func(o *older) { o.TunnelClose(&o.b, 1, "gone"); o.take() }},
		{"connection ended", func(o *older) { o.unjoinAll() }},
	} {
		t.Run(end.name, func(t *testing.T) {
			o := newOlder(t, 1<<30)
			size := uint64(largest)
			for n := int64(chunk); n < largest; n += chunk {
				if !o.chunk(1, size, 'a', chunk) {
					t.Fatal("no room for a part")
				}
				o.charged(n, min(2*n, largest))
				size = 0
			}
			end.do(o)
			o.charged(0, 0)
			if len(o.joins.parts) > 0 {
				t.Error("a part is left")
			}
		})
	}
}

// A message that the memory does not allow ends the connection. Until that has an effect
// nothing of the message comes, and nothing breaks.
func TestMessageBeyondTheMemoryEndsTheConnection(t *testing.T) {
	o := newOlder(t, 1<<20)
	size := uint64(1 << 20)
	for range 15 {
		if !o.chunk(1, size, 'a', relaywire.ChunkLimit) {
			t.Fatal("waits for room, which does not help")
		}
		size = 0
	}
	end := o.told.Load()
	if end == nil || end.cause != slow || end.reason != reasonMemory {
		t.Fatalf("the connection ends with %v", end)
	}
	o.unjoin(1)
	o.chunk(1, 0, 'a', relaywire.ChunkLimit) // some of a message without its beginning
	o.budget.Force(1 << 20)
	o.chunk(2, 100, 'a', 10)
	o.budget.Give(1 << 20)
	o.chunk(2, 0, 'b', 90)
	o.took()
	o.unjoinAll()
	o.charged(0, 0)
}
