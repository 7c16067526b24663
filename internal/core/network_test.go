package core

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

var start = time.Unix(1_900_000_000, 0)

func place(n int) ring.ID { return ring.ID{Hi: uint64(n) << 56} }

func member(n int) *Core {
	return New(start, Config{Limit: 10, Network: "test", Self: place(n), Seed: uint64(n), Workers: 4})
}

// A house is cores that are linked as they wish; messages take a millisecond.
type house struct {
	t     *testing.T
	now   time.Time
	cores map[ring.ID]*Core
	links map[[2]ring.ID]bool
	queue []delivery
	steps map[ring.ID][]string
	data  map[ring.ID][]Data
	watch func(id ring.ID, c *Core, out *Output) // after every call; nil: nobody does
}

type delivery struct {
	from, to ring.ID
	at       time.Time
	s        Send
}

func newHouse(t *testing.T, nodes ...int) *house {
	h := &house{
		t: t, now: start, cores: make(map[ring.ID]*Core), links: make(map[[2]ring.ID]bool),
		steps: make(map[ring.ID][]string), data: make(map[ring.ID][]Data),
	}
	for _, n := range nodes {
		h.cores[place(n)] = member(n)
	}
	for _, n := range nodes[1:] {
		h.link(place(nodes[0]), place(n))
	}
	h.pass(5 * time.Second)
	for _, n := range nodes {
		if s := h.cores[place(n)].State(); s != wire.Active {
			t.Fatalf("node %d is %v after 5 s", n, s)
		}
	}
	return h
}

func both(a, b ring.ID) [2]ring.ID {
	if b.Less(a) {
		a, b = b, a
	}
	return [2]ring.ID{a, b}
}

func (h *house) link(a, b ring.ID) {
	if h.links[both(a, b)] || h.cores[b] == nil {
		return
	}
	h.links[both(a, b)] = true
	sa, sb := h.cores[a].State(), h.cores[b].State()
	h.do(a, func(c *Core, out *Output) { c.Up(h.now, overlay.Peer{ID: b, State: sb, Dialled: true}, out) })
	h.do(b, func(c *Core, out *Output) { c.Up(h.now, overlay.Peer{ID: a, State: sa}, out) })
}

// do calls a core and carries out what it says.
func (h *house) do(id ring.ID, f func(*Core, *Output)) {
	c := h.cores[id]
	if c == nil {
		return
	}
	var out Output
	f(c, &out)
	if h.watch != nil {
		h.watch(id, c, &out)
	}
	for _, s := range out.Steps {
		h.steps[id] = append(h.steps[id], fmt.Sprint(s.What, int(s.Node.Hi>>56), s.Members))
	}
	h.data[id] = append(h.data[id], out.Data...)
	for _, s := range out.Send {
		if !h.links[both(id, s.To)] && h.cores[s.To] != nil {
			h.t.Fatalf("%v sends %v to %v, which is not linked", id.Short(), s.Msg.Type(), s.To.Short())
		}
		h.queue = append(h.queue, delivery{id, s.To, h.now.Add(time.Millisecond), s})
	}
	for _, d := range out.Dial {
		if h.cores[d.ID] == nil {
			h.do(id, func(c *Core, out *Output) { c.DialFailed(h.now, d.ID, out) })
		} else {
			h.link(id, d.ID)
		}
	}
}

func head(s Send) *wire.Frame {
	f := &wire.Frame{Type: s.Msg.Type()}
	if !s.Target.IsZero() {
		f.Flags, f.Hops, f.Origin, f.Target = wire.Routed, s.Hops, s.Origin, s.Target
	}
	return f
}

// pass lets time pass.
func (h *house) pass(d time.Duration) {
	ids := make([]ring.ID, 0, len(h.cores))
	for id := range h.cores {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, ring.ID.Compare)
	for end := h.now.Add(d); h.now.Before(end); {
		h.now = h.now.Add(time.Millisecond)
		for len(h.queue) > 0 && !h.queue[0].at.After(h.now) {
			q := h.queue[0]
			h.queue = h.queue[1:]
			h.do(q.to, func(c *Core, out *Output) { c.Receive(h.now, q.from, head(q.s), q.s.Msg, out) })
		}
		for _, id := range ids {
			if c := h.cores[id]; c != nil && !c.Next().IsZero() && !c.Next().After(h.now) {
				h.do(id, func(c *Core, out *Output) { c.Advance(h.now, out) })
			}
		}
	}
}

