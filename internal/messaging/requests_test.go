package messaging

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRequestGoesToOneMemberAndItsReplyComesBack(t *testing.T) {
	w := newWorld(t)
	c, ms := w.program(""), w.programs("echo", 3)
	for i, reply := range []struct {
		fault bool
		body  string
		want  Outcome
	}{
		{false, "pong", Replied},
		{false, "", Replied}, // R28
		{true, "not found", Faulted},
		{true, "", Faulted}, // R29
	} {
		id := uint64(100 + i)
		w.request(c, id, "echo", "ping", 1000)
		var takers []*program
		for _, m := range ms {
			if ds := m.read(); len(ds) > 0 {
				takers = append(takers, m)
				want := handed(uint64(i/3), "ping", 1000)
				want.pos = ds[0].pos
				if len(ds) != 1 || ds[0] != want {
					t.Fatalf("a member got %v, want %v", ds, want)
				}
			}
		}
		if len(takers) != 1 {
			t.Fatalf("%d members got the request", len(takers))
		}
		takers[0].Reply(w.now, &w.b, uint64(i/3), reply.fault, []byte(reply.body))
		w.expect(c, answered(id, reply.want, reply.body))
	}
	w.rest(append(ms, c)...)
}

func TestIdleMembersTakeTurns(t *testing.T) {
	w := newWorld(t)
	c, ms := w.program(""), w.programs("echo", 5)
	for i := range 20 {
		w.request(c, 1, "echo", "", 1000)
		m := ms[i%len(ms)]
		w.expect(m, handed(uint64(i/len(ms)), "", 1000))
		w.reply(m, uint64(i/len(ms)), "")
	}
	w.rest(append(ms, c)...)
}

func TestLeastBusyMemberIsChosen(t *testing.T) {
	w := newWorld(t)
	c, ms := w.program(""), w.programs("echo", 4)
	r := rand.New(rand.NewPCG(1, 1))
	open := make([][]uint64, len(ms)) // ids by member
	for range 2000 {
		if k := r.IntN(len(ms)); r.IntN(2) == 0 && len(open[k]) > 0 {
			i := r.IntN(len(open[k]))
			w.reply(ms[k], open[k][i], "")
			open[k] = slices.Delete(open[k], i, i+1)
			continue
		}
		if len(open[0])+len(open[1])+len(open[2])+len(open[3]) == MaxPending {
			continue
		}
		least := math.MaxInt
		for _, o := range open {
			least = min(least, len(o))
		}
		w.request(c, 1, "echo", "", 1000)
		for k, m := range ms {
			for _, d := range m.read() {
				if len(open[k]) != least {
					t.Fatalf("a member with %d in hand was chosen, another has %d", len(open[k]), least)
				}
				open[k] = append(open[k], d.id)
			}
			if m.Load() != len(open[k]) {
				t.Fatalf("Load = %d, want %d", m.Load(), len(open[k]))
			}
		}
	}
	w.rest(append(ms, c)...)
}

// Above 64 members the best of the next 64 in rotation is taken.
func TestManyMembersAllTakeTheirShare(t *testing.T) {
	for _, n := range []int{fewest, fewest + 1, 200} {
		w := newWorld(t)
		c, ms := w.program(""), w.programs("echo", n)
		for round := 1; round <= 3; round++ {
			for range n {
				w.request(c, 1, "echo", "", 1000)
			}
			for i, m := range ms {
				if m.Load() != round {
					t.Fatalf("%d members, round %d: member %d has %d in hand", n, round, i, m.Load())
				}
			}
		}
		// The members ahead are busy but for one.
		for _, d := range ms[fewest/2].read() {
			w.reply(ms[fewest/2], d.id, "")
		}
		w.request(c, 1, "echo", "", 1000)
		if ms[fewest/2].Load() != 1 {
			t.Errorf("%d members: the only idle one of the next %d was passed over", n, fewest)
		}
		w.rest(append(ms, c)...)
	}
}

