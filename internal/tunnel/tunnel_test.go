package tunnel

import (
	"encoding/json"
	"math"
	"os"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/queue"
)

func TestDeliveryVectors(t *testing.T) {
	data, err := os.ReadFile("../relaywire/testdata/relay-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Delivery []struct {
			Name  string
			Steps []struct {
				Event     []any
				Delivered [][2]uint64
				Credit    int64
				Left      uint64
			}
		}
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Delivery) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range vectors.Delivery {
		t.Run(v.Name, func(t *testing.T) {
			w := newWorld(t)
			x, y := w.open(1)
			var want []chunk
			for i, step := range v.Steps {
				arg := func(i int) uint64 { return uint64(step.Event[i].(float64)) }
				switch step.Event[0] {
				case "queue":
					if err := x.send(arg(1), arg(2)); err != nil {
						t.Fatal(err)
					}
				case "grant":
					y.allow(arg(1))
				default:
					t.Fatalf("event %v", step.Event)
				}
				for _, d := range step.Delivered {
					want = append(want, chunk{size: d[0], n: d[1]})
				}
				y.got(want...)
				e := y.end()
				if e.credit != step.Credit || e.left != step.Left {
					t.Fatalf("step %d: credit %d, left %d; want %d, %d", i, e.credit, e.left, step.Credit, step.Left)
				}
			}
			x.isOpen()
		})
	}
}

func TestBothEndsAreToldOfANewTunnel(t *testing.T) {
	w := newWorld(t)
	x, y := w.open(1)
	if s := x.account(); !s.opened || s.granted != Window {
		t.Errorf("the initiator was told %v, granted %d", s.opened, s.granted)
	}
	if s := y.account(); s.opened || s.granted != Window {
		t.Errorf("the acceptor was told %v, granted %d", s.opened, s.granted)
	}
	if w.stats.Open.Load() != 1 || w.stats.Opened.Load() != 1 || len(w.x.table.ends) != 1 {
		t.Errorf("%d open, %d opened", w.stats.Open.Load(), w.stats.Opened.Load())
	}
	x.close()
	w.rest()
}

func TestIdsInUseAreRefused(t *testing.T) { // R58, R60
	w := newWorld(t)
	x, _ := w.open(1)
	if w.x.table.Building(1) || w.y.table.Building(1001) {
		t.Error("the id of an open tunnel is free")
	}
	if !w.x.table.Building(2) || w.x.table.Building(2) {
		t.Error("an id could be reserved not once but", len(w.x.table.ends))
	}
	if w.x.table.End(2) != nil || w.x.table.End(3) != nil {
		t.Error("a build has an end before it is confirmed")
	}
	w.x.table.Failed(2)
	w.x.table.Failed(1) // not a build any more
	if w.x.table.End(1) == nil {
		t.Error("an open tunnel was freed as a failed build")
	}
	if !w.x.table.Building(2) {
		t.Error("the id of a failed build stays in use")
	}
	w.x.table.Failed(2)
	x.close()
	if !w.x.table.Building(1) || !w.y.table.Building(1001) {
		t.Error("the id of a closed tunnel stays in use")
	}
	w.cut(w.x, "")
	w.cut(w.y, "")
	w.rest()
}

func TestAcceptorOfAGoneInitiatorIsClosed(t *testing.T) {
	w := newWorld(t)
	w.x.table.Building(1)
	w.y.table.Building(1001)
	w.cut(w.x, "peer disconnected")
	Open(w.now, &w.b, w.timers, w.x.table, 1, w.y.table, 1001)
	(&end{w, w.y, 1001}).isClosed(Gone)
	if s := w.y.account(1001); s.granted != 0 {
		t.Errorf("%d octets were granted on a dead tunnel", s.granted)
	}
	w.rest()
}