// stepped holds against what happened to names a node watches, since the last time.
func (h *house) stepped(n int, want ...string) {
	h.t.Helper()
	got := h.steps[place(n)]
	delete(h.steps, place(n))
	if !slices.Equal(got, want) {
		h.t.Errorf("node %d: steps %q, want %q", n, got, want)
	}
}

func step(w directory.What, node, members int) string { return fmt.Sprint(w, node, members) }

func TestMembersOfOtherNodesAreFound(t *testing.T) {
	h := newHouse(t, 10, 60, 110, 160, 210)
	echo := h.cores[place(10)].Key(Cluster, "echo")
	h.do(place(60), func(c *Core, out *Output) { c.Attach(h.now, 1, "echo", out) })
	h.do(place(60), func(c *Core, out *Output) { c.Attach(h.now, 2, "echo", out) })
	h.do(place(10), func(c *Core, out *Output) { c.Watch(h.now, echo, out) })
	h.pass(100 * time.Millisecond)
	h.stepped(10, step(directory.Changed, 60, 1))
	h.do(place(110), func(c *Core, out *Output) { c.Attach(h.now, 1, "echo", out) })
	h.do(place(60), func(c *Core, out *Output) { c.Detach(h.now, 1, out) })
	h.pass(100 * time.Millisecond)
	h.stepped(10, step(directory.Changed, 110, 1)) // 60 has another one
	h.do(place(60), func(c *Core, out *Output) { c.Detach(h.now, 2, out) })
	h.pass(100 * time.Millisecond)
	h.stepped(10, step(directory.Changed, 60, 0))
}

func TestPublicationIsConfirmed(t *testing.T) {
	h := newHouse(t, 10, 60, 110, 160, 210)
	news := h.cores[place(10)].Key(Topic, "news")
	h.do(place(60), func(c *Core, out *Output) {
		c.Attach(h.now, 1, "", out)
		c.Subscribe(h.now, 1, "news", out)
	})
	h.pass(15 * time.Second) // until roots know all
	h.do(place(10), func(c *Core, out *Output) {
		c.Watch(h.now, news, out)
		c.Published(h.now, news, out)
	})
	h.pass(500 * time.Millisecond)
	h.stepped(10, step(directory.Checked, 0, 0), step(directory.Changed, 60, 1), step(directory.Confirmed, 0, 0))
}

func TestMembersOfADeadNodeAreGone(t *testing.T) {
	h := newHouse(t, 10, 60, 110, 160, 210)
	echo := h.cores[place(10)].Key(Cluster, "echo")
	h.do(place(110), func(c *Core, out *Output) { c.Attach(h.now, 1, "echo", out) })
	h.do(place(10), func(c *Core, out *Output) { c.Watch(h.now, echo, out) })
	h.pass(time.Second)
	h.stepped(10, step(directory.Changed, 110, 1))
	delete(h.cores, place(110))
	for _, n := range []int{10, 60, 160, 210} {
		h.do(place(n), func(c *Core, out *Output) { c.Down(h.now, place(110), out) })
	}
	h.pass(10 * time.Second)
	h.stepped(10, step(directory.Changed, 110, 0))
}

