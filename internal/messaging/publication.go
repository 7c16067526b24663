package messaging

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// messageCost is what a message counts for beside its body when links may fill up.
const messageCost = 32

// publication is the cell of what is sent to everybody: the events of a topic,
// the broadcasts of a cluster. Its lock covers the appends to all targets, so all
// of them get the same order: number order is queue order on every link.
type publication struct {
	topic bool
	name  string
	title []byte // the same, to deliver under
	key   wire.Name
	used  atomic.Bool // something was published since the loop looked last
	fee   fee         // of who was the first to use the name

	members atomic.Int32 // how many targets

	mu      sync.Mutex
	sent    uint64      // messages that programs of this node published
	arrived uint64      // those that came from other nodes
	targets []*Conn     // members of this node
	nodes   []*target   // other nodes with members, by id
	closed  atomic.Bool // set under mu: what is published goes to another cell of the name

	// The stream of what programs of this node publish (docs/messaging.md,
	// Streams).
	next      uint64 // number of the next
	confirmed uint64 // lower ones went to everybody a complete root knew of
	checked   uint64 // lower ones had been given out when the check under way was sent
	dirty     bool   // the loop knows that there is something to check
	unchecked int    // octets since the check that left last
	kept      replay
	frame     wire.Frame // these are for sending, under mu
	head      [wire.PublishHeadSize + wire.MostOthers*ring.Size]byte
	run       []*target // those that a message is handed to over one link
	via       *Peer     // to whom
	since     int       // octets since it was last seen whether links are filling up
	owed      uint64    // from here on, links that are full but move are still to get all
}

// A target is another node that takes part in a publication.
type target struct {
	peer  *Peer
	start uint64 // its first number
	known bool   // it has been told so
	due   uint64 // the next number it is sent; less than next: it was not sent what is between
}

func (p *publication) join(c *Conn) {
	p.mu.Lock()
	p.targets = append(p.targets, c)
	p.members.Add(1)
	p.mu.Unlock()
}

// leave returns how many targets of this node are left.
func (p *publication) leave(c *Conn) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.targets = slices.DeleteFunc(p.targets, func(t *Conn) bool { return t == c })
	p.members.Store(int32(len(p.targets)))
	return len(p.targets)
}

// spread hands body, which a program of this node published, to every target. One
// that will not take it, because it is full or closing, has its own connection
// ended for it; the others get it. It reports whether the loop must hear of it: there
// is something to check, or much of it; and false if the cell is closed.
func (p *publication) spread(now time.Time, b *queue.Batch, plane *Plane, topic, body []byte) (fresh, ok bool) {
	load := queue.Fan(plane.Budget, body)
	defer load.Release()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return false, false
	}
	p.sent++
	p.deliver(b, topic, load)
	if plane.alone.Load() {
		return false, true
	}
	if !p.used.Load() {
		p.used.Store(true)
	}
	n := p.next
	p.next++
	if !p.kept.push(n, load, p.owed) {
		plane.Drops.Unkept.Add(1)
	}
	p.owed = n + 1
	b.Octets += len(body) * len(p.nodes)
	look := false
	if p.since += len(body) + messageCost; p.since >= crowdLook {
		p.since, look = 0, true
	}
	for _, t := range p.nodes {
		if !t.known || t.due != n {
			p.mendTarget(b, t) // there may be room by now
		} else {
			p.gather(b, t, n, load)
		}
	}
	p.sendRun(b, n, load)
	for _, t := range p.nodes {
		if (look || t.due <= n) && t.peer.Crowded(now) {
			b.AddCrowd(t.peer)
			p.owed = min(p.owed, t.due)
		}
	}
	few := p.unchecked < maxUnchecked
	p.unchecked += len(body) + recordCost
	fresh = !p.dirty || few && p.unchecked >= maxUnchecked
	p.dirty = true
	return fresh, true
}

// deliver hands a body to the targets on this node, with the lock held.
func (p *publication) deliver(b *queue.Batch, topic []byte, load queue.Payload) {
	b.Octets += len(load.Data) * len(p.targets)
	for _, t := range p.targets {
		if p.topic {
			t.sink.Event(b, topic, load)
		} else {
			t.sink.Broadcast(b, load)
		}
	}
}

