package messaging

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wheel"
	"github.com/project-iris/iris/internal/wire"
)

// A network is a few planes with links between them, and a directory that the test
// plays: it knows everything at once.
type network struct {
	t     testing.TB
	nodes []*host
	now   time.Time
	names map[wire.Name]map[*host]int // members
	mail  []letter                    // control messages that find their way
}

type letter struct {
	from, to ring.ID
	msg      wire.Message
}

// A host is one node of a network.
type host struct {
	*world
	net   *network
	id    ring.ID
	links map[*host]*wires // to
	watch map[wire.Name]bool
	dead  bool
}

// wires are the frames from one host to another: sent, not yet written; written,
// not yet arrived.
type wires struct {
	from, to *host
	queued   []flight
	flying   []flight
	cut      bool
	next     uint64
	full     bool // refuses
	refused  int  // for that
	limit    int  // octets, beyond which it does; 0: none
	moved    uint64
	scarce   bool // the same, for want of memory
}

type flight struct {
	pos     uint64
	data    []byte
	control wire.Message
}

func newNetwork(t testing.TB, n int) *network {
	net := &network{t: t, now: start.Add(123456 * time.Microsecond), names: make(map[wire.Name]map[*host]int)}
	for i := range n {
		h := &host{net: net, id: ring.ID{Hi: uint64(i + 1)}, links: make(map[*host]*wires), watch: make(map[wire.Name]bool)}
		h.world = &world{t: t, budget: queue.NewBudget(1 << 30), now: net.now}
		h.plane = New(Config{
			Timers: wheel.NewTimers(start, func() {}), Budget: h.budget, Wake: func() { h.wakes++ },
			Network: "test", Workers: 2,
		})
		h.plane.Self = h.id
		h.plane.Join()
		net.nodes = append(net.nodes, h)
	}
	for i, a := range net.nodes {
		for _, b := range net.nodes[i+1:] {
			net.link(a, b)
		}
	}
	return net
}

// link connects two hosts anew.
func (net *network) link(a, b *host) {
	ab, ba := &wires{from: a, to: b}, &wires{from: b, to: a}
	a.links[b], b.links[a] = ab, ba
	a.plane.LinkUp(net.now, &a.b, b.id, ab)
	b.plane.LinkUp(net.now, &b.b, a.id, ba)
	a.route()
	b.route()
	net.settle()
}

// route tells the plane of a host what links there are.
func (h *host) route() {
	var routes []overlay.Route
	for _, o := range h.net.nodes {
		if h.links[o] != nil {
			routes = append(routes, overlay.Route{ID: o.id, Via: o.id, Hands: true})
		}
	}
	h.plane.Route(h.net.now, &h.b, routes)
}

// cut ends the link between two hosts: what was written and has not arrived is
// lost, or all that was written if lost is set.
func (net *network) cut(a, b *host) {
	ab, ba := a.links[b], b.links[a]
	if ab == nil {
		return
	}
	ab.cut, ba.cut = true, true
	ab.flying, ba.flying = nil, nil
	delete(a.links, b)
	delete(b.links, a)
	a.plane.LinkDown(net.now, &a.b, b.id, ab)
	b.plane.LinkDown(net.now, &b.b, a.id, ba)
	a.route()
	b.route()
	net.settle()
}

// post delivers what control planes hand on to each other.
func (net *network) post() (any bool) {
	mail := net.mail
	net.mail = nil
	for _, l := range mail {
		for _, h := range net.nodes {
			if h.id == l.to && !h.dead {
				h.controlled(l.from, l.msg)
			}
		}
	}
	return len(mail) > 0
}

func (w *wires) Send(b *queue.Batch, _ wire.Lane, f *wire.Frame, head []byte, p queue.Payload) (uint64, error) {
	if w.cut {
		return 0, queue.ErrSealed
	}
	if w.full || w.limit > 0 && w.Waiting(wire.Publications) > w.limit {
		w.refused++
		return 0, queue.ErrFull
	}
	if w.scarce {
		return 0, queue.ErrMemory
	}
	data := f.AppendHead(nil, len(head)+len(p.Data))
	data = append(append(data, head...), p.Data...)
	w.queued = append(w.queued, flight{pos: w.next, data: data})
	w.next++
	return w.next - 1, nil
}

