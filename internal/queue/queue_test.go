package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

const plenty = 1 << 30

func payload(b []byte) Payload { return Payload{Data: b} }

// drain writes everything that waits, and returns it.
func drain(t testing.TB, q *Queue) (out []byte) {
	t.Helper()
	if !q.Claim() {
		return nil
	}
	for p := q.Next(); p != nil; p = q.Next() {
		out = append(out, p...)
		q.Wrote(len(p), 0)
	}
	return out
}

func TestCorkedQueueAsksNobodyToFlush(t *testing.T) {
	q := New(NewBudget(plenty), plenty)
	for range 3 {
		if _, flush, err := q.Append([]byte("accept "), Payload{}, nil); flush || err != nil {
			t.Fatalf("Append = %v, %v; want no flush", flush, err)
		}
	}
	if q.Claim() {
		t.Fatal("a corked queue was claimed")
	}
	if !q.Open() {
		t.Fatal("Open does not tell that octets wait")
	}
	if got := drain(t, q); string(got) != "accept accept accept " {
		t.Fatalf("wrote %q", got)
	}
}

func TestOneAppenderAClaimIsAskedToFlush(t *testing.T) {
	q := New(NewBudget(plenty), plenty)
	q.Open()
	asked := func() (n int) {
		for range 10 {
			if _, flush, _ := q.Append([]byte("x"), Payload{}, nil); flush {
				n++
			}
		}
		return n
	}
	if n := asked(); n != 1 {
		t.Fatalf("%d of 10 were asked before a claim, want 1", n)
	}
	q.Claim()
	// The writer may have taken its last look already.
	if n := asked(); n != 1 {
		t.Fatalf("%d of 10 were asked during a claim, want 1", n)
	}
	if q.Claim() {
		t.Fatal("two writers at once")
	}
	if n := asked(); n != 1 {
		t.Fatalf("%d of 10 were asked after a claim that failed, want 1", n)
	}
}

func TestBurstOfSmallFramesLeavesInOnePiece(t *testing.T) {
	q := New(NewBudget(plenty), plenty)
	q.Open()
	var want []byte
	for i := range 400 {
		frame := bytes.Repeat([]byte{byte(i)}, 150)
		q.Append(frame, Payload{}, nil)
		want = append(want, frame...)
	}
	q.Claim()
	if got := q.Next(); !bytes.Equal(got, want) {
		t.Fatalf("Next has %d of %d octets that wait", len(got), len(want))
	}
}

func TestFullQueueHoldsItsLimitAndOneFrame(t *testing.T) {
	const limit = 1000
	q := New(NewBudget(plenty), limit)
	q.Open()
	frame := make([]byte, limit)
	for i, want := range []error{nil, nil, ErrFull, ErrFull} {
		if _, _, err := q.Append([]byte{1}, payload(frame[1:]), nil); err != want {
			t.Fatalf("frame %d: %v, want %v", i, err, want)
		}
	}
	if n := q.bytes; n != 2*limit {
		t.Fatalf("%d octets wait, want %d", n, 2*limit)
	}
	drain(t, q)
	if _, _, err := q.Append([]byte{1}, payload(frame), nil); err != nil {
		t.Fatalf("after everything was written: %v", err)
	}
}

func TestRefusedAppendLeavesNothingBehind(t *testing.T) {
	budget := NewBudget(4 * LargeBlock)
	q := New(budget, plenty)
	q.Open()
	q.Append([]byte("before"), Payload{}, nil)
	used := budget.Used()
	if _, _, err := q.Append([]byte("head"), payload(make([]byte, 5*LargeBlock)), []byte("tail")); err != ErrMemory {
		t.Fatalf("a frame larger than the budget: %v, want ErrMemory", err)
	}
	if n := budget.Used(); n != used {
		t.Fatalf("%d octets are charged, %d were before", n, used)
	}
	q.Append([]byte("after"), Payload{}, nil)
	if got := drain(t, q); string(got) != "beforeafter" {
		t.Fatalf("wrote %q", got)
	}
}

