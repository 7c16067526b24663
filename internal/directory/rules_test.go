package directory

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A bench is one directory, whose messages a test reads and answers.
type bench struct {
	t *testing.T
	*view
	d   *Directory
	now time.Time
	out Output
}

// id returns the id of a node of the tests: they stand around the ring in order,
// and name is closest to the first of them.
func id(n uint64) ring.ID { return ring.ID{Hi: n << 40} }

var (
	name  = wire.Name{Kind: wire.Cluster, Key: ring.ID{Hi: 1<<40 + 1}}
	other = wire.Name{Kind: wire.Topic, Key: ring.ID{Hi: 1<<40 + 2}}
)

// newBench returns the directory of a node among other Active ones.
func newBench(t *testing.T, self uint64, others ...uint64) *bench {
	b := &bench{t: t, now: start, view: &view{self: id(self), state: wire.Active, others: make(map[ring.ID]wire.State)}}
	for _, n := range others {
		b.others[id(n)] = wire.Active
	}
	b.d = New(start, b.self, 1, b.view)
	return b
}

// founded is a root that has been root of name for long enough to know all of it.
func founded(t *testing.T, others ...uint64) *bench {
	b := newBench(t, 1, others...)
	b.hear(2, wire.Resolve{Query: 1, Names: []wire.Held{{Name: name}}})
	b.pass(incomplete)
	b.take()
	return b
}

func (b *bench) hear(from uint64, m wire.Message) { b.d.Receive(b.now, id(from), m, &b.out) }

// pass lets time pass, and what is due be done.
func (b *bench) pass(d time.Duration) {
	for until := b.now.Add(d); ; {
		at := b.d.Next()
		if at.After(until) {
			b.now = until
			return
		}
		if at.After(b.now) {
			b.now = at
		}
		b.d.Advance(b.now, &b.out)
	}
}

// take returns what was sent, and what happened, since the last time.
func (b *bench) take() ([]Send, []Step) {
	sent, steps := slices.Clone(b.out.Send), slices.Clone(b.out.Steps)
	b.out.Reset()
	return sent, steps
}

// sent returns the messages of one kind since the last time, each with whom it is for.
func sent[M wire.Message](b *bench) (to []ring.ID, ms []M) {
	all, _ := b.take()
	for _, s := range all {
		if m, ok := s.Msg.(M); ok {
			to, ms = append(to, s.To), append(ms, m)
		}
	}
	return to, ms
}

// one returns the only message of a kind since the last time.
func one[M wire.Message](b *bench) (ring.ID, M) {
	b.t.Helper()
	to, ms := sent[M](b)
	if len(ms) != 1 {
		b.t.Fatalf("%d messages of type %T: %v", len(ms), *new(M), ms)
	}
	return to[0], ms[0]
}

// nothing asserts that no message of a kind was sent since the last time.
func nothing[M wire.Message](b *bench) {
	b.t.Helper()
	if to, ms := sent[M](b); len(ms) > 0 {
		b.t.Fatalf("%T sent to %v: %v", *new(M), to, ms)
	}
}

func (b *bench) steps(want ...Step) {
	b.t.Helper()
	_, got := b.take()
	if !slices.Equal(got, want) {
		b.t.Fatalf("steps %v, want %v", got, want)
	}
}

func joins(n uint64, members int) Step {
	return Step{Changed, Change{name, id(n), members, 4 * min(members, 1)}}
}

func announce(seq uint64, members uint16) wire.Announce {
	return wire.Announce{Seq: seq, Names: []wire.Registration{{Name: name, Members: members, Workers: 4}}}
}

func entry4(n, seq uint64, members uint16) wire.Entry {
	return wire.Entry{Node: id(n), Members: members, Workers: 4, Seq: seq}
}

func resolve(query uint32, watch bool) wire.Resolve {
	return wire.Resolve{Query: query, Watch: watch, Names: []wire.Held{{Name: name}}}
}

func TestHighestNumberOfAnAnnouncementWins(t *testing.T) {
	for _, c := range []struct {
		about string
		say   []wire.Announce
		want  []wire.Entry
	}{
		{"one", []wire.Announce{announce(5, 1)}, []wire.Entry{entry4(2, 5, 1)}},
		{"a newer one", []wire.Announce{announce(5, 1), announce(6, 3)}, []wire.Entry{entry4(2, 6, 3)}},
		{"an older one", []wire.Announce{announce(6, 3), announce(5, 1)}, []wire.Entry{entry4(2, 6, 3)}},
		{"the end of it", []wire.Announce{announce(5, 1), announce(6, 0)}, nil},
		{"the end before the beginning", []wire.Announce{announce(6, 0), announce(5, 1)}, nil},
		{"again after the end", []wire.Announce{announce(6, 0), announce(5, 1), announce(7, 2)}, []wire.Entry{entry4(2, 7, 2)}},
	} {
		b := founded(t, 2, 3)
		for _, m := range c.say {
			b.hear(2, m)
			if to, a := one[wire.Announced](b); to != id(2) || a.Seq != m.Seq || len(a.NotMine) != 0 {
				t.Errorf("%s: answer %v", c.about, a)
			}
		}
		b.hear(3, resolve(1, false))
		if _, m := one[wire.Members](b); !slices.Equal(m.Entries, c.want) {
			t.Errorf("%s: members %v, want %v", c.about, m.Entries, c.want)
		}
	}
}

func TestTombstoneIsKeptForAMinute(t *testing.T) {
	b := founded(t, 2, 3)
	b.hear(2, announce(6, 0))
	b.pass(tombstone - time.Second)
	b.hear(2, announce(5, 1)) // was under way all the time
	b.hear(3, resolve(1, false))
	if _, m := one[wire.Members](b); len(m.Entries) != 0 {
		t.Errorf("a tombstone did not hold: %v", m.Entries)
	}
	b.pass(2 * tombstone)
	if l := b.d.lists[name]; l != nil {
		t.Errorf("what nobody has, watches or asks for is kept: %v", l)
	}
}