func TestDrainWithdrawsMembersAndOwnership(t *testing.T) {
	h := newHouse(t, 10, 60, 110, 160, 210)
	c := h.cores[place(110)]
	echo := c.Key(Cluster, "echo")
	h.do(place(110), func(c *Core, out *Output) { c.Attach(h.now, 1, "echo", out) })
	h.do(place(10), func(c *Core, out *Output) { c.Watch(h.now, echo, out) })
	h.pass(time.Second)
	h.stepped(10, step(directory.Changed, 110, 1))
	if !c.Withdrawn() {
		t.Error("its announcement is not acknowledged after a second")
	}
	h.do(place(110), func(c *Core, out *Output) { c.Leave(h.now, out) })
	if c.Withdrawn() {
		t.Error("Withdrawn before anybody can know")
	}
	h.pass(500 * time.Millisecond)
	h.stepped(10, step(directory.Changed, 110, 0))
	if !c.Withdrawn() || c.State() != wire.InLeaving {
		t.Errorf("after half a second: Withdrawn %t, %v", c.Withdrawn(), c.State())
	}
	h.do(place(110), func(c *Core, out *Output) { c.Attach(h.now, 2, "echo", out) })
	h.pass(500 * time.Millisecond)
	h.stepped(10) // it serves only its own node
	for _, n := range []int{10, 60, 160, 210} {
		if slices.Contains(h.cores[place(n)].View(), place(110)) {
			t.Errorf("node %d still takes 110 for Active", n)
		}
	}
	h.do(place(110), func(c *Core, out *Output) {
		c.Depart(h.now, out)
		if !c.Next().IsZero() && c.overlay.Next() != (time.Time{}) {
			t.Error("there is more to do after the end")
		}
	})
}

