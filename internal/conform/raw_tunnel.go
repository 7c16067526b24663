package conform

import (
	"fmt"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// window is how many octets the libraries let a node send ahead of the
// application of a tunnel's end.
const window = 64 << 20

// A rawTunnel is an end of a tunnel as the libraries in use keep it.
type rawTunnel struct {
	p       *raw
	id      uint64
	discard int           // larger messages are received without their octets, 0: none
	result  chan bool     // whether building it timed out
	allowed chan struct{} // pulsed when credit grew
	arrived chan struct{} // pulsed when inbox grew
	ended   chan struct{} // closed by TunnelClose
	unpaced int           // octets sent since the last pause; of the sender

	// Under p.mu.
	credit  int // octets that may be sent, or messages in V0
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
func (p *raw) newTunnel() *rawTunnel {
	t := &rawTunnel{
		p:       p,
		id:      p.nextEnd,
		result:  make(chan bool, 1),
		allowed: make(chan struct{}, 1),
		arrived: make(chan struct{}, 1),
		ended:   make(chan struct{}),
	}
	if p.dialect == relaywire.V0 {
		t.credit = olderWindow
	}
	p.nextEnd++
	p.tunnels[t.id] = t
	return t
}

func (p *raw) Open(cluster string, timeout time.Duration) (Tunnel, error) {
	p.mu.Lock()
	t := p.newTunnel()
	p.mu.Unlock()
	start := time.Now()
	build := tunnelInit(t.id, cluster, uint64(timeout.Milliseconds()))
	build.Size = olderWindow // only V0 has it
	if err := p.write(build); err != nil {
		return nil, err
	}
	select {
	case timedOut := <-t.result:
		switch took := time.Since(start); {
		case timedOut && took < timeout:
			return nil, fmt.Errorf("build of tunnel %d of %s timed out after %v, its time was %v", t.id, p.name, took, timeout)
		case timedOut:
			return nil, ErrTimeout
		}
		if p.dialect == relaywire.V0 {
			return t, nil
		}
		return t, p.write(tunnelAllow(t.id, window))
	case <-p.ended:
		return nil, fmt.Errorf("build of tunnel %d of %s: %w", t.id, p.name, p.err)
	}
}

func (t *rawTunnel) Send(body []byte, limit time.Duration) error {
	expired := after(limit)
	announced := uint64(len(body))
	for len(body) > 0 {
		n := min(len(body), relaywire.ChunkLimit)
		price := n
		if t.p.dialect == relaywire.V0 {
			n, price = len(body), 1
		}
		if err := t.spend(price, expired); err != nil {
			return err
		}
		if err := t.p.write(message{Op: relaywire.TunnelTransfer, ID: t.id, Size: announced, Body: body[:n]}); err != nil {
			return err
		}
		body = body[n:]
		announced = 0
		t.unpaced += n
		t.p.scene.pace(&t.unpaced)
	}
	return nil
}

// spend waits for a credit of n and takes it.
func (t *rawTunnel) spend(n int, expired <-chan struct{}) error {
	for {
		select {
		case <-expired:
			return ErrTimeout
		case <-t.ended:
			return ErrClosed
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
			return ErrTimeout
		case <-t.ended:
		case <-t.p.ended:
			return t.p.err
		}
	}
}

// Receive lets the node send as much again as it returns.
func (t *rawTunnel) Receive(limit time.Duration) ([]byte, error) {
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
			return nil, ErrClosed
		}
		select {
		case <-t.arrived:
		case <-t.ended:
			closed = true // but messages may have come before
		case <-t.p.ended:
			return nil, t.p.err
		case <-expired:
			return nil, ErrTimeout
		}
	}
}

func (t *rawTunnel) Close() error {
	t.p.mu.Lock()
	// A library of V0 does not look whether the other end has closed it.
	first := !t.closing && (t.p.tunnels[t.id] == t || t.p.dialect == relaywire.V0)
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
func (t *rawTunnel) take(m *message) {
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

// after returns a channel that is closed after limit; with 0 it never is.
func after(limit time.Duration) <-chan struct{} {
	if limit == 0 {
		return nil
	}
	c := make(chan struct{})
	time.AfterFunc(limit, func() { close(c) })
	return c
}