func TestSealLetsTheLastFrameFollowTheOneBegun(t *testing.T) {
	for _, cut := range []bool{false, true} {
		q := New(NewBudget(plenty), plenty)
		q.Open()
		long := bytes.Repeat([]byte("long "), 40_000) // several blocks
		q.Append([]byte("<"), payload(long), []byte(">"))
		start, _, _ := q.Append([]byte("unread"), Payload{}, nil)
		q.Claim()
		first := bytes.Clone(q.Next()) // a part of the long frame
		if len(first) >= len(long) {
			t.Fatal("the frame is in one piece")
		}
		q.Seal(cut)
		q.Seal(!cut) // has no effect
		q.Farewell([]byte("close"))
		q.Farewell([]byte("again")) // nor has this
		got := first
		q.Wrote(len(first), 0)
		for p := q.Next(); p != nil; p = q.Next() {
			got = append(got, p...)
			q.Wrote(len(p), 0)
		}
		want := "<" + string(long) + ">unreadclose"
		if cut {
			want = "<" + string(long) + ">close"
		}
		if string(got) != want {
			t.Errorf("cut %v: wrote %d octets, want %d", cut, len(got), len(want))
		}
		b, ok := q.CutAt(nil, start, 100)
		if ok != cut || cut && string(b) != "unread" {
			t.Errorf("cut %v: CutAt = %q, %v", cut, b, ok)
		}
		if !q.Drained() {
			t.Errorf("cut %v: not drained", cut)
		}
		if _, _, err := q.Append([]byte("late"), Payload{}, nil); err != ErrSealed {
			t.Errorf("cut %v: Append after Seal: %v", cut, err)
		}
	}
}

func TestKeptFramesOutliveTheSeal(t *testing.T) {
	q := New(NewBudget(plenty), plenty)
	q.Append([]byte("accept "), Payload{}, nil)
	q.Keep()
	q.Append([]byte("request "), Payload{}, nil)
	q.Seal(true)
	q.Farewell([]byte("close"))
	if got := drain(t, q); string(got) != "accept close" {
		t.Fatalf("wrote %q", got)
	}
	if b, ok := q.CutAt(nil, 7, 100); !ok || string(b) != "request " {
		t.Fatalf("CutAt = %q, %v", b, ok)
	}
}

func TestSharedBodyIsChargedOnceAndFreedByItsLastHolder(t *testing.T) {
	budget := NewBudget(plenty)
	octets := bytes.Repeat([]byte("shared "), 10_000)
	body := NewBody(budget, octets)
	charged := budget.Used()
	if charged != int64(len(octets)) {
		t.Fatalf("%d octets are charged for a body of %d", charged, len(octets))
	}
	qs := make([]*Queue, 10)
	for i := range qs {
		qs[i] = New(budget, plenty)
		qs[i].Open()
		qs[i].Append([]byte{'<'}, Payload{Data: octets, Shared: body}, []byte{'>'})
	}
	body.Release()
	if used := budget.Used(); used > charged+int64(len(qs)*(SmallBlock+LargeBlock)) {
		t.Fatalf("%d octets are charged for %d queues with one body of %d", used, len(qs), len(octets))
	}
	for i, q := range qs {
		switch i % 3 {
		case 0:
			if got := drain(t, q); string(got) != "<"+string(octets)+">" {
				t.Fatalf("queue %d wrote %d octets", i, len(got))
			}
		case 1:
			q.Discard()
		case 2:
			q.Seal(true)
			q.Uncut()
		}
	}
	if n := budget.Used(); n != 0 {
		t.Fatalf("%d octets stay charged", n)
	}
}

func TestSharedBodiesCountAgainstWhoHoldsThem(t *testing.T) {
	budget := NewBudget(1 << 20)
	greedy, modest := New(budget, plenty), New(budget, plenty)
	octets := make([]byte, 100_000)
	held := 0
	for range 20 {
		body := NewBody(budget, octets)
		if _, _, err := greedy.Append([]byte{'<'}, Payload{Data: octets, Shared: body}, nil); err == nil {
			held++
		}
		body.Release()
	}
	if held < 3 || held > 5 {
		t.Errorf("one queue holds %d tenths of the budget, wanted not much less than half", held)
	}
	if _, _, err := modest.Append(nil, Payload{Data: octets}, nil); err != nil {
		t.Errorf("a queue that holds nothing is refused: %v", err)
	}
}

func TestDiscardedQueueIsFreedByItsWriter(t *testing.T) {
	budget := NewBudget(plenty)
	q := New(budget, plenty)
	q.Open()
	q.Append([]byte("never written"), Payload{}, nil)
	q.Claim()
	p := q.Next()
	q.Discard()
	if string(p) != "never written" || budget.Used() == 0 {
		t.Fatal("the writer's octets were freed under it")
	}
	q.Wrote(3, 0)
	if p := q.Next(); p != nil {
		t.Fatalf("Next = %q after Discard", p)
	}
	if n := budget.Used(); n != 0 || !q.Drained() {
		t.Fatalf("%d octets stay charged, drained %v", n, q.Drained())
	}
}

// Frames that carry who appended them, in which order and how long they are.
func numbered(b []byte, who, number, n int) []byte {
	b = binary.AppendUvarint(b[:0], uint64(who))
	b = binary.AppendUvarint(b, uint64(number))
	b = binary.AppendUvarint(b, uint64(n))
	for i := range n {
		b = append(b, byte(who+number+i))
	}
	return b
}