// send sends number n to a node. It reports false when that cannot be done now;
// mend makes up for it.
func (p *publication) send(b *queue.Batch, t *target, n uint64, flags wire.Flags, load queue.Payload) bool {
	w := t.peer.streamWay()
	if w.link == nil {
		return false
	}
	t.peer.use()
	p.frame = wire.Frame{Type: wire.TypePublish, Flags: wire.Named | flags, Name: p.key}
	_, err := w.send(b, t.peer, wire.Publications, &p.frame, wire.PublishHead{Number: n}.AppendBody(p.head[:0]), load)
	if w.routed && err == nil {
		t.peer.strayed()
	}
	return t.peer.took(w, err)
}

// gather adds a target to those that number n is handed to over one link, and sends it
// to those before if that is another one. As targets are in the order of their ids, and
// the router to each is who is closest, one's own is among those it hands on to.
func (p *publication) gather(b *queue.Batch, t *target, n uint64, load queue.Payload) {
	via := t.peer.streamVia()
	if via != p.via || len(p.run) == wire.MostOthers || len(load.Data) > wire.MaxBody-len(p.head) {
		p.sendRun(b, n, load)
	}
	if via != nil {
		p.via, p.run = via, append(p.run, t)
	}
}

// sendRun sends number n to those that were gathered.
func (p *publication) sendRun(b *queue.Batch, n uint64, load queue.Payload) {
	sent := false
	switch len(p.run) {
	case 0:
	case 1:
		sent = p.send(b, p.run[0], n, 0, load)
	default:
		sent = p.sendTogether(b, n, load)
	}
	if sent {
		for _, t := range p.run {
			t.due = n + 1
		}
	}
	clear(p.run)
	p.run, p.via = p.run[:0], nil
}

// sendTogether sends number n to several in one frame.
func (p *publication) sendTogether(b *queue.Batch, n uint64, load queue.Payload) bool {
	l := p.via.linked()
	if l == nil {
		return false
	}
	h := wire.PublishHead{Pass: true, Number: n}
	for _, t := range p.run {
		if t.peer == p.via {
			h.Pass = false
		} else {
			h.Others++
		}
	}
	head := h.AppendBody(p.head[:0])
	for _, t := range p.run {
		if t.peer != p.via {
			head = t.peer.ID.Append(head)
		}
	}
	p.frame = wire.Frame{Type: wire.TypePublish, Flags: wire.Named, Name: p.key}
	_, err := l.Send(b, wire.Publications, &p.frame, head, load)
	for _, t := range p.run {
		t.peer.use()
		w := way{l, t.peer != p.via}
		if w.routed && err == nil {
			t.peer.plane.Hops.Sent.Add(1)
			t.peer.strayed()
		}
		t.peer.took(w, err)
	}
	return err == nil
}

// say sends a frame without payload.
func (p *publication) say(b *queue.Batch, t *target, typ wire.Type, flags wire.Flags, body []byte) bool {
	w := t.peer.streamWay()
	if w.link == nil {
		return false
	}
	p.frame = wire.Frame{Type: typ, Flags: wire.Named | flags, Name: p.key}
	_, err := w.send(b, t.peer, wire.Publications, &p.frame, body, queue.Payload{})
	return t.peer.took(w, err)
}

// streamVia returns to whom messages of streams to the peer are handed: the peer or a
// router; nil: to nobody, as they wait a while for the link.
func (p *Peer) streamVia() *Peer {
	if p.linked() != nil {
		return p
	}
	p.need()
	if !p.roams.Load() {
		return nil
	}
	return p.plane.routes.Load().first(p.ID, 0)
}

// streamWay returns the way there.
func (p *Peer) streamWay() way {
	if via := p.streamVia(); via != nil {
		if l := via.linked(); l != nil {
			return way{l, via != p}
		}
	}
	return way{}
}

// took reports whether the link took a message. One that is full says when it has
// room, but nobody says when there is memory, or a router has room.
func (p *Peer) took(w way, err error) bool {
	if err == queue.ErrMemory || w.routed && err != nil {
		p.runShort()
	}
	return err == nil
}

// joinNode adds another node: it gets all that is not confirmed, and what follows.
func (p *publication) joinNode(b *queue.Batch, peer *Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.target(peer) == nil {
		start := min(max(p.confirmed, p.kept.first), p.next)
		peer.plane.Drops.Outrun.Add(start - min(p.confirmed, start)) // more than is kept since the last check
		t := &target{peer: peer, start: start, due: start}
		at, _ := p.place(peer)
		p.nodes = slices.Insert(p.nodes, at, t)
		p.mendTarget(b, t)
	}
}