func (w *wires) Unwritten(_ wire.Lane, pos uint64) bool {
	return slices.ContainsFunc(w.queued, func(f flight) bool { return f.control == nil && f.pos == pos })
}

func (w *wires) SendRouted(b *queue.Batch, f *wire.Frame, head, body []byte) error {
	_, err := w.Send(b, wire.Requests, f, head, queue.Payload{Data: body})
	return err
}

func (w *wires) SendControl(m wire.Message) {
	if !w.cut {
		w.queued = append(w.queued, flight{control: m, pos: ^uint64(0)})
	}
}

func (w *wires) Waiting(wire.Lane) (octets int) {
	for _, f := range w.queued {
		octets += len(f.data)
	}
	return octets
}

func (w *wires) Moved(wire.Lane) uint64 { return w.moved }

func (w *wires) RTT() time.Duration { return time.Millisecond }

// write has n of the queued frames leave.
func (w *wires) write(n int) {
	n = min(n, len(w.queued))
	for _, f := range w.queued[:n] {
		w.moved += uint64(len(f.data))
	}
	w.flying = append(w.flying, w.queued[:n]...)
	w.queued = w.queued[n:]
}

// arrive delivers n frames that have left.
func (w *wires) arrive(n int) {
	n = min(n, len(w.flying))
	for _, f := range w.flying[:n] {
		to := w.to
		if to.dead {
			return
		}
		if f.control != nil {
			to.controlled(w.from.id, f.control)
			continue
		}
		var frame wire.Frame
		if k, err := wire.Parse(f.data, &frame); err != nil || k != len(f.data) {
			to.t.Fatalf("frame: %v", err)
		}
		if err := to.plane.Peer(w.from.id).Receive(to.net.now, &to.b, &frame); err != nil {
			to.t.Fatalf("frame of type %#x: %v", frame.Type, err)
		}
	}
	w.flying = w.flying[n:]
}

func (h *host) controlled(from ring.ID, m wire.Message) {
	switch m := m.(type) {
	case wire.Nack:
		h.plane.Nack(&h.b, from, m)
	case wire.Undelivered:
		h.plane.Undelivered(h.net.now, &h.b, m)
	}
}

// ask answers what a plane asks of the control plane.
func (h *host) ask(asks *Asks) {
	net := h.net
	for _, key := range asks.Watch {
		h.watch[key] = true
		for _, o := range net.nodes {
			if n := net.names[key][o]; n > 0 && o != h {
				h.tell(directory.Change{Name: key, Node: o.id, Members: n, Workers: 2})
			}
		}
	}
	for _, key := range asks.Unwatch {
		delete(h.watch, key)
	}
	for _, m := range asks.Messages {
		net.mail = append(net.mail, letter{h.id, m.To, m.Msg})
	}
	for _, name := range asks.Published {
		h.plane.Checked(name)
		h.plane.Confirmed(name, &Asks{})
	}
}

// tell has the control plane of a host say something of another's members.
func (h *host) tell(c directory.Change) {
	h.plane.Member(&h.b, c, &Asks{})
	h.plane.publish()
	h.plane.Found(h.net.now, &h.b, c.Name)
}

// attend plays the loop of a host.
func (h *host) loop() {
	for h.wakes > 0 {
		h.wakes = 0
		var asks Asks
		h.plane.Attend(h.net.now, &h.b, &asks)
		h.ask(&asks)
	}
	h.b.Flush()
}

// settle lets every loop do what it has to.
func (net *network) settle() {
	for more := true; more; {
		more = net.post()
		for _, h := range net.nodes {
			if h.wakes > 0 && !h.dead {
				h.loop()
				more = true
			}
		}
	}
}

// run lets all frames travel until nothing moves.
func (net *network) run() {
	for more := true; more; {
		more = false
		net.settle()
		for _, h := range net.nodes {
			for _, o := range net.nodes {
				if w := h.links[o]; w != nil && len(w.queued)+len(w.flying) > 0 {
					w.write(1 << 30)
					w.arrive(1 << 30)
					more = true
				}
			}
		}
	}
}

// member attaches a program to a host, as a member of a name, and has the others
// hear of it.
func (h *host) member(kind core.Kind, name string) *program {
	cluster := ""
	if kind == core.Cluster {
		cluster = name
	}
	p := new(program)
	p.Conn = h.plane.NewConn(cluster, p)
	h.plane.Register(p.Conn)
	h.join(p, kind, name, true)
	return p
}