func TestBadChunks(t *testing.T) {
	type send struct{ size, n uint64 }
	for _, test := range []struct {
		name   string
		sends  []send
		reason string // of the close at both ends; none: it stays open
		got    []chunk
	}{
		{"continuation of nothing", []send{{0, 5}}, BadChunk, nil},
		{"continuation of a complete message", []send{{5, 5}, {0, 1}}, BadChunk, []chunk{{size: 5, n: 5}}},
		{"more than announced at once", []send{{5, 6}}, BadSum, nil},
		{"more than announced in all", []send{{9, 5}, {0, 5}}, BadSum, []chunk{{size: 9, n: 5}}},
		{"the largest message", []send{{MaxMessage, 5}}, "", []chunk{{size: MaxMessage, n: 5}}},
		{"too large a message", []send{{MaxMessage + 1, 5}}, BadSize, nil},
		{"the largest number", []send{{math.MaxUint64, 5}}, BadSize, nil},
		{"empty, without a message", []send{{0, 0}}, "", nil},
		{"empty, of a large size", []send{{math.MaxUint64, 0}}, "", nil},
		{"empty, within a message", []send{{9, 5}, {3, 0}, {0, 0}, {0, 4}}, "", []chunk{{size: 9, n: 5}, {n: 4}}},
		{"abandoned message", []send{{9, 5}, {3, 1}, {7, 7}}, "", []chunk{{size: 9, n: 5}, {size: 3, n: 1}, {size: 7, n: 7}}},
		{"abandoned for a bad size", []send{{9, 5}, {MaxMessage + 1, 1}}, BadSize, []chunk{{size: 9, n: 5}}},
		{"after a bad one", []send{{5, 5}, {0, 1}, {5, 5}}, BadChunk, []chunk{{size: 5, n: 5}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			x, y := w.open(1)
			y.allow(1000)
			for _, s := range test.sends {
				if err := x.send(s.size, s.n); err != nil {
					t.Fatalf("the connection ends: %v", err) // R37: it stays
				}
			}
			y.got(test.got...)
			if test.reason == "" {
				x.isOpen()
				y.isOpen()
				x.close()
			} else {
				x.isClosed(test.reason)
				y.isClosed(test.reason)
				if n := w.stats.Broken.Load(); n != 1 {
					t.Errorf("%d broken tunnels are counted", n)
				}
			}
			w.rest()
		})
	}
}

// What was accepted before the bad chunk is delivered before the close.
func TestBadChunkDoesNotOvertakeData(t *testing.T) {
	w := newWorld(t)
	x, y := w.open(1)
	x.send(10, 10)
	x.send(0, 1)
	x.isClosed(BadChunk)
	y.isOpen()
	y.got()
	y.allow(10)
	y.got(chunk{size: 10, n: 10})
	y.isClosed(BadChunk)
	w.rest()
}

func TestChunkBeyondTheWindowIsAViolation(t *testing.T) { // R62
	w := newWorld(t)
	x, y := w.open(1)
	x.message(Window - 10)
	if err := x.end().Chunk(w.now, &w.b, 11, make([]byte, 11)); err != ErrCredit {
		t.Fatalf("a chunk of 11 octets with 10 allowed: %v, want %v", err, ErrCredit)
	}
	x.message(10)
	if err := x.end().Chunk(w.now, &w.b, 1, make([]byte, 1)); err != ErrCredit {
		t.Fatalf("a chunk with nothing allowed: %v, want %v", err, ErrCredit)
	}
	y.allow(1 << 40)
	if x.window() <= Window-step {
		t.Errorf("the window is %d after everything was delivered, want more than %d", x.window(), Window-step)
	}
	// Also while what it sends is discarded.
	y.message(1)
	x.close()
	y.isClosed("")
	w.rest()
}

func TestUnknownTunnelsHaveNoEnd(t *testing.T) { // R41, R45, R63
	w := newWorld(t)
	x, y := w.open(1)
	stale := x.end()
	x.close()
	if w.x.table.End(1) != nil || w.x.table.End(99) != nil {
		t.Error("there is an end of a closed or unknown tunnel")
	}
	// One that was found just before it closed.
	if err := stale.Chunk(w.now, &w.b, math.MaxUint64, make([]byte, 10)); err != nil {
		t.Errorf("a chunk for a closed tunnel: %v", err)
	}
	stale.Allow(w.now, &w.b, 10)
	stale.Close(w.now, &w.b)
	y.isClosed("")
	w.rest()
}