// Who has missed a tombstone that is no longer kept is told the whole list.
func TestVersionOlderThanWhatWasForgottenIsToldAll(t *testing.T) {
	b := founded(t, 2, 3)
	b.hear(2, announce(1, 1))
	b.hear(3, announce(1, 1))
	b.hear(4, resolve(1, false))
	_, held := one[wire.Members](b)
	b.hear(2, announce(2, 0))
	b.pass(3 * tombstone)
	b.take()
	b.hear(4, wire.Resolve{Query: 2, Names: []wire.Held{{Name: name, Ver: held.Ver}}})
	if _, m := one[wire.Members](b); m.From != (wire.Ver{}) || !slices.Equal(m.Entries, []wire.Entry{entry4(3, 1, 1)}) {
		t.Errorf("told %v", m)
	}
}

func TestFirstMemberIsToldToWatchersAtOnce(t *testing.T) {
	b := founded(t, 2, 3)
	b.hear(3, resolve(1, true))
	_, held := one[wire.Members](b)
	b.hear(2, announce(1, 1))
	if to, m := one[wire.Members](b); to != id(3) || m.Query != 0 || m.From != held.Ver || !slices.Equal(m.Entries, []wire.Entry{entry4(2, 1, 1)}) {
		t.Errorf("%v is told %v", to, m)
	}
	b.hear(4, announce(1, 1)) // not the first
	b.pass(time.Millisecond)
	if to, m := one[wire.Members](b); to != id(3) || !slices.Equal(m.Entries, []wire.Entry{entry4(4, 1, 1)}) {
		t.Errorf("%v is told %v", to, m)
	}
	b.hear(2, announce(2, 5)) // how many exactly is nobody's business
	b.pass(time.Second)
	nothing[wire.Members](b)
	m := announce(3, 6)
	m.Names[0].Workers = 9 // how many requests it can work on is
	b.hear(2, m)
	b.pass(time.Second)
	if _, m := one[wire.Members](b); m.Entries[0].Workers != 9 {
		t.Errorf("told %v", m)
	}
	b.pass(lease) // without a word from the watcher
	b.take()
	b.hear(2, announce(4, 0))
	b.pass(time.Second)
	nothing[wire.Members](b)
}

func TestWatchersAreLimited(t *testing.T) {
	b := founded(t, 2)
	for n := range uint64(maxWatchers + 2) {
		b.hear(1000+n, resolve(1, true))
	}
	if len(b.d.lists[name].watchers) != maxWatchers || b.d.Stats.WatchersDropped != 2 {
		t.Errorf("%d watchers, %d dropped", len(b.d.lists[name].watchers), b.d.Stats.WatchersDropped)
	}
	if _, ms := sent[wire.Members](b); len(ms) != maxWatchers+2 {
		t.Errorf("%d answers: who may not watch is answered none the less", len(ms))
	}
	b.hear(1000, resolve(2, true)) // renews
	if b.d.Stats.WatchersDropped != 2 {
		t.Error("one of the watchers may not go on")
	}
}

func TestAnnouncementIsRepeatedUntilItIsAcknowledged(t *testing.T) {
	b := newBench(t, 9, 1)
	b.d.SetLocal(b.now, name, 1, 4, &b.out)
	to, m := one[wire.Announce](b)
	if to != id(1) || !reflect.DeepEqual(m.Names, announce(0, 1).Names) {
		t.Fatalf("%v is told %v", to, m)
	}
	for _, pause := range []time.Duration{200, 400, 800, 1600, 3200, 5000, 5000} {
		b.pass(pause*time.Millisecond - 1)
		nothing[wire.Announce](b)
		b.pass(1)
		seq := m.Seq
		if _, m = one[wire.Announce](b); m.Seq <= seq {
			t.Fatalf("after %v: number %d follows %d", pause*time.Millisecond, m.Seq, seq)
		}
	}
	if b.d.Settled() {
		t.Error("settled, though nobody has acknowledged")
	}
	b.hear(1, wire.Announced{Seq: m.Seq - 1})
	b.hear(8, wire.Announced{Seq: m.Seq})
	if b.d.Settled() {
		t.Error("settled by what is no acknowledgement")
	}
	b.hear(1, wire.Announced{Seq: m.Seq})
	if !b.d.Settled() {
		t.Error("not settled, though it is acknowledged")
	}
	b.pass(20 * time.Second)
	nothing[wire.Announce](b)
}

// Two nodes that see the ring differently agree in a moment.
func TestAnnouncementThatIsNotTheOthersIsRepeatedSoon(t *testing.T) {
	b := newBench(t, 9, 1)
	b.d.SetLocal(b.now, name, 1, 4, &b.out)
	_, m := one[wire.Announce](b)
	b.hear(1, wire.Announced{Seq: m.Seq, NotMine: []uint16{0, 7}})
	b.pass(redirectWait)
	_, m = one[wire.Announce](b)
	b.others[id(2)] = wire.Active // closer to another name only
	delete(b.others, id(1))
	b.d.ViewChanged(b.now, &b.out)
	if to, _ := one[wire.Announce](b); to != id(2) {
		t.Errorf("announced to %v", to)
	}
	b.hear(2, wire.Announced{Seq: m.Seq + 1})
	if !b.d.Settled() {
		t.Error("a node that keeps nothing of ours is still announced to")
	}
}

func TestFirstAndLastMemberAreAnnouncedToRootAndReplicas(t *testing.T) {
	b := newBench(t, 9, 1, 2, 3, 4, 5)
	keepers := []ring.ID{id(1), id(2), id(3), id(5), id(9)}
	for _, c := range []struct {
		members int
		told    bool
	}{{0, false}, {1, true}, {2, false}, {70_000, false}, {0, true}, {0, false}, {1, true}} {
		b.d.SetLocal(b.now, name, c.members, 4, &b.out)
		to, _ := sent[wire.Announce](b)
		to = append(to, b.self) // heard without a message
		slices.SortFunc(to, ring.ID.Compare)
		if c.told && !slices.Equal(to, keepers) || !c.told && len(to) != 1 {
			t.Errorf("%d members are announced to %v", c.members, to)
		}
	}
}

