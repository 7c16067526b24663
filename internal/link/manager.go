package link

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// A Handler takes what comes over the links of a node. Its methods are called on the
// links' own goroutines, for different links at once.
type Handler interface {
	// Up says that a link to a node is up. It comes before everything else of the
	// link, and after the Down of an earlier one to the same node.
	Up(l *Link)

	// Control takes a control frame, in order. f says where it is from and for, if
	// it is routed. It may block, which delays the sender's control frames only. An
	// error says that the other node broke the protocol: the link is closed.
	Control(l *Link, m wire.Message, f *wire.Frame) error

	// Data takes a message of the data plane: whole, in order as far as those of a
	// lane or stream go; its body is valid during the call. Routed messages may come
	// from a second goroutine at the same time. Errors are as those of Control.
	Data(l *Link, now time.Time, b *queue.Batch, f *wire.Frame) error

	// Dropped says that a long message was given up, for want of memory or because
	// the rest of it did not come. f.Body is the start of it.
	Dropped(l *Link, now time.Time, b *queue.Batch, f *wire.Frame)

	// Idle says that there is no more input for now, or has been a lot. Then b is
	// flushed.
	Idle(l *Link, b *queue.Batch)

	// Room says that a data lane that refused a message has room again.
	Room(l *Link, b *queue.Batch)

	// Down says that the link is lost, with an *Error. Nothing of it follows. Until
	// it returns no other link to the node comes up.
	Down(l *Link, err error)

	// Failed says that a node could not be reached, for which Dial had been called,
	// or that had been linked.
	Failed(id ring.ID)
}

// Config is what a Manager is made of. What is said to have a default may be left
// out.
type Config struct {
	Identity *session.Identity
	Refused  *session.Refusals
	Log      *slog.Logger
	Budget   *queue.Budget
	Joining  *queue.Budget // for messages in fragments; default: 256 MiB, and a quarter of Budget at most
	Dial     func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
	Hello    func() (wire.State, []wire.Addr) // what this node says of itself
	Known    func(id ring.ID) bool            // whether a node is in the network; default: none is
	Software string
	Caps     uint64
	Max      int // links at most
	Handler  Handler

	// Admit reports whether there is room for a link that another node dials, when
	// there are so many; default: up to Max. It may not call the manager.
	Admit func(from ring.ID, links int) bool

	MaxMessage int           // octets of a message in fragments; default: 64 MiB, and 64 KiB for what precedes it
	KeyAge     time.Duration // after which a link gets new connections; default: a day
	KeyOctets  uint64        // on the wire, in one direction, after which it does; default: 64 GiB
}

// A Manager keeps the links of a node. Its methods are safe for concurrent use, and
// may be called by the handler.
type Manager struct {
	Config
	Stats Stats

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup // dials, admissions, links and the sweep
	slots   chan struct{}  // of dials

	mu        sync.Mutex
	stopped   bool
	peers     map[ring.ID]*peer
	links     int
	admitting map[*session.Conn]struct{}
	backoffs  map[netip.AddrPort]*backoff
	seeds     map[netip.AddrPort]context.CancelFunc
	outcomes  []Outcome     // oldest first
	forgiven  chan struct{} // closed, and made anew, when some of them end early
}

// A peer is what a manager knows of another node.
type peer struct {
	link *Link  // the newest, which may be at its end
	last uint64 // the id of the newest, ever
	job  *job   // the dial that looks for this node
	sent *job   // the dial whose HELLO waits for an answer
	used time.Time
}

