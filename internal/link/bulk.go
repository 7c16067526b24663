package link

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wire"
)

// bulk is the lane of long messages. It cuts them as they are written, one
// fragment of each in turn, so a body that many links share is never copied.
//
// What belongs to one stream stays in order: while it has a message here, those
// that follow come here as well; and what is here waits until all that was in the
// lane of publications before it has left.
type bulk struct {
	budget  *queue.Budget
	earlier *queue.Queue // the lane of publications

	mu       sync.Mutex
	flows    []*flow             // in turn
	streams  map[wire.Name]*flow // those of streams
	bytes    int                 // that wait
	moved    uint64              // octets ever taken
	next     uint64              // position of the next message
	message  uint32              // number of the last message cut
	head     []byte              // of the frame under way
	room     []byte              // that head is made in
	body     []byte              // the rest of it
	done     *long               // the message that ends with it
	busy     atomic.Int32        // streams
	open     bool
	sealed   bool
	owed     bool
	wantRoom bool
	told     bool
	unsent   []uint64 // positions of what was never begun, once it is discarded
}

// A flow is messages that must leave in order.
type flow struct {
	stream wire.Name // or none
	queue  []*long
}

// A long is one message.
type long struct {
	frame wire.Frame
	head  []byte
	body  *queue.Body // follows head
	pos   uint64
	after uint64 // what of the lane of publications goes before it
	begun int    // octets cut off
}

func (m *long) size() int { return len(m.head) + len(m.body.Bytes()) }

// carries reports whether a stream's messages come here for now.
func (k *bulk) carries(name wire.Name) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.streams[name] != nil
}

// append takes a message in, as Queue.Append does.
func (k *bulk) append(limit int, force bool, f *wire.Frame, head []byte, p queue.Payload) (pos uint64, flush bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.sealed:
		return 0, false, queue.ErrSealed
	case k.bytes > limit:
		k.wantRoom = true
		return 0, k.ask(), queue.ErrFull
	case !force && !k.budget.Allows(len(p.Data), k.bytes):
		k.wantRoom = true
		return 0, k.ask(), queue.ErrMemory
	}
	m := &long{frame: *f, head: slices.Clone(head), body: p.Shared, pos: k.next}
	m.frame.Body = nil
	if m.body == nil {
		m.body = queue.NewBody(k.budget, p.Data)
	} else {
		m.body.Hold()
	}
	k.next++
	k.bytes += m.size()
	k.place(m)
	return m.pos, k.ask(), nil
}

// place puts m behind what it must not overtake.
func (k *bulk) place(m *long) {
	fl := new(flow)
	if ofStream(&m.frame) {
		m.after = k.earlier.Appended()
		fl.stream = m.frame.Name
		if cur := k.streams[fl.stream]; cur != nil {
			fl = cur
		} else {
			if k.streams == nil {
				k.streams = make(map[wire.Name]*flow)
			}
			k.streams[fl.stream] = fl
			k.busy.Add(1)
		}
	}
	if fl.queue = append(fl.queue, m); len(fl.queue) == 1 {
		k.flows = append(k.flows, fl)
	}
}

// ofStream reports whether f belongs to a stream of publications.
func ofStream(f *wire.Frame) bool {
	return f.Type == wire.TypePublish || f.Type == wire.TypeGap || f.Type == wire.TypeDigest
}

// ask reports whether the caller is the first to owe a flush.
func (k *bulk) ask() bool {
	if k.owed || !k.open {
		return false
	}
	k.owed = true
	return true
}

// take implements source.
func (k *bulk) take(p []byte, _ bool) (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.owed = false
	for n < len(p) && k.open {
		if len(k.head)+len(k.body) == 0 && !k.cut() {
			break
		}
		h := copy(p[n:], k.head)
		k.head = k.head[h:]
		b := copy(p[n+h:], k.body)
		k.body = k.body[b:]
		n += h + b
		if len(k.head)+len(k.body) == 0 {
			k.frameDone()
		}
	}
	return n
}

// frameDone lets go of what the frame was made of.
func (k *bulk) frameDone() {
	k.head, k.body = nil, nil
	if k.done != nil {
		k.done.body.Release()
		k.done = nil
	}
}

// cut makes a frame of the next message whose turn it is.
func (k *bulk) cut() bool {
	handed := k.earlier.Handed()
	for i, fl := range k.flows {
		m := fl.queue[0]
		if m.after > handed {
			continue
		}
		if i == 0 { // as almost always
			k.flows[0] = nil
			k.flows = k.flows[1:]
		} else {
			k.flows = slices.Delete(k.flows, i, i+1)
		}
		if k.fragment(m); m.begun < m.size() {
			k.flows = append(k.flows, fl)
			return true
		}
		k.done = m
		fl.queue[0] = nil
		if fl.queue = fl.queue[1:]; len(fl.queue) > 0 {
			k.flows = append(k.flows, fl)
		} else if ofStream(&m.frame) {
			delete(k.streams, fl.stream)
			k.busy.Add(-1)
		}
		return true
	}
	return false
}

// fragment cuts the next frame off m.
func (k *bulk) fragment(m *long) {
	f, size := m.frame, m.size()
	n := min(size-m.begun, wire.MaxBody)
	if size > wire.MaxBody {
		if m.begun == 0 {
			k.message++
			m.frame.Message, m.frame.Total = k.message, uint32(size)
			m.frame.Flags |= wire.Fragment
		}
		f = m.frame
		f.Offset = uint32(m.begun)
	}
	k.room = f.AppendHead(k.room[:0], n)
	start := m.begun
	if start < len(m.head) { // it all fits in the first
		k.room = append(k.room, m.head...)
		start = len(m.head)
	}
	k.head = k.room
	m.begun += n
	k.body = m.body.Bytes()[start-len(m.head):][:m.begun-start]
	k.bytes -= n
	k.moved += uint64(n)
	if k.wantRoom && k.bytes < laneLimit/2 {
		k.wantRoom, k.told = false, true
	}
}

func (k *bulk) roomy() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	told := k.told
	k.told = false
	return told
}

func (k *bulk) leave() {}

// uncork lets the writer have what waits. It reports whether anything does.
func (k *bulk) uncork() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open = true
	return len(k.flows) > 0
}

// seal takes nothing more.
func (k *bulk) seal() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sealed = true
}

// discard gives up what waits; no frame under way is finished.
func (k *bulk) discard() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sealed, k.open = true, false
	k.frameDone()
	for _, fl := range k.flows {
		for _, m := range fl.queue {
			if m.begun == 0 {
				k.unsent = append(k.unsent, m.pos)
			}
			m.body.Release()
		}
	}
	slices.Sort(k.unsent)
	k.flows, k.streams, k.bytes = nil, nil, 0
}

// unwritten reports that nothing of the message at pos was taken.
func (k *bulk) unwritten(pos uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := slices.BinarySearch(k.unsent, pos)
	return ok
}

func (k *bulk) waiting() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.bytes
}

// handed returns how many octets were ever taken.
func (k *bulk) handed() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.moved
}
