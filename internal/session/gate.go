package session

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

// Limits of what strangers may hold (docs/security.md, Limits).
const (
	maxWaiting = 512               // connections that wait for their knock or a handshake
	maxFrom    = 16                // of them from one address; loopback is exempt
	maxShakes  = 64                // handshakes at once
	maxStrange = 32                // of them with strangers
	maxAlike   = 4                 // of them with strangers of one address
	shakeEvery = time.Second / 200 // one handshake, but for a burst
	shakeBurst = 64
	knockTime  = 2 * time.Second
	acceptTime = 5 * time.Second // to be a connection, and for its first frames
	maxPause   = time.Second     // after the system refused to accept
)

// GateConfig is what a Gate is made of.
type GateConfig struct {
	Identity *Identity
	Refused  *Refusals

	// InView reports whether a node that is known has the address. Whoever has not
	// is a stranger, who leaves half of the handshakes to others. It is called for
	// each connection before the next is accepted. May be nil.
	InView func(netip.Addr) bool
}

// A Gate lets the nodes of the network in at listeners, and nobody else: a stranger
// costs a small read and an attempt to open 64 octets, and learns nothing.
type Gate struct {
	GateConfig
	seen    salts
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	waiting []*entrant // in the order they came
	shaking []*entrant
	full    time.Time // a handshake that begins then makes the burst complete
}

// An entrant is a connection that is not yet one of the network.
type entrant struct {
	nc     net.Conn
	addr   netip.Addr
	prefix netip.Prefix // what counts as the same address
	known  bool         // no stranger
	since  time.Time
	ctx    context.Context
	out    context.CancelCauseFunc
	turn   chan time.Time // when it may shake hands

	knocked bool // guarded by the gate's mu: only its turn is missing
}

// NewGate returns a gate without listeners.
func NewGate(c GateConfig) *Gate {
	g := &Gate{GateConfig: c}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Serve has connections accepted on l until it is closed, and handle called with
// each that is of the network, in a goroutine of its own that ends when handle
// returns. The connection has a deadline then, five seconds after it was accepted,
// for handle to lift once it has seen what it must. Serve returns at once; Close
// waits for what it started.
func (g *Gate) Serve(l net.Listener, handle func(*Conn)) {
	g.running.Go(func() { g.accept(l, handle) })
}

// Close refuses those who are on their way in, and waits for everything the gate
// has started. Listeners are to be closed before, and connections that handle has
// are for their owner to close.
func (g *Gate) Close() {
	g.mu.Lock()
	g.closed = true
	g.cancel()
	for _, e := range g.waiting {
		e.nc.Close()
	}
	g.mu.Unlock()
	g.running.Wait()
}

func (g *Gate) accept(l net.Listener, handle func(*Conn)) {
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			g.enter(nc, handle)
			continue
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			g.shed(l.Addr(), err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), maxPause)
		select {
		case <-time.After(pause):
		case <-g.ctx.Done():
			return
		}
	}
}

// shed closes one of those waiting for its descriptor.
func (g *Gate) shed(listener net.Addr, err error) {
	g.mu.Lock()
	e := cmp.Or(g.least(false), g.least(true))
	if e != nil {
		g.expel(e, &Error{AcceptFiles, err})
	}
	g.mu.Unlock()
	if e == nil {
		g.Refused.Refuse(AcceptFiles, listener.String(), ring.ID{}, err)
	}
}

// enter has a new connection wait to be let in, if there is room.
func (g *Gate) enter(nc net.Conn, handle func(*Conn)) {
	e := &entrant{nc: nc, addr: addrOf(nc), since: time.Now(), turn: make(chan time.Time, 1)}
	e.prefix = prefixOf(e.addr)
	e.known = e.addr.IsLoopback() || g.InView != nil && g.InView(e.addr)

	g.mu.Lock()
	room := !g.closed && g.room(e)
	if room {
		e.ctx, e.out = context.WithCancelCause(g.ctx)
		g.waiting = append(g.waiting, e)
		g.running.Add(1)
	}
	g.mu.Unlock()
	if !room {
		reset(nc)
		g.refuse(e, &Error{AcceptFull, nil})
		return
	}
	go func() {
		defer g.running.Done()
		c, err := g.admit(e)
		if err != nil {
			g.refuse(e, err)
			return
		}
		handle(c)
	}()
}

// room reports whether e may wait. Who is known takes the place of a stranger.
func (g *Gate) room(e *entrant) bool {
	alike := 0
	for _, w := range g.waiting {
		if w.prefix == e.prefix {
			alike++
		}
	}
	if alike >= maxFrom && !e.addr.IsLoopback() {
		return false
	}
	if len(g.waiting) < maxWaiting {
		return true
	}
	s := g.least(false)
	if s == nil || !e.known {
		return false
	}
	g.expel(s, &Error{AcceptFull, nil})
	return true
}