// checkNumbered parses what was written: it is all the frames of each appender,
// whole and in order.
func checkNumbered(t *testing.T, b []byte, counts []int) {
	t.Helper()
	next := make([]int, len(counts))
	for len(b) > 0 {
		var v [3]int
		for i := range v {
			u, n := binary.Uvarint(b)
			if n <= 0 {
				t.Fatal("a frame is torn")
			}
			v[i], b = int(u), b[n:]
		}
		who, number, n := v[0], v[1], v[2]
		if who >= len(next) || number != next[who] || n > len(b) {
			t.Fatalf("came upon frame %d of appender %d with %d octets, %d to read; those next are %v", number, who, n, len(b), next)
		}
		next[who]++
		for i := range n {
			if b[i] != byte(who+number+i) {
				t.Fatalf("frame %d of appender %d: octet %d is another", number, who, i)
			}
		}
		b = b[n:]
	}
	if !slices.Equal(next, counts) {
		t.Fatalf("%v frames came out by appender, want %v", next, counts)
	}
}

// stress has goroutines append, and whoever is asked flush, or hand the claim to
// a writer, until the queue is sealed in the midst of it or all is appended.
// Nobody looks at the queue again without being asked to.
func stress(t *testing.T, sealAt int) {
	const (
		appenders = 6
		frames    = 1500
	)
	budget := NewBudget(plenty)
	q := New(budget, plenty)
	q.Open()
	var (
		out     []byte // guarded by the claim
		claims  = make(chan bool, 1)
		writers sync.WaitGroup
		wg      sync.WaitGroup
	)
	flush := func(r *rand.Rand) {
		if !q.Claim() {
			return
		}
		for range 3 {
			p := q.Next()
			if p == nil {
				return
			}
			n := len(p)
			if r.IntN(3) == 0 {
				n = r.IntN(n + 1)
			}
			out = append(out, p[:n]...)
			q.Wrote(n, 0)
		}
		claims <- true // the claim goes along
	}
	writers.Go(func() {
		for range claims {
			for p := q.Next(); p != nil; p = q.Next() {
				out = append(out, p...)
				q.Wrote(len(p), 0)
			}
		}
	})
	accepted := make([]int, appenders)
	for who := range appenders {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(who), 1))
			var b []byte
			for i := range frames {
				if who == 0 && i == sealAt {
					q.Seal(true)
				}
				n := r.IntN(300)
				if r.IntN(50) == 0 {
					n = r.IntN(100_000)
				}
				b = numbered(b, who, i, n)
				p := payload(b[1:])
				if n > ShareAbove {
					p.Shared = NewBody(budget, b[1:])
				}
				_, owed, err := q.Append(b[:1], p, nil)
				if p.Shared != nil {
					p.Shared.Release()
				}
				if errors.Is(err, ErrSealed) {
					return
				}
				accepted[who]++
				if owed {
					flush(r)
				}
			}
		})
	}
	wg.Wait()
	close(claims)
	writers.Wait()
	if sealAt >= 0 {
		out = append(out, drain(t, q)...) // Seal asks nobody
		cut, _ := q.CutAt(nil, uint64(len(out)), plenty)
		out = append(out, cut...)
		q.Uncut()
	} else if n := q.bytes; n > 0 {
		t.Fatalf("%d octets wait and nobody was asked to flush them", n)
	}
	checkNumbered(t, out, accepted)
	if n := budget.Used(); n != 0 {
		t.Fatalf("%d octets stay charged", n)
	}
}

func TestManyAppendersKeepTheirOrder(t *testing.T) { stress(t, -1) }

func TestSealAmongManyAppendersLosesNoFrame(t *testing.T) {
	for _, at := range []int{0, 10, 700} {
		stress(t, at)
	}
}

