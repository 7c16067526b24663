package link

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// Limits of dials (docs/security.md, Dialling what others said).
const (
	maxDials     = 32
	connectLimit = 5 * time.Second
	welcomeLimit = 6 * time.Second        // from being connected to WELCOME
	stagger      = 250 * time.Millisecond // before the next address is tried beside the others
	backoffLeast = 200 * time.Millisecond
	backoffMost  = 30 * time.Second
	steady       = time.Second // a link that is lost sooner is a dial that failed
	seedRest     = time.Second // between two looks whether a seed is still known
)

var (
	errLinked = errors.New("there is a link")
	errFull   = &session.Error{Code: session.LinkFull, Err: errors.New("this node has as many links as it may have")}
)

// A job is the search for one node, or for whoever is at an address.
type job struct {
	id     ring.ID // or nobody's
	wanted bool    // it is nobody's, and Dial was called for the node that it found
	began  time.Time
	steps  Steps
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func (m *Manager) newJob(id ring.ID) *job {
	j := &job{id: id, began: time.Now()}
	j.ctx, j.cancel = context.WithCancelCause(m.ctx)
	return j
}

// A backoff is why an address is not dialled.
type backoff struct {
	pause time.Duration
	until time.Time
}

// missed notes that a dial of addr failed. The caller has the lock.
func (m *Manager) missed(addr netip.AddrPort) {
	b := m.backoffs[addr]
	if b == nil {
		b = new(backoff)
		m.backoffs[addr] = b
	}
	b.pause = min(max(2*b.pause, backoffLeast), backoffMost)
	b.until = time.Now().Add(b.pause*3/4 + rand.N(b.pause/2))
}

// Forgive has addresses dialled at once that have failed: they have become worth it
// since, as others reach the node that is there.
func (m *Manager) Forgive(addrs []netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range addrs {
		delete(m.backoffs, a)
	}
	close(m.forgiven)
	m.forgiven = make(chan struct{})
}

// Dial links to a node at one of its addresses, unless it is linked. It returns at
// once: in the end Handler.Up or Handler.Failed tells. An address that has failed
// lately is dialled when its time has come. That they may be dialled at all the
// caller has made sure of.
func (m *Manager) Dial(id ring.ID, addrs []netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || id == m.Identity.ID() {
		return
	}
	p := m.peer(id)
	if p.job != nil || p.up() != nil {
		if p.job != nil {
			p.job.wanted = true
		}
		return
	}
	j := m.newJob(id)
	p.job = j
	addrs = slices.Clone(addrs)
	m.running.Go(func() {
		defer j.cancel(nil)
		m.done(j, id, m.search(j, addrs))
	})
}

// done ends a job, and says so if it failed.
func (m *Manager) done(j *job, id ring.ID, err error) {
	m.mu.Lock()
	p := m.peers[id]
	failed := p != nil && p.job == j && err != nil && !m.stopped && p.up() == nil && (j.wanted || !j.id.IsZero())
	if p != nil && p.job == j {
		p.job = nil
	}
	m.mu.Unlock()
	if failed {
		m.Handler.Failed(id)
	}
}

// search dials one address after another.
func (m *Manager) search(j *job, addrs []netip.AddrPort) error {
	err := error(&session.Error{Code: session.DialRefused, Err: errors.New("no address is known")})
	for len(addrs) > 0 {
		var tried []netip.AddrPort
		_, tried, err = m.try(j, addrs)
		if err == nil || context.Cause(j.ctx) != nil || errors.Is(err, errFull) {
			break
		}
		if len(tried) == 0 {
			break
		}
		// Those that keep us waiting come last now.
		i := slices.Index(addrs, tried[len(tried)-1])
		addrs = slices.DeleteFunc(slices.Concat(addrs[i+1:], addrs[:i]), func(a netip.AddrPort) bool { return slices.Contains(tried, a) })
	}
	if context.Cause(j.ctx) == errLinked {
		return nil
	}
	return err
}

// Seed keeps in touch with whoever is at an address, one of the operator's. It is
// dialled until there is a link. When that ends it is dialled again, once the node
// that was there is not known any more: until then others tell of it, and it is for
// them to say who needs a link. That goes on until Unseed, or the manager is stopped.
func (m *Manager) Seed(addr netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || m.seeds[addr] != nil {
		return
	}
	ctx, cancel := context.WithCancel(m.ctx)
	m.seeds[addr] = cancel
	m.running.Go(func() {
		for ctx.Err() == nil && m.seed(ctx, addr) {
		}
	})
}

// Unseed ends what Seed has begun. A link that is there stays.
func (m *Manager) Unseed(addr netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if cancel := m.seeds[addr]; cancel != nil {
		cancel()
		delete(m.seeds, addr)
	}
}

// seed dials the address, and waits while there is a link, or the node is known. It
// reports false if it is this node's own.
func (m *Manager) seed(ctx context.Context, addr netip.AddrPort) bool {
	j := m.newJob(ring.ID{})
	defer j.cancel(nil)
	defer context.AfterFunc(ctx, func() { j.cancel(ctx.Err()) })()
	id, _, err := m.try(j, []netip.AddrPort{addr})
	m.done(j, id, err)
	if isCode(err, session.PeerSelf) || isCode(err, session.DialClosed) && m.own(addr) {
		m.Log.Info("a peer to be linked to is this node itself: it is left out", "addr", addr)
		return false
	}
	if l := m.Link(id); l != nil {
		select {
		case <-l.gone:
		case <-ctx.Done():
		}
	}
	for m.Known != nil && !id.IsZero() && m.Known(id) {
		select {
		case <-time.After(seedRest):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// own reports whether an address that was dialled, and closed by who was there, is
// this node's own: whose gate then knows the knock, but tells nobody. It may be bound
// to all addresses of the host, of which it says some.
func (m *Manager) own(addr netip.AddrPort) bool {
	if m.Refused.Counts()[session.KnockSelf] == 0 {
		return false
	}
	_, addrs := m.Hello()
	return slices.ContainsFunc(addrs, func(a wire.Addr) bool {
		return a.AddrPort == addr || a.Port() == addr.Port() && ofHost(addr.Addr())
	})
}

// ofHost reports whether the host has the address.
func ofHost(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	addrs, _ := net.InterfaceAddrs()
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr() == ip.WithZone("")
	})
}

// try dials those of the addresses that answer first, and makes a link of that. It
// returns the node that was there, and the addresses that are done with.
func (m *Manager) try(j *job, addrs []netip.AddrPort) (id ring.ID, tried []netip.AddrPort, err error) {
	ready, err := m.ready(j.ctx, addrs)
	if err != nil {
		return id, nil, err
	}
	select {
	case m.slots <- struct{}{}:
	case <-j.ctx.Done():
		return id, nil, context.Cause(j.ctx)
	}
	nc, addr, tried, err := m.connect(j, ready)
	if err == nil {
		connected := time.Now()
		id, err = m.hello(j, nc, addr)
		tried = append(tried, addr)
		m.answered(addr, id, err, time.Since(connected))
	}
	<-m.slots
	if errors.Is(err, errLinked) {
		err = nil
	}
	if isCode(err, session.WelcomeTie) {
		select { // their dial is the one that counts
		case <-j.ctx.Done():
		case <-time.After(welcomeLimit):
		}
		if m.Link(id) != nil {
			err = nil
		}
	}
	return id, tried, err
}

func isCode(err error, code session.Code) bool {
	var e *session.Error
	return errors.As(err, &e) && e.Code == code
}

// ready waits until some of the addresses may be dialled, and returns those.
func (m *Manager) ready(ctx context.Context, addrs []netip.AddrPort) (ready []netip.AddrPort, err error) {
	for {
		var first time.Time
		now := time.Now()
		m.mu.Lock()
		for _, a := range addrs {
			switch b := m.backoffs[a]; {
			case b == nil || !now.Before(b.until):
				ready = append(ready, a)
			case first.IsZero() || b.until.Before(first):
				first = b.until
			}
		}
		forgiven := m.forgiven
		m.mu.Unlock()
		if len(ready) > 0 {
			return ready, nil
		}
		select {
		case <-forgiven:
		case <-time.After(first.Sub(now)):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// connect returns a connection to the address that took one first. One that keeps
// us waiting does not keep the next from being tried. Failed are those that did not.
func (m *Manager) connect(j *job, addrs []netip.AddrPort) (nc net.Conn, addr netip.AddrPort, failed []netip.AddrPort, err error) {
	ctx, cancel := context.WithTimeout(j.ctx, connectLimit)
	defer cancel()
	type result struct {
		nc   net.Conn
		addr netip.AddrPort
		err  error
	}
	results := make(chan result)
	under, next := 0, 0
	for {
		if next < len(addrs) {
			a := addrs[next]
			next, under = next+1, under+1
			go func() {
				nc, err := m.Config.Dial(ctx, a)
				results <- result{nc, a, err}
			}()
		}
		var again <-chan time.Time
		if next < len(addrs) {
			again = time.After(stagger)
		}
		select {
		case r := <-results:
			under--
			if r.err == nil {
				for range under { // the others come too late
					m.running.Go(func() {
						if r := <-results; r.err == nil {
							r.nc.Close()
						}
					})
				}
				j.steps.Connected = time.Since(j.began)
				return r.nc, r.addr, failed, nil
			}
			failed = append(failed, r.addr)
			err = jobError(j, dialError(ctx, r.err))
			m.answered(r.addr, ring.ID{}, err, 0)
			if under == 0 && next == len(addrs) {
				return nil, netip.AddrPort{}, failed, err
			}
		case <-again:
		}
	}
}

// dialError is the error of a connection that did not come about.
func dialError(ctx context.Context, err error) error {
	var timeout net.Error
	if ctx.Err() == context.DeadlineExceeded || errors.As(err, &timeout) && timeout.Timeout() {
		return &session.Error{Code: session.DialTimeout, Err: err}
	}
	return &session.Error{Code: session.DialRefused, Err: err}
}

// answered notes how a dial of the address went, and how long a connection was held
// before that.
func (m *Manager) answered(addr netip.AddrPort, id ring.ID, err error, held time.Duration) {
	m.mu.Lock()
	stopped := m.stopped
	switch linked := err == nil || errors.Is(err, errLinked) || isCode(err, session.WelcomeTie); {
	case linked && !id.IsZero():
		m.remember(Outcome{At: time.Now(), Addr: addr, Peer: id})
	case !linked:
		m.remember(Outcome{time.Now(), addr, id, err, held})
	}
	switch {
	case err == nil: // for how long the link lives will tell
	case errors.Is(err, errLinked), isCode(err, session.WelcomeTie):
		delete(m.backoffs, addr)
	default:
		m.missed(addr)
	}
	m.mu.Unlock()
	if err != nil && !errors.Is(err, errLinked) && !stopped {
		m.refuse(addr.String(), id, err)
	}
}

// hello makes a link of a connection that was dialled, and returns the node that is
// there. The connection is closed if that does not work out.
func (m *Manager) hello(j *job, nc net.Conn, addr netip.AddrPort) (ring.ID, error) {
	ctx, cancel := context.WithTimeout(j.ctx, welcomeLimit)
	defer cancel()
	c, err := m.Identity.Dial(ctx, nc, session.PurposeLink, addr.Port(), j.id)
	if err != nil {
		return ring.ID{}, jobError(j, err)
	}
	id := c.Peer()
	j.steps.Node, j.steps.Trusted = id, time.Since(j.began)
	h, err := m.claim(j, id)
	if err != nil {
		c.Close()
		return id, err
	}
	start := time.Now()
	w, err := m.ask(ctx, c, h)
	m.mu.Lock()
	p := m.peer(id)
	p.sent = nil
	if err == nil {
		err = context.Cause(j.ctx)
	}
	if err != nil {
		m.mu.Unlock()
		c.Close()
		return id, jobError(j, err)
	}
	l := newLink(m, id, w.Link, addr)
	j.steps.Welcomed = time.Since(j.began)
	l.dialled = true
	l.info = Info{State: w.State, Addrs: w.Addrs, Software: w.Software, Caps: w.Caps, Seen: w.Seen.AddrPort}
	l.rtt.Store(int64(time.Since(start)))
	m.install(p, l)
	m.mu.Unlock()
	l.run(c)
	return id, nil
}

// jobError prefers the reason for which a job was given up to what came of that.
func jobError(j *job, err error) error {
	if cause := context.Cause(j.ctx); cause != nil {
		return cause
	}
	return err
}

// claim makes the job the one whose HELLO the node is sent, and returns that.
func (m *Manager) claim(j *job, id ring.ID) (wire.Hello, error) {
	h := m.greeting(wire.RoleControl)
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peer(id)
	switch {
	case context.Cause(j.ctx) != nil:
		return h, context.Cause(j.ctx)
	case p.up() != nil:
		return h, errLinked
	case p.sent != nil:
		return h, &session.Error{Code: session.WelcomeTie, Err: errors.New("another dial to the node is further")}
	case p.link == nil && m.links >= m.Max:
		return h, errFull
	}
	p.sent = j
	if p.job == nil {
		p.job = j
	}
	h.Link = p.last
	return h, nil
}

// greeting is what this node says of itself in HELLO.
func (m *Manager) greeting(role byte) wire.Hello {
	state, addrs := m.Hello()
	return wire.Hello{Role: role, State: state, Caps: m.Caps, Time: time.Now(), Addrs: addrs, Software: m.Software}
}

// ask sends HELLO and returns the answer, if that is not a refusal.
func (m *Manager) ask(ctx context.Context, c *session.Conn, h wire.Hello) (wire.Welcome, error) {
	stop := context.AfterFunc(ctx, func() { c.NetConn().Close() })
	defer stop()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	if _, err := c.Write(wire.Append(nil, h)); err != nil {
		return wire.Welcome{}, &session.Error{Code: session.DialClosed, Err: err}
	}
	w, err := readWelcome(c)
	switch {
	case err == nil && (w.Link == 0 || h.Role == wire.RoleData && w.Link != h.Link):
		err = session.BadFirst("WELCOME to link %d, asked for %d", w.Link, h.Link)
	case err != nil && !errors.As(err, new(*session.Error)):
		err = &session.Error{Code: session.DialClosed, Err: err}
	case err == nil && !stop():
		err = context.Cause(ctx)
	}
	return w, err
}
