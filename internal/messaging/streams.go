package messaging

import (
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

const (
	unknownStart = ^uint64(0) // in a NACK: where does the stream begin

	maxHoldBack   = 1 << 20                // octets of a stream that wait for what is before them, and one message
	holdTime      = 2 * time.Second        // without progress; then a gap
	goneTime      = 200 * time.Millisecond // the same, of a publisher that is gone
	nackFirst     = 200 * time.Millisecond // until a NACK is repeated; doubles
	overtaken     = 20 * time.Millisecond  // until the first NACK without a link, where a hole is no loss yet
	streamSweep   = 50 * time.Millisecond
	maxStreams    = 200_000 // from other nodes; half of it if all are one's
	maxNumbers    = 100_000 // of streams of this node's own that rest
	streamIdle    = 60 * time.Second
	purgePause    = time.Second
	streamMinimum = 512 // octets a stream is charged
)

// streams are the cells of what another node publishes, by name. Its lock is
// taken before that of a publication.
type streams struct {
	mu     sync.Mutex
	byName map[wire.Name]*stream
	held   []*stream // those that hold something back
	purged time.Time // when there was last looked for some to let go before their time
}

// A stream is what one node publishes to one name, as it arrives here.
type stream struct {
	name   wire.Name
	known  bool   // next is known
	next   uint64 // the number that is due
	vacant bool   // nobody here was a member for a while: a new start is no loss
	used   time.Time

	held     []heldBack // by number, all above next, none doubled
	octets   int
	progress time.Time // when something was last delivered, or the first held
	asked    time.Time // of the last NACK
	pause    time.Duration
}

// heldBack is one message, or a gap if to is above from, that waits for what is
// before it.
type heldBack struct {
	from, to uint64
	gap      bool
	body     []byte
}

// heldCost is what one is charged beside its body.
const heldCost = 64

func (h *heldBack) size() int { return len(h.body) + heldCost }

// publish takes a PUBLISH of the peer's.
func (p *Peer) publish(now time.Time, b *queue.Batch, f *wire.Frame) error {
	h, body, err := wire.ParsePublishHead(f.Body)
	if err != nil {
		return err
	}
	if h.Pass || h.Others > 0 {
		return p.handOn(now, b, f, h)
	}
	s := &p.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	pub, topic := p.plane.publication(f.Name)
	if pub == nil {
		p.plane.Drops.Unwanted.Add(1)
		if st := s.byName[f.Name]; st != nil {
			st.vacant, st.used = true, now
		}
		p.plane.hint(note{unwanted: p, key: f.Name})
		return nil
	}
	st := p.stream(now, f.Name)
	switch {
	case st == nil:
	case !st.known && f.Flags&wire.First != 0:
		st.begin(h.Number)
		fallthrough
	case st.known && h.Number == st.next:
		pub.arrive(b, p.plane, topic, body)
		st.next++
		st.vacant = false
		p.release(now, b, st, pub, topic)
	case st.known && h.Number < st.next:
		p.plane.Drops.Doubled.Add(1)
	default:
		p.holdBack(now, b, st, heldBack{from: h.Number, to: h.Number, body: append([]byte(nil), body...)})
	}
	return nil
}

// handOn takes a PUBLISH that is for others too: each of them gets a frame that is as if
// the peer had sent it by this router. It is made where the last id was.
func (p *Peer) handOn(now time.Time, b *queue.Batch, f *wire.Frame, h wire.PublishHead) (err error) {
	if f.Flags&wire.Routed != 0 {
		return errors.New("a PUBLISH that was routed is for others")
	}
	if len(f.Body) > wire.MaxBody { // those are sent to each by itself
		return fmt.Errorf("a PUBLISH of %d octets is for others", len(f.Body))
	}
	var others [wire.MostOthers]ring.ID
	for i := range h.Others {
		others[i] = ring.FromBytes(f.Body[wire.PublishHeadSize+i*ring.Size:])
	}
	whole := f.Body
	defer func() { f.Body = whole }() // the link frees what it gave
	f.Body = f.Body[h.Others*ring.Size:]
	wire.PublishHead{Number: h.Number}.AppendBody(f.Body[:0])
	if !h.Pass {
		err = p.publish(now, b, f)
	}
	f.Flags |= wire.Routed
	f.Origin = p.ID
	for _, id := range others[:h.Others] {
		if id == p.plane.Self || id == p.ID {
			p.plane.Hops.Forged.Add(1)
			continue
		}
		f.Hops, f.Target = wire.MaxHops, id
		p.plane.forward(b, p, f)
	}
	return err
}

// gap takes a GAP.
func (p *Peer) gap(now time.Time, b *queue.Batch, f *wire.Frame) error {
	m, err := wire.ParseGap(f.Body)
	if err != nil {
		return err
	}
	s := &p.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	st := p.stream(now, f.Name)
	if st == nil || st.known && m.To < st.next {
		return nil
	}
	p.holdBack(now, b, st, heldBack{from: m.From, to: m.To, gap: true})
	return nil
}

// digest takes a DIGEST: where the stream stands or, with First, begins.
func (p *Peer) digest(now time.Time, b *queue.Batch, f *wire.Frame) error {
	m, err := wire.ParseDigest(f.Body)
	if err != nil {
		return err
	}
	s := &p.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	st := p.stream(now, f.Name)
	if st == nil {
		return nil
	}
	first := f.Flags&wire.First != 0
	switch {
	case first && (!st.known || st.vacant && m.Last+1 > st.next):
		st.begin(m.Last + 1)
		pub, topic := p.plane.publication(f.Name)
		p.release(now, b, st, pub, topic)
	case !st.known:
		p.ask(now, st)
	case m.Last+1 > st.next:
		p.nack(now, st, m.Last)
	}
	return nil
}

func (st *stream) begin(n uint64) { st.known, st.next, st.vacant = true, n, false }

// stream finds or makes the stream of a name; nil: nobody here is a member of it, or
// the peer has too many. With the lock held.
func (p *Peer) stream(now time.Time, name wire.Name) *stream {
	st := p.streams.byName[name]
	if st == nil {
		if pub, _ := p.plane.publication(name); pub == nil {
			return nil
		}
		if !p.takeStream(now) {
			p.plane.Drops.Streams.Add(1)
			return nil
		}
		st = &stream{name: name, progress: now}
		if p.streams.byName == nil {
			p.streams.byName = make(map[wire.Name]*stream)
		}
		p.streams.byName[name] = st
	}
	st.used = now
	return st
}

// takeStream charges the peer for one more stream. Those of its own that nobody here
// is a member of any more make room.
func (p *Peer) takeStream(now time.Time) bool {
	s, cells := &p.streams, p.plane.cells
	if !cells.Allows(1, len(s.byName)) && now.Sub(s.purged) >= purgePause {
		s.purged = now
		p.forgetIdle(now, purgePause)
	}
	if !cells.Take(1, len(s.byName)) {
		return false
	}
	if !p.plane.Budget.Take(streamMinimum, len(s.byName)*streamMinimum) {
		cells.Give(1)
		return false
	}
	return true
}

// holdBack keeps what cannot be delivered yet, and asks for what is missing.
func (p *Peer) holdBack(now time.Time, b *queue.Batch, st *stream, h heldBack) {
	i, found := slices.BinarySearchFunc(st.held, h, func(a, b heldBack) int {
		switch {
		case a.from < b.from:
			return -1
		case a.from > b.from:
			return 1
		}
		return 0
	})
	if found {
		p.plane.Drops.Doubled.Add(1)
		return
	}
	if len(st.held) == 0 {
		st.progress = now
		p.streams.held = append(p.streams.held, st)
		if p.plane.holding.Add(1) == 1 {
			p.plane.wake()
		}
	}
	st.held = slices.Insert(st.held, i, h)
	st.octets += h.size()
	p.plane.Budget.Force(h.size())
	pub, topic := p.plane.publication(st.name)
	if st.known {
		p.release(now, b, st, pub, topic)
	}
	if len(st.held) == 0 {
		return
	}
	scarce := p.plane.Budget.Scarce()
	if scarce {
		p.plane.Drops.Shed.Add(1)
	}
	if scarce || st.octets > maxHoldBack+h.size() {
		p.giveUp(now, b, st, &p.plane.Drops.HeldBack)
		return
	}
	if st.asked.IsZero() && p.linked() == nil {
		st.asked = now.Add(overtaken - nackFirst) // it may come by another router
	}
	if now.Sub(st.asked) >= max(st.pause, nackFirst) || st.asked.IsZero() {
		p.askAgain(now, st)
	}
}

// askAgain asks for what is missing before the first that is held back.
func (p *Peer) askAgain(now time.Time, st *stream) {
	if !st.known {
		p.ask(now, st)
	} else {
		p.nack(now, st, st.held[0].from-1)
	}
}

// ask asks where the stream begins.
func (p *Peer) ask(now time.Time, st *stream) {
	st.wait(now)
	p.plane.Drops.Starts.Add(1)
	p.control(wire.Nack{Name: st.name, From: unknownStart, To: unknownStart})
}

// nack asks for the numbers up to last.
func (p *Peer) nack(now time.Time, st *stream, last uint64) {
	st.wait(now)
	p.plane.Drops.Nacks.Add(1)
	p.control(wire.Nack{Name: st.name, From: st.next, To: last})
}

func (st *stream) wait(now time.Time) {
	st.asked = now
	st.pause = max(nackFirst, min(2*st.pause, holdTime))
}

// release delivers what is held back as far as nothing is missing before it; nil:
// there is nobody to deliver to. With the lock held.
func (p *Peer) release(now time.Time, b *queue.Batch, st *stream, pub *publication, topic []byte) {
	if len(st.held) == 0 {
		return
	}
	n := 0
	for _, h := range st.held {
		if h.from > st.next {
			break
		}
		n++
		st.octets -= h.size()
		p.plane.Budget.Give(h.size())
		switch {
		case h.to < st.next:
			continue // it came again meanwhile
		case h.gap:
			p.lose(b, pub, topic, h.to-st.next+1, &p.plane.Drops.Declared)
		case pub == nil:
			p.plane.Drops.Unwanted.Add(1)
		default:
			pub.arrive(b, p.plane, topic, h.body)
			st.vacant = false
		}
		st.next = h.to + 1
	}
	if n == 0 {
		return
	}
	clear(st.held[:n])
	st.held = st.held[n:]
	st.progress, st.asked, st.pause = now, time.Time{}, 0
	if len(st.held) == 0 {
		st.held = nil
		p.streams.held = slices.DeleteFunc(p.streams.held, func(o *stream) bool { return o == st })
		p.plane.holding.Add(-1)
	}
}

// lose counts messages that are declared lost, and tells who would have got them. If
// that is nobody, nothing is lost.
func (p *Peer) lose(b *queue.Batch, pub *publication, topic []byte, n uint64, why *atomic.Uint64) {
	if pub != nil {
		why.Add(max(n, 1))
		pub.lose(b, topic, n)
	}
}

// giveUp declares what is missing before the first that is held back lost.
func (p *Peer) giveUp(now time.Time, b *queue.Batch, st *stream, why *atomic.Uint64) {
	from, lost := st.held[0].from, uint64(0) // nobody knows how many
	if st.known {
		lost = from - st.next
	}
	st.known, st.next = true, from
	pub, topic := p.plane.publication(st.name)
	p.lose(b, pub, topic, lost, why)
	p.release(now, b, st, pub, topic)
}

// resume asks for what is missing over a new link. Loop.
func (p *Peer) resume(now time.Time) {
	p.streams.mu.Lock()
	defer p.streams.mu.Unlock()
	for _, st := range p.streams.held {
		st.progress, st.pause = now, 0
		p.askAgain(now, st)
	}
}

// sweep gives up what has waited for too long, and asks again for the rest. Loop.
func (p *Peer) sweep(now time.Time, b *queue.Batch) {
	p.streams.mu.Lock()
	defer p.streams.mu.Unlock()
	if len(p.streams.held) == 0 {
		return
	}
	limit, cause := holdTime, &p.plane.Drops.Waited
	if p.way(0).link == nil {
		if !p.gone.Load() {
			return // there is nobody to ask until there is a link again
		}
		limit, cause = goneTime, &p.plane.Drops.PublisherGone
	}
	for _, st := range slices.Clone(p.streams.held) {
		switch {
		case now.Sub(st.progress) >= limit:
			p.giveUp(now, b, st, cause)
		case now.Sub(st.asked) >= max(st.pause, nackFirst):
			p.askAgain(now, st)
		}
	}
}

// vacate notes that nobody here is a member of name any more.
func (p *Peer) vacate(name wire.Name) {
	p.streams.mu.Lock()
	defer p.streams.mu.Unlock()
	if st := p.streams.byName[name]; st != nil {
		st.vacant = true
	}
}

// forget drops the streams that have been idle: of a node that is gone, or of
// names without members here. Loop.
func (p *Peer) forget(now time.Time) {
	p.streams.mu.Lock()
	defer p.streams.mu.Unlock()
	p.forgetIdle(now, streamIdle)
}

// forgetIdle is the same for some time, with the lock held.
func (p *Peer) forgetIdle(now time.Time, idle time.Duration) {
	s := &p.streams
	gone := p.gone.Load() && p.linked() == nil
	for name, st := range s.byName { //iris:unordered each by itself
		if len(st.held) == 0 && (st.vacant || gone) && now.Sub(st.used) > idle {
			delete(s.byName, name)
			p.plane.cells.Give(1)
			p.plane.Budget.Give(streamMinimum)
		}
	}
}

// arrive hands a body that another node published to the members of this one.
func (p *publication) arrive(b *queue.Batch, plane *Plane, topic, body []byte) {
	load := queue.Fan(plane.Budget, body)
	defer load.Release()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.arrived++
	p.deliver(b, topic, load)
}

// lose tells the members of this node that messages of another are lost.
func (p *publication) lose(b *queue.Batch, topic []byte, n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.topic {
		topic = nil
	}
	for _, t := range p.targets {
		t.sink.Gap(b, topic, n)
	}
}
