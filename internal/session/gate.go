package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

// Limits of what strangers may hold (docs/security.md, Limits).
const (
	maxWaiting  = 512 // connections that wait for their knock or a slot
	maxFrom     = 16  // of them from one address, or one IPv6 /64
	maxShakes   = 64  // handshakes at once
	maxStrange  = 32  // of them with addresses outside of the view
	maxFromOut  = 4   // of them with one such address
	shakeRate   = 200 // handshakes a second
	shakeBurst  = 64
	knockTime   = 2 * time.Second
	acceptPause = time.Second // the longest, after the system refused to accept
)

// GateConfig is what a Gate is made of. InView may be nil.
type GateConfig struct {
	Identity *Identity
	Refused  *Refusals
	InView   func(netip.Addr) bool // whether a node that is known has the address
}

// A Gate lets the nodes of the network in at a listener, and nobody else: a
// stranger costs a small read and an attempt to open 64 octets, and learns nothing.
type Gate struct {
	GateConfig
	seen    salts
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	waiting int
	from    map[netip.Prefix]int // of those waiting
	shakes  int
	strange int
	out     map[netip.Prefix]int // handshakes, outside of the view
	tokens  float64
	filled  time.Time
	freed   chan struct{} // closed when a slot may have become free
}

// NewGate returns a gate without listeners.
func NewGate(c GateConfig) *Gate {
	g := &Gate{GateConfig: c, from: make(map[netip.Prefix]int), out: make(map[netip.Prefix]int), tokens: shakeBurst, filled: time.Now(), freed: make(chan struct{})}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Serve accepts connections on l until it is closed, and calls handle with each
// that is of the network, in a goroutine of its own that ends when handle returns.
// It returns at once; Close waits for it.
func (g *Gate) Serve(l net.Listener, handle func(*Conn)) {
	g.running.Go(func() { g.accept(l, handle) })
}

// Close ends the admission of connections that are under way, and waits for
// everything the gate has started; listeners, and connections handed to handle, are
// closed by whoever has them.
func (g *Gate) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.cancel()
	g.running.Wait()
}

func (g *Gate) accept(l net.Listener, handle func(*Conn)) {
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
				g.Refused.Refuse(AcceptFiles, l.Addr().String(), ring.ID{}, err)
			}
			pause = min(max(2*pause, 5*time.Millisecond), acceptPause)
			select {
			case <-time.After(pause):
				continue
			case <-g.ctx.Done():
				return
			}
		}
		pause = 0
		addr := addrOf(nc)
		g.mu.Lock()
		full := g.closed || g.waiting >= maxWaiting || g.from[prefixOf(addr)] >= maxFrom && !addr.IsLoopback()
		if !full {
			g.waiting++
			g.from[prefixOf(addr)]++
			g.running.Add(1)
		}
		g.mu.Unlock()
		if full {
			g.refuse(nc, addr, &Error{AcceptFull, errors.New("too many connections wait to be let in")})
			continue
		}
		go func() {
			defer g.running.Done()
			c, err := g.admit(nc, addr)
			if err != nil {
				g.refuse(nc, addr, err)
				return
			}
			handle(c)
		}()
	}
}

// refuse closes a connection so that nothing of it stays, and tells it nothing.
func (g *Gate) refuse(nc net.Conn, addr netip.Addr, err error) {
	if t, ok := nc.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	nc.Close()
	if g.ctx.Err() != nil {
		return
	}
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{TLSFailed, err}
	}
	g.Refused.Refuse(e.Code, addr.String(), ring.ID{}, e.Err)
}

// admit makes nc a connection of the network.
func (g *Gate) admit(nc net.Conn, addr netip.Addr) (*Conn, error) {
	ctx, cancel := context.WithTimeout(g.ctx, acceptTime)
	defer cancel()
	stop := context.AfterFunc(g.ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	k, err := g.knocked(nc)
	if err == nil {
		err = g.slot(ctx, addr)
	}
	g.mu.Lock()
	g.waiting--
	take(g.from, prefixOf(addr))
	g.mu.Unlock()
	if err != nil {
		return nil, err
	}
	defer g.release(addr)
	return g.Identity.accept(ctx, nc, k)
}

// knocked reads the knock.
func (g *Gate) knocked(nc net.Conn) (knock, error) {
	nc.SetReadDeadline(time.Now().Add(knockTime))
	var b [knockSize]byte
	if _, err := io.ReadFull(nc, b[:]); err != nil {
		return knock{}, &Error{KnockNone, fmt.Errorf("no knock came: %w", err)}
	}
	nc.SetReadDeadline(time.Time{})
	return g.Identity.answer(b[:], &g.seen)
}

// slot waits for a handshake to be allowed.
func (g *Gate) slot(ctx context.Context, addr netip.Addr) error {
	known := addr.IsLoopback() || g.InView != nil && g.InView(addr)
	for {
		g.mu.Lock()
		now := time.Now()
		g.tokens = min(shakeBurst, g.tokens+now.Sub(g.filled).Seconds()*shakeRate)
		g.filled = now
		free := g.shakes < maxShakes && (known || g.strange < maxStrange && g.out[prefixOf(addr)] < maxFromOut)
		if free && g.tokens >= 1 {
			g.tokens--
			g.shakes++
			if !known {
				g.strange++
				g.out[prefixOf(addr)]++
			}
			g.mu.Unlock()
			return nil
		}
		freed := g.freed
		g.mu.Unlock()
		var refill <-chan time.Time
		if free {
			refill = time.After(time.Second / shakeRate)
		}
		select {
		case <-freed:
		case <-refill:
		case <-ctx.Done():
			return &Error{TLSTime, errors.New("no handshake was free in time")}
		}
	}
}

// release ends a handshake.
func (g *Gate) release(addr netip.Addr) {
	known := addr.IsLoopback() || g.InView != nil && g.InView(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shakes--
	if !known && g.out[prefixOf(addr)] > 0 {
		g.strange--
		take(g.out, prefixOf(addr))
	}
	close(g.freed)
	g.freed = make(chan struct{})
}

func take(m map[netip.Prefix]int, p netip.Prefix) {
	if m[p]--; m[p] <= 0 {
		delete(m, p)
	}
}

func addrOf(nc net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(nc.RemoteAddr().String())
	if err != nil {
		return netip.IPv6Unspecified() // an in-memory connection of a test
	}
	return ap.Addr().Unmap().WithZone("")
}

// prefixOf returns what counts as one address: IPv4 addresses, and IPv6 networks
// of 64 bits, in which a host has as many addresses as it likes.
func prefixOf(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}