// least returns who of the strangers, or of the known, is the first to make room, or
// nil: the oldest of those who have not knocked, else the newest. It must not be the
// newest of all: where there is no descriptor for another connection the system says
// so even when none comes, so that everybody would be closed as soon as he came.
func (g *Gate) least(known bool) (e *entrant) {
	for _, w := range g.waiting {
		if w.known == known {
			if !w.knocked {
				return w
			}
			e = w
		}
	}
	return e
}

// expel ends the wait of e: its goroutine gets why for the reason.
func (g *Gate) expel(e *entrant, why *Error) {
	g.waiting = slices.DeleteFunc(g.waiting, func(w *entrant) bool { return w == e })
	e.out(why)
	reset(e.nc)
}

// admit makes the connection of e one of the network.
func (g *Gate) admit(e *entrant) (*Conn, error) {
	defer g.leave(e)
	k, err := g.knock(e)
	if err == nil {
		err = g.wait(e)
	}
	if err != nil {
		reset(e.nc)
		return nil, err
	}
	return g.Identity.accept(e.ctx, e.nc, k.purpose)
}

// knock reads the knock, and nothing behind it.
func (g *Gate) knock(e *entrant) (knock, error) {
	e.nc.SetDeadline(e.since.Add(knockTime))
	var b [knockSize]byte
	n, err := io.ReadFull(e.nc, b[:])
	if why := context.Cause(e.ctx); why != nil {
		return knock{}, why
	}
	if err != nil {
		return knock{}, refuse(KnockNone, "after %d octets: %w", n, err)
	}
	e.nc.SetDeadline(e.since.Add(acceptTime))
	return g.Identity.answer(b[:], &g.seen)
}

// wait returns when e may shake hands.
func (g *Gate) wait(e *entrant) error {
	g.mu.Lock()
	e.knocked = true
	g.turns()
	g.mu.Unlock()
	late := time.NewTimer(time.Until(e.since.Add(acceptTime)))
	defer late.Stop()
	var begin <-chan time.Time
	for {
		select {
		case at := <-e.turn:
			wait := time.Until(at)
			if wait <= 0 {
				return nil
			}
			begin = time.After(wait)
		case <-begin:
			return nil
		case <-late.C:
			return refuse(TLSTime, "too many others shake hands")
		case <-e.ctx.Done():
			return context.Cause(e.ctx)
		}
	}
}

// leave takes e, which is in or refused, out of the count.
func (g *Gate) leave(e *entrant) {
	g.mu.Lock()
	defer g.mu.Unlock()
	same := func(o *entrant) bool { return o == e }
	g.waiting = slices.DeleteFunc(g.waiting, same)
	g.shaking = slices.DeleteFunc(g.shaking, same)
	g.turns()
	e.out(nil)
}

// turns gives their turn to those who may shake hands, in the order they came.
func (g *Gate) turns() {
	g.waiting = slices.DeleteFunc(g.waiting, func(e *entrant) bool {
		if !e.knocked || !g.mayShake(e) {
			return false
		}
		g.shaking = append(g.shaking, e)
		e.turn <- g.ticket()
		return true
	})
}

func (g *Gate) mayShake(e *entrant) bool {
	strangers, alike := 0, 0
	for _, s := range g.shaking {
		if s.known {
			continue
		}
		strangers++
		if s.prefix == e.prefix {
			alike++
		}
	}
	return len(g.shaking) < maxShakes && (e.known || strangers < maxStrange && alike < maxAlike)
}

// ticket returns when the next handshake may begin for the rate and the burst.
func (g *Gate) ticket() time.Time {
	now := time.Now()
	if g.full.Before(now) {
		g.full = now
	}
	at := g.full.Add(-(shakeBurst - 1) * shakeEvery)
	g.full = g.full.Add(shakeEvery)
	if at.Before(now) {
		return now
	}
	return at
}

// refuse closes the connection of e and notes why.
func (g *Gate) refuse(e *entrant, err error) {
	e.nc.Close()
	var why *Error
	if g.ctx.Err() == nil && errors.As(err, &why) {
		g.Refused.Refuse(why.Code, e.addr.String(), ring.ID{}, why.Err)
	}
}

// reset closes a connection with nothing sent and nothing left of it.
func reset(nc net.Conn) {
	if t, ok := nc.(interface{ SetLinger(sec int) error }); ok {
		t.SetLinger(0)
	}
	nc.Close()
}

// addrOf returns who is at the other end. A connection in memory is as local as
// one over loopback.
func addrOf(nc net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(nc.RemoteAddr().String())
	if err != nil {
		return netip.IPv6Loopback()
	}
	return ap.Addr().Unmap().WithZone("")
}

// prefixOf returns what counts as one address: an IPv4 address, or an IPv6 network
// of 64 bits, in which a host has as many addresses as it likes.
func prefixOf(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}