func TestNodeThatIsAloneForGoodCostsNothing(t *testing.T) {
	c := New(start, Config{Limit: 4})
	var out Output
	c.Attach(start, 1, "echo", &out)
	c.Subscribe(start, 1, "news", &out)
	c.Advance(start.Add(time.Hour), &out)
	c.Leave(start, &out)
	c.Depart(start, &out)
	if !c.Next().IsZero() || len(out.Send)+len(out.Dial)+len(out.Steps)+len(out.News) > 0 || !c.Alone() || !c.Withdrawn() || c.State() != wire.Solo {
		t.Errorf("Next %v, output %+v", c.Next(), out)
	}
	if n := testing.AllocsPerRun(100, func() {
		out.Reset()
		c.Unsubscribe(start, 1, "news", &out)
		c.Subscribe(start, 1, "news", &out)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// linked returns a core that is linked to nodes.
func linked(self int, to ...int) *Core {
	c := member(self)
	var out Output
	for _, n := range to {
		c.Up(start, overlay.Peer{ID: place(n), State: wire.Active, Dialled: true}, &out)
	}
	return c
}

func routed(origin, target, hops int) *wire.Frame {
	return &wire.Frame{Flags: wire.Routed, Origin: place(origin), Target: place(target), Hops: byte(hops)}
}

func TestFramesForOthersAreHandedOn(t *testing.T) {
	m := wire.Unwanted{Name: wire.Name{Kind: Cluster, Key: place(7)}, Seq: 9}
	for _, v := range []struct {
		what  string
		from  int
		frame *wire.Frame
		want  *Send
	}{
		{"to a linked node", 100, routed(90, 120, 16), &Send{place(120), place(90), place(120), 15, m}},
		{"towards one that is not", 100, routed(90, 118, 3), &Send{place(120), place(90), place(118), 2, m}},
		{"that came to the end of its hops", 100, routed(90, 120, 1), nil},
		{"without hops", 100, routed(90, 120, 0), nil},
		{"back to whom it came from", 120, routed(90, 118, 16), nil},
		{"that nobody is closer to", 100, routed(90, 111, 16), nil},
	} {
		c := linked(110, 100, 120)
		c.overlay.Advance(start, &c.ring)
		c.ring.Reset()
		var out Output
		c.Receive(start, place(v.from), v.frame, m, &out)
		switch {
		case v.want == nil && (len(out.Send) != 0 || c.Lost != 1):
			t.Errorf("a frame %s: sent %v, lost %d", v.what, out.Send, c.Lost)
		case v.want != nil && (len(out.Send) != 1 || out.Send[0] != *v.want || c.Lost != 0):
			t.Errorf("a frame %s: sent %v, want %v; lost %d", v.what, out.Send, *v.want, c.Lost)
		}
	}
}

func TestRoutedFrameIsOfItsOrigin(t *testing.T) {
	c := linked(110, 100, 120)
	m := wire.Nack{Name: wire.Name{Kind: Topic, Key: place(7)}, From: 1, To: 2}
	var out Output
	c.Receive(start, place(100), routed(90, 110, 4), m, &out)
	c.Receive(start, place(100), &wire.Frame{}, m, &out)
	if want := []Data{{place(90), m}, {place(100), m}}; !slices.Equal(out.Data, want) {
		t.Errorf("data %v, want %v", out.Data, want)
	}
}

// A directory believes what it tells itself.
func TestNobodySpeaksForThisNode(t *testing.T) {
	c := linked(110, 100, 120)
	name := c.Key(Cluster, "echo")
	for _, origin := range []int{110, 0} {
		var out Output
		c.Receive(start, place(100), routed(origin, 110, 4), wire.Announce{Seq: 1 << 60, Names: []wire.Registration{{Name: name, Members: 1}}}, &out)
		c.Receive(start, place(100), routed(origin, 110, 4), wire.Resolve{Query: 1, Names: []wire.Held{{Name: name}}}, &out)
		c.Receive(start, place(100), routed(origin, 110, 4), wire.Nack{Name: name}, &out)
		if len(out.Send)+len(out.Steps)+len(out.Data) > 0 {
			t.Errorf("origin %d: %+v", origin, out)
		}
	}
	if c.Forged != 6 {
		t.Errorf("%d are counted, want 6", c.Forged)
	}
}

func TestMessageForANodeWithoutALinkIsRouted(t *testing.T) {
	c := linked(110, 100, 120)
	name := wire.Name{Kind: Cluster, Key: place(7)}
	for to, want := range map[int]Send{
		120: {To: place(120)},
		118: {To: place(120), Origin: place(110), Target: place(118), Hops: wire.MaxHops},
		111: {To: place(120), Origin: place(110), Target: place(111), Hops: wire.MaxHops}, // further, but it may know a way
	} {
		var out Output
		c.Refuse(start, name, place(to), &out)
		want.Msg = wire.Unwanted{Name: name}
		if len(out.Send) != 1 || out.Send[0] != want {
			t.Errorf("to %d: %+v, want %+v", to, out.Send, want)
		}
	}
	var out Output
	c = linked(110)
	if c.Refuse(start, name, place(111), &out); len(out.Send) != 0 || c.Lost != 1 {
		t.Errorf("to who cannot be reached: %+v, lost %d", out.Send, c.Lost)
	}
}

func TestAdvanceIsDueWhenAPartIs(t *testing.T) {
	c := linked(110, 100)
	var out Output
	c.Watch(start, wire.Name{Kind: Cluster, Key: place(7)}, &out)
	for range 50 {
		next := c.Next()
		for _, part := range []time.Time{c.overlay.Next(), c.directory.Next()} {
			if !part.IsZero() && part.Before(next) {
				t.Fatalf("Next is %v, a part is due at %v", next, part)
			}
		}
		c.Advance(next, &out)
	}
}

// Whatever frames come, a core sends to nodes it is linked to, and gains on them.
func FuzzReceive(f *testing.F) {
	f.Add(uint64(1), []byte{})
	f.Add(uint64(2), wire.Append(wire.Append(nil, wire.Leave{}), wire.Resolve{Query: 1, Names: []wire.Held{{Name: wire.Name{Kind: Topic}}}}))
	for seed := range uint64(8) { // of frames that make sense
		r := rand.New(rand.NewPCG(seed, 3))
		var b []byte
		for range 40 {
			b = appendFrame(b, r)
		}
		f.Add(seed, b)
	}
	f.Fuzz(func(t *testing.T, seed uint64, b []byte) {
		r := rand.New(rand.NewPCG(seed, 3))
		peers := []int{20, 60, 100, 120, 200}
		c := linked(110, peers...)
		var out Output
		now := start
		for len(b) > 0 {
			var fr wire.Frame
			n, err := wire.Parse(b, &fr)
			if err != nil {
				return
			}
			b = b[n:]
			m, err := wire.ParseMessage(fr.Type, fr.Body)
			if err != nil {
				continue
			}
			now = now.Add(time.Duration(r.Int64N(int64(time.Second))))
			out.Reset()
			c.Receive(now, place(peers[r.IntN(len(peers))]), &fr, m, &out)
			if r.IntN(3) == 0 {
				c.Advance(now, &out)
			}
			if r.IntN(9) == 0 {
				c.Watch(now, wire.Name{Kind: Topic, Key: place(r.IntN(256))}, &out)
				c.Published(now, wire.Name{Kind: Topic, Key: place(r.IntN(256))}, &out)
			}
			checkOutput(t, c, &fr, &out)
		}
	})
}

func checkOutput(t *testing.T, c *Core, f *wire.Frame, out *Output) {
	t.Helper()
	if len(out.Send) > 6000 {
		t.Fatalf("%v makes %d messages", f.Type, len(out.Send))
	}
	for _, s := range out.Send {
		wire.Append(nil, s.Msg) // panics if it is too long
		switch {
		case !c.overlay.Linked(s.To) && !slices.ContainsFunc(out.Drop, func(d overlay.Drop) bool { return d.ID == s.To }): // links are closed after what is sent
			t.Fatalf("%+v is not for a linked node", s)
		case s.Target.IsZero():
		case s.Target == c.Self || s.Hops == 0 || s.Hops > wire.MaxHops:
			t.Fatalf("%+v should not be sent", s)
		}
	}
	for _, s := range out.Steps {
		if s.What == directory.Changed && (s.Node == c.Self || s.Node.IsZero()) {
			t.Fatalf("step %+v", s)
		}
	}
	for _, d := range out.Data {
		if d.From == c.Self || d.From.IsZero() {
			t.Fatalf("data %+v", d)
		}
	}
}

// appendFrame appends a frame about few nodes and names.
func appendFrame(b []byte, r *rand.Rand) []byte {
	node := func() ring.ID { return place([]int{0, 20, 60, 100, 110, 118, 120, 200}[r.IntN(8)]) }
	name := wire.Name{Kind: Topic, Key: place(r.IntN(256))}
	messages := []wire.Message{
		wire.Announce{Seq: r.Uint64(), Names: []wire.Registration{{Name: name, Members: uint16(r.IntN(2)), Workers: 4}}},
		wire.Resolve{Query: r.Uint32N(9), Watch: true, Names: []wire.Held{{Name: name}}},
		wire.Members{Name: name, Ver: wire.Ver{Epoch: 1, Count: r.Uint32N(9)}, Entries: []wire.Entry{{Node: node(), Members: 1, Seq: r.Uint64()}}},
		wire.Members{Query: r.Uint32N(20), Name: name, Ver: wire.Ver{Epoch: 1, Count: r.Uint32N(9)}, Entries: []wire.Entry{{Node: node(), Members: 1}}},
		wire.Redirect{Query: r.Uint32N(20), Name: name, Owner: node()},
		wire.Check{Check: r.Uint32(), Names: []wire.Held{{Name: name}}},
		wire.Checked{Check: r.Uint32N(20)},
		wire.Replicate{Entries: []wire.Replica{{Name: name, Entry: wire.Entry{Node: node(), Members: 1, Seq: 4}}}},
		wire.DigestDir{Role: wire.DigestMember, Count: 3},
		wire.Leaves{State: wire.Active, Contacts: []wire.Contact{{Node: node(), State: wire.Active}}},
		wire.ViewEvent{Events: []wire.Event{{Node: node(), Kind: wire.EventKind(1 + r.IntN(4)), Seq: r.Uint64N(9)}}},
		wire.Lookup{Nonce: 4, Key: node()},
		wire.Nack{Name: name},
		wire.Leave{},
	}
	m := messages[r.IntN(len(messages))]
	f := wire.Frame{Type: m.Type()}
	if r.IntN(2) == 0 {
		f.Flags, f.Hops, f.Origin, f.Target = wire.Routed, byte(r.IntN(wire.MaxHops+1)), node(), node()
	}
	body := m.AppendBody(nil)
	return append(f.AppendHead(b, len(body)), body...)
}
