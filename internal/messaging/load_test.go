package messaging

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/balance"
	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/wire"
)

const work = 10 * time.Millisecond // that a request takes in these tests

// A server is a program of a host that works on one request at a time.
type server struct {
	*program
	h       *host
	waiting []delivery
	done    time.Time // when it is done with the first
	served  []string
}

// serve has the server take what has come, and answer what is due.
func (s *server) serve() {
	now := s.h.net.now
	if len(s.waiting) > 0 && !now.Before(s.done) {
		s.served = append(s.served, s.waiting[0].body)
		s.Reply(now, &s.h.b, s.waiting[0].id, false, nil)
		s.waiting = s.waiting[1:]
		s.done = now.Add(work)
		s.h.net.run()
	}
	if ds := s.read(); len(ds) > 0 {
		if len(s.waiting) == 0 {
			s.done = now.Add(work)
		}
		s.waiting = append(s.waiting, ds...)
	}
}

// serve lets time pass, with servers at work.
func (net *network) serve(d time.Duration, servers ...*server) {
	for until := net.now.Add(d); net.now.Before(until); {
		net.pass(time.Millisecond)
		for _, s := range servers {
			s.serve()
		}
	}
}

// busy gives a host a member of "echo" that has others' requests to work on for long
// and has answered some, and returns it.
func (h *host) busy(by *host, requests int) *server {
	s := &server{program: h.member(core.Cluster, "echo"), h: h}
	c := by.client()
	for i := range requests {
		by.request(c, uint64(i), "echo", "of others", 60_000)
	}
	h.net.run()
	h.net.serve(25*work, s)
	return s
}

// know has a host hear of the members of "echo", and nothing of what they have to do.
func (h *host) know() {
	h.request(h.client(), 1, "echo", "first", 60_000)
	h.net.run()
}

// Nodes that start alike must not all ask the same member first.
func TestNodesDoNotChooseAlike(t *testing.T) {
	var chosen [2][]string
	for i := range chosen {
		net := newNetwork(t, 10)
		members := make([]*program, 8)
		for name := range 4 {
			for j := range members {
				members[j] = net.nodes[2+j].member(core.Cluster, fmt.Sprint(name))
			}
			c := net.nodes[i].client()
			net.nodes[i].request(c, 1, fmt.Sprint(name), "", 1000) // the members become known
			net.run()
			for _, m := range members {
				m.read()
			}
			net.nodes[i].request(c, 2, fmt.Sprint(name), "", 1000)
			net.run()
			for j, m := range members {
				if len(m.read()) > 0 {
					chosen[i] = append(chosen[i], fmt.Sprint(j))
				}
			}
		}
	}
	if a, b := strings.Join(chosen[0], " "), strings.Join(chosen[1], " "); a == b {
		t.Errorf("two nodes asked the members %s first of four names", a)
	}
}

// A node whose members are busy turns a request down for which another has nothing to
// do, though who asks knows nothing yet.
func TestBusyNodeLeavesARequestToOneThatIsIdle(t *testing.T) {
	turned := uint64(0)
	for who := range uint64(8) {
		net := newNetwork(t, 4)
		net.nodes[0].plane.Self.Lo = who // another sequence of choices each time
		a, idle := net.nodes[0], net.nodes[2]
		busy := net.nodes[1].busy(net.nodes[3], 40)
		other := &server{program: idle.member(core.Cluster, "echo"), h: idle}
		a.know()
		net.serve(2*work, busy, other)
		c := a.client()
		a.request(c, 1, "echo", "ours", 1000)
		net.run()
		if ds := busy.read(); len(ds) != 0 {
			t.Fatalf("the busy node took %v", ds)
		}
		net.serve(2*work, busy, other)
		a.expect(c, answered(1, Replied, ""))
		turned += a.plane.Drops.TurnedDown.Load()
	}
	if turned == 0 {
		t.Error("none was turned down: nothing was tested")
	}
}

// Where all are busy a request is turned down twice, and then goes where least waits.
func TestRequestThatAllTurnDownGoesWhereLeastWaits(t *testing.T) {
	net := newNetwork(t, 4)
	a := net.nodes[0]
	more := net.nodes[1].busy(net.nodes[3], 160)
	less := net.nodes[2].busy(net.nodes[2], 60)
	a.know()
	c := a.client()
	a.request(c, 1, "echo", "ours", 60_000)
	net.run()
	if n := a.plane.Drops.TurnedDown.Load(); n != mostTurned {
		t.Fatalf("it was turned down %d times", n)
	}
	if ds := less.read(); len(ds) == 0 || ds[len(ds)-1].body != "ours" {
		t.Fatalf("%v came to the less busy one; %v to the other", ds, more.read())
	}
}

