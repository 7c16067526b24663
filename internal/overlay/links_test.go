package overlay

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// among returns an Active node with a view of n others that it is not linked to,
// and their ids.
func among(n int, c Config) (*Overlay, []ring.ID) {
	o := New(start, c)
	o.state = wire.Active
	r := rand.New(rand.NewPCG(3, 3))
	var out Output
	o.announce(start, wire.EventJoin, &out)
	var ids []ring.ID
	for range n {
		ev := wire.Event{Node: drawn(r), Kind: wire.EventJoin, Seq: 1, Addrs: addrOf(id(1))}
		o.accept(start, &ev, &out)
		ids = append(ids, ev.Node)
	}
	slices.SortFunc(ids, ring.ID.Compare)
	return o, ids
}

// linkAll answers all dials until there are none.
func linkAll(o *Overlay, now time.Time) (dialled int) {
	var out Output
	o.Advance(now, &out)
	for len(out.Dial) > 0 {
		dials := out.Dial
		out = Output{}
		for _, d := range dials {
			dialled++
			o.Up(now, Peer{ID: d.ID, State: wire.Active, Dialled: true}, &out)
		}
	}
	return dialled
}

func TestTheLeavesAreTheEightNearestOnEachSide(t *testing.T) {
	for _, n := range []int{1, 5, 8, 9, 16, 40, 200} {
		o, ids := among(n, Config{Self: id(100), Addrs: addrOf(id(100))})
		linkAll(o, start.Add(2*time.Second))
		at, _ := slices.BinarySearchFunc(ids, o.self, ring.ID.Compare)
		for i, step := range []int{-1, 1} {
			var want []ring.ID
			for d := range min(8, n) {
				place := at + d
				if step < 0 {
					place = at - 1 - d
				}
				want = append(want, ids[(place+2*n)%n])
			}
			if got := o.Leaves()[i]; !slices.Equal(got, want) {
				t.Errorf("of %d nodes, side %d: %v, want %v", n, step, got, want)
			}
		}
	}
}

// Of every two nodes one cannot dial the other, which had it for granted that it
// would be dialled: when its link is lost, it is asked to dial.
func TestWhoCannotBeDialledIsAskedToDial(t *testing.T) {
	for _, size := range []uint64{3, 8} {
		ids := []uint64{10, 40, 80, 120, 160, 200, 230, 250}[:size]
		n := grown(t, ids...)
		for i, a := range ids {
			for _, b := range ids[i+1:] {
				n.shut[[2]ring.ID{id(a), id(b)}] = true
			}
		}
		a, b := id(ids[0]), id(ids[1])
		delete(n.links, pair(a, b))
		n.do(a, func(o *Overlay, out *Output) { o.Down(n.now, b, out) })
		n.run(100 * time.Millisecond) // b does not know yet that it is lost
		n.do(b, func(o *Overlay, out *Output) { o.lost(n.now, o.peers.find(a)); o.peers.find(a).move(n.now, broken) })
		o := n.nodes[b]
		o.peers.find(a).retry = n.now.Add(time.Hour) // nor does it care
		n.run(time.Second)
		if !n.nodes[a].Linked(b) || !o.Linked(a) {
			t.Errorf("%d nodes: there is no link", size)
		}
		n.wantView()
	}
}

// Two nodes neither of which can dial the other ask each other once for each dial of
// their own.
func TestAskingToDialEnds(t *testing.T) {
	n := grown(t, 10, 40, 80, 120)
	a, b := id(10), id(40)
	n.cut[pair(a, b)] = true
	n.reset(a, b)
	n.run(30 * time.Second)
	asked := 0
	for _, at := range []ring.ID{a, b} {
		o, to := n.nodes[at], b
		if at == b {
			to = a
		}
		p := o.peers.find(to)
		if p.path != indirect {
			t.Errorf("%v reaches %v by path %d, want by others", at.Short(), to.Short(), p.path)
		}
		var out Output
		o.DialFailed(n.now, to, &out)
		for _, s := range out.Send {
			if _, ok := s.Msg.(wire.DialBack); ok {
				asked++
			}
		}
		out = Output{}
		o.Receive(n.now, to, wire.DialBack{Addrs: addrOf(to)}, &out)
		if len(out.Dial) != 1 {
			t.Errorf("%v was asked to dial and does not", at.Short())
		}
		out = Output{}
		o.DialFailed(n.now, to, &out)
		for _, s := range out.Send {
			if _, ok := s.Msg.(wire.DialBack); ok {
				t.Errorf("%v asks back", at.Short())
			}
		}
	}
	if asked == 0 {
		t.Error("nobody asks to be dialled")
	}
	n.wantView()
}

