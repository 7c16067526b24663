package sim

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/tunnel"
)

const (
	unreadLimit = 256 << 10            // octets that wait for a program before chunks wait in its tunnels
	burst       = 512 << 10            // octets that a program sends at a time
	hesitation  = 2 * time.Millisecond // of a program that has something to do, at most
	farewell    = 10 * time.Second     // from the end of traffic until programs close what is open yet
)

// Reasons that programs are given for the end of a tunnel, beside those of packages
// tunnel and splice.
const (
	reasonLeft  = "the program at the other end has left"
	reasonGiven = "the build is not waited for any more"
	reasonBusy  = "no further tunnel"
	reasonLost  = "the connection was lost"
	reasonLate  = "the other node did not open the tunnel in time"
)

// A mouth is one end of a tunnel, as its program has it.
type mouth struct {
	p    *program
	id   uint64
	key  uint64
	peer *mouth // once the nodes have brought them together
	due  time.Time

	builds, answered, open, closed bool
	closes                         bool // it was the program that closed it
	out                            messaging.Outcome
	reason                         string

	plan    uint64 // octets it will send yet
	ends    bool   // and then it closes
	missing uint64 // of the message it is sending
	window  uint64 // octets it may send
	sent    []piece
	octets  uint64 // of those

	got          int // how many of the other's pieces it was handed
	taken        uint64
	left         uint64 // of the message it is getting
	credit, most int64
	owed         uint64 // octets it has read and not granted again
	lazy         bool   // it never grants again
	acts         bool   // it is planned
}

// A piece is a chunk: the size of the message it begins, or 0, and its octets.
type piece struct{ size, octets uint64 }

// noise is what programs send, each from a place of its own on.
var noise = func() []byte {
	b := make([]byte, 1<<20+relaywire.ChunkLimit)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}()

// at returns what the octets of a mouth's are from one of them on.
func (t *mouth) at(from, n uint64) []byte {
	return noise[(t.key*0x9e3779b97f4a7c15+from)&(1<<20-1):][:n]
}

// newMouth gives the program one more end of a tunnel.
func (p *program) newMouth() *mouth {
	w := p.n.w
	t := &mouth{p: p, id: p.tunnelled, key: uint64(len(w.mouths))}
	t.plan = uint64(w.rng.ExpFloat64() * float64(w.Traffic.Octets))
	if w.rng.IntN(40) == 0 { // more than its window
		t.plan += tunnel.Window + w.rng.Uint64N(tunnel.Window)
	}
	t.lazy = !w.Traffic.Lossless && w.rng.IntN(20) == 0
	w.mouths = append(w.mouths, t)
	p.mouths[t.id] = t
	p.tunnelled++
	return t
}

// dig has a program build a tunnel now and then, while there is traffic.
func (p *program) dig() {
	w := p.n.w
	if w.Traffic.Tunnels == 0 {
		return
	}
	pause := time.Duration(w.rng.ExpFloat64() / w.Traffic.Tunnels * float64(time.Second))
	w.at(max(w.now, w.begin)+pause, func() {
		if w.now >= w.cease || p.closed || !p.n.alive || p.n.leaving {
			return
		}
		p.n.turn(func(now time.Time, m *machine) {
			if p.closed || p.n.leaving {
				return
			}
			t := p.newMouth()
			timeout := w.timeout()
			t.builds, t.due, t.ends = true, now.Add(timeout), w.rng.IntN(2) == 0
			if !p.tunnels.Building(t.id) {
				w.violated(p.n, "M15: tunnel id %d is not free", t.id)
			}
			p.conn.Build(now, &m.batch, t.id, fmt.Appendf(nil, "cluster-%d", w.rng.IntN(clusters)), uint64(timeout/time.Millisecond))
		})
		p.dig()
	})
}