// What may be turned down is kept until it is answered, whatever else is to be kept.
func TestBodyOfARequestThatMayBeTurnedDownIsKept(t *testing.T) {
	net := newNetwork(t, 4)
	a := net.nodes[0]
	net.nodes[1].busy(net.nodes[3], 160)
	net.nodes[2].busy(net.nodes[2], 60)
	a.know()
	c := a.client()
	a.request(c, 1, "echo", "ours", 60_000) // not sent yet
	long := strings.Repeat("x", 30_000)
	for i := range uint64(2 * maxHeld / len(long)) {
		a.request(c, 2+i, "echo", long, 60_000)
	}
	net.run()
	if a.plane.Drops.TurnedDown.Load() == 0 {
		t.Fatal("it was not turned down")
	}
	for _, h := range net.nodes[1:3] {
		for _, p := range h.plane.conns {
			for _, d := range p.sink.(*program).read() {
				if d.body == "ours" {
					return
				}
			}
		}
	}
	t.Error("it came to nobody")
}

// A member that is asked for more than it can do answers as many in time as it can:
// the others wait with who asks.
func TestMemberThatIsAskedForTooMuchAnswersInTime(t *testing.T) {
	for _, where := range []string{"its own node", "another node"} {
		net := newNetwork(t, 2)
		a, b := net.nodes[0], net.nodes[1]
		if where == "its own node" {
			a = b
		}
		s := &server{program: b.member(core.Cluster, "echo"), h: b}
		c := a.client()
		replied, asked := 0, uint64(0)
		const seconds = 8
		for net.now.Before(start.Add(seconds * time.Second)) {
			for range 2 {
				asked++
				a.request(c, asked, "echo", "", 500)
			}
			net.run()
			net.serve(15*time.Millisecond, s)
			for _, d := range c.read() {
				if d.out == Replied {
					replied++
				}
			}
		}
		if can := int(seconds * time.Second / (work + time.Millisecond)); replied < can*9/10 {
			t.Errorf("from %s: %d of %d requests were answered in time, want %d", where, replied, asked, can)
		}
	}
}

// A member that works on all it has at once is handed all, however long they take.
func TestMemberThatDoesEverythingAtOnceIsHandedEverything(t *testing.T) {
	w := newWorld(t)
	m, c := w.program("wait"), w.program("")
	r := rand.New(rand.NewPCG(1, 2))
	next := uint64(0)
	ask := func(n int) []delivery {
		for range n {
			w.request(c, next, "wait", "", 800)
			next++
		}
		ds := m.read()
		if len(ds) != n {
			t.Fatalf("%d of %d requests were handed over", len(ds), n)
		}
		return ds
	}
	w.pass(time.Second)
	for _, d := range ask(1) { // this one takes no time
		w.pass(time.Millisecond)
		w.reply(m, d.id, "")
	}
	open := ask(300)
	for range 3000 { // each of these half a second, more or less
		w.pass(500 * time.Millisecond / 300)
		i := r.IntN(len(open))
		w.reply(m, open[i].id, "")
		open = append(slices.Delete(open, i, i+1), ask(1)...)
	}
}

// What was hopeless is handed over when others are done, whoever refused it first.
func TestHopelessRequestIsTriedWhenOthersAreDone(t *testing.T) {
	w := newWorld(t)
	c, busy := w.program(""), w.program("echo")
	next := uint64(0)
	ask := func(n int, body string, timeout uint64) {
		for range n {
			w.request(c, next, "echo", body, timeout)
			next++
		}
	}
	ask(20, "", 60_000)
	stuck := w.programs("echo", 2)
	ask(2, "", 60_000) // one for each
	cl := w.plane.cluster([]byte("echo"))
	for _, m := range []*mean{&cl.meter.each, &cl.meter.alone} {
		m.store(balance.Mean{Time: work, Of: 16})
	}
	cl.meter.took.store(balance.Mean{Time: 20 * work, Of: 16})
	cl.meter.inTurn.store(balance.Mean{Time: time.Second, Of: 16})
	ask(1, "late", 200)
	w.expect(stuck[0], handed(0, "", 60_000))
	w.expect(stuck[1], handed(0, "", 60_000))
	for _, d := range busy.read() {
		w.reply(busy, d.id, "")
	}
	if ds := append(busy.read(), append(stuck[0].read(), stuck[1].read()...)...); len(ds) != 1 || ds[0].body != "late" {
		t.Errorf("when nearly all were done %v was handed over", ds)
	}
	w.rest(busy, stuck[0], stuck[1], c)
}

// Nodes that turn down what may not be turned down do not have it sent again and again.
func TestWhoTurnsEverythingDownIsNotAskedForEver(t *testing.T) {
	net := newNetwork(t, 3)
	a := net.nodes[0]
	for _, h := range net.nodes[1:] {
		h.member(core.Cluster, "echo")
	}
	a.know()
	a.request(a.client(), 1, "echo", "ours", 60_000)
	lies := 0
	for range 500 {
		for _, h := range net.nodes[1:] {
			p := a.plane.Peer(h.id)
			for _, o := range p.open.numbered() {
				lies++
				f := &wire.Frame{Type: wire.TypeNotStarted, Body: wire.NotStarted{Number: o.id, Reason: wire.Waits}.AppendBody(nil)}
				if err := p.Receive(net.now, &a.b, f); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if lies > 30 {
		t.Errorf("it was sent %d times at once", lies)
	}
}
