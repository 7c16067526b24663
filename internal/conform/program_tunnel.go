package conform

import (
	"fmt"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// window is how many octets the libraries let a node send ahead of the
// application of a tunnel's end.
const window = 64 << 20

// A tunnel is an end of a tunnel as the libraries keep it. One goroutine may
// send while another receives.
type tunnel struct {
	p       *program
	id      uint64
	discard int           // larger messages are received without their octets, 0: none
	result  chan bool     // whether building it timed out
	allowed chan struct{} // pulsed when credit grew
	arrived chan struct{} // pulsed when inbox grew
	ended   chan struct{} // closed by TunnelClose
	unpaced int           // octets sent since the last pause; of the sender

	// Under p.mu.
	credit  int // octets that may be sent
	closing bool
	reason  string // of the TunnelClose; final once ended is closed
	inbox   []parcel
	partial parcel
	missing int // octets of partial that have not come
}

// A parcel is a message that came out of a tunnel, or a part of one.
type parcel struct {
	size int
	body []byte // nil if it was discarded
}

// newTunnel makes an end with an id of its own; the caller holds p.mu.
func (p *program) newTunnel() *tunnel {
	t := &tunnel{
		p:       p,
		id:      p.nextEnd,
		result:  make(chan bool, 1),
		allowed: make(chan struct{}, 1),
		arrived: make(chan struct{}, 1),
		ended:   make(chan struct{}),
	}
	p.nextEnd++
	p.tunnels[t.id] = t
	return t
}

// open builds a tunnel to a member of the library's cluster. The error may be
// errTimeout.
func (p *program) open(timeout time.Duration) (*tunnel, error) {
	p.mu.Lock()
	t := p.newTunnel()
	p.mu.Unlock()
	start := time.Now()
	if err := p.write(tunnelInit(t.id, p.scene.lib.cluster, uint64(timeout.Milliseconds()))); err != nil {
		return nil, err
	}
	select {
	case timedOut := <-t.result:
		switch took := time.Since(start); {
		case timedOut && took < timeout:
			return nil, fmt.Errorf("build of tunnel %d of %s timed out after %v, its time was %v", t.id, p.name, took, timeout)
		case timedOut:
			return nil, errTimeout
		}
		return t, p.write(tunnelAllow(t.id, window))
	case <-p.ended:
		return nil, fmt.Errorf("build of tunnel %d of %s: %w", t.id, p.name, p.lost())
	}
}

// send sends body as one message. When it takes longer than limit, it leaves the
// message unfinished and returns errTimeout; with limit 0 it waits for ever. Once
// the tunnel is closed it returns errClosed.
func (t *tunnel) send(body []byte, limit time.Duration) error {
	return t.transfer(len(body), limit, func(off, n int) []byte { return body[off : off+n] })
}

// sendZeros is send for a message of zeros, without having it in memory.
func (t *tunnel) sendZeros(size int, limit time.Duration) error {
	return t.transfer(size, limit, func(_, n int) []byte { return zeros[:n] })
}

var zeros [relaywire.ChunkLimit]byte

func (t *tunnel) transfer(size int, limit time.Duration, part func(off, n int) []byte) error {
	expired := after(limit)
	announced := uint64(size)
	for off := 0; off < size; {
		n := min(size-off, relaywire.ChunkLimit)
		if err := t.spend(n, expired); err != nil {
			return err
		}
		if err := t.p.write(message{Op: relaywire.TunnelTransfer, ID: t.id, Size: announced, Body: part(off, n)}); err != nil {
			return err
		}
		off += n
		announced = 0
		t.pace(n)
	}
	return nil
}

// spend waits for credit for n octets and takes it.
func (t *tunnel) spend(n int, expired <-chan time.Time) error {
	for {
		select {
		case <-expired:
			return errTimeout
		case <-t.ended:
			return errClosed
		default:
		}
		t.p.mu.Lock()
		enough := t.credit >= n
		if enough {
			t.credit -= n
		}
		t.p.mu.Unlock()
		if enough {
			return nil
		}
		select {
		case <-t.allowed:
		case <-expired:
			return errTimeout
		case <-t.ended:
		case <-t.p.ended:
			return t.p.lost()
		}
	}
}

// pace keeps a sender to the library's rate in invented time, where the network
// would carry any message in no time at all. Over sockets the machine does.
func (t *tunnel) pace(n int) {
	if t.unpaced += n; t.unpaced < relaywire.ChunkLimit || !t.p.scene.node.virtual {
		return
	}
	time.Sleep(time.Duration(t.unpaced) * time.Second / time.Duration(t.p.scene.lib.rate))
	t.unpaced = 0
}

// receive returns the next message and lets the node send as much again. After
// limit it returns errTimeout, with limit 0 it waits for ever. Once the tunnel is
// closed and all messages are taken it returns errClosed.
func (t *tunnel) receive(limit time.Duration) ([]byte, error) {
	expired := after(limit)
	closed := false
	for {
		t.p.mu.Lock()
		if len(t.inbox) > 0 {
			m := t.inbox[0]
			t.inbox[0] = parcel{}
			t.inbox = t.inbox[1:]
			t.p.mu.Unlock()
			if !closed {
				t.p.answer(tunnelAllow(t.id, uint64(m.size)))
			}
			return m.body, nil
		}
		t.p.mu.Unlock()
		if closed {
			return nil, errClosed
		}
		select {
		case <-t.arrived:
		case <-t.ended:
			closed = true // but messages may have come before
		case <-t.p.ended:
			return nil, t.p.lost()
		case <-expired:
			return nil, errTimeout
		}
	}
}

// close closes the tunnel, if the other end did not, and waits for the node's
// word or for the end of the connection. It fails if a reason is given.
func (t *tunnel) close() error {
	t.p.mu.Lock()
	first := !t.closing && t.p.tunnels[t.id] == t
	t.closing = true
	t.p.mu.Unlock()
	if first {
		t.p.answer(tunnelClose(t.id, ""))
	}
	select {
	case <-t.ended:
	case <-t.p.ended:
	}
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	if t.reason != "" {
		return fmt.Errorf("tunnel %d of %s closed: %s", t.id, t.p.name, t.reason)
	}
	return nil
}

// take handles a chunk; the caller holds p.mu.
func (t *tunnel) take(m *message) {
	if m.Size > 0 {
		if abandoned := t.partial.size - t.missing; t.missing > 0 {
			// From elsewhere, since the reader must not block.
			t.p.scene.work.Go(func() { t.p.answer(tunnelAllow(t.id, uint64(abandoned))) })
		}
		t.partial, t.missing = parcel{size: int(m.Size)}, int(m.Size)
	}
	if t.discard == 0 || t.partial.size <= t.discard {
		if t.partial.body == nil {
			t.partial.body = make([]byte, 0, min(t.partial.size, 16<<20))
		}
		t.partial.body = append(t.partial.body, m.Body...)
	}
	if t.missing -= len(m.Body); t.missing == 0 {
		t.inbox = append(t.inbox, t.partial)
		t.partial = parcel{}
		pulse(t.arrived)
	}
}

// after is time.After; with 0 it never comes.
func after(limit time.Duration) <-chan time.Time {
	if limit == 0 {
		return nil
	}
	return time.After(limit)
}