func TestCreditSaturates(t *testing.T) { // R45
	w := newWorld(t)
	x, y := w.open(1)
	for range 10 {
		y.end().Allow(w.now, &w.b, math.MaxUint64)
		y.end().Allow(w.now, &w.b, 0)
	}
	y.account().credit = math.MaxInt64 / 2
	for range 100 {
		x.message(1 << 16)
	}
	if n := len(y.account().got); n != 100 {
		t.Errorf("%d chunks of 100 arrived", n)
	}
	x.close()
	w.rest()
}

// A program that grants less than a chunk, but all it ever grants, gets it.
func TestSmallWindowDoesNotBlockForGood(t *testing.T) {
	w := newWorld(t)
	x, y := w.open(1)
	y.allow(100)
	x.message(1000)
	y.got(chunk{size: 1000, n: 1000})
	x.message(50)
	y.got(chunk{size: 1000, n: 1000})
	y.allow(1000)
	y.got(chunk{size: 1000, n: 1000}, chunk{size: 50, n: 50})
	y.close()
	w.rest()
}

// A message longer than either window gets through: the node grants within it.
func TestMessageLongerThanTheWindows(t *testing.T) { // R42
	const size = 5 * Window
	w := newWorld(t)
	x, y := w.open(1)
	y.allow(1 << 16)
	x.message(size)
	if y.account().octets != size || x.window() <= Window-step {
		t.Errorf("%d octets of %d arrived, the window is %d", y.account().octets, size, x.window())
	}
	x.message(1)
	y.allow(size - 1<<16)
	y.allow(1 << 16)
	if y.account().octets != size+1 {
		t.Error("the message after it did not arrive")
	}
	y.close()
	w.rest()
}

func TestSenderWaitsForAPeerThatDoesNotRead(t *testing.T) { // R43
	w := newWorld(t)
	x, y := w.open(1)
	x.message(Window)
	if x.window() != 0 {
		t.Fatalf("%d octets more were granted, and nobody took any", x.window())
	}
	if used := w.budget.Used(); used > 8<<20 {
		t.Errorf("a window of %d octets takes %d", Window, used)
	}
	y.message(Window) // the other direction does not care
	x.allow(Window)
	if n := x.account().octets; n != Window {
		t.Errorf("%d octets of %d went the other way", n, Window)
	}
	x.close()
	y.isOpen()
	y.allow(Window)
	y.isClosed("")
	w.rest()
}

func TestCloseIsAnsweredAtOnceAndFollowsTheData(t *testing.T) {
	w := newWorld(t)
	x, y := w.open(1)
	y.message(70_000) // x will not get this
	x.message(100)
	x.message(200)
	x.close()
	x.isClosed("")
	x.got()
	y.isOpen()
	y.allow(100)
	y.got(chunk{size: 100, n: 100})
	y.isOpen()
	y.allow(200)
	y.got(chunk{size: 100, n: 100}, chunk{size: 200, n: 200})
	y.isClosed("")
	w.rest()
}

func TestBothProgramsClose(t *testing.T) {
	w := newWorld(t)
	x, y := w.open(1)
	x.message(100)
	y.message(100)
	x.close()
	y.close() // the rest is discarded at once
	x.isClosed("")
	y.isClosed("")
	y.got()
	w.rest()
}

func TestEndThatIsOwedDataIsNotStuckInASend(t *testing.T) {
	w := newWorld(t)
	x, y := w.open(1)
	y.message(Window - 10) // waits at x, and blocks y
	x.message(100)
	before := y.window()
	x.close()
	if y.window() != Window || before != 10 {
		t.Errorf("the window is %d, and was %d before", y.window(), before)
	}
	for range 100 { // into the void
		if err := y.send(1<<20, 1<<16); err != nil {
			t.Fatal(err)
		}
		y.send(0, 100) // whatever it is
	}
	if y.window() != Window {
		t.Errorf("the window is %d while all is discarded", y.window())
	}
	if err := y.end().Chunk(w.now, &w.b, 1, make([]byte, Window+1)); err != ErrCredit {
		t.Errorf("beyond the window: %v", err)
	}
	y.isOpen()
	y.allow(100)
	y.got(chunk{size: 100, n: 100})
	y.isClosed("")
	w.rest()
}

