package sim

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/splice"
	"github.com/project-iris/iris/internal/wire"
)

// Times of the agreement on a tunnel's connection, those of the daemon.
const (
	mostExpires  = 10 * time.Second
	dialBackTime = time.Second
)

// splices are the tunnels of a node's programs to those of other nodes.
type splices struct {
	agreed map[[16]byte]*agreement
	ends   []*end // of the connections that there are
	closes bool   // there will be no more of them
}

// An agreement is a tunnel that two nodes know of and no connection is attached to yet,
// as one of them has it.
type agreement struct {
	name  [16]byte
	n     *node
	peer  ring.ID
	build messaging.Build // at the initiator's node

	half  *splice.Half // at the accepting node
	mouth *mouth
	end   *end // once it is attached

	both bool // it is dialled back
}

// agree adds an agreement, for a time.
func (n *node) agree(a *agreement, expires time.Duration) {
	a.n = n
	n.agreed[a.name] = a
	n.w.after(expires, func() {
		n.turn(func(now time.Time, m *machine) { a.drop(now, m, reasonLate) })
	})
}

// claim takes an agreement out of the table. It reports false if it is not there.
func (a *agreement) claim() bool {
	ok := a.n.agreed[a.name] == a
	if ok {
		delete(a.n.agreed, a.name)
	}
	return ok
}

// drop ends an agreement that no connection was attached to.
func (a *agreement) drop(now time.Time, m *machine, reason string) {
	if a.claim() && a.half != nil {
		a.half.Close(now, &m.batch, reason)
	}
}

// abroad accepts a tunnel that a program of another node builds. It reports false
// when it does not, as a node may that has too many.
func (n *node) abroad(now time.Time, m *machine, o messaging.Offer, t *mouth) bool {
	if n.closes || n.refusesTunnel(o.Peer.ID) {
		o.Peer.Deny(&m.batch, o)
		return false
	}
	a := &agreement{peer: o.Peer.ID, mouth: t}
	binary.BigEndian.PutUint64(a.name[:], t.key)
	a.half = splice.NewHalf(m.Plane.Budget, &m.tunnels, func() {
		if a.end != nil {
			a.end.write()
		}
	})
	expires := min(o.Timeout, mostExpires)
	n.agree(a, expires)
	a.half.Accept(now, &m.batch, m.Plane.Timers, t.p.tunnels, t.id)
	o.Peer.Accept(&m.batch, wire.TunnelAccept{Number: o.Number, Tunnel: a.name, Expires: uint32(expires / time.Millisecond), Load: o.Load, Addrs: addr(n.index)})
	return true
}

// refusesTunnel is for messaging.Plane.
func (n *node) refusesTunnel(ring.ID) bool { return !n.w.Traffic.Lossless && n.w.rng.IntN(50) == 0 }

// accepted is for messaging.Plane: a member of another node has confirmed a build.
func (n *node) accepted(from *messaging.Peer, build messaging.Build, m wire.TunnelAccept) {
	if n.closes {
		return
	}
	a := &agreement{name: m.Tunnel, peer: from.ID, build: build}
	n.agree(a, min(time.Duration(m.Expires)*time.Millisecond, mostExpires))
	n.w.after(dialBackTime, func() { n.run(a.ask) })
	a.dial()
}

// ask asks the other node to dial.
func (a *agreement) ask() {
	if a.n.agreed[a.name] != a || a.half != nil || a.both {
		return
	}
	a.both = true
	if l := a.n.links[a.n.w.byID[a.peer]]; l != nil {
		l.send(a.n, &frame{msg: wire.DialBack{Tunnel: a.name, Addrs: addr(a.n.index)}})
	}
}

// dialBack dials as the accepting node.
func (n *node) dialBack(from ring.ID, name [16]byte) {
	if a := n.agreed[name]; a != nil && a.peer == from && a.half != nil && !a.both {
		a.both = true
		a.dial()
	}
}

// dial makes a connection, as link.dial does.
func (a *agreement) dial() {
	w, to := a.n.w, a.n.w.byID[a.peer]
	rtt := w.delay(a.n, to) + w.delay(to, a.n)
	began := w.now
	w.after(rtt+rtt/2, func() { a.n.run(func() { a.handshake(to, began) }) })
}

func (a *agreement) handshake(to *node, began instant) {
	n, w := a.n, a.n.w
	again := func(d time.Duration, f func()) { w.after(max(d, 0), func() { n.run(f) }) }
	left := began + dialTimeout - w.now
	switch {
	case n.agreed[a.name] != a:
	case !w.reaches(n, to) || !w.reaches(to, n):
		again(left, a.ask)
	case !to.alive || to.frozen && left <= 0:
		a.ask()
	case to.frozen:
		again(50*time.Millisecond, func() { a.handshake(to, began) })
	default:
		e := w.pipe(n, to)
		e.send(func() { to.asked(a.name, e.other) })
	}
}

// asked takes an ATTACH on a connection.
func (n *node) asked(name [16]byte, e *end) {
	a := n.agreed[name]
	switch {
	case a == nil || a.peer != e.other.n.id:
		e.hangUp(reasonLost)
	case a.half == nil: // dialled back: it is for the initiator to say so first
		e.send(func() { e.other.n.asked(name, e.other) })
	case a.claim():
		a.end, e.half, e.mouth = e, a.half, a.mouth
		e.send(func() { e.other.n.attached(name, e.other) })
		a.half.Begin()
	}
}

// attached takes the word that a connection is the tunnel's.
func (n *node) attached(name [16]byte, e *end) {
	a := n.agreed[name]
	if a == nil || !a.claim() {
		e.hangUp(reasonLost)
		return
	}
	n.turn(func(now time.Time, m *machine) {
		e.half = splice.NewHalf(m.Plane.Budget, &m.tunnels, e.write)
		p := a.build.From().Sink().(*program)
		e.half.Initiate(now, &m.batch, m.Plane.Timers, p.tunnels, func() (uint64, bool) {
			id, ok := a.build.Take()
			if ok {
				p.mouths[id].pair(e.other.mouth)
			}
			return id, ok
		})
		e.half.Begin()
	})
}

// closeTunnels ends what the node has to do with tunnels to others, once its programs
// have ended: what they owe is brought, within a limit.
func (n *node) closeTunnels(then func()) {
	n.turn(func(now time.Time, m *machine) {
		n.closes = true
		for _, name := range slices.SortedFunc(maps.Keys(n.agreed), compareNames) { //iris:unordered sorted here
			n.agreed[name].drop(now, m, reasonLeft)
		}
		for _, e := range n.ends {
			if e.half != nil && !e.half.Told() {
				n.w.violated(n, "M16: a tunnel outlives its program")
			}
		}
	})
	n.until(closeLimit, func() bool { return len(n.ends) == 0 }, func() {
		for _, e := range slices.Clone(n.ends) {
			e.hangUp(reasonLost)
		}
		then()
	})
}

func compareNames(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }

// loseTunnels ends all connections of a process that has ended.
func (n *node) loseTunnels() {
	w := n.w
	for _, e := range n.ends {
		o := e.other
		e.gone = true
		switch {
		case !w.reaches(n, o.n) || !n.refuses: // nobody says so
			w.after(userTimeout, func() { o.n.run(o.lost) })
		case w.rng.IntN(2) == 0: // with what it has sent
			w.at(max(w.now+w.delay(n, o.n), e.last), func() { o.n.run(o.lost) })
		default:
			e.pipe.reset()
		}
	}
	n.splices = splices{}
}