// Whoever was refused for lack of room is told when there is some: if not, all
// goroutines are blocked, which synctest reports.
func TestNobodyWaitsForRoomInVain(t *testing.T) {
	const (
		room      = 4 << 10
		frames    = 2000
		appenders = 4
	)
	for _, low := range []int{1, room / 2, room} {
		synctest.Test(t, func(t *testing.T) {
			budget := NewBudget(plenty)
			q := New(budget, plenty)
			q.Open()
			var (
				out    []byte // guarded by the claim
				tokens = make(chan struct{}, appenders)
				wake   = make(chan struct{}, 1)
				wg     sync.WaitGroup
				writer sync.WaitGroup
			)
			writer.Go(func() {
				for range wake {
					if !q.Claim() {
						continue
					}
					for p := q.Next(); p != nil; p = q.Next() {
						n := min(len(p), 1000)
						out = append(out, p[:n]...)
						if q.Wrote(n, low) {
							for range appenders { // as many as may wait
								select {
								case tokens <- struct{}{}:
								default:
								}
							}
						}
					}
				}
			})
			for who := range appenders {
				wg.Go(func() {
					var b []byte
					for i := range frames {
						b = numbered(b, who, i, i%700)
						for {
							flush, err := q.AppendIfRoom(room, b[:1], b[1:])
							if flush {
								select {
								case wake <- struct{}{}:
								default:
								}
							}
							if err == nil {
								break
							}
							<-tokens
						}
					}
				})
			}
			wg.Wait()
			close(wake)
			writer.Wait()
			out = append(out, drain(t, q)...)
			counts := make([]int, appenders)
			for i := range counts {
				counts[i] = frames
			}
			checkNumbered(t, out, counts)
			if n := budget.Used(); n != 0 {
				t.Fatalf("%d octets stay charged", n)
			}
		})
	}
}

// A flusher that adds others to the batch while it is flushed.
type chain struct {
	name string
	next *chain
	log  *[]string
}

func (c *chain) Flush(b *Batch) {
	*c.log = append(*c.log, c.name)
	if c.next != nil {
		b.Add(c.next)
	}
}

func TestBatchFlushesWhatFlushingAdds(t *testing.T) {
	var log []string
	c := &chain{name: "c", log: &log}
	b := &chain{name: "b", log: &log}
	a := &chain{name: "a", next: c, log: &log}
	batch := Batch{Octets: 5}
	batch.Add(a)
	batch.Add(b)
	batch.Flush()
	batch.Flush() // owes nothing any more
	if got := strings.Join(log, ""); got != "abc" || batch.Octets != 0 {
		t.Fatalf("flushed %q, %d octets left; want abc, 0", got, batch.Octets)
	}
}

func TestWriterThatTakesPiecesKnowsWhatItWasHanded(t *testing.T) {
	q := New(NewBudget(plenty), plenty)
	q.Open()
	var starts []uint64
	for i := range 3000 {
		pos, _, err := q.Append([]byte{byte(i)}, payload(noise[:i%100]), nil)
		if err != nil {
			t.Fatal(err)
		}
		starts = append(starts, pos)
	}
	total := q.Appended()
	q.Claim()
	taken := uint64(0)
	for i := 0; taken < total/2; i++ {
		p := q.NextUpTo(1 + i*37%1000)
		if len(p) == 0 || len(p) > 1+i*37%1000 {
			t.Fatalf("NextUpTo returned %d octets", len(p))
		}
		if taken += uint64(len(p)); q.Handed() != taken {
			t.Fatalf("Handed = %d before Wrote, want %d", q.Handed(), taken)
		}
		q.Wrote(len(p), 0)
	}
	if n := q.Waiting(); uint64(n) != total-taken {
		t.Errorf("Waiting = %d, want %d", n, total-taken)
	}
	q.Discard()
	if p := q.NextUpTo(100); p != nil {
		t.Errorf("NextUpTo of a discarded queue returned %d octets", len(p))
	}
	unwritten := 0
	for _, pos := range starts {
		if pos >= q.Handed() {
			unwritten++
		}
	}
	if unwritten == 0 || unwritten == len(starts) || q.Waiting() != 0 {
		t.Errorf("%d of %d frames are unwritten, %d octets wait", unwritten, len(starts), q.Waiting())
	}
}

func TestAppendAnywayHasALimitOfItsOwn(t *testing.T) {
	budget := NewBudget(2 * LargeBlock)
	q := New(budget, 1000)
	q.Open()
	frame := make([]byte, 1000)
	for q.Waiting() <= 10*LargeBlock {
		if _, _, err := q.AppendAnyway(10*LargeBlock, frame, Payload{}, nil); err != nil {
			t.Fatalf("with %d octets waiting: %v", q.Waiting(), err)
		}
	}
	if _, _, err := q.AppendAnyway(10*LargeBlock, frame, Payload{}, nil); err != ErrFull {
		t.Errorf("beyond its limit: %v, want ErrFull", err)
	}
	if _, _, err := q.Append(frame, Payload{}, nil); err != ErrFull {
		t.Errorf("an ordinary frame: %v, want ErrFull", err)
	}
	drain(t, q)
	if n := budget.Used(); n != 0 {
		t.Errorf("%d octets stay charged", n)
	}
	q.Seal(false)
	if _, _, err := q.AppendAnyway(plenty, frame, Payload{}, nil); err != ErrSealed {
		t.Errorf("when sealed: %v, want ErrSealed", err)
	}
}