func TestChoiceGoesOnWhileMembersComeAndGo(t *testing.T) {
	for seed := range uint64(50) {
		w := newWorld(t)
		r := rand.New(rand.NewPCG(seed, 1))
		c := w.program("")
		var ms []*program
		for range 300 {
			switch r.IntN(4) {
			case 0:
				ms = append(ms, w.program("echo"))
			case 1:
				for n := r.IntN(len(ms) + 1); n > 0; n-- {
					i := r.IntN(len(ms))
					w.close(ms[i])
					ms = slices.Delete(ms, i, i+1)
				}
			default:
				if len(ms) == 0 {
					continue
				}
				w.request(c, 1, "echo", "", 1000)
				n := 0
				for _, m := range ms {
					for _, d := range m.read() {
						n++
						w.reply(m, d.id, "")
					}
				}
				if n != 1 || len(c.read()) != 1 {
					t.Fatalf("seed %d: of %d members %d got the request", seed, len(ms), n)
				}
			}
		}
		w.rest(append(ms, c)...)
	}
}

func TestUnknownAndRepeatedRepliesAreIgnored(t *testing.T) {
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	w.reply(c, 0, "a client-only connection has nothing to answer") // R32
	w.reply(m, 0, "early")                                          // R56
	w.request(c, 7, "echo", "ping", 1000)
	w.reply(m, 1, "unknown")
	w.expect(c)
	w.reply(m, 0, "first")
	w.reply(m, 0, "second") // R30
	w.expect(c, answered(7, Replied, "first"))
	if n := w.plane.Drops.LateReplies.Load(); n != 4 {
		t.Errorf("%d late replies were counted, want 4", n)
	}
	w.rest(c, m)
}

func TestPendingIdUsedAgainIsAnotherRequest(t *testing.T) { // R31
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	w.request(c, 7, "echo", "one", 1000)
	w.request(c, 7, "echo", "two", 2000)
	w.expect(m, handed(0, "one", 1000), handed(1, "two", 2000))
	w.reply(m, 1, "to two")
	w.reply(m, 0, "to one")
	w.expect(c, answered(7, Replied, "to two"), answered(7, Replied, "to one"))
	w.rest(c, m)
}

func TestProgramMayServeItself(t *testing.T) {
	w := newWorld(t)
	m := w.program("echo")
	w.request(m, 7, "echo", "ping", 1000)
	w.expect(m, handed(0, "ping", 1000))
	w.reply(m, 0, "pong")
	w.expect(m, answered(7, Replied, "pong"))
	w.request(m, 8, "echo", "ping", 1000)
	w.rest(m)
}

func TestDeadlineIsNeverEarlyAndAtMostATickLate(t *testing.T) {
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	r := rand.New(rand.NewPCG(1, 1))
	type call struct {
		at      time.Time
		cluster string
	}
	calls := make(map[uint64]call)
	check := func() {
		t.Helper()
		for _, d := range c.read() {
			want := TimedOut
			if calls[d.id].cluster == "nobody" {
				want = Unreached
			}
			late := w.now.Sub(calls[d.id].at)
			if d.out != want || late < 0 || late > time.Millisecond {
				t.Fatalf("%v, want outcome %d; %v late", d, want, late)
			}
			delete(calls, d.id)
		}
	}
	for id := range uint64(2000) {
		ms := uint64(1 + r.IntN(1<<r.IntN(20)))
		cl := []string{"echo", "nobody"}[r.IntN(2)]
		calls[id] = call{w.now.Add(time.Duration(ms) * time.Millisecond), cl}
		w.request(c, id, cl, "", ms)
		for until := w.now.Add(time.Duration(r.IntN(5000)) * time.Microsecond); ; {
			next, ok := w.plane.Timers.Next()
			if !ok || next.After(until) {
				w.advance(until)
				check()
				break
			}
			w.advance(next)
			check()
		}
	}
	for len(calls) > 0 {
		next, ok := w.plane.Timers.Next()
		if !ok {
			t.Fatalf("%d calls have no deadline", len(calls))
		}
		w.advance(next)
		check()
	}
	if m.Load() != 0 {
		t.Errorf("%d requests stay in the hands of the member", m.Load())
	}
	w.rest(c, m)
}

func TestTimeoutZeroExpiresAtOnce(t *testing.T) { // R54
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	w.request(c, 1, "echo", "ping", 0)
	w.request(c, 2, "nobody", "ping", 0)
	w.build(c, 3, "echo", 0)
	w.expect(c, answered(1, TimedOut, ""), answered(2, TimedOut, ""), unbuilt(3, TimedOut))
	w.expect(m)
	w.rest(c, m)
}

