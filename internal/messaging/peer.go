package messaging

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A Link takes frames to one other node. Its methods append to queues, add
// themselves to the batch if a flush is owed, and never block or call back.
type Link interface {
	// Send sends a frame whose body is head and payload. What it refuses, with
	// an error of package queue, has not left. The position is for Unwritten.
	Send(b *queue.Batch, lane wire.Lane, f *wire.Frame, head []byte, p queue.Payload) (pos uint64, err error)

	// Unwritten reports, once the link is lost, that the frame sent at a
	// position provably never left.
	Unwritten(lane wire.Lane, pos uint64) bool

	// SendControl sends a message to the other node's control plane.
	SendControl(m wire.Message)

	// SendRouted sends a frame of requests that the other node is to hand on, or
	// that it was handed. What it refuses has not left.
	SendRouted(b *queue.Batch, f *wire.Frame, head, body []byte) error

	// Waiting and Moved return how many octets wait in a lane, and how many have
	// ever left it.
	Waiting(lane wire.Lane) int
	Moved(lane wire.Lane) uint64

	// RTT is how long the way there and back takes.
	RTT() time.Duration
}

// A Peer is another node as the data plane sees it: the cell of the attempts that
// this node made there, and of those made here from there.
type Peer struct {
	ID    ring.ID
	plane *Plane

	link atomic.Pointer[Link]
	gone atomic.Bool  // the view has lost it
	last atomic.Int64 // when it last answered
	used atomic.Bool  // since the loop looked last
	rest time.Time    // since when it is not: the loop's; zero: it is

	via atomic.Pointer[Peer] // the router that last brought something of it; nil: none has

	// What there is for the peer while there is no link to it.
	needed  atomic.Bool  // there is something
	strays  atomic.Bool  // some of it was of a stream, and routed
	stirred atomic.Bool  // the loop is to hear of that
	roams   atomic.Bool  // streams are routed
	cut     atomic.Int64 // when requests may be routed again

	// The loop's.
	detour   detour
	stranger bool // it was never linked: under the plane's peersMu

	// short is set when the link took something not, and may not say when it will.
	short atomic.Bool

	begin [2]uint64 // the first numbers of attempts there

	mu    sync.Mutex
	open  open     // attempts at members there, by number
	late  []uint64 // those that are to be sent again and could not be yet
	frame wire.Frame
	head  [64]byte

	seen struct {
		sync.Mutex
		windows
		canceled map[uint64]bool // those that nobody waits for any more, until the loop looks
	}

	streams streams
	pace    queue.Pace
	stands  atomic.Bool // it was full and did not move when that was last looked at
}

var errNoLink = errors.New("no link to the node")

// linked returns the link to the peer; nil: there is none now.
func (p *Peer) linked() Link {
	if l := p.link.Load(); l != nil {
		return *l
	}
	return nil
}

// use notes that something passed between the peer and this node.
func (p *Peer) use() {
	if !p.used.Load() {
		p.used.Store(true)
	}
}

// shrink gives memory back that the peer is not worth while it is idle. It reports
// whether there is anything to be remembered of the peer: numbers that were used must
// not be used again.
func (p *Peer) shrink() bool {
	p.mu.Lock()
	p.open.shrink(p.plane.Budget)
	known := p.open.made() != p.begin
	p.mu.Unlock()
	p.seen.Lock()
	p.seen.shrink()
	known = known || p.seen.used()
	p.seen.Unlock()
	return known || p.publishes() || p.linked() != nil
}

// publishes reports whether streams of the peer's are known.
func (p *Peer) publishes() bool {
	p.streams.mu.Lock()
	defer p.streams.mu.Unlock()
	return len(p.streams.byName) > 0
}

func (p *Peer) rtt() time.Duration {
	if l := p.linked(); l != nil {
		return l.RTT()
	}
	return 0
}