// NewManager returns a manager without links. Stop ends it.
func NewManager(c Config) *Manager {
	if c.Joining == nil {
		c.Joining = queue.NewBudget(min(256<<20, c.Budget.Limit()/4))
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = 64<<20 + 64<<10
	}
	if c.KeyAge == 0 {
		c.KeyAge = 24 * time.Hour
	}
	if c.KeyOctets == 0 {
		c.KeyOctets = 64 << 30
	}
	m := &Manager{
		Config:    c,
		slots:     make(chan struct{}, maxDials),
		peers:     make(map[ring.ID]*peer),
		admitting: make(map[*session.Conn]struct{}),
		backoffs:  make(map[netip.AddrPort]*backoff),
		seeds:     make(map[netip.AddrPort]context.CancelFunc),
		forgiven:  make(chan struct{}),
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.running.Go(m.sweep)
	return m
}

// Stop closes all links, in order but within two seconds, and returns when nothing
// of the manager runs any more.
func (m *Manager) Stop() {
	m.mu.Lock()
	m.stopped = true
	for c := range m.admitting {
		c.NetConn().Close()
	}
	m.mu.Unlock()
	m.cancel()
	for _, l := range m.Links() {
		l.close(Stopped, "", true)
	}
	m.running.Wait()
}

// Links returns the links there are, in no order. Some may be at their end.
func (m *Manager) Links() []*Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	links := make([]*Link, 0, m.links)
	for _, p := range m.peers {
		if p.link != nil {
			links = append(links, p.link)
		}
	}
	return links
}

// Link returns the link to a node; nil: there is none.
func (m *Manager) Link(id ring.ID) *Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[id]; p != nil && p.link != nil && !p.link.ending() {
		return p.link
	}
	return nil
}

// Close closes the link to a node, if there is one: what waits in it is written,
// within two seconds, and the other node is told the reason. It does not wait for
// that.
func (m *Manager) Close(id ring.ID, reason string) {
	if l := m.Link(id); l != nil {
		l.close(Closed, reason, true)
	}
}

// peer returns what is known of a node. The caller has the lock.
func (m *Manager) peer(id ring.ID) *peer {
	p := m.peers[id]
	if p == nil {
		p = new(peer)
		m.peers[id] = p
	}
	p.used = time.Now()
	return p
}

// up returns the link to the peer, if it is not at its end.
func (p *peer) up() *Link {
	if p.link != nil && !p.link.ending() {
		return p.link
	}
	return nil
}

// install makes l the link to a node, and ends what was in its place. The caller has
// the lock.
func (m *Manager) install(p *peer, l *Link) {
	if old := p.link; old != nil {
		l.former = old
	} else {
		m.links++
	}
	p.link, p.last = l, l.id // nobody else has l yet
	for _, j := range []*job{p.job, p.sent} {
		if j != nil {
			j.cancel(errLinked)
		}
	}
	m.running.Add(1)
}

// remove forgets a link that has ended, and has it dialled again if it was lost.
func (m *Manager) remove(l *Link, end *Error) {
	defer m.running.Done()
	m.mu.Lock()
	p := m.peers[l.peer]
	again := false
	if p != nil && p.link == l {
		p.link = nil
		m.links--
		again = l.up && l.dialled && end.Reason.lost()
	}
	switch {
	case !l.dialled:
	case time.Since(l.started) < steady:
		m.missed(l.addr) // whoever ended it: dialled at once, it would be again and again
	default:
		delete(m.backoffs, l.addr)
	}
	m.mu.Unlock()
	if again {
		m.Dial(l.peer, []netip.AddrPort{l.addr})
	}
}

// sweep looks after the links, once a second.
func (m *Manager) sweep() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case now := <-t.C:
			for _, l := range m.Links() {
				l.sweep(now)
			}
			m.forget(now)
		}
	}
}

// forget drops what is not worth its memory.
func (m *Manager) forget(now time.Time) {
	const many = 4096
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.peers) > many {
		for id, p := range m.peers {
			if p.link == nil && p.job == nil && p.sent == nil && now.Sub(p.used) > time.Hour {
				delete(m.peers, id)
			}
		}
	}
	if len(m.backoffs) > many {
		for addr, b := range m.backoffs {
			if now.Sub(b.until) > time.Minute {
				delete(m.backoffs, addr)
			}
		}
	}
}

// refuse counts and logs a refusal.
func (m *Manager) refuse(addr string, id ring.ID, err error) {
	var e *session.Error
	if !errors.As(err, &e) {
		e = &session.Error{Code: session.FirstFrame, Err: err}
	}
	m.Refused.Refuse(e.Code, addr, id, e.Err)
}