// Offer implements messaging.Sink.
func (p *program) Offer(b *queue.Batch, id uint64) (pos uint64, err error) {
	if p.sealed {
		return 0, queue.ErrSealed
	}
	pos = p.position
	p.position++
	p.inbox = append(p.inbox, request{pos: pos, id: id, offer: true})
	b.Add(p)
	return pos, nil
}

// consider has the program confirm a build it was offered, as the relay does it.
func (p *program) consider(build uint64) {
	w, n := p.n.w, p.n
	w.after(time.Duration(w.rng.ExpFloat64()*float64(w.Traffic.Handler)), func() {
		n.turn(func(now time.Time, m *machine) {
			if p.closed {
				return
			}
			t := p.newMouth()
			t.ends = w.rng.IntN(2) == 0
			p.tunnels.Building(t.id)
			o, ok := p.conn.Confirm(build)
			switch {
			case !ok:
				w.violated(n, "M4: build %d cannot be confirmed", build)
			case o.From != nil:
				t.pair(o.From.Sink().(*program).mouths[o.Tunnel])
				tunnel.Open(now, &m.batch, m.Plane.Timers, o.From.Sink().(*program).tunnels, o.Tunnel, p.tunnels, t.id)
			case o.Peer != nil:
				if !n.abroad(now, m, o, t) {
					p.tunnels.Failed(t.id)
					t.close(reasonBusy)
				}
			default:
				p.tunnels.Failed(t.id)
				t.close(reasonGiven)
			}
			t.opened(now, m)
		})
	})
}

// pair notes which ends are those of one tunnel.
func (t *mouth) pair(o *mouth) {
	if t.peer != nil || o.peer != nil {
		t.p.n.w.violated(t.p.n, "M15: tunnels %d and %d have further ends", t.key, o.key)
	}
	t.peer, o.peer = o, t
	t.ends = !o.ends
}

// opened has the program begin to use a tunnel.
func (t *mouth) opened(now time.Time, m *machine) {
	w := t.p.n.w
	t.open = true
	w.at(max(w.cease, w.now)+farewell+w.jitter(farewell/2), func() {
		t.p.n.turn(func(now time.Time, m *machine) {
			if o := t.peer; w.Traffic.Lossless && o != nil && !t.closed && (o.closed || o.plan > 0 || t.taken < o.octets) {
				w.violated(t.p.n, "M15: tunnel %d is stuck after %d octets of %d", t.key, t.taken, o.octets+o.plan)
			}
			t.hangUp(now, m)
		})
	})
	if t.closed {
		return
	}
	t.grant(now, m, 1+w.rng.Uint64N(unreadLimit))
	t.act()
}

// act plans that the program does what there is to do.
func (t *mouth) act() {
	if t.acts || t.closed {
		return
	}
	t.acts = true
	w := t.p.n.w
	w.after(w.jitter(hesitation), func() {
		t.p.n.turn(func(now time.Time, m *machine) {
			t.acts = false
			t.grant(now, m, 0)
			t.send(now, m)
		})
	})
}

// grant has the other end send more: as much as the program has read, and some.
func (t *mouth) grant(now time.Time, m *machine, more uint64) {
	more += t.owed
	e := t.p.tunnels.End(t.id)
	if t.closed || t.p.closed || e == nil || more == 0 || t.lazy && t.most > 0 {
		return
	}
	t.owed = 0
	t.credit += int64(more)
	t.most = max(t.most, t.credit)
	e.Allow(now, &m.batch, more)
}