func TestLongLinksAreSpreadEvenlyAndKept(t *testing.T) {
	o, ids := among(990, Config{Self: id(100), Addrs: addrOf(id(100))})
	now := start.Add(2 * time.Second)
	linkAll(o, now)
	if got := o.Links(); got != 16+longLinks {
		t.Fatalf("%d links, want %d", got, 16+longLinks)
	}
	at, _ := slices.BinarySearchFunc(ids, o.self, ring.ID.Compare)
	for i := 1; i <= longLinks; i++ {
		near := false
		for off := -8; off <= 8; off++ {
			near = near || o.Linked(ids[(at+(4*i-1)*30/4+off+990)%990])
		}
		if !near {
			t.Errorf("no link near place %d", i)
		}
	}
	// A few more nodes do not move the links.
	var out Output
	r := rand.New(rand.NewPCG(4, 4))
	for range 5 {
		ev := wire.Event{Node: drawn(r), Kind: wire.EventJoin, Seq: 1, Addrs: addrOf(id(1))}
		o.accept(now, &ev, &out)
	}
	if n := linkAll(o, now.Add(2*time.Second)); n > 3 {
		t.Errorf("%d new links after 5 nodes joined", n)
	}
}

func TestASmallNetworkIsAFullMesh(t *testing.T) {
	o, _ := among(fullMesh-1, Config{Self: id(100), Addrs: addrOf(id(100))})
	linkAll(o, start.Add(2*time.Second))
	if got := o.Links(); got != fullMesh-1 {
		t.Errorf("%d links, want %d", got, fullMesh-1)
	}
}

func TestWhatIsWantedIsDialledAndClosedWhenIdle(t *testing.T) {
	o, ids := among(500, Config{Self: id(100), Addrs: addrOf(id(100))})
	now := start.Add(2 * time.Second)
	linkAll(o, now)
	want := ids[slices.IndexFunc(ids, func(i ring.ID) bool { return !o.Linked(i) })]
	var out Output
	o.Want(now, want, &out)
	if len(out.Dial) != 1 || out.Dial[0].ID != want {
		t.Fatalf("dials %v, want %v", out.Dial, want)
	}
	out = Output{}
	o.Want(now, want, &out)
	if len(out.Dial) != 0 {
		t.Error("dialled twice")
	}
	o.Up(now, Peer{ID: want, State: wire.Active, Dialled: true}, &out)
	closed := time.Duration(0)
	for d := time.Duration(0); d < 3*time.Minute && closed == 0; d += time.Second {
		out = Output{}
		o.Advance(now.Add(d), &out)
		for _, s := range out.Send { // everybody is well
			if b, ok := s.Msg.(wire.Beat); ok && !b.Ack {
				o.Receive(now.Add(d), s.To, wire.Beat{Nonce: b.Nonce, Ack: true}, &out)
			}
		}
		if slices.ContainsFunc(out.Drop, func(d Drop) bool { return d.ID == want }) {
			closed = d
		}
	}
	if closed < time.Minute || closed > 2*time.Minute+2*time.Second {
		t.Errorf("closed after %v, want one to two minutes", closed)
	}
}

// use has programs use links to so many nodes that had none, and returns which.
func use(o *Overlay, now time.Time, ids []ring.ID, n int) (used []ring.ID) {
	var out Output
	for _, i := range ids {
		if !o.Linked(i) && len(used) < n {
			o.Want(now, i, &out)
			o.Up(now, Peer{ID: i, State: wire.Active, Dialled: true}, &out)
			used = append(used, i)
		}
	}
	return used
}

func TestTheBudgetHoldsAndTheOldestLinkGoes(t *testing.T) {
	o, ids := among(500, Config{Self: id(100), Addrs: addrOf(id(100)), Budget: 60})
	now := start.Add(2 * time.Second)
	linkAll(o, now)
	var out Output
	wanted := use(o, now, ids, 11)
	if got := o.Links(); got != 59 {
		t.Fatalf("%d links, want all but one of the budget of 60", got)
	}
	free := ids[slices.IndexFunc(ids, func(i ring.ID) bool { return !o.Linked(i) })]
	out = Output{}
	o.Want(now.Add(time.Second), free, &out)
	if len(out.Dial) != 0 {
		t.Error("dialled over the budget, or a link that was just needed was closed")
	}
	for _, i := range wanted[1:] {
		o.Want(now.Add(2*time.Second), i, &out)
	}
	out = Output{}
	later := now.Add(leastIdle + time.Second)
	o.last = later
	o.Want(later, free, &out)
	if len(out.Drop) != 1 || out.Drop[0].ID != wanted[0] || len(out.Dial) != 1 {
		t.Errorf("drops %v and dials %v, want the link that was needed least recently", out.Drop, out.Dial)
	}
}