func TestWithdrawAnnouncesThatThereIsNobody(t *testing.T) {
	b := newBench(t, 9, 1)
	b.d.SetLocal(b.now, name, 1, 4, &b.out)
	b.d.SetLocal(b.now, other, 1, 4, &b.out)
	_, ms := sent[wire.Announce](b)
	for _, m := range ms {
		b.hear(1, wire.Announced{Seq: m.Seq})
	}
	b.d.Withdraw(b.now, &b.out)
	_, m := one[wire.Announce](b)
	if len(m.Names) != 2 || m.Names[0].Members != 0 || m.Names[1].Members != 0 || b.d.Settled() {
		t.Fatalf("announced %v", m)
	}
	b.others[id(2)] = wire.Active // becomes a replica: must not learn of us from elsewhere
	b.d.ViewChanged(b.now, &b.out)
	if to, m := one[wire.Announce](b); to != id(2) || m.Names[0].Members != 0 {
		t.Errorf("%v is told %v", to, m)
	}
	b.d.Withdraw(b.now, &b.out)
	nothing[wire.Announce](b)
}

func TestRedirectsAreFollowedFourTimes(t *testing.T) {
	b := newBench(t, 9, 1)
	b.d.Watch(b.now, name, &b.out)
	for n := uint64(1); n <= maxRedirects; n++ {
		to, m := one[wire.Resolve](b)
		if to != id(n) {
			t.Fatalf("asked %v, want %v", to, id(n))
		}
		b.hear(8, wire.Redirect{Query: m.Query, Name: name, Owner: id(50)}) // was not asked
		b.hear(n, wire.Redirect{Query: m.Query - 1, Name: name, Owner: id(51)})
		nothing[wire.Resolve](b)
		b.hear(n, wire.Redirect{Query: m.Query, Name: name, Owner: id(n + 1)})
	}
	_, last := one[wire.Resolve](b)
	b.hear(5, wire.Redirect{Query: last.Query, Name: name, Owner: id(6)})
	b.pass(redirectWait - 1)
	nothing[wire.Resolve](b)
	if b.d.Stats.RedirectLimits != 1 {
		t.Errorf("limits: %d", b.d.Stats.RedirectLimits)
	}
	b.pass(1)
	to, m := one[wire.Resolve](b)
	if to != id(1) {
		t.Fatalf("asked %v after the pause", to)
	}
	b.hear(1, wire.Redirect{Query: m.Query, Name: name, Owner: id(2)})
	b.take()
	b.pass(time.Second) // that one is no more
	if to, _ := sent[wire.Resolve](b); to[0] != id(1) {
		t.Errorf("asked %v, though who was named first did not answer", to)
	}
}

func TestQuestionIsRepeatedUntilItIsAnswered(t *testing.T) {
	b := newBench(t, 9, 1)
	b.d.Watch(b.now, name, &b.out)
	for _, pause := range []time.Duration{200, 400, 800, 1600, 3200, 5000, 5000} {
		b.take()
		b.pass(pause*time.Millisecond - 1)
		nothing[wire.Resolve](b)
		b.pass(1)
	}
	_, m := one[wire.Resolve](b)
	b.hear(1, wire.Members{Query: m.Query - 1, Name: name, Ver: wire.Ver{Epoch: 1, Count: 1}, Entries: []wire.Entry{entry4(2, 1, 1), entry4(9, 1, 1)}})
	b.steps(joins(2, 1)) // whichever time it was asked; and not of this node itself
	b.hear(1, wire.Members{Query: m.Query, Name: name, Ver: wire.Ver{Epoch: 1, Count: 1}, Entries: []wire.Entry{entry4(3, 1, 1)}})
	b.steps() // that is known
	b.pass(renewal - 1)
	nothing[wire.Resolve](b)
	b.pass(1)
	if _, m := one[wire.Resolve](b); !m.Watch || m.Names[0].Ver != (wire.Ver{Epoch: 1, Count: 1}) {
		t.Errorf("renewed by %v", m)
	}
}

// watching returns a node that knows node 2 for a member node, as of epoch 1, count 5.
func watching(t *testing.T) *bench {
	b := newBench(t, 9, 1)
	b.d.Watch(b.now, name, &b.out)
	_, m := one[wire.Resolve](b)
	b.hear(1, wire.Members{Query: m.Query, Name: name, Ver: wire.Ver{Epoch: 1, Count: 5}, Entries: []wire.Entry{entry4(2, 1, 1)}})
	b.steps(joins(2, 1))
	return b
}