// send sends what the program may send and has to.
func (t *mouth) send(now time.Time, m *machine) {
	w := t.p.n.w
	for total := uint64(0); total < burst && t.plan > 0 && !t.closed && !t.p.closed; {
		var size uint64
		if t.missing == 0 || w.rng.IntN(200) == 0 { // at times a message is abandoned
			size = 1 + w.rng.Uint64N(min(t.plan, 200<<10))
			t.missing = size
		}
		n := min(t.missing, relaywire.ChunkLimit)
		if n > t.window {
			if size > 0 {
				t.missing = 0
			}
			return // the node says when there is more
		}
		t.window -= n
		t.missing -= n
		t.plan -= min(n, t.plan)
		total += n
		octets := t.at(t.octets, n)
		t.sent = append(t.sent, piece{size, n})
		t.octets += n
		if err := t.p.tunnels.End(t.id).Chunk(now, &m.batch, size, octets); err != nil {
			w.violated(t.p.n, "M15: tunnel %d: a chunk within the allowance is refused: %v", t.key, err)
		}
	}
	switch {
	case t.closed || t.p.closed:
	case t.plan > 0:
		t.act()
	case t.ends:
		w.after(time.Duration(w.rng.ExpFloat64()*float64(100*time.Millisecond)), func() {
			t.p.n.turn(func(now time.Time, m *machine) { t.hangUp(now, m) })
		})
	}
}

// hangUp has the program close the tunnel.
func (t *mouth) hangUp(now time.Time, m *machine) {
	if e := t.p.tunnels.End(t.id); e != nil && !t.closed && !t.p.closed {
		t.closes = true
		e.Close(now, &m.batch)
		if !t.closed {
			t.p.n.w.violated(t.p.n, "M15: tunnel %d: a close is not confirmed", t.key)
		}
	}
}

// heard looks at something a node says of a tunnel to its program.
func (p *program) heard(id uint64, what string) *mouth {
	t := p.mouths[id]
	switch {
	case t == nil:
		p.n.w.violated(p.n, "M15: %s of a tunnel that there never was: %d", what, id)
	case p.sealed && !p.closed: // it is closing: nobody reads this
	case t.closed:
		p.n.w.violated(p.n, "M15: %s of tunnel %d, which is closed", what, t.key)
	case p.closed:
		p.n.w.violated(p.n, "M15: %s of tunnel %d to a program that is closed", what, t.key)
	default:
		return t
	}
	return nil
}

// answer looks at the one answer to a build.
func (t *mouth) answer(out messaging.Outcome) {
	n := t.p.n
	if t.answered || !t.builds {
		n.w.violated(n, "M4: build %d is answered twice, or was never made", t.key)
	}
	t.answered, t.out = true, out
	n.w.trace.add(uint64(n.w.now), t.key, uint64(out))
	t.p.checkAnswer("build", t.key, out, t.due)
}

// Unbuilt implements messaging.Sink.
func (p *program) Unbuilt(_ *queue.Batch, id uint64, out messaging.Outcome) {
	if t := p.heard(id, "the end of a build"); t != nil {
		p.tunnels.Failed(id)
		t.answer(out)
		t.closed = true
	}
}

// TunnelOpen implements tunnel.Sink.
func (p *program) TunnelOpen(_ *queue.Batch, id uint64) {
	t := p.heard(id, "a result")
	if t == nil {
		return
	}
	t.answer(messaging.Replied)
	w := p.n.w
	w.after(w.jitter(hesitation), func() { p.n.turn(t.opened) })
}

// TunnelAllow implements tunnel.Sink.
func (p *program) TunnelAllow(_ *queue.Batch, id, octets uint64) {
	t := p.heard(id, "an allowance")
	if t == nil {
		return
	}
	if t.window += octets; octets == 0 || t.window > tunnel.Window {
		p.n.w.violated(p.n, "M15: tunnel %d: an allowance of %d octets makes %d", t.key, octets, t.window)
	}
	if t.open {
		t.act()
	}
}