func (p *Peer) control(m wire.Message) {
	if l := p.linked(); l != nil {
		l.SendControl(m)
	} else {
		p.plane.hint(note{to: p.ID, msg: m})
	}
}

// send sends a frame about requests, with the lock held.
func (p *Peer) send(b *queue.Batch, w way, t wire.Type, flags wire.Flags, name wire.Name, head, body []byte) (pos uint64, err error) {
	if w.link == nil {
		return 0, errNoLink
	}
	p.frame = wire.Frame{Type: t, Flags: flags, Name: name}
	b.Octets += len(body)
	return w.send(b, p, wire.Requests, &p.frame, head, queue.Payload{Data: body})
}

// hand makes a new attempt at a member of the cluster on the peer.
func (p *Peer) hand(now time.Time, b *queue.Batch, t ticket, cl *cluster, body []byte, given term, choosy bool) (number uint64, err error) {
	p.use()
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.way(0) // with the lock held, or a link might come up and not be sent this
	if w.link == nil {
		return 0, errNoLink
	}
	g := grant{ticket: t, term: given, cluster: cl, at: p.plane.nanos(now), bulk: len(body) > wire.MaxBody-len(p.head)}
	number, ok := p.open.reserve(p.plane.Budget, g.bulk)
	if !ok {
		return 0, queue.ErrMemory
	}
	flags := wire.Named
	if choosy && !w.routed {
		flags |= wire.Choosy
	}
	if g.pos, err = p.request(b, w, flags, g, number, body, p.plane.Timers.Tick(now)); err != nil {
		return 0, err
	}
	g.left = w.routed
	g.sent(w)
	if w.routed {
		p.need()
	}
	p.open.add(number, g)
	return number, nil
}

func (p *Peer) request(b *queue.Batch, w way, flags wire.Flags, g grant, number uint64, body []byte, tick int64) (pos uint64, err error) {
	typ := wire.TypeRequest
	if g.kind == build {
		typ = wire.TypeTunnelOffer
	}
	head := wire.RequestHead{Number: number, Life: uint32(g.remains(tick)), Timeout: g.timeout}.AppendBody(p.head[:0])
	return p.send(b, w, typ, flags, g.cluster.everyone.key, head, body)
}

// cancel hints that nobody waits for an attempt any more, and forgets it.
func (p *Peer) cancel(b *queue.Batch, number uint64) (g grant, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g, ok = p.open.remove(number); ok {
		if w := p.way(0); w.link != nil {
			p.send(b, w, wire.TypeCancel, wire.Skip, wire.Name{}, wire.Cancel{Number: number}.AppendBody(p.head[:0]), nil)
		}
	}
	return g, ok
}

// answeredSince reports whether the peer answered anything since a moment.
func (p *Peer) answeredSince(at int64) bool { return p.last.Load() >= at }

// take removes an attempt that was answered.
func (p *Peer) take(number uint64) (grant, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open.remove(number)
}

// Receive takes a frame of the data plane that came over the link to the peer, be it
// for this node or another. An error says that the peer broke the protocol. Called by
// the goroutines that read the link.
func (p *Peer) Receive(now time.Time, b *queue.Batch, f *wire.Frame) error {
	if f.Flags&wire.Routed != 0 {
		return p.routed(now, b, f)
	}
	return p.accept(now, b, f)
}

// accept takes a frame for this node of which the peer is the origin. Safe for
// concurrent use.
func (p *Peer) accept(now time.Time, b *queue.Batch, f *wire.Frame) error {
	p.use()
	var err error
	switch f.Type {
	case wire.TypeRequest:
		err = p.requested(now, b, f, request)
	case wire.TypeTunnelOffer:
		err = p.requested(now, b, f, build)
	case wire.TypeReply:
		err = p.replied(now, b, f)
	case wire.TypeNotStarted:
		err = p.refused(now, b, f)
	case wire.TypeCancel:
		err = p.canceled(b, f)
	case wire.TypeTunnelAccept:
		err = p.accepted(now, b, f)
	case wire.TypePublish:
		err = p.publish(now, b, f)
	case wire.TypeGap:
		err = p.gap(now, b, f)
	case wire.TypeDigest:
		err = p.digest(now, b, f)
	default:
		err = fmt.Errorf("frame of type %#x has no business here", byte(f.Type))
	}
	return err
}