func TestDataThatIsNotTakenFor60sIsDiscarded(t *testing.T) {
	w := newWorld(t)
	x, y := w.open(1)
	x.message(100)
	x.message(100)
	w.pass(time.Hour) // while both are there, nobody is in a hurry
	x.close()
	w.pass(59 * time.Second)
	y.allow(150) // some credit: the time begins anew
	y.got(chunk{size: 100, n: 100})
	w.pass(60*time.Second - time.Millisecond)
	y.end().tunnel.Expire(w.now, &w.b) // was on its way when the credit came
	y.isOpen()
	w.pass(2 * time.Millisecond)
	y.isClosed(Undelivered)
	y.got(chunk{size: 100, n: 100})
	w.rest()
}

// The time is for credit. A program that has granted all and reads, if slowly,
// gets everything.
func TestSlowReaderWithCreditGetsEverything(t *testing.T) {
	w := newWorld(t)
	w.y.room = 256 << 10
	x, y := w.open(1)
	y.allow(64 << 20)
	x.message(Window)
	x.close()
	for i := 0; !y.account().closed && i < 1000; i++ {
		w.pass(5 * time.Second)
		if w.y.read(20 << 10) { // 4 KiB/s
			w.y.table.Room(&w.b)
		}
	}
	y.isClosed("")
	if n := y.account().octets; n != Window {
		t.Errorf("%d octets of %d arrived", n, Window)
	}
	w.rest()
}

func TestConnectionThatEndsClosesItsTunnels(t *testing.T) { // R13
	for _, reason := range []string{"", "peer disconnected"} {
		w := newWorld(t)
		x1, y1 := w.open(1)
		_, y2 := w.open(2)
		w.x.table.Building(3)
		x1.message(100)
		w.cut(w.x, reason)
		y1.isOpen()
		y2.isClosed(reason)
		y1.allow(100)
		y1.got(chunk{size: 100, n: 100})
		y1.isClosed(reason)
		if !w.x.table.Building(4) { // while it is closing
			t.Error("a build on a closing connection is a violation")
		}
		w.x.table.Failed(3)
		w.rest()
	}
}

func TestBothConnectionsEnd(t *testing.T) {
	w := newWorld(t)
	x, y := w.open(1)
	x.message(100)
	y.message(100)
	w.cut(w.x, "")
	w.cut(w.y, "")
	w.rest()
}

func TestBothEndsOnOneConnection(t *testing.T) {
	w := newWorld(t)
	w.x.table.Building(1)
	w.x.table.Building(2)
	Open(w.now, &w.b, w.timers, w.x.table, 1, w.x.table, 2)
	a, b := &end{w, w.x, 1}, &end{w, w.x, 2}
	b.allow(1000)
	a.message(100)
	b.got(chunk{size: 100, n: 100})
	b.message(100)
	w.cut(w.x, "")
	w.rest()
}

func TestWithoutMemoryTheTunnelEnds(t *testing.T) {
	w := newWorldOf(t, 6*queue.LargeBlock)
	x, y := w.open(1)
	for i := 0; i < 100 && !x.account().closed; i++ {
		x.message(1 << 16)
	}
	x.isClosed(NoMemory)
	y.isOpen()
	y.allow(1 << 30) // what was accepted still comes
	n := len(y.account().got)
	if n == 0 || n > 6 {
		t.Errorf("%d chunks of 64 KiB were held in %d octets", n, w.budget.Limit())
	}
	if n != len(x.account().chunks)-1 {
		t.Errorf("%d chunks arrived of %d accepted", n, len(x.account().chunks)-1)
	}
	y.isClosed(NoMemory)
	w.rest()
}