func TestWhatIsToldAppliesToWhatIsKnown(t *testing.T) {
	v := func(n uint32) wire.Ver { return wire.Ver{Epoch: 1, Count: n} }
	three, four := []wire.Entry{entry4(3, 1, 1)}, []wire.Entry{entry4(4, 1, 1)}
	for _, c := range []struct {
		about string
		from  uint64
		tell  wire.Members
		steps []Step
		asks  bool
		ver   wire.Ver
	}{
		{"the next version", 1, wire.Members{Ver: v(6), From: v(5), Entries: three}, []Step{joins(3, 1)}, false, v(6)},
		{"more than one version", 1, wire.Members{Ver: v(9), From: v(5), Entries: three}, []Step{joins(3, 1)}, false, v(9)},
		{"from before what is known", 1, wire.Members{Ver: v(9), From: v(2), Entries: three}, []Step{joins(3, 1)}, false, v(9)},
		{"one was missed", 1, wire.Members{Ver: v(7), From: v(6), Entries: three}, nil, true, v(5)},
		{"of another epoch", 1, wire.Members{Ver: wire.Ver{Epoch: 2, Count: 7}, From: wire.Ver{Epoch: 2, Count: 5}, Entries: three}, nil, true, v(5)},
		{"all heard before", 1, wire.Members{Ver: v(4), From: v(3), Entries: three}, nil, false, v(5)},
		{"an old list", 1, wire.Members{Ver: v(4), Entries: three}, nil, false, v(5)},
		{"late, and newer", 1, wire.Members{Query: 77, Ver: v(6), Entries: three}, []Step{joins(2, 0), joins(3, 1)}, false, v(6)},
		{"late, and no newer", 1, wire.Members{Query: 77, Ver: v(5), Incomplete: true, Entries: three}, nil, false, v(5)},
		{"late, and what is new", 1, wire.Members{Query: 77, Ver: v(6), From: v(5), Entries: three}, []Step{joins(3, 1)}, false, v(6)},
		{"late, of an epoch that may be over", 1, wire.Members{Query: 77, Ver: wire.Ver{Epoch: 2, Count: 7}, Entries: three}, nil, true, v(5)},
		{"another list", 1, wire.Members{Ver: wire.Ver{Epoch: 2, Count: 1}, Entries: three}, []Step{joins(2, 0), joins(3, 1)}, false, wire.Ver{Epoch: 2, Count: 1}},
		{"a sample", 1, wire.Members{Ver: v(6), Partial: true, Entries: three}, []Step{joins(3, 1)}, false, v(6)},
		{"by one that does not know all", 1, wire.Members{Ver: v(6), Incomplete: true, Entries: three}, []Step{joins(3, 1)}, false, v(6)},
		{"by one that is not the root", 4, wire.Members{Ver: wire.Ver{Epoch: 2, Count: 1}, Entries: three}, nil, false, v(5)},
		{"late, by a replica", 4, wire.Members{Query: replicaQuery, Ver: wire.Ver{Epoch: 2, Count: 1}, Entries: three}, nil, false, v(5)},
		{"the end", 1, wire.Members{Ver: v(6), From: v(5), Entries: []wire.Entry{entry4(2, 2, 0)}}, []Step{joins(2, 0)}, false, v(6)},
		{"the end, after a replica told of a later announcement", 1, wire.Members{Ver: v(6), From: v(5), Entries: []wire.Entry{entry4(2, 0, 0)}}, []Step{joins(2, 0)}, false, v(6)},
		{"the end of an earlier time, by one that does not know all", 1, wire.Members{Ver: v(6), From: v(5), Incomplete: true, Entries: []wire.Entry{entry4(2, 0, 0)}}, nil, false, v(6)},
		{"the end of what is not known", 1, wire.Members{Ver: v(6), From: v(5), Entries: []wire.Entry{entry4(4, 2, 0)}}, nil, false, v(6)},
		{"nothing new", 1, wire.Members{Ver: v(5), From: v(5), Entries: nil}, nil, false, v(5)},
		{"of another name", 1, wire.Members{Name: other, Ver: v(6), From: v(5), Entries: four}, nil, false, v(5)},
	} {
		b := watching(t)
		if c.tell.Name == (wire.Name{}) {
			c.tell.Name = name
		}
		b.hear(c.from, c.tell)
		all, steps := b.take()
		if !slices.Equal(steps, c.steps) || len(all) > 0 != c.asks || b.d.watched[name].ver != c.ver {
			t.Errorf("%s: %v, sent %v, version %v", c.about, steps, all, b.d.watched[name].ver)
		}
	}
}

// News may come before the answer that they follow, as that took another way.
func TestNewsThatOvertookTheAnswerAreNotMissed(t *testing.T) {
	for _, c := range []struct {
		about  string
		answer uint32
		asks   bool
	}{{"sent before the news", 5, true}, {"sent after the news", 7, false}} {
		b := newBench(t, 9, 1, 2)
		b.d.Watch(b.now, name, &b.out)
		_, m := one[wire.Resolve](b)
		b.hear(1, wire.Members{Name: name, Ver: wire.Ver{Epoch: 1, Count: 7}, From: wire.Ver{Epoch: 1, Count: 6}, Entries: []wire.Entry{entry4(3, 1, 1)}})
		b.hear(1, wire.Members{Name: name, Ver: wire.Ver{Epoch: 1, Count: 6}, From: wire.Ver{Epoch: 1, Count: 5}, Entries: []wire.Entry{entry4(2, 1, 1)}})
		nothing[wire.Resolve](b)
		b.hear(1, wire.Members{Query: m.Query, Name: name, Ver: wire.Ver{Epoch: 1, Count: c.answer}})
		if _, asked := sent[wire.Resolve](b); len(asked) > 0 != c.asks {
			t.Errorf("the answer was %s: asks %v", c.about, asked)
		}
	}
}

func TestManyThatMissSomethingAskOnce(t *testing.T) {
	b := watching(t)
	for n := range uint32(5) {
		b.hear(1, wire.Members{Name: name, Ver: wire.Ver{Epoch: 1, Count: 8 + n}, From: wire.Ver{Epoch: 1, Count: 7 + n}})
	}
	one[wire.Resolve](b)
}

func TestUnsureListIsAskedForUntilItIsSure(t *testing.T) {
	b := newBench(t, 9, 1, 2)
	b.d.Watch(b.now, name, &b.out)
	_, m := one[wire.Resolve](b)
	b.hear(1, wire.Members{Query: m.Query, Name: name, Ver: wire.Ver{Epoch: 1, Count: 1}, Incomplete: true})
	if to, m := one[wire.Resolve](b); to != id(2) || m.Watch || m.Query != replicaQuery {
		t.Fatalf("%v is asked %v: the replicas may know of some", to, m)
	}
	b.hear(2, wire.Members{Query: replicaQuery, Name: name, Ver: wire.Ver{Epoch: 7}, Entries: []wire.Entry{entry4(3, 1, 1)}})
	b.steps(joins(3, 1))
	b.pass(doubtful)
	to, m := one[wire.Resolve](b)
	if to != id(1) || m.Names[0].Ver != (wire.Ver{}) {
		t.Fatalf("%v is asked %v: all is to be told", to, m)
	}
	b.hear(1, wire.Members{Query: m.Query, Name: name, Ver: wire.Ver{Epoch: 1, Count: 1}, Incomplete: true})
	b.steps() // that it does not know of 3 is no knowledge
	b.pass(doubtful)
	_, m = one[wire.Resolve](b)
	b.hear(1, wire.Members{Query: m.Query, Name: name, Ver: wire.Ver{Epoch: 1, Count: 1}})
	b.steps(joins(3, 0))
	b.pass(renewal - 1)
	nothing[wire.Resolve](b)
}