// replied takes the answer to an attempt.
func (p *Peer) replied(now time.Time, b *queue.Batch, f *wire.Frame) error {
	h, body, err := wire.ParseReplyHead(f.Body)
	if err != nil {
		return err
	}
	g, ok := p.take(h.Number)
	if !ok {
		p.plane.Drops.LateReplies.Add(1)
		return nil
	}
	p.last.Store(p.plane.nanos(now))
	if h.Status == wire.ReplyLost {
		g.cluster.failed(now, p)
		p.plane.lost(b, g, &p.plane.Drops.Lost)
		return nil
	}
	g.cluster.signal(now, p, h.Load)
	if g.conn.Traced != nil {
		g.conn.Traced(Step{What: Answered, Node: p.ID, Hops: hops(f), Load: h.Load})
	}
	out := Replied
	if h.Status == wire.ReplyFault {
		out = Faulted
	}
	if g.kind == request {
		if at, ok := g.answer(b, out, body); ok {
			p.plane.answered(now, g.cluster, at)
			return nil
		}
	}
	p.plane.Drops.LateReplies.Add(1)
	return nil
}

// lost ends an attempt of which nobody can say any more whether it ran: the call
// is never tried again.
func (p *Plane) lost(b *queue.Batch, g grant, why *atomic.Uint64) {
	why.Add(1)
	if g.conn.Early {
		g.answer(b, Lost, nil)
	} // else its deadline tells
}

// refused takes the word that an attempt was not started, and never will be.
func (p *Peer) refused(now time.Time, b *queue.Batch, f *wire.Frame) error {
	m, err := wire.ParseNotStarted(f.Body)
	if err != nil {
		return err
	}
	g, ok := p.take(m.Number)
	if !ok {
		return nil
	}
	g.cluster.signal(now, p, m.Load)
	var why *atomic.Uint64
	if g.conn.Traced != nil {
		g.conn.Traced(Step{What: refusals[m.Reason], Node: p.ID, Hops: hops(f), Load: m.Load})
	}
	switch m.Reason {
	case wire.Gone:
		p.plane.Drops.RefusedGone.Add(1)
		why = &p.plane.Retries.Gone
		g.cluster.leaveNode(p)
		p.plane.post(note{left: p, key: g.cluster.everyone.key})
	case wire.Draining:
		p.plane.Drops.RefusedDraining.Add(1)
		why = &p.plane.Retries.Draining
		g.cluster.leaveNode(p)
	case wire.Waits:
		p.plane.Drops.TurnedDown.Add(1)
		why = &p.plane.Retries.TurnedDown
		if g.turned >= mostTurned {
			break // it was not asked whether it would
		}
		not := choice{peer: p}
		if g.turned++; g.turned == mostTurned {
			not = choice{} // what it said is the best there is, perhaps
		}
		p.plane.retry(now, b, g, not, true, why)
		return nil
	default:
		p.plane.Drops.RefusedBusy.Add(1)
		why = &p.plane.Retries.Busy
	}
	soon := g.cluster.mayRetry()
	if !soon {
		why = &p.plane.Retries.Budget
	}
	p.plane.retry(now, b, g, choice{peer: p}, soon, why)
	return nil
}

// retry makes another attempt at a call that its last one did not start: at once,
// or when it has waited for its turn.
func (p *Plane) retry(now time.Time, b *queue.Batch, g grant, not choice, soon bool, why *atomic.Uint64) {
	t, name, body, given, ok := g.retry()
	if !ok {
		return
	}
	if body == nil {
		return // its body was let go: its deadline tells
	}
	why.Add(1)
	if !soon || !p.place(now, b, t, []byte(name), body, given, not, true) {
		p.park(t, []byte(name), body, true)
	}
}