func TestChunksWaitForRoomAndComeWithoutLoss(t *testing.T) { // R46
	w := newWorld(t)
	w.y.room = 100_000
	x, y := w.open(1)
	y.allow(64 << 20)
	x.message(Window)
	got := y.account().octets
	if got < 100_000 || got > 200_000 {
		t.Fatalf("%d octets are in a queue with room for 100,000", got)
	}
	if w := x.window(); w > got || w+step <= got {
		t.Errorf("%d octets were granted again, %d went on", w, got)
	}
	for y.account().octets < Window {
		before := y.account().octets
		for !w.y.read(10_000) {
		}
		w.y.table.Room(&w.b)
		if y.account().octets == before {
			t.Fatalf("stuck at %d octets of %d", before, Window)
		}
	}
	if x.window() <= Window-step {
		t.Errorf("the window is %d, want %d", x.window(), Window)
	}
	x.close()
	w.rest()
}

// Tunnels that wait for room in one program's queue take turns.
func TestTunnelsTakeTurnsAtTheRoom(t *testing.T) {
	const tunnels = 5
	w := newWorld(t)
	w.y.room = 256 << 10
	var xs, ys []*end
	for i := range uint64(tunnels) {
		x, y := w.open(i)
		y.allow(1 << 40)
		xs, ys = append(xs, x), append(ys, y)
	}
	fill := func() {
		for _, x := range xs {
			for x.window() >= 1<<16 {
				x.message(1 << 16)
			}
		}
	}
	fill()
	before := make([]uint64, tunnels)
	for range 20 * tunnels {
		for !w.y.read(64 << 10) {
		}
		w.y.table.Room(&w.b)
		fill()
	}
	var least, most uint64 = math.MaxUint64, 0
	for i, y := range ys {
		n := y.account().octets - before[i]
		least, most = min(least, n), max(most, n)
	}
	if most > 2*least+1<<20 {
		t.Errorf("of %d busy tunnels one got %d octets, another %d", tunnels, most, least)
	}
	w.cut(w.y, "")
	w.cut(w.x, "")
	w.rest()
}

// One that waits is not passed by for ever by another that sends only as much as
// there happens to be room for.
func TestWaitingTunnelIsNotPassedBy(t *testing.T) {
	budget := queue.NewBudget(1 << 30)
	const room = 256 << 10
	w := newWorld(t)
	q := &queued{Queue: queue.New(budget, 1<<30), room: room}
	q.Open()
	table := NewTable(q, budget, &w.stats)
	open := func(id uint64) (x *end) {
		w.x.table.Building(id)
		table.Building(id)
		Open(w.now, &w.b, w.timers, w.x.table, id, table, id)
		table.End(id).Allow(w.now, &w.b, 1<<40)
		return &end{w, w.x, id}
	}
	a, b := open(1), open(2)
	a.message(1 << 20) // fills the room, and waits
	waiting := table.End(1).waits.Len()
	q.Claim()
	for range 50 {
		// Each time 64 KiB are written, the other tunnel has 64 KiB more.
		for n := 0; n < 1<<16; {
			p := q.Next()
			k := min(len(p), 1<<16-n)
			if q.Wrote(k, room/2) {
				table.Room(&w.b)
			}
			n += k
		}
		b.message(1 << 16)
	}
	if now := table.End(1).waits.Len(); now == waiting {
		t.Errorf("%d octets wait as before, while %d of another tunnel went by", now, b.account().sent)
	}
}

// queued is a Sink with a queue.
type queued struct {
	*queue.Queue
	room int
}

func (q *queued) TunnelOpen(*queue.Batch, uint64)          {}
func (q *queued) TunnelAllow(*queue.Batch, uint64, uint64) {}
func (q *queued) TunnelClose(*queue.Batch, uint64, string) {}
func (q *queued) TunnelChunk(_ *queue.Batch, _, _ uint64, octets []byte) bool {
	_, err := q.AppendIfRoom(q.room, nil, octets)
	return err == nil
}

// Ends that waited for room and were closed are not kept.
func TestClosedEndsDoNotWaitForRoom(t *testing.T) {
	w := newWorld(t)
	w.y.room = 1
	for i := range uint64(500) {
		x, y := w.open(i)
		y.allow(1000)
		x.message(10)
		x.message(10)
		y.close()
		x.isClosed("")
	}
	if n := w.y.queued(); n > 0 {
		t.Errorf("%d closed tunnels are kept", n)
	}
	w.rest()
}