func TestEveryHopGainsDistance(t *testing.T) {
	o, ids := among(500, Config{Self: id(100), Addrs: addrOf(id(100))})
	linkAll(o, start.Add(2*time.Second))
	for _, target := range ids {
		hop, ok := o.NextHop(target)
		if !ok {
			t.Fatalf("no hop towards %v", target)
		}
		if !o.Linked(hop) || !target.Distance(hop).Less(target.Distance(o.self)) {
			t.Fatalf("the hop towards %v is %v", target, hop)
		}
		for _, p := range o.peers {
			if p.path == linked && target.Distance(p.id).Less(target.Distance(hop)) {
				t.Fatalf("%v is closer to %v than %v", p.id, target, hop)
			}
		}
	}
	if _, ok := o.NextHop(ring.ID{Hi: o.self.Hi, Lo: o.self.Lo + 1}); ok {
		t.Error("a hop to where nobody is closer")
	}
}

// A node that was about to join and is cut off has no neighbours that watch it: whoever is
// linked to it does. Else the link would be used when it is back, and bring nothing for as
// long as the system waits to try again.
func TestJoiningNodeThatIsSilentLosesItsLink(t *testing.T) {
	o, ids := among(8, Config{Self: id(100), Addrs: addrOf(id(100))})
	now := start.Add(2 * time.Second)
	linkAll(o, now)
	var out Output
	at, _ := slices.BinarySearchFunc(ids, o.self, ring.ID.Compare)
	joining := ids[(at+4)%8] // the farthest
	joining.Lo++
	o.Up(now, Peer{ID: joining, State: wire.Joining}, &out)
	for range 40 {
		now = now.Add(100 * time.Millisecond)
		for _, n := range ids {
			if p := o.peers.find(n); p.path == linked {
				p.heard(now)
			}
		}
		o.Advance(now, &out)
	}
	if len(out.Drop) > 1 {
		t.Errorf("links to others are closed: %v", out.Drop)
	}
	if !slices.ContainsFunc(out.Drop, func(d Drop) bool { return d.ID == joining }) {
		t.Errorf("the links closed are %v", out.Drop)
	}
}

// Programs are asked now and then, messaging.sweep, which links they use. Those are not
// closed meanwhile, however many there are.
func TestALinkInUseIsNotClosedForAnother(t *testing.T) {
	const saysEvery = 15 * time.Second // of what is in use
	o, ids := among(500, Config{Self: id(100), Addrs: addrOf(id(100)), Budget: 60})
	now := start.Add(2 * time.Second)
	linkAll(o, now)
	var out Output
	used := use(o, now, ids, 4)
	free := ids[slices.IndexFunc(ids, func(i ring.ID) bool { return !o.Linked(i) })]
	out = Output{}
	for d := time.Second; d < time.Minute; d += time.Second {
		for _, p := range o.peers { // everybody is well
			p.heard(now.Add(d))
		}
		o.Advance(now.Add(d), &out)
		if d%saysEvery == 0 {
			for _, i := range used {
				o.Want(now.Add(d), i, &out)
			}
		}
		o.Want(now.Add(d), free, &out)
	}
	if len(out.Drop) > 0 {
		t.Errorf("closed: %v", out.Drop)
	}
}

// A node that many want something of keeps room for those that the ring needs.
func TestRoomIsLeftForTheRing(t *testing.T) {
	o, ids := among(500, Config{Self: id(100), Addrs: addrOf(id(100)), Budget: 80})
	now := start.Add(2 * time.Second)
	linkAll(o, now)
	at, _ := slices.BinarySearchFunc(ids, o.self, ring.ID.Compare)
	near, far, stranger := ids[(at+9)%500], ids[(at+250)%500], id(250)
	for _, c := range []struct {
		links           int
		near, far, anew bool
	}{
		{69, true, true, true},
		{70, true, false, true},
		{79, true, false, true},
		{80, false, false, false},
	} {
		for who, want := range map[ring.ID]bool{near: c.near, far: c.far, stranger: c.anew} {
			if got := Admits(o.self, who, o.View(), c.links, 80); got != want {
				t.Errorf("with %d links %v of 80 is admitted: %v, want %v", c.links, who.Short(), got, want)
			}
		}
	}
}

// A node that has as many links as it may have closes one of those for programs, so that
// there is room for a leaf.
func TestALeafIsWorthMoreThanAShortcut(t *testing.T) {
	o, ids := among(500, Config{Self: id(100), Addrs: addrOf(id(100)), Budget: 60})
	now := start.Add(2 * time.Second)
	linkAll(o, now)
	var out Output
	needed := o.Links()
	for _, i := range ids {
		if !o.Linked(i) && o.Links() < 59 {
			o.Up(now, Peer{ID: i, State: wire.Active, Dialled: o.Links()%2 == 0}, &out)
		}
	}
	joining := id(100)
	joining.Lo++
	out = Output{}
	o.Up(now, Peer{ID: joining, State: wire.Joining}, &out) // the last there is room for
	o.Advance(now, &out)
	if len(out.Drop) != 1 || o.Links() != 59 || o.peers.count((*peer).pinned) != needed || !o.peers.find(joining).leaf {
		t.Errorf("closes %v, want one link of %d that the ring does not need", out.Drop, o.Links())
	}
}