// LinkUp says that frames may go to the peer through l. What may have been lost
// with the link before goes again: attempts under their numbers, so that none is
// started twice, streams as far as the peer asks for it. Loop.
func (p *Plane) LinkUp(now time.Time, b *queue.Batch, id ring.ID, l Link) *Peer {
	peer := p.Peer(id)
	peer.gone.Store(false)
	peer.mu.Lock()
	open := peer.open.numbered()
	made := peer.open.made()
	peer.late = nil
	peer.mu.Unlock()
	tick := p.Timers.Tick(now)
	peer.resend(b, l, open, tick)
	peer.mu.Lock()
	peer.link.Store(&l)
	open = peer.open.since(made)
	peer.mu.Unlock()
	peer.resend(b, l, open, tick) // routed meanwhile: the window would pass them by
	p.arrive(peer)
	p.reach(peer)
	p.mend(b, peer, true)
	peer.resume(now)
	p.tryAll(now, b)
	return peer
}

// resend sends open attempts once more: those that will not go go later.
func (p *Peer) resend(b *queue.Batch, l Link, open []numbered, tick int64) {
	var late []uint64
	for _, o := range open {
		if len(late) > 0 || p.again(b, way{link: l}, o, tick) != nil {
			late = append(late, o.id)
		}
	}
	p.mu.Lock()
	p.late = append(p.late, late...)
	p.mu.Unlock()
	if len(late) > 0 {
		p.runShort()
	}
}

// runShort has the loop look in a moment whether the link takes more.
func (p *Peer) runShort() {
	p.short.Store(true)
	if !p.plane.short.Swap(true) {
		p.plane.wake()
	}
}

// goOn sends what the link to a peer did not take. Loop.
func (p *Plane) goOn(now time.Time, b *queue.Batch, peer *Peer) {
	peer.mu.Lock()
	var open []numbered
	for _, n := range peer.late {
		if g, ok := peer.open.find(n); ok {
			open = append(open, numbered{g, n})
		}
	}
	peer.late = nil
	peer.mu.Unlock()
	if l := peer.linked(); l != nil && len(open) > 0 {
		peer.resend(b, l, open, p.Timers.Tick(now))
	}
	p.mend(b, peer, false)
}

