package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var start = time.Unix(1e9, 0)

func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// usual is a source of which the first numbers make no choice explore.
func usual(t testing.TB) *rand.Rand {
	r := random(3)
	probe := random(3)
	for range 8 {
		if probe.Uint32()%exploreOne == 0 {
			t.Fatal("the seed explores")
		}
	}
	return r
}

func TestEarliestAnswerIsChosen(t *testing.T) {
	type member struct {
		inFlight, workers int
		handler, rtt      time.Duration
	}
	const ms = time.Millisecond
	for _, v := range []struct {
		what    string
		members []member
		want    int
	}{
		{"the faster handler", []member{{0, 1, 10 * ms, ms}, {0, 1, 5 * ms, ms}}, 1},
		{"the nearer node", []member{{0, 1, 10 * ms, ms}, {0, 1, 10 * ms, 2 * ms}}, 0},
		{"the shorter queue", []member{{4, 1, 10 * ms, ms}, {2, 1, 10 * ms, ms}}, 1},
		{"more workers for the same queue", []member{{4, 4, 10 * ms, ms}, {4, 2, 10 * ms, ms}}, 0},
		{"idle workers make nothing faster", []member{{0, 16, 10 * ms, 2 * ms}, {0, 1, 10 * ms, ms}}, 1},
		{"the local member, for its way", []member{{0, 1, 10 * ms, ms}, {0, 1, 10 * ms, 0}}, 1},
		{"not the local member at any price", []member{{0, 1, 10 * ms, ms}, {1, 1, 10 * ms, 0}}, 0},
		{"the shorter queue, where handlers take no time", []member{{9000, 1, 0, ms}, {8000, 1, 0, ms}}, 1},
		{"workers that were not told are one", []member{{1, 0, 10 * ms, ms}, {1, 2, 10 * ms, ms}}, 1},
	} {
		var p Pool[int]
		for i, m := range v.members {
			p.Add(i, 1, m.rtt).Signal(start, m.inFlight, m.workers, m.handler)
		}
		if got := p.Choose(start, usual(t), nil); got.Value != v.want {
			t.Errorf("%s: member %d of %+v is chosen, want %d", v.what, got.Value, v.members, v.want)
		}
	}
}

func TestOwnRequestsAreAdded(t *testing.T) {
	var p Pool[int]
	for i := range 2 {
		p.Add(i, 1, 0).Signal(start, 0, 1, time.Millisecond)
	}
	r := usual(t)
	first, second := p.Choose(start, r, nil), p.Choose(start, r, nil)
	if first == second {
		t.Error("both requests go to one member")
	}
	second.Signal(start, 5, 1, time.Millisecond)
	if got := p.Choose(start, r, nil); got != first {
		t.Error("a newer signal does not count")
	}
}

func TestSignalsEnd(t *testing.T) {
	var p Pool[string]
	fast := p.Add("fast", 1, 0)
	slow := p.Add("slow", 1, 0)
	r := usual(t)
	fast.Signal(start, 0, 1, time.Millisecond)
	slow.Signal(start.Add(time.Millisecond), 0, 1, time.Second)
	if got := p.Choose(start.Add(freshFor), r, nil); got != fast {
		t.Errorf("after %v the choice is %s", freshFor, got.Value)
	}
	if got := p.Choose(start.Add(freshFor+1), r, nil); got != slow {
		t.Errorf("the choice is %s, of which the signal is too old", got.Value)
	}

	fast.Signal(start, 0, 1, time.Millisecond)
	slow.Signal(start, 0, 1, time.Second)
	var got []string
	for range freshUses + 1 {
		got = append(got, p.Choose(start, r, nil).Value)
	}
	if want := []string{"fast", "fast", "fast", "fast", "slow"}; !slices.Equal(got, want) {
		t.Errorf("choices %v, want %v", got, want)
	}
}

func TestExactLoadLastsNoLonger(t *testing.T) {
	var p Pool[string]
	local := p.Add("local", 1, 0)
	other := p.Add("other", 1, 0)
	local.Signal(start, 0, 1, time.Millisecond)
	other.Signal(start, 0, 1, 2*time.Millisecond)
	r := usual(t)
	local.SetInFlight(5)
	if got := p.Choose(start, r, nil); got != other {
		t.Error("the exact load does not count")
	}
	for range freshUses {
		local.SetInFlight(0)
		if got := p.Choose(start, r, nil); got != local {
			t.Error("the exact load does not count")
		}
	}
	if got := p.Choose(start, r, nil); got != other {
		t.Error("the exact load made the signal last")
	}
}

