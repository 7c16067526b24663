package sim

import (
	"time"

	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wire"
)

const (
	writerDelay = 100 * time.Microsecond // until a writer gets to what is sent, at most
	laneLimit   = 64 << 10               // octets that wait to be written, but for answers
	kernel      = 4 << 10                // octets that it takes of a writer while nothing gets through
	closeLimit  = 2 * time.Second        // of closing in order
)

// wires are the data frames of one end of a link: what waits for the writer, what
// the kernel has been given and cannot send, and what is under way.
type wires struct {
	link     *link
	from, to *node
	peer     *messaging.Peer // to, as from's data plane has it

	queued  [][]byte
	waiting int    // octets of them
	handed  uint64 // how many frames a writer was ever given
	moved   uint64 // octets of those
	writes  bool   // it is planned
	full    bool   // a frame was refused
	sealed  bool

	stalled [][]byte
	held    int // octets of them
	last    instant
}

var _ messaging.Link = (*wires)(nil)

// Send implements messaging.Link.
func (d *wires) Send(_ *queue.Batch, _ wire.Lane, f *wire.Frame, head []byte, p queue.Payload) (pos uint64, err error) {
	answer := f.Type == wire.TypeReply || f.Type == wire.TypeNotStarted
	switch {
	case d.sealed:
		return 0, queue.ErrSealed
	case d.waiting > laneLimit && !answer:
		d.full = true
		return 0, queue.ErrFull
	}
	data := f.AppendHead(nil, len(head)+len(p.Data))
	data = append(append(data, head...), p.Data...)
	d.link.w.count.sent(f, d.link.w)
	pos = d.handed + uint64(len(d.queued))
	d.queued = append(d.queued, data)
	d.waiting += len(data)
	d.write()
	return pos, nil
}

// SendRouted implements messaging.Link.
func (d *wires) SendRouted(b *queue.Batch, f *wire.Frame, head, body []byte) error {
	_, err := d.Send(b, wire.Requests, f, head, queue.Payload{Data: body})
	return err
}

// Unwritten implements messaging.Link.
func (d *wires) Unwritten(_ wire.Lane, pos uint64) bool { return pos >= d.handed }

// SendControl implements messaging.Link.
func (d *wires) SendControl(m wire.Message) { d.link.send(d.from, &frame{msg: m}) }

// Waiting implements messaging.Link.
func (d *wires) Waiting(wire.Lane) int { return d.waiting }

// Moved implements messaging.Link.
func (d *wires) Moved(wire.Lane) uint64 { return d.moved }

// RTT implements messaging.Link.
func (d *wires) RTT() time.Duration { return 2 * d.link.w.distance(d.from, d.to) }

// write plans that the writer takes what is queued.
func (d *wires) write() {
	if d.writes {
		return
	}
	d.writes = true
	w := d.link.w
	w.after(w.jitter(writerDelay), func() {
		d.from.run(func() {
			d.writes = false
			d.flush()
		})
	})
}

// flush gives the kernel what it takes.
func (d *wires) flush() {
	if d.sealed {
		return
	}
	n := 0
	for n < len(d.queued) && d.held < kernel {
		d.travel(d.queued[n])
		d.handed++
		d.moved += uint64(len(d.queued[n]))
		d.waiting -= len(d.queued[n])
		n++
	}
	d.queued = d.queued[n:]
	if d.full && d.waiting < laneLimit/2 {
		d.full = false
		d.link.w.after(0, func() {
			d.from.turn(func(time.Time, *machine) {
				if d.peer != nil {
					d.peer.Room()
				}
			})
		})
	}
}

// seal has nothing more sent. With an orderly end what waits is written before.
func (d *wires) seal() {
	if d.link.orderly {
		d.flush()
	}
	d.sealed = true
}

// travel puts a frame that was written on its way.
func (d *wires) travel(data []byte) {
	w := d.link.w
	if d.to.stuck || len(d.stalled) > 0 || !w.reaches(d.from, d.to) {
		d.stalled = append(d.stalled, data)
		d.held += len(data)
		if !d.to.stuck { // else its host says that there is no room
			d.link.stall()
		}
		return
	}
	d.last = max(w.now+w.delay(d.from, d.to), d.last)
	w.at(d.last, func() { d.arrive(data) })
	if w.Traffic.Sever > 0 && w.now < w.cease && w.rng.Float64() < w.Traffic.Sever {
		w.after(w.jitter(d.last-w.now), d.link.reset)
	}
}

// resume sends what was stalled.
func (d *wires) resume() {
	stalled := d.stalled
	d.stalled, d.held = nil, 0
	if len(stalled) > 0 {
		d.last = max(d.last, d.link.w.now+d.link.w.jitter(time.Second))
	}
	for _, data := range stalled {
		d.travel(data)
	}
	d.write()
}

// arrive hands a frame to the other node's data plane, unless that has been told
// that the link is no more.
func (d *wires) arrive(data []byte) {
	l, w := d.link, d.link.w
	if l.broken || !d.to.alive {
		return
	}
	w.trace.add(uint64(w.now), d.to.id.Hi)
	w.trace.octets(data)
	d.to.turn(func(now time.Time, m *machine) {
		if d.to.told[d.from.id] != l {
			return
		}
		var f wire.Frame
		if n, err := wire.Parse(data, &f); err != nil || n != len(data) {
			w.violated(d.to, "a data frame of %d octets is not read: %v", len(data), err)
			return
		}
		w.feed.count(d.from, d.to, f.Type)
		peer := l.data[l.end(d.to)].peer
		if err := peer.Receive(now, &m.batch, &f); err != nil {
			w.violated(d.to, "a data frame of %s breaks the protocol: %v", d.from.id.Short(), err)
		}
	})
}

// closeOrderly closes the link from one end so that nothing is lost: what waits is
// written, and what comes is read until the other end has done the same.
func (l *link) closeOrderly(by int) {
	w, n, other := l.w, l.ends[by], l.ends[1-by]
	l.orderly = true
	l.data[by].seal()
	w.after(closeLimit, func() { l.tellDown(by) })
	d := w.delay(n, other)
	if !w.reaches(n, other) {
		d = userTimeout
	}
	w.at(max(w.now+d, l.data[by].last), func() {
		l.tellDown(1 - by)
		other.run(func() {
			w.at(max(w.now+w.delay(other, n), l.data[1-by].last), func() { l.tellDown(by) })
		})
	})
}