// leaveNode takes a node out.
func (p *publication) leaveNode(peer *Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nodes = slices.DeleteFunc(p.nodes, func(t *target) bool { return t.peer == peer })
}

func (p *publication) target(peer *Peer) *target {
	if at, ok := p.place(peer); ok {
		return p.nodes[at]
	}
	return nil
}

func (p *publication) place(peer *Peer) (at int, ok bool) {
	return slices.BinarySearchFunc(p.nodes, peer.ID, func(t *target, id ring.ID) int { return t.peer.ID.Compare(id) })
}

// mend sends a node what it was not sent, now that it may go through. With lost
// set, a link was lost with what was written to it: the node says what it misses. It
// reports whether there may be something.
func (p *publication) mend(b *queue.Batch, peer *Peer, lost bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.target(peer)
	if t == nil || !p.mendTarget(b, t) {
		return t != nil
	}
	if p.owed < p.next { // it was kept for somebody, who may have it now
		p.owed = p.next
		for _, t := range p.nodes {
			p.owed = min(p.owed, t.due)
		}
		p.kept.trim(p.next-1, p.owed)
	}
	if !lost || p.next == t.start {
		return false
	}
	p.say(b, t, wire.TypeDigest, 0, wire.Digest{Last: p.next - 1}.AppendBody(p.head[:0]))
	return true
}

func (p *publication) mendTarget(b *queue.Batch, t *target) bool {
	if !t.known {
		if !p.say(b, t, wire.TypeDigest, wire.First, wire.Digest{Last: t.start - 1}.AppendBody(p.head[:0])) {
			return false
		}
		t.known = true
	}
	return p.replay(b, t, t.due, p.next, 0, func(n uint64) { t.due = n + 1 })
}

// replay sends a node what is kept of the numbers from from up to to, which is not
// one of them, and declares the others lost. It calls sent after each number that
// has gone, and reports false when not all would.
func (p *publication) replay(b *queue.Batch, t *target, from, to uint64, flags wire.Flags, sent func(n uint64)) bool {
	if from < p.kept.first && from < to {
		last := min(p.kept.first, to) - 1
		if !p.say(b, t, wire.TypeGap, 0, wire.Gap{From: from, To: last}.AppendBody(p.head[:0])) {
			return false
		}
		t.peer.plane.Drops.Overrun.Add(last - from + 1)
		sent(last)
		from = last + 1
	}
	if from >= to {
		return true
	}
	ok := true
	p.kept.each(from, to-1, func(n uint64, load queue.Payload) bool {
		if ok = p.send(b, t, n, flags, load); ok {
			sent(n)
		}
		return ok
	})
	return ok
}

// nack answers a node that asks for numbers again, both included.
func (p *publication) nack(b *queue.Batch, peer *Peer, from, to uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.target(peer)
	if t == nil {
		return // it left, or will be told when it joins
	}
	if from == to && from == unknownStart {
		t.known, t.due = false, t.start // it was lost with a link
		p.mendTarget(b, t)
		return
	}
	if t.due > from {
		to = min(to, t.due-1) // what is due later comes by itself
		t.peer.plane.Drops.Replayed.Add(1)
		p.replay(b, t, from, to+1, wire.Replay, func(uint64) {})
	}
}

// check notes that a check which covers all numbers given out so far is on its
// way.
func (p *publication) check() {
	p.mu.Lock()
	p.checked, p.unchecked = p.next, 0
	p.mu.Unlock()
}

// hasty reports that much of what is kept is in no check yet: what comes next may soon
// push it out.
func (p *publication) hasty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unchecked >= maxUnchecked
}

// confirm notes the answer to the check, once what it said of the members is
// applied. It reports whether there is more to check.
func (p *publication) confirm() (more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.confirmed = max(p.confirmed, p.checked)
	p.dirty = p.next > p.confirmed
	return p.dirty
}

// busy reports that something is to be checked, or sent.
func (p *publication) busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dirty
}

// rest frees what is kept, unless something is to be checked yet.
func (p *publication) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dirty {
		p.kept.drop()
		p.kept.first = p.next
	}
}

// close frees what is kept, and returns the number that the stream goes on with. It
// reports false, and does nothing, when something is to be checked yet.
func (p *publication) close() (next uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dirty {
		return 0, false
	}
	p.closed.Store(true)
	p.kept.drop()
	return p.next, true
}