func checks(t *testing.T) (*bench, uint32) {
	b := watching(t)
	b.d.Published(b.now, name, &b.out)
	all, steps := b.take()
	if len(all) != 1 || !slices.Equal(steps, []Step{{Checked, Change{Name: name}}}) {
		t.Fatalf("sent %v, steps %v", all, steps)
	}
	m := all[0].Msg.(wire.Check)
	if all[0].To != id(1) || m.Names[0] != (wire.Held{Name: name, Ver: wire.Ver{Epoch: 1, Count: 5}}) {
		t.Fatalf("sent %v", all)
	}
	return b, m.Check
}

func TestCheckIsConfirmedByWhoKnowsAll(t *testing.T) {
	confirmed := Step{Confirmed, Change{Name: name}}
	newer := wire.Ver{Epoch: 1, Count: 6}
	delta := wire.Members{Name: name, Ver: newer, From: wire.Ver{Epoch: 1, Count: 5}, Entries: []wire.Entry{entry4(3, 1, 1)}}
	answer := func(n uint32, s byte) wire.Checked {
		return wire.Checked{Check: n, Names: []wire.CheckedName{{Index: 0, State: s, Ver: newer}}}
	}
	for _, c := range []struct {
		about string
		hear  func(*bench, uint32)
		want  []Step
	}{
		{"there is nothing new", func(b *bench, n uint32) { b.hear(1, wire.Checked{Check: n}) }, []Step{confirmed}},
		{"the answer to another", func(b *bench, n uint32) { b.hear(1, wire.Checked{Check: n - 1}) }, nil},
		{"by who was not asked", func(b *bench, n uint32) { b.hear(4, wire.Checked{Check: n}) }, nil},
		{"twice", func(b *bench, n uint32) { b.hear(1, wire.Checked{Check: n}); b.hear(1, wire.Checked{Check: n}) }, []Step{confirmed}},
		{"what is new comes first", func(b *bench, n uint32) { b.hear(1, delta); b.hear(1, answer(n, 0)) }, []Step{joins(3, 1), confirmed}},
		{"what is new comes later", func(b *bench, n uint32) { b.hear(1, answer(n, 0)); b.hear(1, delta) }, []Step{joins(3, 1), confirmed}},
		{"what is new is lost", func(b *bench, n uint32) { b.hear(1, answer(n, 0)); b.pass(time.Second) }, nil},
		{"it does not know all", func(b *bench, n uint32) { b.hear(1, delta); b.hear(1, answer(n, 1)) }, []Step{joins(3, 1)}},
		{"it is not the root", func(b *bench, n uint32) { b.hear(1, answer(n, 2)) }, nil},
		{"a check more is sent before", func(b *bench, n uint32) {
			b.hear(1, answer(n, 0))
			b.d.Published(b.now, name, &b.out)
			b.pass(checkEvery)
			b.hear(1, delta)
		}, []Step{{Checked, Change{Name: name}}, joins(3, 1)}},
	} {
		b, n := checks(t)
		c.hear(b, n)
		if _, steps := b.take(); !slices.Equal(steps, c.want) {
			t.Errorf("%s: %v, want %v", c.about, steps, c.want)
		}
	}
}

func TestOneCheckAtATimeAndNotTooOften(t *testing.T) {
	b, n := checks(t)
	b.d.Published(b.now, name, &b.out)
	b.d.Published(b.now, name, &b.out)
	nothing[wire.Check](b)
	b.pass(time.Millisecond)
	b.hear(1, wire.Checked{Check: n})
	b.pass(checkEvery - time.Millisecond - 1)
	nothing[wire.Check](b)
	b.pass(1)
	if _, m := one[wire.Check](b); len(m.Names) != 1 {
		t.Errorf("asked %v", m)
	}
	b.pass(patience - 1) // unanswered
	nothing[wire.Check](b)
	b.pass(1)
	_, m := one[wire.Check](b)
	b.pass(2*patience - 1)
	nothing[wire.Check](b)
	b.pass(1)
	one[wire.Check](b)
	b.hear(1, wire.Checked{Check: m.Check}) // what was published since it does not cover
	b.steps()
	b.pass(4 * patience)
	_, m = one[wire.Check](b)
	b.hear(1, wire.Checked{Check: m.Check})
	b.pass(time.Second)
	nothing[wire.Check](b)
}

// Many publishers ask one root: who publishes all the time asks ever less often.
func TestSteadyStreamIsCheckedLessAndLessOften(t *testing.T) {
	const ms = time.Millisecond
	b := watching(t)
	next := func(hurry bool) (waited time.Duration) {
		t.Helper()
		b.d.Published(b.now, name, &b.out)
		if hurry {
			b.d.Hurry(b.now, name, &b.out)
		}
		for ; waited < time.Second; waited += ms {
			if all, _ := b.take(); len(all) > 0 {
				b.hear(1, wire.Checked{Check: all[0].Msg.(wire.Check).Check})
				b.take()
				return waited
			}
			b.pass(ms)
		}
		t.Fatal("it is not checked")
		return 0
	}
	for _, c := range []struct {
		pause time.Duration
		hurry []bool
		want  []time.Duration
	}{
		{0, make([]bool, 7), []time.Duration{0, 10 * ms, 20 * ms, 40 * ms, 80 * ms, 160 * ms, 160 * ms}},
		{50 * ms, make([]bool, 2), []time.Duration{110 * ms, 160 * ms}},
		{0, []bool{true, true, false}, []time.Duration{10 * ms, 10 * ms, 160 * ms}}, // much is published
		{160 * ms, make([]bool, 3), []time.Duration{0, 10 * ms, 20 * ms}},
	} {
		b.pass(c.pause)
		for i, hurry := range c.hurry {
			if got := next(hurry); got != c.want[i] {
				t.Errorf("after a pause of %v, check %d is sent after %v, want %v", c.pause, i, got, c.want[i])
			}
		}
	}
}