func TestHugeTimeoutIsTimedAsTheLargest(t *testing.T) { // R25
	const largest = (1<<31 - 1) * time.Millisecond
	for _, timeout := range []uint64{1<<31 - 1, 1 << 31, 1 << 40, math.MaxInt64, math.MaxUint64} {
		w := newWorld(t)
		c, m := w.program(""), w.program("echo")
		w.request(c, 1, "echo", "ping", timeout)
		w.expect(m, handed(0, "ping", timeout)) // unchanged
		at := w.now.Add(largest)
		w.at(at.Add(-1))
		w.expect(c)
		w.at(at.Add(time.Millisecond))
		w.expect(c, answered(1, TimedOut, ""))
		w.rest(c, m)
	}
}

func TestReplyAfterTheDeadlineIsDiscarded(t *testing.T) {
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	w.request(c, 1, "echo", "ping", 10)
	w.expect(m, handed(0, "ping", 10))
	w.pass(11 * time.Millisecond)
	w.expect(c, answered(1, TimedOut, ""))
	if m.Load() != 0 {
		t.Errorf("Load = %d after the deadline", m.Load())
	}
	w.reply(m, 0, "late")
	w.expect(c)
	w.request(c, 2, "echo", "next", 10) // not mixed up with the one before
	w.reply(m, 0, "late again")
	w.expect(c)
	w.reply(m, 1, "in time")
	w.expect(c, answered(2, Replied, "in time"))
	w.rest(c, m)
}

func TestRequestWaitsForAMemberToAppear(t *testing.T) {
	w := newWorld(t)
	c := w.program("")
	for i := range 10 {
		w.request(c, uint64(i), "echo", fmt.Sprint("ping ", i), 1000)
	}
	w.request(c, 50, "other", "not for echo", 1000)
	w.build(c, 60, "echo", 1000)
	w.pass(999 * time.Millisecond)
	w.expect(c)
	m := w.program("echo")
	var want []delivery
	for i := range 10 {
		want = append(want, handed(uint64(i), fmt.Sprint("ping ", i), 1000))
	}
	w.expect(m, append(want, offered(0))...)
	for i := range 10 {
		w.reply(m, uint64(i), "")
		w.expect(c, answered(uint64(i), Replied, ""))
	}
	if from, id, ok := confirmed(m, 0); from != c.Conn || id != 60 || !ok {
		t.Errorf("Confirm = %v, %d, %v", from, id, ok)
	}
	w.pass(2 * time.Millisecond)
	w.expect(c, answered(50, Unreached, ""))
	w.rest(c, m)
}

func TestParkedRequestExpiresAndIsHandedToNobody(t *testing.T) {
	w := newWorld(t)
	c := w.program("")
	w.request(c, 1, "echo", "ping", 10)
	w.build(c, 2, "echo", 10)
	w.pass(11 * time.Millisecond)
	ds := c.read()
	slices.SortFunc(ds, func(a, b delivery) int { return int(a.id) - int(b.id) })
	if len(ds) != 2 || ds[0].out != Unreached || ds[1].out != Unreached || ds[1].what != "unbuilt" {
		t.Fatalf("got %v", ds)
	}
	if n := len(w.plane.waiting); n != 0 {
		t.Errorf("the loop still knows of calls for %d names", n)
	}
	m := w.program("echo")
	w.expect(m)
	w.rest(c, m)
}

func TestLoopForgetsParkedRequestsThatEnd(t *testing.T) {
	w := newWorld(t)
	c := w.program("")
	// One that stays keeps the list; a thousand come and go beside it.
	w.request(c, 0, "echo", "", 1_000_000)
	for i := range 1000 {
		w.request(c, uint64(i), "echo", "", 5)
		w.pass(6 * time.Millisecond)
		if n := len(w.plane.waiting["echo"].tickets); n > 4 {
			t.Fatalf("%d calls are on the list of one that waits", n)
		}
	}
	w.rest(c)
}

