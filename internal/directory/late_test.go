package directory

import (
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A busyRoot answers what it is asked in order, a number of names a second.
type busyRoot struct {
	*bench
	asker *bench
	rate  int
	asked int // names it was asked for
	queue []wire.Message
	free  time.Time // when it has done what it had to do
}

func newBusyRoot(t *testing.T, rate int) *busyRoot {
	r := &busyRoot{bench: newBench(t, 1), asker: newBench(t, 2, 1), rate: rate}
	r.others[id(2)] = wire.Joining // so nobody else could know more
	return r
}

// names returns how many names a message asks for.
func names(m wire.Message) int {
	switch m := m.(type) {
	case wire.Resolve:
		return len(m.Names)
	case wire.Check:
		return len(m.Names)
	}
	return 0
}

// work lets time pass, in small steps.
func (r *busyRoot) work(d time.Duration) {
	const step = 10 * time.Millisecond
	for until := r.asker.now.Add(d); r.asker.now.Before(until); {
		sends, _ := r.asker.take()
		for _, s := range sends {
			r.asked += names(s.Msg)
			r.queue = append(r.queue, s.Msg)
		}
		r.asker.pass(step)
		r.pass(step)
		if r.free.Before(r.asker.now.Add(-step)) {
			r.free = r.asker.now.Add(-step)
		}
		for len(r.queue) > 0 && r.free.Before(r.asker.now) {
			m := r.queue[0]
			r.queue = r.queue[1:]
			r.free = r.free.Add(time.Duration(names(m)) * time.Second / time.Duration(r.rate))
			r.hear(2, m)
		}
		answers, _ := r.take()
		for _, s := range answers {
			r.asker.hear(1, s.Msg)
		}
	}
}

// known returns how many names the asker knows the member nodes of.
func (r *busyRoot) known() (n int) {
	for _, w := range r.asker.d.watched { //iris:unordered a sum
		if w.ver != (wire.Ver{}) {
			n++
		}
	}
	return n
}

func topic(n int) wire.Name {
	return wire.Name{Kind: wire.Topic, Key: ring.ID{Hi: 1 << 40, Lo: uint64(n)}}
}

// Where a root is so busy that every answer comes later than the question is repeated,
// what it says counts all the same, and repeats do not keep it busy for ever.
func TestAnswersLaterThanTheRepeatAreKnowledge(t *testing.T) {
	const many, rate = 10_000, 1000
	r := newBusyRoot(t, rate)
	begin := r.asker.now
	for n := range many {
		r.asker.d.Watch(r.asker.now, topic(n), &r.asker.out)
	}
	for r.known() < many {
		if r.asker.now.Sub(begin) > time.Minute {
			t.Fatalf("after %v %d of %d names are known; %d asked for", r.asker.now.Sub(begin), r.known(), many, r.asked)
		}
		r.work(time.Second)
	}
	t.Logf("all are known after %v; %d names asked for", r.asker.now.Sub(begin), r.asked)
	if took := r.asker.now.Sub(begin); took > many/rate*time.Second+time.Second {
		t.Errorf("%d names are known after %v, of a root that does %d a second", many, took, rate)
	}
	if r.asked > 6*many {
		t.Errorf("%d names are asked for %d times", many, r.asked)
	}
}

// So with checks.
func TestChecksAreAnsweredByABusyRoot(t *testing.T) {
	const many, rate = 2000, 400
	r := newBusyRoot(t, 1_000_000)
	for n := range many {
		r.asker.d.Watch(r.asker.now, topic(n), &r.asker.out)
	}
	r.work(time.Second)
	r.asked, r.rate = 0, rate
	begin, confirmed := r.asker.now, make(map[wire.Name]bool)
	for n := range many {
		r.asker.d.Published(r.asker.now, topic(n), &r.asker.out)
	}
	for len(confirmed) < many {
		if r.asker.now.Sub(begin) > time.Minute {
			t.Fatalf("after %v %d of %d names are confirmed; %d asked for", r.asker.now.Sub(begin), len(confirmed), many, r.asked)
		}
		r.work(10 * time.Millisecond)
		for _, s := range r.asker.out.Steps {
			if s.What == Confirmed {
				confirmed[s.Name] = true
			}
		}
	}
	t.Logf("all are confirmed after %v; %d names asked for", r.asker.now.Sub(begin), r.asked)
	if r.asked > 6*many {
		t.Errorf("%d names are asked for %d times", many, r.asked)
	}
}