// share returns how often each member is chosen, of n times.
func share(p *Pool[int], n int, now time.Time, not *Member[int]) map[int]int {
	r := random(5)
	got := map[int]int{}
	for range n {
		got[p.Choose(now, r, not).Value]++
	}
	return got
}

func TestUnknownMembersAreChosenByWorkers(t *testing.T) {
	var p Pool[int]
	for i, workers := range []int{1, 0, 6} {
		p.Add(i, workers, time.Duration(i)*time.Second)
	}
	got := share(&p, 8000, start, nil)
	for i, want := range []int{1000, 1000, 6000} {
		if got[i] < want*9/10 || got[i] > want*11/10 {
			t.Errorf("member %d is chosen %d times, want about %d", i, got[i], want)
		}
	}
}

// Requests always in flight keep the others known; the member must not be
// forgotten for it, nor flooded if it answers nothing.
func TestUnknownMemberIsAskedOnceInAWhile(t *testing.T) {
	var p Pool[int]
	known := p.Add(0, 1, 0)
	unknown := p.Add(1, 1, 0)
	r := random(5)
	now := start
	choose := func(n int) (asked int) {
		for range n {
			known.Signal(now, 0, 1, time.Millisecond)
			if p.Choose(now, r, nil) == unknown {
				asked++
			}
		}
		return asked
	}
	if got := choose(1000); got != 1 {
		t.Errorf("asked %d times without an answer, want once", got)
	}
	now = now.Add(freshFor + 1)
	if got := choose(1000); got != 1 {
		t.Errorf("asked %d times a second later, want once", got)
	}
	asked := 0
	for range 1000 {
		unknown.Signal(now, 50, 1, time.Millisecond)
		unknown.uses = freshUses // not known any more
		asked += choose(1)
	}
	if asked < 1000/exploreOne/2 || asked > 1000/exploreOne*2 {
		t.Errorf("with answers asked %d times of 1000, want about %d", asked, 1000/exploreOne)
	}
}

func TestRefusingMemberIsNotChosenAgain(t *testing.T) {
	var p Pool[int]
	a, b := p.Add(0, 1, 0), p.Add(1, 1, 0)
	if got := share(&p, 100, start, a); got[1] != 100 {
		t.Errorf("of two unknown: choices %v", got)
	}
	a.Signal(start, 0, 1, time.Millisecond)
	b.Signal(start, 0, 1, time.Second)
	if got := p.Choose(start, usual(t), a); got != b {
		t.Error("the faster member is chosen, which has just refused")
	}
	p.Remove(b)
	if got := p.Choose(start, usual(t), a); got != nil {
		t.Error("the only member is chosen, which has just refused")
	}
	if got := p.Choose(start, usual(t), nil); got != a {
		t.Error("the only member is not chosen")
	}
}

func TestRemovedMemberIsGone(t *testing.T) {
	var p Pool[int]
	a, b, c := p.Add(0, 1, 0), p.Add(1, 1, 0), p.Add(2, 1, 0)
	p.Remove(a)
	p.Remove(a)
	if p.Len() != 2 {
		t.Errorf("%d members, want 2", p.Len())
	}
	if got := share(&p, 100, start, nil); got[0] > 0 || got[1] == 0 || got[2] == 0 {
		t.Errorf("choices %v", got)
	}
	a.Signal(start, 0, 1, 0) // an answer that was on its way
	a.Failed(start)
	p.Remove(b)
	p.Remove(c)
	if got := p.Choose(start, random(1), nil); got != nil || p.Len() != 0 {
		t.Errorf("of an empty pool %v is chosen", got)
	}
}

func TestOfManySomeAreCompared(t *testing.T) {
	const many = 100
	var p Pool[int]
	var all []*Member[int]
	for i := range many {
		all = append(all, p.Add(i, 1, 0))
	}
	chosen := map[int]int{}
	r := random(9)
	for range 2000 {
		for i, m := range all {
			m.Signal(start, 0, 1, time.Duration(i+1)*time.Millisecond) // the first is best
		}
		chosen[p.Choose(start, r, nil).Value]++
	}
	// The best of 16 is the best of all in 16 % of the choices, and among the
	// best half in nearly all.
	if got := chosen[0]; got < 240 || got > 400 {
		t.Errorf("the best is chosen %d times of 2000, want about 320", got)
	}
	for i := many / 2; i < many; i++ {
		if chosen[i] > 2 {
			t.Errorf("member %d is chosen %d times", i, chosen[i])
		}
	}
	if p.Len() != many {
		t.Errorf("%d members are left", p.Len())
	}
	// None of the drawn is to be had.
	for _, m := range all[1:] {
		for range ejectAfter {
			m.Failed(start)
		}
	}
	if got := share(&p, 100, start, nil); got[0] != 100 {
		t.Errorf("with one left: choices %v", got)
	}
}