func TestOldestParkedBodiesAreLetGo(t *testing.T) {
	w := newWorld(t)
	c := w.program("")
	body := strings.Repeat("x", 1<<20)
	const n = 40
	for i := range uint64(n) {
		w.request(c, i, "echo", body, 1000)
		if used := w.budget.Used(); used > maxHeld+1<<20+MaxPending*callCost+2*callCost {
			t.Fatalf("%d octets are parked", used)
		}
	}
	gone := w.plane.Drops.Parked.Load()
	if gone < n-17 || gone > n-15 {
		t.Fatalf("%d of %d bodies of 1 MiB were let go", gone, n)
	}
	m := w.program("echo")
	ds := m.read()
	if len(ds) != n-int(gone) {
		t.Fatalf("%d requests were handed to the member, %d bodies let go", len(ds), gone)
	}
	for _, d := range ds {
		if d.body != body {
			t.Fatal("the body is another")
		}
		w.reply(m, d.id, "")
	}
	for i, d := range c.read() {
		if d.id != gone+uint64(i) {
			t.Fatalf("request %d was served, want the %d latest", d.id, len(ds))
		}
	}
	w.pass(1001 * time.Millisecond)
	ds = c.read()
	for _, d := range ds {
		if d.id >= gone || d.out != TimedOut {
			t.Errorf("%v after the deadline", d)
		}
	}
	if len(ds) != int(gone) {
		t.Errorf("%d requests timed out, want %d", len(ds), gone)
	}
	w.rest(c, m)
}

func TestOneParkedBodyMayBeLargerThanTheBound(t *testing.T) {
	w := newWorld(t)
	c := w.program("")
	w.request(c, 1, "echo", "small", 1000)
	body := strings.Repeat("x", maxHeld+5)
	w.request(c, 2, "echo", body, 1000)
	m := w.program("echo")
	w.expect(m, handed(0, "small", 1000), handed(1, body, 1000))
	w.rest(c, m)
}

func TestParkedBodyWithoutMemoryOnlyWaitsForItsDeadline(t *testing.T) {
	w := newWorldOf(t, 100_000)
	c := w.program("")
	w.request(c, 1, "echo", strings.Repeat("x", 99_900), 1000)
	if n := w.plane.Drops.Parked.Load(); n != 1 {
		t.Errorf("%d bodies were let go, want 1", n)
	}
	m := w.program("echo")
	w.expect(m)
	w.pass(1001 * time.Millisecond)
	w.expect(c, answered(1, TimedOut, ""))
	w.rest(c, m)
}

func TestPendingCallsAreLimited(t *testing.T) { // R27
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	for i := range uint64(MaxPending) {
		switch i % 3 {
		case 0:
			w.request(c, i, "echo", "", 1000)
		case 1:
			w.request(c, i, "nobody", "", 1000)
		case 2:
			w.build(c, i, "echo", 1000)
		}
	}
	w.expect(c)
	w.request(c, 9000, "echo", "", 1000)
	w.build(c, 9001, "echo", 1000)
	w.expect(c, answered(9000, Refused, ""), unbuilt(9001, Refused))
	if n := w.plane.Drops.Pending.Load(); n != 2 {
		t.Errorf("%d refusals were counted, want 2", n)
	}
	w.reply(m, 0, "")
	w.expect(c, answered(0, Replied, ""))
	m.read()
	w.request(c, 9002, "echo", "in its place", 1000)
	if ds := m.read(); len(ds) != 1 || ds[0].body != "in its place" {
		t.Errorf("after an answer the next request came as %v", ds)
	}
	w.rest(c, m)
}

func TestFullMemberIsNotChosenAndTakesMoreLater(t *testing.T) {
	w := newWorld(t)
	m := w.program("echo")
	var cs []*program
	for range maxLoad / MaxPending {
		c := w.program("")
		cs = append(cs, c)
		for i := range uint64(MaxPending) {
			w.request(c, i, "echo", "", 1000)
		}
	}
	if m.Load() != maxLoad || len(m.read()) != maxLoad {
		t.Fatalf("Load = %d, want %d", m.Load(), maxLoad)
	}
	c := w.program("")
	w.request(c, 1, "echo", "one", 1000)
	w.request(c, 2, "echo", "two", 1000)
	w.expect(m)
	w.reply(m, 5, "")
	w.expect(m, handed(maxLoad, "one", 1000))
	w.reply(m, maxLoad, "done")
	w.expect(c, answered(1, Replied, "done"))
	w.expect(m, handed(maxLoad+1, "two", 1000))
	w.rest(append(cs, c, m)...)
}

func TestProgramWithoutRoomTakesMoreWhenItHasSome(t *testing.T) {
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	full := true
	m.refuse = func() bool { return full }
	for i := range uint64(5) {
		w.request(c, i, "echo", "ping", 1000)
	}
	w.expect(m)
	if m.Load() != 0 {
		t.Errorf("a program that took nothing has a load of %d", m.Load())
	}
	m.Relieved() // for nothing
	w.attend()
	w.expect(m)
	full = false
	m.Relieved()
	w.attend()
	if n := len(m.read()); n != 5 {
		t.Errorf("%d of 5 requests were handed over when there was room", n)
	}
	w.rest(c, m)
}