// A hurry that comes while a check is under way is of the next one.
func TestHurryWaitsForTheAnswer(t *testing.T) {
	b, n := checks(t)
	b.pass(3 * checkEvery)
	b.d.Published(b.now, name, &b.out)
	b.d.Hurry(b.now, name, &b.out)
	nothing[wire.Check](b)
	b.hear(1, wire.Checked{Check: n})
	one[wire.Check](b)
}

// Names that one check has no room for do not wait as long as a steady stream.
func TestManyNamesAreCheckedWithoutPause(t *testing.T) {
	b, n := checks(t)
	b.hear(1, wire.Checked{Check: n})
	for i := range 3 * perMessage {
		b.d.Published(b.now, wire.Name{Kind: wire.Topic, Key: ring.ID{Hi: 1 << 40, Lo: uint64(i)}}, &b.out)
	}
	for range 3 {
		b.pass(checkEvery)
		_, m := one[wire.Check](b)
		if len(m.Names) != perMessage {
			t.Fatalf("%d names are asked about", len(m.Names))
		}
		b.hear(1, wire.Checked{Check: m.Check})
	}
}

// The places in an answer are those of the question, whatever became of its names.
func TestAnswerIsReadRightWhenARootHasChanged(t *testing.T) {
	b := newBench(t, 9, 1)
	far := wire.Name{Kind: wire.Topic, Key: ring.ID{Hi: 5 << 40}}
	for _, n := range []wire.Name{far, name} {
		b.d.Watch(b.now, n, &b.out)
	}
	b.d.Published(b.now, other, &b.out)
	_, first := one[wire.Check](b)
	b.d.Published(b.now, far, &b.out)
	b.d.Published(b.now, name, &b.out)
	b.hear(1, wire.Checked{Check: first.Check})
	b.pass(checkEvery)
	_, m := one[wire.Check](b)
	b.others[id(5)] = wire.Active // takes far
	b.d.ViewChanged(b.now, &b.out)
	if to, moved := one[wire.Check](b); to != id(5) || len(moved.Names) != 1 || moved.Names[0].Name != far {
		t.Fatalf("asked %v: %v", to, moved)
	}
	b.hear(1, wire.Checked{Check: m.Check, Names: []wire.CheckedName{{Index: 1, State: wire.CheckIncomplete}}})
	b.steps() // far is asked of another, and name is not confirmed
	b.pass(time.Second)
	if _, ms := sent[wire.Check](b); len(ms) == 0 {
		t.Error("name is not asked about any more")
	}
}

func TestRefusalIsBelievedUnlessThereIsALaterAnnouncement(t *testing.T) {
	b := watching(t)
	b.hear(2, wire.Unwanted{Name: name, Seq: 0})
	b.steps()
	b.hear(3, wire.Unwanted{Name: name, Seq: 9})
	b.steps()
	b.hear(2, wire.Unwanted{Name: name, Seq: 1})
	all, steps := b.take()
	if !slices.Equal(steps, []Step{joins(2, 0)}) {
		t.Errorf("steps %v", steps)
	}
	if len(all) != 1 || all[0].Msg.(wire.Resolve).Names[0].Ver != (wire.Ver{}) {
		t.Errorf("sent %v: the root may know that it is one again", all)
	}

	b = watching(t)
	b.d.Refuse(b.now, name, id(4), &b.out)
	if to, m := one[wire.Unwanted](b); to != id(4) || m.Name != name {
		t.Errorf("%v is told %v", to, m)
	}
	b.d.SetLocal(b.now, name, 1, 1, &b.out)
	_, a := one[wire.Announce](b)
	b.d.Refuse(b.now, name, id(4), &b.out)
	nothing[wire.Unwanted](b)
	b.d.SetLocal(b.now, name, 0, 1, &b.out)
	b.d.Refuse(b.now, name, id(4), &b.out)
	if _, m := one[wire.Unwanted](b); m.Seq <= a.Seq {
		t.Errorf("%v does not undo %v", m, a)
	}
}

func TestLongListIsToldInPart(t *testing.T) {
	b := founded(t, 2)
	for n := range uint64(maxEntries + 500) {
		b.others[id(100+n)] = wire.Joining
		b.hear(100+n, announce(1, 1))
	}
	b.pass(time.Second)
	b.take()
	b.hear(2, resolve(1, true))
	_, m := one[wire.Members](b)
	seen := make(map[ring.ID]bool)
	for _, e := range m.Entries {
		seen[e.Node] = true
	}
	if !m.Partial || len(m.Entries) != maxEntries || len(seen) != maxEntries {
		t.Fatalf("told %d, %d of them different; partial: %v", len(m.Entries), len(seen), m.Partial)
	}
	late := 0
	for n := range uint64(500) {
		if seen[id(100+maxEntries+n)] {
			late++
		}
	}
	if late < 200 {
		t.Errorf("only %d of the last 500 are among those told", late)
	}
	b.hear(2, wire.Resolve{Query: 2, Names: []wire.Held{{Name: name, Ver: m.Ver}}})
	if _, m := one[wire.Members](b); m.Partial || len(m.Entries) != 0 || m.From != m.Ver {
		t.Errorf("told %d more, from %v", len(m.Entries), m.From)
	}
}

func TestOnlyActiveNodesAnswer(t *testing.T) {
	for _, s := range []wire.State{wire.Solo, wire.Joining, wire.InLeaving} {
		b := newBench(t, 1, 2)
		b.state = s
		b.hear(3, resolve(7, true))
		nothing[wire.Members](b)
		b.hear(3, wire.Check{Check: 8, Names: []wire.Held{{Name: name}}})
		all, _ := b.take()
		want := wire.Checked{Check: 8, Names: []wire.CheckedName{{Index: 0, State: wire.CheckNotMine}}}
		if len(all) != 1 || !reflect.DeepEqual(all[0].Msg, want) {
			t.Errorf("%v: sent %v", s, all)
		}
		if s == wire.Solo {
			continue
		}
		b.hear(3, resolve(7, true))
		if _, m := one[wire.Redirect](b); m.Owner != id(2) || m.Query != 7 {
			t.Errorf("%v: redirected to %v", s, m)
		}
	}
}