func TestFailingMemberIsEjected(t *testing.T) {
	var p Pool[int]
	bad, good := p.Add(0, 1, 0), p.Add(1, 1, 0)
	now := start
	for range ejectAfter - 1 {
		bad.Failed(now)
	}
	bad.Succeeded()
	for range ejectAfter - 1 {
		bad.Failed(now)
	}
	if bad.Ejected(now) {
		t.Fatal("ejected after 4 failures in a row")
	}
	bad.Failed(now)
	for _, want := range []time.Duration{5, 10, 20, 40, 60, 60} {
		want *= time.Second
		bad.Failed(now.Add(time.Second)) // a request sent before: of the same fault
		if !bad.Ejected(now.Add(want - 1)) {
			t.Fatalf("not ejected for %v", want)
		}
		if got := share(&p, 100, now.Add(want-1), nil); got[1] != 100 {
			t.Fatalf("while one is ejected: choices %v", got)
		}
		if now = now.Add(want); bad.Ejected(now) {
			t.Fatalf("ejected for more than %v", want)
		}
		if got := share(&p, 100, now, nil); got[0] == 0 {
			t.Fatal("not tried again after its time")
		}
		bad.Failed(now) // still in a row
	}
	bad.Succeeded()
	if bad.Ejected(now) {
		t.Error("ejected in spite of an answer")
	}
	for range ejectAfter {
		bad.Failed(now)
	}
	if bad.Ejected(now.Add(ejectFirst)) {
		t.Error("an answer did not end the doubling")
	}

	// All ejected: none is.
	for range ejectAfter {
		good.Failed(now)
	}
	if got := share(&p, 100, now, nil); got[0] == 0 || got[1] == 0 {
		t.Errorf("while all are ejected: choices %v", got)
	}
	if got := share(&p, 100, now, bad); got[1] != 100 {
		t.Errorf("while all are ejected and one refused: choices %v", got)
	}
}

func TestBudgetOfExtraAttempts(t *testing.T) {
	var b Budget
	take := func() (n int) {
		for b.Take() {
			n++
		}
		return n
	}
	if got := take(); got != 10 {
		t.Errorf("%d extra attempts at first, want 10", got)
	}
	for range 9 {
		b.Request()
	}
	if got := take(); got != 0 {
		t.Errorf("%d extra attempts after 9 requests, want none", got)
	}
	for range 11 {
		b.Request()
	}
	if got := take(); got != 2 {
		t.Errorf("%d extra attempts after 11 more, want 2", got)
	}
	for range 100000 {
		b.Request()
	}
	if got := take(); got != 10 {
		t.Errorf("%d extra attempts after many requests, want 10", got)
	}
}

func TestChoosingDoesNotAlloc(t *testing.T) {
	for _, n := range []int{1, 3, 100} {
		p, r := benchPool(n)
		i := 0
		if got := testing.AllocsPerRun(1000, func() {
			m := p.Choose(start, r, nil)
			if i++; i%2 == 0 {
				m.Signal(start, 3, 4, time.Millisecond)
			}
			m.Failed(start)
			m.Succeeded()
		}); got != 0 {
			t.Errorf("among %d: %v allocations", n, got)
		}
	}
}

func benchPool(n int) (*Pool[int], *rand.Rand) {
	p := new(Pool[int])
	for i := range n {
		p.Add(i, 4, time.Duration(i)*time.Microsecond).Signal(start, i, 4, time.Millisecond)
	}
	return p, random(1)
}

// What a request costs: a choice, and the signal of its answer.
func BenchmarkChoose(b *testing.B) {
	for _, n := range []int{1, 3, 16, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p, r := benchPool(n)
			b.ReportAllocs()
			for b.Loop() {
				m := p.Choose(start, r, nil)
				m.Succeeded()
				m.Signal(start, 3, 4, time.Millisecond)
			}
		})
	}
}