// TunnelChunk implements tunnel.Sink.
func (p *program) TunnelChunk(_ *queue.Batch, id, size uint64, octets []byte) bool {
	t := p.heard(id, "a chunk")
	if t == nil {
		return false
	}
	if p.unread >= unreadLimit || p.wantsRoom && p.unread > 0 {
		p.wantsRoom = true
		return false
	}
	n := uint64(len(octets))
	w := p.n.w
	switch o := t.peer; {
	case o == nil || t.got == len(o.sent):
		w.violated(p.n, "M15: tunnel %d: a chunk that nobody sent", t.key)
		return true
	case o.sent[t.got] != piece{size, n} || !bytes.Equal(octets, o.at(t.taken, n)):
		w.violated(p.n, "M15: tunnel %d: chunk %d is another than was sent", t.key, t.got)
	}
	if size == 0 || t.left > 0 || t.credit >= int64(n) || t.credit > 0 && t.credit == t.most {
		t.credit -= int64(n)
	} else {
		w.violated(p.n, "M15: tunnel %d: %d octets with a credit of %d", t.key, n, t.credit)
	}
	if size > 0 {
		t.left = size
	}
	t.left -= n
	t.got++
	t.taken += n
	t.owed += n
	w.found.tunnelled += n
	p.unread += int(n)
	p.read()
	return true
}

// read plans that the program takes what waits for it.
func (p *program) read() {
	if p.reads {
		return
	}
	p.reads = true
	w := p.n.w
	w.after(w.jitter(hesitation), func() {
		p.n.turn(func(now time.Time, m *machine) {
			p.reads = false
			p.unread -= min(p.unread, 1+w.rng.IntN(2*unreadLimit))
			if p.unread > 0 {
				p.read()
			}
			for _, t := range p.uses() {
				t.grant(now, m, 0)
			}
			if p.wantsRoom && p.unread < unreadLimit/2 && !p.closed {
				p.wantsRoom = false
				p.tunnels.Room(&m.batch)
			}
		})
	})
}

// uses returns the program's tunnels that are open, in order.
func (p *program) uses() (open []*mouth) {
	for id := range p.tunnelled {
		if t := p.mouths[id]; t.open && !t.closed {
			open = append(open, t)
		}
	}
	return open
}

// TunnelClose implements tunnel.Sink.
func (p *program) TunnelClose(_ *queue.Batch, id uint64, reason string) {
	if t := p.heard(id, "a close"); t != nil {
		t.close(reason)
	}
}

// close looks at the end of a tunnel: what its peer sent before its own must have come.
func (t *mouth) close(reason string) {
	n, o := t.p.n, t.peer
	w := n.w
	t.closed, t.reason = true, reason
	w.trace.add(uint64(w.now), t.key, t.taken)
	switch {
	case t.closes && reason == "":
	case reason == "" && o != nil && o.closes && !t.closes, reason == reasonLeft && o != nil && o.p.sealed:
		if t.taken != o.octets {
			w.violated(n, "M15, M16: tunnel %d ends after %d octets of %d", t.key, t.taken, o.octets)
		}
	case t.closes, reason == "", reason == reasonLeft:
		w.violated(n, "M15: tunnel %d ends for %q", t.key, reason)
	case w.Traffic.Lossless && o != nil:
		w.violated(n, "M15, M16: tunnel %d ends for %q", t.key, reason)
	}
}

// checkTunnels looks in the end at what became of all tunnels, and whether anything is
// left of them.
func (w *world) checkTunnels() {
	for _, t := range w.mouths {
		p := t.p
		switch {
		case p.closed || !p.n.alive:
			continue
		case t.builds && !t.answered:
			w.violated(p.n, "M4: build %d was never answered", t.key)
		case t.builds && t.out != messaging.Replied && w.Traffic.Lossless:
			w.violated(p.n, "M8: build %d ended with outcome %d", t.key, t.out)
		case !t.closed:
			w.violated(p.n, "M15: tunnel %d never ended", t.key)
		}
		if !p.tunnels.Building(t.id) {
			w.violated(p.n, "M15: tunnel %d is left in its table", t.key)
		}
	}
	for _, n := range w.alive {
		if open := n.m.tunnels.Open.Load(); open != 0 || len(n.agreed) > 0 || len(n.ends) > 0 {
			w.violated(n, "M15: %d tunnels, %d agreements and %d connections are left", open, len(n.agreed), len(n.ends))
		}
	}
}

var _ tunnel.Sink = (*program)(nil)
