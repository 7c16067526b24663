package directory

import (
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// crowd has n nodes announce that they have a member of a name.
func (b *bench) crowd(name wire.Name, n int) {
	for i := range n {
		b.d.Receive(b.now, ring.ID{Hi: 7, Lo: uint64(i)}, wire.Announce{Seq: 1, Names: []wire.Registration{{Name: name, Members: 1}}}, &b.out)
	}
}

// meet makes nodes of a crowd known.
func (b *bench) meet(n int) {
	for i := range n {
		b.others[ring.ID{Hi: 7, Lo: uint64(i)}] = wire.Joining
	}
}

func TestNodesOfAListAreLimited(t *testing.T) {
	b := founded(t, 2, 3)
	b.hear(3, announce(1, 1))
	for i := range maxNodes - 1 {
		b.d.lists[name].set(b.now, wire.Entry{Node: ring.ID{Hi: 7, Lo: uint64(i)}, Members: 1, Seq: 1})
	}
	b.take()
	b.hear(2, announce(1, 1))
	nothing[wire.Announced](b) // so it comes again
	b.hear(3, announce(2, 0))  // has a place
	one[wire.Announced](b)
	if n := len(b.d.lists[name].entries); n != maxNodes || b.d.Stats.Full != 1 {
		t.Errorf("%d nodes, %d found no room; want %d and 1", n, b.d.Stats.Full, maxNodes)
	}
}

func TestListsAreLimited(t *testing.T) {
	b := newBench(t, 1)
	b.others[id(2)] = wire.Joining
	b.hear(2, announce(1, 1))
	for i := range maxLists - 1 {
		b.hear(2, wire.Resolve{Query: 1, Names: []wire.Held{{Name: wire.Name{Kind: wire.Topic, Key: ring.ID{Lo: uint64(i)}}}}})
	}
	b.take()
	b.hear(2, wire.Resolve{Query: 1, Watch: true, Names: []wire.Held{{Name: other}}})
	b.hear(2, wire.Announce{Seq: 2, Names: []wire.Registration{{Name: other, Members: 1}}})
	b.hear(2, wire.Replicate{Entries: []wire.Replica{{Name: other, Entry: entry4(2, 1, 1)}, {Name: other}}})
	if sends, _ := b.take(); len(sends) != 0 {
		t.Errorf("of a name that there is no room for: %v", sends)
	}
	b.hear(2, wire.Check{Check: 3, Names: []wire.Held{{Name: other}}})
	if _, m := one[wire.Checked](b); len(m.Names) != 1 || m.Names[0].State != wire.CheckIncomplete {
		t.Errorf("a check of it is answered with %v", m)
	}
	if n := len(b.d.lists); n != maxLists || b.d.Stats.Full != 5 {
		t.Errorf("%d lists, %d found no room; want %d and 5", n, b.d.Stats.Full, maxLists)
	}
	b.hear(2, announce(3, 0)) // others go on
	one[wire.Announced](b)
	b.pass(3 * tombstone)
	b.hear(2, wire.Resolve{Query: 1, Names: []wire.Held{{Name: other}}})
	one[wire.Members](b) // those that nobody needs were forgotten
}

func TestStrangersAreLimitedAndEnd(t *testing.T) {
	b := founded(t, 2)
	b.crowd(name, maxStrangers)
	b.take()
	b.hear(9, announce(1, 1))
	nothing[wire.Announced](b)
	b.pass(stranger)
	if l := b.d.lists[name]; !l.empty() || len(b.d.strangers) != 0 {
		t.Errorf("%d strangers; nobody has members: %t", len(b.d.strangers), l.empty())
	}
	b.hear(9, announce(2, 1))
	one[wire.Announced](b)
}

func TestListIsHandedOverWholeOrAsAPart(t *testing.T) {
	b := newBench(t, 1, 3)
	b.meet(perMessage)
	long := wire.Name{Kind: wire.Topic, Key: ring.ID{Hi: 1<<40 + 3}}
	b.crowd(name, perMessage-1) // with what says that this is all: one message
	b.crowd(other, 10)
	b.crowd(long, perMessage)
	b.pass(incomplete)
	b.take()
	b.state = wire.InLeaving
	b.d.ViewChanged(b.now, &b.out)
	whole, nodes := make(map[wire.Name]bool), make(map[wire.Name]int)
	_, ms := sent[wire.Replicate](b)
	for _, m := range ms {
		wire.Append(nil, m) // panics if it is too long
		in := make(map[wire.Name]int)
		for _, r := range m.Entries {
			if !r.Entry.Node.IsZero() {
				in[r.Name]++
				nodes[r.Name]++
				continue
			}
			if whole[r.Name] = true; in[r.Name] != nodes[r.Name] {
				t.Errorf("%v is called whole in a message with %d of its nodes", r.Name, in[r.Name])
			}
		}
	}
	for n, want := range map[wire.Name]int{name: perMessage - 1, other: 10, long: perMessage} {
		if nodes[n] != want || whole[n] != (n != long) {
			t.Errorf("%v: %d nodes, whole: %t", n, nodes[n], whole[n])
		}
	}
}

func TestNobodyIsNoMember(t *testing.T) {
	b := newBench(t, 2, 1)
	b.d.Watch(b.now, name, &b.out)
	_, q := one[wire.Resolve](b)
	b.hear(1, wire.Members{Query: q.Query, Name: name, Ver: wire.Ver{Epoch: 8, Count: 1}, Entries: []wire.Entry{{Members: 1, Seq: 1}, entry4(2, 1, 1), entry4(3, 1, 1)}})
	b.steps(joins(3, 1))
}

func TestNodeThatIsAloneAgainTellsNobody(t *testing.T) {
	b := founded(t, 2, 3)
	b.hear(2, resolve(1, true))
	b.take()
	b.state = wire.Solo
	clear(b.others)
	b.d.ViewChanged(b.now, &b.out)
	b.d.SetLocal(b.now, name, 1, 4, &b.out)
	b.pass(tombstone)
	if sends, _ := b.take(); len(sends) != 0 {
		t.Errorf("it sends %v", sends)
	}
}

func TestAnswersToOneMessageAreLimited(t *testing.T) {
	b := founded(t, 2, 3)
	for i := range maxEntries {
		b.d.lists[name].set(b.now, wire.Entry{Node: ring.ID{Hi: 7, Lo: uint64(i)}, Members: 1, Seq: 1})
	}
	many := make([]wire.Held, 2500)
	for i := range many {
		many[i].Name = name
	}
	octets := func() (n int) {
		sends, _ := b.take()
		for _, s := range sends {
			n += len(wire.Append(nil, s.Msg))
		}
		return n
	}
	b.hear(2, wire.Resolve{Query: 1, Watch: true, Names: many})
	if n := octets(); n == 0 || n > 1<<19 {
		t.Errorf("one question is answered with %d octets", n)
	}
	b.hear(2, wire.Check{Check: 1, Names: many})
	_, ms := sent[wire.Checked](b)
	if len(ms) != 1 || len(ms[0].Names) != len(many) {
		t.Errorf("a check of %d names is answered with %d messages", len(many), len(ms))
	}
	b.hear(2, wire.Check{Check: 2, Names: many})
	if n := octets(); n > 1<<19 {
		t.Errorf("one check is answered with %d octets", n)
	}
}

// Nor is it told when it is lost.
func TestWhatACheckIsNotToldIsAskedFor(t *testing.T) {
	b := newBench(t, 2, 1)
	b.d.Watch(b.now, name, &b.out)
	_, q := one[wire.Resolve](b)
	b.hear(1, wire.Members{Query: q.Query, Name: name, Ver: wire.Ver{Epoch: 8, Count: 2}, Entries: []wire.Entry{entry4(3, 1, 1)}})
	b.d.Published(b.now, name, &b.out)
	_, c := one[wire.Check](b)
	b.hear(1, wire.Checked{Check: c.Check, Names: []wire.CheckedName{{State: wire.CheckNewer, Ver: wire.Ver{Epoch: 8, Count: 4}}}})
	_, q = one[wire.Resolve](b)
	b.hear(1, wire.Members{Name: name, Ver: wire.Ver{Epoch: 8, Count: 3}, From: wire.Ver{Epoch: 8, Count: 2}, Entries: []wire.Entry{entry4(4, 1, 1)}})
	b.steps(joins(4, 1)) // that is not all
	b.hear(1, wire.Members{Query: q.Query, Name: name, Ver: wire.Ver{Epoch: 8, Count: 4}, From: wire.Ver{Epoch: 8, Count: 2}, Entries: []wire.Entry{entry4(4, 1, 1), entry4(5, 1, 1)}})
	b.steps(joins(5, 1), Step{Confirmed, Change{Name: name}})
}

// A node that asks for many long lists at once, as after a new link to their root, has
// them all soon.
func TestManyLongListsAreToldInTurn(t *testing.T) {
	root, asker := newBench(t, 1, 2, 3), newBench(t, 2, 1, 3)
	var names []wire.Name
	for n := range 40 {
		names = append(names, topic(n))
		root.hear(2, wire.Resolve{Query: 1, Names: []wire.Held{{Name: names[n]}}})
		for i := range maxEntries {
			root.d.lists[names[n]].set(root.now, wire.Entry{Node: ring.ID{Hi: 7, Lo: uint64(i)}, Members: 1, Seq: 1})
		}
		asker.d.Watch(asker.now, names[n], &asker.out)
	}
	root.pass(incomplete)
	root.take()
	asker.pass(incomplete)
	asker.take()
	known := func() (n int) {
		for _, name := range names {
			if len(asker.d.watched[name].members) == maxEntries {
				n++
			}
		}
		return n
	}
	asker.d.Linked(asker.now, id(1), &asker.out)
	for begin := asker.now; known() < len(names); asker.pass(patience / 4) {
		if asker.now.Sub(begin) > time.Second {
			t.Fatalf("after a second %d of %d lists are known", known(), len(names))
		}
		questions, _ := asker.take()
		for _, s := range questions {
			root.now = asker.now
			root.d.Receive(root.now, id(2), s.Msg, &root.out)
		}
		answers, _ := root.take()
		for _, s := range answers {
			asker.d.Receive(asker.now, id(1), s.Msg, &asker.out)
		}
	}
}

// A program that subscribes to and leaves ever new names does not make its node remember
// more than it may, also if nobody acknowledges what it says of them.
func TestNamesThatWereLeftAreLimited(t *testing.T) {
	b := newBench(t, 9, 1)
	for i := range 2 * maxLeft {
		b.d.SetLocal(b.now, topic(i), 1, 4, &b.out)
		b.d.SetLocal(b.now, topic(i), 0, 4, &b.out)
		if i%1000 == 0 {
			b.pass(10 * time.Millisecond)
			b.out.Reset()
		}
	}
	b.d.SetLocal(b.now, name, 1, 4, &b.out)
	b.pass(2 * mostPatience)
	b.out.Reset()
	if n := len(b.d.local); n != maxLeft+1 || b.d.Stats.Forgotten != maxLeft {
		t.Errorf("%d names are remembered, %d forgotten early; want %d and %d", n, b.d.Stats.Forgotten, maxLeft+1, maxLeft)
	}
	if n := len(b.d.unacknowledged); n > 2*maxLeft+1 || n != len(b.d.repeating.heap) {
		t.Errorf("%d announcements are repeated, of %d names", n, maxLeft+1)
	}
	b.pass(tombstone + 2*mostPatience)
	if len(b.d.local) != 1 || len(b.d.unacknowledged) != 1 {
		t.Errorf("%d names are remembered and %d announcements repeated for ever", len(b.d.local), len(b.d.unacknowledged))
	}
}

// A name of this node's that it is the root of itself, and has no room for, is known once
// there is room, as one of another node's would be.
func TestOwnNameIsKnownOnceThereIsRoom(t *testing.T) {
	b := newBench(t, 1)
	b.others[id(2)] = wire.Joining
	for i := range maxLists {
		b.hear(2, wire.Resolve{Query: 1, Names: []wire.Held{{Name: topic(i)}}})
	}
	b.d.SetLocal(b.now, other, 1, 4, &b.out)
	b.take()
	b.pass(3 * tombstone)
	b.take()
	b.hear(2, wire.Resolve{Query: 1, Names: []wire.Held{{Name: other}}})
	if _, m := one[wire.Members](b); len(m.Entries) != 1 || m.Entries[0].Node != id(1) {
		t.Errorf("told %v", m)
	}
	if !b.d.Settled() {
		t.Error("it is announced on")
	}
}