func (h *host) join(p *program, kind core.Kind, name string, join bool) {
	h.plane.Apply(h.net.now, &h.b, []core.Change{{Kind: kind, Name: name, Conn: p.ID, Join: join}})
	key := h.plane.Key(kind, name)
	if h.net.names[key] == nil {
		h.net.names[key] = make(map[*host]int)
	}
	if join {
		h.net.names[key][h]++
	} else {
		h.net.names[key][h]--
	}
	n := h.net.names[key][h]
	for _, o := range h.net.nodes {
		if o != h && o.watch[key] && !o.dead {
			o.tell(directory.Change{Name: key, Node: h.id, Members: n, Workers: 2})
		}
	}
	h.net.settle()
}

func (h *host) client() *program {
	p := new(program)
	p.Conn = h.plane.NewConn("", p)
	h.plane.Register(p.Conn)
	return p
}

// pass lets time go by in every host.
func (net *network) pass(d time.Duration) {
	for until := net.now.Add(d); ; {
		next := until
		for _, h := range net.nodes {
			if at, ok := h.plane.Timers.Next(); ok && at.Before(next) {
				next = at
			}
			if at, ok := h.plane.Next(net.now); ok && at.Before(next) {
				next = at
			}
		}
		net.now = maxTime(net.now, next)
		for _, h := range net.nodes {
			if h.dead {
				continue
			}
			h.now = net.now
			h.plane.Timers.Advance(net.now, func(owner any) { owner.(Expirer).Expire(net.now, &h.b) })
			var asks Asks
			h.plane.Advance(net.now, &h.b, &asks)
			h.ask(&asks)
		}
		net.run()
		if !net.now.Before(until) {
			return
		}
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (h *host) request(p *program, id uint64, cluster, body string, timeout uint64) {
	p.Conn.Request(h.net.now, &h.b, id, []byte(cluster), []byte(body), timeout)
	h.net.settle()
}

func TestRequestCrossesHosts(t *testing.T) {
	net := newNetwork(t, 3)
	a, b := net.nodes[0], net.nodes[1]
	c := a.client()
	a.request(c, 1, "echo", "before there is a member", 1000)
	m := b.member(core.Cluster, "echo")
	net.run()
	a.expect(m, handed(0, "before there is a member", 1000))
	m.Reply(net.now, &b.b, 0, false, []byte("pong"))
	net.run()
	a.expect(c, answered(1, Replied, "pong"))

	a.request(c, 2, "echo", "ping", 1000)
	net.run()
	a.expect(m, handed(1, "ping", 1000))
	m.Reply(net.now, &b.b, 1, true, []byte("not found"))
	net.run()
	a.expect(c, answered(2, Faulted, "not found"))

	a.request(c, 3, "echo", "slow", 10)
	net.run()
	a.expect(m, handed(2, "slow", 10))
	net.pass(11 * time.Millisecond)
	a.expect(c, answered(3, TimedOut, ""))
	net.pass(streamSweep)
	if m.Load() != 0 {
		t.Errorf("the member has %d in hand though the deadline has passed", m.Load())
	}
}

func TestRefusedRequestGoesToAnotherHost(t *testing.T) {
	for _, reason := range []string{"gone", "draining", "busy"} {
		net := newNetwork(t, 3)
		a, b, d := net.nodes[0], net.nodes[1], net.nodes[2]
		c := a.client()
		m, n := b.member(core.Cluster, "echo"), d.member(core.Cluster, "echo")
		switch reason {
		case "gone": // nobody has told a yet
			b.plane.Apply(net.now, &b.b, []core.Change{{Kind: core.Cluster, Name: "echo", Conn: m.ID}})
		case "draining":
			b.plane.Drain()
		case "busy":
			m.refuse = func() bool { return true }
		}
		for i := range uint64(10) {
			a.request(c, i, "echo", fmt.Sprint(i), 1000)
			net.run()
			ds := n.read()
			if len(ds) != 1 || ds[0].body != fmt.Sprint(i) || len(m.read()) != 0 {
				t.Fatalf("%s: request %d came as %v", reason, i, ds)
			}
			n.Reply(net.now, &d.b, ds[0].id, false, nil)
			net.run()
			a.expect(c, answered(i, Replied, ""))
		}
	}
}

func TestAllBusyHostsAreAskedAgain(t *testing.T) {
	net := newNetwork(t, 3)
	a, b, d := net.nodes[0], net.nodes[1], net.nodes[2]
	c := a.client()
	m, n := b.member(core.Cluster, "echo"), d.member(core.Cluster, "echo")
	full := true
	m.refuse = func() bool { return full }
	n.refuse = m.refuse
	a.request(c, 1, "echo", "patient", 1000)
	a.request(c, 2, "echo", "in a hurry", 100)
	net.run()
	net.pass(200 * time.Millisecond)
	a.expect(c, answered(2, Busy, ""))
	full = false
	net.pass(700 * time.Millisecond)
	if ds := append(m.read(), n.read()...); len(ds) != 1 || ds[0].body != "patient" {
		t.Fatalf("when there was room, %v came", ds)
	}
}

// A reset loses what was written and has not arrived, and what was answered and
// has not come back; nothing else, and nothing is started twice.
func TestResetStartsNothingTwice(t *testing.T) {
	var routed, returned uint64
	defer func() {
		if routed == 0 || returned == 0 {
			t.Errorf("%d frames were handed on, %d came back: none of that was tested", routed, returned)
		}
	}()
	for seed := range uint64(100) {
		net := newNetwork(t, 4)
		r := rand.New(rand.NewPCG(seed, 7))
		var clients, members []*program
		homes := make(map[*program]*host)
		for i, h := range net.nodes {
			c := h.client()
			clients, homes[c] = append(clients, c), h
			if i > 0 {
				m := h.member(core.Cluster, "echo")
				members, homes[m] = append(members, m), h
			}
		}
		begun := make(map[string]*program)
		open := make(map[string]bool)
		answers := 0
		id := uint64(0)
		for range 600 {
			switch r.IntN(12) {
			case 0, 1, 2:
				c := clients[r.IntN(len(clients))]
				id++
				open[fmt.Sprint(id)] = true
				homes[c].request(c, id, "echo", fmt.Sprint(id), uint64(1+r.IntN(3000)))
			case 3, 4, 5, 6, 7:
				h, o := net.nodes[r.IntN(4)], net.nodes[r.IntN(4)]
				if w := h.links[o]; w != nil {
					if r.IntN(2) == 0 {
						w.write(1 + r.IntN(3))
					} else {
						w.arrive(1 + r.IntN(3))
					}
				}
			case 8:
				h, o := net.nodes[r.IntN(4)], net.nodes[r.IntN(4)]
				if h == o {
					continue
				}
				if h.links[o] != nil {
					net.cut(h, o)
				} else {
					net.link(h, o)
				}
			case 9:
				m := members[r.IntN(len(members))]
				m.refuse = nil
				if r.IntN(2) == 0 {
					m.refuse = func() bool { return true }
				}
			case 10:
				net.now = net.now.Add(time.Duration(r.IntN(5)) * time.Millisecond)
			case 11:
				for _, m := range members {
					for _, d := range m.read() {
						if by := begun[d.body]; by != nil {
							t.Fatalf("seed %d: request %s was begun twice", seed, d.body)
						}
						begun[d.body] = m
						if r.IntN(4) > 0 {
							m.Reply(net.now, &homes[m].b, d.id, false, []byte(d.body))
						}
					}
				}
			}
			net.settle()
			for _, c := range clients {
				for _, d := range c.read() {
					answers++
					key := fmt.Sprint(d.id)
					if !open[key] {
						t.Fatalf("seed %d: request %s was answered twice", seed, key)
					}
					delete(open, key)
					if d.out == Replied && (d.body != key || begun[key] == nil) {
						t.Fatalf("seed %d: request %s was answered %q", seed, key, d.body)
					}
				}
			}
		}
		for i, h := range net.nodes {
			for _, o := range net.nodes[i+1:] {
				if h.links[o] == nil {
					net.link(h, o)
				}
			}
		}
		net.run()
		for range 5 {
			net.pass(time.Second)
			for _, m := range members {
				for _, d := range m.read() {
					if begun[d.body] != nil {
						t.Fatalf("seed %d: request %s was begun twice", seed, d.body)
					}
					begun[d.body] = m
				}
			}
		}
		for _, c := range clients {
			for _, d := range c.read() {
				if key := fmt.Sprint(d.id); !open[key] {
					t.Fatalf("seed %d: request %s was answered twice", seed, key)
				} else {
					delete(open, key)
				}
			}
		}
		if len(open) > 0 {
			t.Fatalf("seed %d: %d requests have no answer after their deadlines", seed, len(open))
		}
		for _, h := range net.nodes {
			routed += h.plane.Hops.Forwarded.Load()
			returned += h.plane.Hops.Returned.Load()
		}
		if id > 50 && answers == 0 {
			t.Fatalf("seed %d: nothing was answered", seed)
		}
	}
}

func TestBroadcastCrossesHosts(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	m := b.member(core.Cluster, "echo")
	c := a.client()
	for i := range 3 {
		c.Conn.Broadcast(net.now, &a.b, []byte("echo"), fmt.Append(nil, i))
		net.run()
		a.expect(m, delivery{what: "broadcast", body: fmt.Sprint(i)})
	}
}

// What a program publishes reaches every subscriber of every host once and in
// order, whatever happens to the links.
func TestStreamsAreCompleteAndInOrder(t *testing.T) {
	for _, kind := range []core.Kind{core.Topic, core.Cluster} {
		for seed := range uint64(100) {
			net := newNetwork(t, 4)
			r := rand.New(rand.NewPCG(seed, 9))
			var all []*program
			homes := make(map[*program]*host)
			for _, h := range net.nodes[1:] {
				p := h.member(kind, "news")
				all, homes[p] = append(all, p), h
			}
			pub := net.nodes[0].client()
			sent := 0
			got := make(map[*program][]string)
			collect := func() {
				for _, p := range all {
					for _, d := range p.read() {
						got[p] = append(got[p], d.body)
					}
				}
			}
			for range 300 {
				switch r.IntN(8) {
				case 0, 1, 2:
					body := fmt.Appendf(nil, "%d", sent)
					if r.IntN(30) == 0 {
						body = append(body, make([]byte, queue.ShareAbove)...)
					}
					sent++
					if kind == core.Topic {
						pub.Publish(net.now, &net.nodes[0].b, []byte("news"), body)
					} else {
						pub.Conn.Broadcast(net.now, &net.nodes[0].b, []byte("news"), body)
					}
				case 3, 4, 5:
					h, o := net.nodes[r.IntN(4)], net.nodes[r.IntN(4)]
					if w := h.links[o]; w != nil {
						if r.IntN(2) == 0 {
							w.write(1 + r.IntN(3))
						} else {
							w.arrive(1 + r.IntN(3))
						}
					}
				case 6:
					h, o := net.nodes[0], net.nodes[1+r.IntN(3)]
					if h.links[o] != nil {
						if w := h.links[o]; r.IntN(2) == 0 {
							w.full = !w.full
							if !w.full {
								h.plane.Peer(o.id).Room()
							}
						} else {
							net.cut(h, o)
						}
					} else {
						net.link(h, o)
					}
				case 7:
					net.now = net.now.Add(time.Duration(r.IntN(300)) * time.Millisecond)
				}
				net.settle()
				collect()
			}
			for _, o := range net.nodes[1:] {
				if w := net.nodes[0].links[o]; w == nil {
					net.link(net.nodes[0], o)
				} else if w.full {
					w.full = false
					net.nodes[0].plane.Peer(o.id).Room()
				}
			}
			net.run()
			for range 10 {
				net.pass(100 * time.Millisecond)
			}
			collect()
			for _, p := range all {
				var want []string
				for i := range sent {
					want = append(want, fmt.Sprint(i))
				}
				for i, g := range got[p] {
					body := g
					if kind == core.Topic {
						body = g[len("news:"):]
					}
					if n := slices.Index([]byte(body), 0); n >= 0 {
						body = body[:n]
					}
					got[p][i] = body
				}
				if !slices.Equal(got[p], want) {
					t.Fatalf("kind %d, seed %d: a member got %v, want 0 to %d", kind, seed, got[p], sent-1)
				}
			}
			if n := net.nodes[1].plane.Drops.Gaps(); n > 0 {
				t.Fatalf("seed %d: %d messages were declared lost", seed, n)
			}
		}
	}
}
