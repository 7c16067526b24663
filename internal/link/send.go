package link

import (
	"errors"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wire"
)

// bulkMark is set in the positions of messages in the bulk lane, wherever they were
// sent to.
const bulkMark = 1 << 63

// ErrTooLong refuses a routed message that is too long to go without a data
// connection.
var ErrTooLong = errors.New("message is too long to be routed")

// headRoom is what a header and the start of a body take, but for lists.
const headRoom = 256

var rooms = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// SendControl sends a control frame to the other node. It waits for no payload, and
// its sender never waits: a link whose control frames do not leave is closed.
func (l *Link) SendControl(m wire.Message) {
	if b, ok := m.(wire.Beat); ok && !b.Ack {
		l.mu.Lock()
		l.beat = beat{b.Nonce, time.Now()}
		l.mu.Unlock()
	}
	room := rooms.Get().(*[]byte)
	*room = wire.Append((*room)[:0], m)
	_, flush, err := l.commands.AppendAnyway(controlMost, *room, queue.Payload{}, nil)
	rooms.Put(room)
	if err == queue.ErrFull {
		l.fail(Slow, "control frames do not leave")
	}
	if flush {
		l.control.poke()
	}
}

// answered takes note of how long the answer to a beat took.
func (l *Link) answered(now time.Time, nonce uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.beat.at.IsZero() || l.beat.nonce != nonce {
		return
	}
	d := int64(now.Sub(l.beat.at))
	l.beat = beat{}
	if old := l.rtt.Load(); old > 0 {
		d = old + (d-old)/8
	}
	l.rtt.Store(max(d, 1))
}

// SendRouted sends a frame that others than the two nodes of the link are the origin
// or target of. Control frames go among the others; what else there is goes by the
// data connection if that is up, and by control if it is short. What is refused,
// with an error of package queue or ErrTooLong, has not left.
func (l *Link) SendRouted(b *queue.Batch, f *wire.Frame, head, body []byte) error {
	size := len(head) + len(body)
	if places[f.Type]&onData != 0 {
		if l.carrying.Load() {
			_, err := l.Send(b, wire.Requests, f, head, queue.Payload{Data: body})
			return err
		}
		if size > wire.MaxRouted || places[f.Type]&routedOnControl == 0 {
			l.m.Stats.Overflow.Add(1)
			return ErrTooLong
		}
	}
	var space [headRoom]byte
	h := append(f.AppendHead(space[:0], size), head...)
	q := l.routed
	if places[f.Type]&onControl != 0 {
		q = l.commands
	}
	_, flush, err := q.Append(h, queue.Payload{Data: body}, nil)
	if flush {
		b.Add(l.control)
	}
	if err != nil && err != queue.ErrSealed {
		l.m.Stats.Overflow.Add(1)
	}
	return err
}

// Send sends a message of the data plane: head, which is short, then the payload.
// With the first the data connection is opened; what is sent before it is up waits.
// What is refused, with an error of package queue, has not left; but answers are
// not refused before the link is at its end. The flush that is owed is added to b.
// The position is for Unwritten.
//
// A message that is longer than wire.MaxBody goes by the bulk lane, as do those of
// the same stream that follow while it has not left: none overtakes another.
func (l *Link) Send(b *queue.Batch, lane Lane, f *wire.Frame, head []byte, p queue.Payload) (pos uint64, err error) {
	if !l.asked.Load() {
		l.openData()
	}
	limit, answer := laneLimit, false
	switch f.Type {
	case wire.TypeReply, wire.TypeNotStarted, wire.TypeTunnelAccept:
		limit, answer = answerLimit, true
	}
	var flush bool
	size := len(head) + len(p.Data)
	if size > wire.MaxBody || lane == wire.Bulk || l.bulk.busy.Load() > 0 && ofStream(f) && l.bulk.carries(f.Name) {
		pos, flush, err = l.bulk.append(limit, answer, f, head, p)
		pos |= bulkMark
	} else {
		var space [headRoom]byte
		h := append(f.AppendHead(space[:0], size), head...)
		q := l.requests
		if lane == wire.Publications {
			q = l.publications
		}
		if answer {
			pos, flush, err = q.AppendAnyway(limit, h, p, nil)
		} else {
			pos, flush, err = q.Append(h, p, nil)
		}
	}
	if flush {
		b.Add(l.data)
	}
	if lane == wire.Requests && l.aging.busy.Load() {
		l.aging.note(l.requests)
	}
	if answer && err == queue.ErrFull {
		l.fail(Slow, "answers are not read")
	}
	return pos, err
}

// Unwritten reports, when the link is at its end, that no octet of the message that
// was sent at pos was handed to a writer: it has provably not been received.
func (l *Link) Unwritten(lane Lane, pos uint64) bool {
	switch {
	case pos&bulkMark != 0:
		return l.bulk.unwritten(pos &^ bulkMark)
	case lane == wire.Publications:
		return pos >= l.publications.Handed()
	}
	return pos >= l.requests.Handed()
}