func TestNewRootDoesNotKnowAll(t *testing.T) {
	b := newBench(t, 1, 2)
	b.hear(3, resolve(1, true))
	if _, m := one[wire.Members](b); !m.Incomplete {
		t.Error("it says that it knows all")
	}
	b.hear(3, wire.Check{Check: 2, Names: []wire.Held{{Name: name}}})
	if _, m := one[wire.Checked](b); len(m.Names) != 1 || m.Names[0].State != wire.CheckIncomplete {
		t.Errorf("it confirms: %v", m)
	}
	b.pass(incomplete)
	b.take()
	b.hear(3, resolve(3, true))
	if _, m := one[wire.Members](b); m.Incomplete {
		t.Error("it does not know all after 10 s")
	}
}

func TestRootThatIsReplacedHandsOver(t *testing.T) {
	b := founded(t, 2, 3)
	b.hear(2, announce(4, 1))
	b.hear(3, announce(4, 1))
	b.hear(3, announce(5, 0))
	b.pass(time.Second)
	b.take()
	b.others[ring.ID{Hi: 1<<40 + 1}] = wire.Active // stands where name does
	b.d.ViewChanged(b.now, &b.out)
	to, m := one[wire.Replicate](b)
	if len(m.Entries) != 3 || m.Entries[0].Entry != entry4(2, 4, 1) || m.Entries[1].Entry != entry4(3, 5, 0) || !m.Entries[2].Entry.Node.IsZero() {
		t.Fatalf("%v gets %v", to, m)
	}

	c := newBench(t, 1, 2) // knows nothing of 3
	for i, r := range m.Entries {
		c.hear(9, resolve(1, false))
		if _, m := one[wire.Members](c); !m.Incomplete {
			t.Errorf("knows all after %d of 3", i)
		}
		c.hear(9, wire.Replicate{Entries: []wire.Replica{r}})
	}
	c.hear(9, resolve(1, false))
	if _, m := one[wire.Members](c); m.Incomplete || !slices.Equal(m.Entries, []wire.Entry{entry4(2, 4, 1)}) {
		t.Errorf("knows %v", m)
	}
}

func TestWhatWasKnownToANodeAloneIsNotHandedOver(t *testing.T) {
	b := newBench(t, 1)
	b.state = wire.Solo
	b.d = New(start, b.self, 1, b.view)
	b.d.SetLocal(b.now, name, 1, 4, &b.out)
	b.d.Watch(b.now, name, &b.out)
	b.d.Published(b.now, name, &b.out)
	b.steps(Step{Checked, Change{Name: name}}, Step{Confirmed, Change{Name: name}})
	b.pass(2 * incomplete)
	b.state = wire.Joining
	b.others[id(2)] = wire.Active
	b.d.ViewChanged(b.now, &b.out)
	all, _ := b.take()
	for _, s := range all {
		if s.Msg.Type() == wire.TypeReplicate {
			t.Errorf("it hands over %v", s.Msg)
		}
	}
	if len(all) != 2 { // an announcement and a question
		t.Errorf("sent %v", all)
	}
}

// A root that lost and regained that role in its own view has to be asked anew by
// watchers who saw nothing of it.
func TestRootThatWasNoneForAMomentTellsItsWatchers(t *testing.T) {
	b := founded(t, 2, 3)
	b.hear(2, announce(1, 1))
	b.hear(3, resolve(1, true))
	_, held := one[wire.Members](b)
	closer := ring.ID{Hi: 1<<40 + 1}
	b.others[closer] = wire.Active
	b.d.ViewChanged(b.now, &b.out)
	delete(b.others, closer)
	b.d.ViewChanged(b.now, &b.out)
	b.take()
	b.pass(time.Second)
	if to, m := one[wire.Members](b); to != id(3) || m.From == (wire.Ver{}) || m.From.Epoch == held.Ver.Epoch || !m.Incomplete {
		t.Errorf("%v is told %v", to, m)
	}
}

func TestMemberNodeThatEndsIsNoMore(t *testing.T) {
	b := founded(t, 2, 3)
	b.hear(2, announce(1, 1))
	b.hear(3, resolve(1, true))
	b.take()
	delete(b.others, id(2))
	b.d.NodeGone(b.now, id(2), &b.out)
	b.pass(time.Second)
	if to, m := one[wire.Members](b); to != id(3) || m.Entries[0] != entry4(2, 1, 0) {
		t.Errorf("%v is told %v", to, m)
	}
	b.hear(2, announce(2, 1)) // was under way by routers
	b.take()
	b.pass(stranger)
	b.hear(3, resolve(2, false))
	if _, ms := sent[wire.Members](b); len(ms[len(ms)-1].Entries) != 0 {
		t.Errorf("an entry outlives its node: %v", ms)
	}

	c := watching(t)
	c.d.NodeGone(c.now, id(2), &c.out)
	c.steps(joins(2, 0))
	c.d.ViewChanged(c.now, &c.out)
	nothing[wire.Resolve](c)
	c.others[id(2)] = wire.Active // was not dead at all
	c.d.ViewChanged(c.now, &c.out)
	if _, m := one[wire.Resolve](c); m.Names[0].Ver != (wire.Ver{}) {
		t.Errorf("asked %v", m)
	}
}

// Who is held for dead and objects is asked for its members again: it may have announced
// them before the news of its death came.
func TestMemberNodeThatIsNotDeadAfterAllIsAskedForItsMembers(t *testing.T) {
	b := founded(t, 2, 3)
	b.hear(2, announce(5, 1))
	b.take()
	delete(b.others, id(2))
	b.d.NodeGone(b.now, id(2), &b.out)
	b.d.ViewChanged(b.now, &b.out)
	nothing[wire.DigestDir](b)
	b.others[id(2)] = wire.Active
	b.d.ViewChanged(b.now, &b.out)
	want := wire.DigestDir{Role: wire.DigestAnswer, Wanted: true}
	if to, m := one[wire.DigestDir](b); to != id(2) || m != want {
		t.Fatalf("%v is told %v", to, m)
	}
	b.d.ViewChanged(b.now, &b.out)
	nothing[wire.DigestDir](b)

	c := newBench(t, 5, 1, 2, 3)
	c.d.SetLocal(c.now, name, 1, 1, &c.out)
	_, first := sent[wire.Announce](c)
	c.hear(1, want)
	nothing[wire.Announce](c) // it is under way
	c.hear(1, wire.Announced{Seq: first[0].Seq})
	c.hear(1, want)
	if to, m := one[wire.Announce](c); to != id(1) || m.Seq <= first[0].Seq {
		t.Fatalf("%v is told %v", to, m)
	}
}