// again sends an open attempt once more.
func (p *Peer) again(b *queue.Batch, w way, o numbered, tick int64) error {
	var body []byte
	held := false
	o.ticket.locked(func(_ *calls, a *call) {
		if held = a.holds; held {
			a.lent = true
			body = a.body
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.open.find(o.id)
	if !ok || !held {
		return nil // answered meanwhile, or it cannot be: its deadline tells
	}
	_, err := p.request(b, w, wire.Named, g, o.id, body, tick)
	if err == nil {
		g.sent(w)
		p.open.set(o.id, g)
	}
	return err
}

// LinkDown says that the link to the peer is lost. What provably never left is
// tried elsewhere; of the rest nothing is known until there is a link again. Loop.
func (p *Plane) LinkDown(now time.Time, b *queue.Batch, id ring.ID, l Link) {
	peer := p.Peer(id)
	if cur := peer.link.Load(); cur == nil || *cur != l {
		return // another has taken its place
	}
	peer.link.Store(nil)
	p.stray(now, peer)
	p.reach(peer)
	peer.mu.Lock()
	open := peer.open.numbered()
	peer.open.outlive()
	peer.late = nil // the next link is sent all
	peer.mu.Unlock()
	for _, o := range open {
		if !o.left && l.Unwritten(o.lane(), o.pos) {
			if g, ok := peer.take(o.id); ok {
				p.Drops.Unwritten.Add(1)
				p.retry(now, b, g, choice{peer: peer}, true, &p.Retries.Unwritten)
			}
		}
	}
	if peer.gone.Load() {
		p.bury(now, b, peer)
	}
}

// lane is where an attempt was sent.
func (g *grant) lane() wire.Lane {
	if g.bulk {
		return wire.Bulk
	}
	return wire.Requests
}

// NodeGone says that the view has lost a node: what it was handed is lost, what it
// asked for nobody waits for. Loop.
func (p *Plane) NodeGone(now time.Time, b *queue.Batch, id ring.ID) {
	peer := p.peer(id)
	if peer == nil {
		return
	}
	peer.gone.Store(true)
	if peer.linked() == nil { // else its last answers may be on their way: LinkDown does the rest
		p.bury(now, b, peer)
	}
}

// NodeJoined says that a node is up, or is again: others may reach it though there is
// no link. Loop.
func (p *Plane) NodeJoined(now time.Time, id ring.ID) {
	if peer := p.peer(id); peer != nil {
		peer.gone.Store(false)
		p.stray(now, peer)
	}
}

// bury ends what a node that is gone was handed, and what it asked for. Loop.
func (p *Plane) bury(now time.Time, b *queue.Batch, peer *Peer) {
	peer.mu.Lock()
	open := peer.open.numbered()
	for _, o := range open {
		peer.open.remove(o.id)
	}
	peer.mu.Unlock()
	for _, o := range open {
		o.cluster.failed(now, peer)
		p.lost(b, o.grant, &p.Drops.NodeDead)
	}
	p.dropServed(func(g *grant) bool { return g.origin == peer })
}

// Peer returns the peer with an id. Loop.
func (p *Plane) Peer(id ring.ID) *Peer {
	p.peersMu.Lock()
	defer p.peersMu.Unlock()
	peer := p.peers[id]
	if peer == nil {
		peer = p.newPeer(id)
	}
	if peer.stranger {
		peer.stranger = false
		p.strangers--
	}
	return peer
}

// newPeer makes a peer, with peersMu held.
func (p *Plane) newPeer(id ring.ID) *Peer {
	peer := &Peer{ID: id, plane: p, begin: p.begin}
	peer.open[0].next, peer.open[1].next = p.begin[0], p.begin[1]
	p.peers[id] = peer
	return peer
}

// peer returns the peer with an id; nil: there is nothing to be known of it. Safe for
// concurrent use.
func (p *Plane) peer(id ring.ID) *Peer {
	p.peersMu.RLock()
	defer p.peersMu.RUnlock()
	return p.peers[id]
}

// knows reports whether there are peers.
func (p *Plane) knows() bool {
	p.peersMu.RLock()
	defer p.peersMu.RUnlock()
	return len(p.peers) > 0
}

// forget drops a peer, unless a router has brought something of it meanwhile. Loop.
func (p *Plane) forget(peer *Peer) {
	p.peersMu.Lock()
	defer p.peersMu.Unlock()
	if peer.used.Load() {
		return
	}
	if peer.stranger {
		p.strangers--
	}
	delete(p.peers, peer.ID)
}

func (p *Plane) sortedConns() []*Conn {
	conns := make([]*Conn, 0, len(p.conns))
	for _, c := range p.conns { //iris:unordered sorted below
		conns = append(conns, c)
	}
	slices.SortFunc(conns, func(a, b *Conn) int { return cmp.Compare(a.ID, b.ID) })
	return conns
}

func (p *Plane) sortedPeers() []*Peer {
	p.peersMu.RLock()
	defer p.peersMu.RUnlock()
	peers := make([]*Peer, 0, len(p.peers))
	for _, o := range p.peers { //iris:unordered sorted below
		peers = append(peers, o)
	}
	slices.SortFunc(peers, func(a, b *Peer) int { return a.ID.Compare(b.ID) })
	return peers
}