// Memory that was short is short no longer: nobody tells, but the next request
// that gets through shows.
func TestParkedRequestsFollowOneThatGetsThrough(t *testing.T) {
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	full := true
	m.refuse = func() bool { return full }
	w.request(c, 1, "echo", "one", 1000)
	w.request(c, 2, "echo", "two", 1000)
	full = false
	w.request(c, 3, "echo", "three", 1000)
	w.expect(m, handed(0, "three", 1000), handed(1, "one", 1000), handed(2, "two", 1000))
	w.rest(c, m)
}

// Room that comes between a refusal and its being noted is not missed.
func TestRoomThatComesDuringARefusalIsSeen(t *testing.T) {
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	attempts := 0
	m.refuse = func() bool {
		attempts++
		if attempts == 1 {
			return true
		}
		// The loop tries, and is refused; at that moment there is room.
		m.refuse = nil
		m.Relieved()
		return true
	}
	c.Conn.Request(w.now, &w.b, 1, []byte("echo"), []byte("ping"), 1000)
	m.refused.Store(false) // Relieved was called, and its note heard
	w.attend()
	w.expect(m, handed(0, "ping", 1000))
	w.rest(c, m)
}

// Ids that are answered late outlive whole turns of the ring they are in.
func TestSlowAnswersAmongManyQuickOnes(t *testing.T) {
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	open := make(map[uint64]uint64) // the member's id, the requester's
	r := rand.New(rand.NewPCG(1, 1))
	id := uint64(0)
	answer := func(theirs uint64) {
		t.Helper()
		w.reply(m, theirs, fmt.Sprint(theirs))
		w.expect(c, answered(open[theirs], Replied, fmt.Sprint(theirs)))
		delete(open, theirs)
	}
	for range 20_000 {
		w.request(c, id, "echo", "", 1_000_000)
		for _, d := range m.read() {
			open[d.id] = id
			if r.IntN(100) > 0 || len(open) > 100 {
				answer(d.id)
			}
		}
		id++
	}
	if n := len(m.served.tables[request].ring); n > 512 {
		t.Errorf("%d open requests hold a ring of %d places", len(open), n)
	}
	for theirs := range id {
		if _, ok := open[theirs]; ok {
			answer(theirs)
		}
	}
	if m.Load() != 0 {
		t.Errorf("Load = %d", m.Load())
	}
	w.rest(c, m)
}

func TestReportNamesMembersAndLoad(t *testing.T) {
	w := newWorld(t)
	c, ms := w.program(""), w.programs("echo", 2)
	other := w.program("a")
	w.topic(c, "news", true)
	w.topic(other, "news", true)
	w.request(c, 1, "echo", "", 1000)
	w.request(c, 2, "echo", "", 1000)
	w.build(c, 3, "echo", 1000)
	c.Publish(w.now, &w.b, []byte("news"), nil)
	c.Conn.Broadcast(w.now, &w.b, []byte("echo"), nil)
	w.reply(ms[0], 0, "")
	clusters, topics, totals := w.plane.Report()
	slices.SortFunc(clusters, func(a, b Name) int { return strings.Compare(a.Name, b.Name) })
	if got, want := fmt.Sprint(clusters), "[{a 1 0 0 [] false 0 0 0 0} {echo 2 2 0 [] false 3 0 1 0}]"; got != want {
		t.Errorf("clusters %v, want %v", got, want)
	}
	if got, want := fmt.Sprint(topics), "[{news 2 0 0 [] false 0 0 1 0}]"; got != want {
		t.Errorf("topics %v, want %v", got, want)
	}
	want := Totals{Requests: 2, Replies: 1, Broadcasts: 1, Events: 1, Tunnels: 1}
	if totals != want {
		t.Errorf("totals %v, want %v", totals, want)
	}
	w.topic(c, "news", false)
	w.topic(other, "news", false)
	for _, p := range append(ms, c, other) {
		w.close(p)
	}
	if clusters, topics, totals = w.plane.Report(); len(clusters)+len(topics) > 0 || totals != want {
		t.Errorf("when all are gone: %v %v %v, want totals %v", clusters, topics, totals, want)
	}
	w.rest()
}