// A keeper that lacks something is told it though something else is under way to it: at
// the next sum that is not right it takes all that did not come again for gone.
func TestKeeperIsToldEverythingThoughSomethingIsUnderWay(t *testing.T) {
	b := newBench(t, 5, 1)
	b.d.SetLocal(b.now, name, 1, 1, &b.out)
	_, first := one[wire.Announce](b)
	b.hear(1, wire.Announced{Seq: first.Seq})
	other := wire.Name{Kind: name.Kind, Key: ring.ID{Hi: name.Key.Hi, Lo: name.Key.Lo + 1}}
	b.d.SetLocal(b.now, other, 1, 1, &b.out)
	one[wire.Announce](b)
	for range 2 {
		b.hear(1, wire.DigestDir{Role: wire.DigestAnswer, Wanted: true})
	}
	if to, m := one[wire.Announce](b); to != id(1) || len(m.Names) != 1 || m.Names[0].Name != name {
		t.Errorf("%v is told %v", to, m)
	}
}

func TestSumOfNamesIsComparedInTurn(t *testing.T) {
	b := newBench(t, 9, 1, 2, 3)
	b.d.SetLocal(b.now, name, 1, 4, &b.out)
	b.pass(digestEvery)
	nothing[wire.DigestDir](b) // nobody has acknowledged
	for _, p := range slices.Clone(b.d.repeating.heap) {
		b.d.Receive(b.now, p.to, wire.Announced{Seq: p.seq}, &b.out)
	}
	b.pass(digestEvery)
	told, sums := sent[wire.DigestDir](b)
	slices.SortFunc(told, ring.ID.Compare)
	if !slices.Equal(told, []ring.ID{id(1), id(2), id(3)}) || sums[0].Count != 1 {
		t.Fatalf("%v are told %v", told, sums)
	}

	c := founded(t, 2, 9)
	c.hear(9, sums[0])
	if _, m := one[wire.DigestDir](c); m.Role != wire.DigestAnswer || !m.Wanted {
		t.Errorf("it has nothing, and answers %v", m)
	}
	c.hear(9, announce(1, 1))
	c.take()
	c.hear(9, sums[0])
	nothing[wire.DigestDir](c)
	c.hear(9, wire.DigestDir{Role: wire.DigestMember}) // it left and we have missed it
	c.hear(9, wire.DigestDir{Role: wire.DigestMember})
	c.take()
	c.hear(2, resolve(1, false))
	if _, m := one[wire.Members](c); len(m.Entries) != 0 {
		t.Errorf("it still has %v", m.Entries)
	}
	b.hear(8, wire.DigestDir{Role: wire.DigestAnswer, Wanted: true}) // is no keeper
	nothing[wire.Announce](b)
	b.hear(2, wire.DigestDir{Role: wire.DigestAnswer, Wanted: true})
	if to, m := one[wire.Announce](b); to != id(2) || len(m.Names) != 1 {
		t.Errorf("%v is told %v", to, m)
	}
}

func TestNewLinkHasWhatMayBeLostSentAgain(t *testing.T) {
	b, _ := checks(t)
	b.d.SetLocal(b.now, name, 1, 4, &b.out)
	b.take()
	b.now = b.now.Add(50 * time.Millisecond)
	b.d.Linked(b.now, id(8), &b.out)
	if all, _ := b.take(); len(all) != 0 {
		t.Errorf("sent %v, though nothing went that way", all)
	}
	b.d.Linked(b.now, id(1), &b.out)
	all, _ := b.take()
	types := make(map[wire.Type]int)
	for _, s := range all {
		types[s.Msg.Type()]++
	}
	if len(all) != 3 || types[wire.TypeAnnounce] != 1 || types[wire.TypeResolve] != 1 || types[wire.TypeCheck] != 1 {
		t.Errorf("sent %v", all)
	}
}

// What a node knows that was no keeper for long is too old to be told.
func TestListOfAFormerKeeperIsForgotten(t *testing.T) {
	for _, c := range []struct {
		away time.Duration
		want int
	}{{former - time.Second, 1}, {former, 0}} {
		b := newBench(t, 1, 2)
		b.hear(2, announce(1, 1))
		between := []ring.ID{{Hi: 1 << 40, Lo: 1}, {Hi: 1 << 40, Lo: 2}, name.Key, {Hi: 1<<40 + 3}}
		for _, id := range between {
			b.others[id] = wire.Active
		}
		b.d.ViewChanged(b.now, &b.out)
		if b.d.lists[name].role != none {
			t.Fatal("it still is a keeper")
		}
		b.now = b.now.Add(c.away)
		for _, id := range between {
			delete(b.others, id)
		}
		b.d.ViewChanged(b.now, &b.out)
		if got := len(b.d.lists[name].current()); got != c.want {
			t.Errorf("after %v: %d member nodes, want %d", c.away, got, c.want)
		}
	}
}

func TestQuestionsToOneRootGoTogether(t *testing.T) {
	b := newBench(t, 9, 1)
	b.d.Watch(b.now, name, &b.out)
	b.d.Watch(b.now, other, &b.out)
	b.take()
	b.others[id(2)] = wire.Active
	delete(b.others, id(1))
	b.d.ViewChanged(b.now, &b.out)
	to, m := one[wire.Resolve](b)
	if to != id(2) || len(m.Names) != 2 {
		t.Fatalf("%v is asked %v", to, m)
	}
	for _, n := range []wire.Name{name, other} {
		b.hear(2, wire.Members{Query: m.Query, Name: n, Ver: wire.Ver{Epoch: 1, Count: 1}})
	}
	b.pass(renewal - 1)
	nothing[wire.Resolve](b)
}
