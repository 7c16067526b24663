package splice

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/tunnel"
	"github.com/project-iris/iris/internal/wheel"
	"github.com/project-iris/iris/internal/wire"
)

// Limits (docs/security.md, Limits).
const (
	maxAgreed   = 256              // agreements that no connection is attached to
	maxAgreedBy = 128              // of them with one node
	maxExpires  = 10 * time.Second // of an agreement
	attachTime  = 5 * time.Second  // from a connection to its first frames
	dialBack    = time.Second      // after so long the other side is asked to dial too
	keyLimit    = 256 << 30        // octets on the wire in one direction
	closeTime   = 2 * time.Second  // for what is under way when the node closes
)

// Reasons that programs are given for the end of a tunnel.
const (
	reasonLost   = "connection to the other node was lost"
	reasonBroken = "the other node broke the protocol"
	reasonKey    = "key limit"
	reasonLate   = "the other node did not open the tunnel in time"
)

// ErrBusy says that no further tunnel can be agreed on.
var ErrBusy = errors.New("too many tunnels to other nodes, or too little memory")

// Config is what a Server is made of.
type Config struct {
	Timers  *wheel.Timers // their driver calls Expire of a *tunnel.Tunnel that is due
	Budget  *queue.Budget
	Tunnels *tunnel.Stats
	Refused *session.Refusals
	Log     *slog.Logger
	Rand    io.Reader // of tunnel ids: crypto/rand.Reader but in tests

	// Max bounds the tunnels to other nodes, each of which takes a descriptor.
	Max int

	// Dial makes a connection for a tunnel to the peer, at one of its addresses,
	// until the context ends. No other node will do.
	Dial func(ctx context.Context, peer ring.ID, addrs []wire.Addr) (*session.Conn, error)

	// AskBack asks the peer, in whatever way, to dial this node for the tunnel:
	// DialBack there. It does not block.
	AskBack func(peer ring.ID, id [16]byte)

	// KeyLimit is how many octets may pass on the wire in one direction; 0: 256 GiB.
	KeyLimit uint64
}

// Stats counts what went wrong with tunnels that were to open, each step by itself,
// and the tunnels that have ended, by why.
type Stats struct {
	Dial, DialBack, Refused, Expired, Full atomic.Uint64
	Orderly, Lost, Broken, Limit           atomic.Uint64
}

// A Server joins the tunnels of one node with those of others. Safe for concurrent
// use.
type Server struct {
	Config
	Stats   Stats
	ctx     context.Context
	cancel  context.CancelCauseFunc
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	agreed map[[16]byte]*agreement // attached or expired ones are in past
	by     map[ring.ID]int
	past   [maxAgreed]outcome
	oldest int
	halves map[*half]struct{} // of open tunnels
}

// New returns a server without tunnels.
func New(c Config) *Server {
	if c.KeyLimit == 0 {
		c.KeyLimit = keyLimit
	}
	s := &Server{
		Config: c,
		agreed: make(map[[16]byte]*agreement),
		by:     make(map[ring.ID]int),
		halves: make(map[*half]struct{}),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// Open returns how many tunnels to other nodes are open.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.halves)
}

// Busy reports whether a tunnel of the peer would be refused now: a member that
// could not have it had better not be asked.
func (s *Server) Busy(peer ring.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full(peer) != ""
}

// full returns why there can be no further agreement with the peer.
func (s *Server) full(peer ring.ID) session.Code {
	switch {
	case s.closed, len(s.agreed) >= maxAgreed, s.by[peer] >= maxAgreedBy:
		return session.AttachFull
	case len(s.agreed)+len(s.halves) >= s.Max, s.Budget.Scarce():
		return session.TunnelFull
	}
	return ""
}

// Accept opens the tunnel that a program of this node has confirmed under id, an id
// reserved in its table, for a program of the peer that waits for so long: what the
// program sends waits until the peer has attached a connection. It returns what to
// tell the peer, or ErrBusy: the tunnel's id stays reserved then.
func (s *Server) Accept(b *queue.Batch, peer ring.ID, timeout time.Duration, acceptor *tunnel.Table, id uint64) (name [16]byte, expires time.Duration, err error) {
	if _, err := io.ReadFull(s.Rand, name[:]); err != nil {
		return name, 0, err
	}
	a := &agreement{id: name, peer: peer, half: newHalf(s, peer)}
	expires = min(timeout, maxExpires)
	if !s.agree(a, expires) {
		return name, 0, ErrBusy
	}
	a.half.Accept(time.Now(), b, s.Timers, acceptor, id)
	return name, expires, nil
}

// Initiate opens the tunnel that a program of the peer, of the cluster, has confirmed,
// at one of its addresses or by being dialled. Then it calls take for the id of the build in the
// initiator's table; without one, the build has ended, and so does the tunnel. It
// does not call take if no connection comes about until the agreement expires: the
// build meets its own deadline. It does not block.
func (s *Server) Initiate(peer ring.ID, name [16]byte, addrs []wire.Addr, expires time.Duration, cluster string, initiator *tunnel.Table, take func() (id uint64, ok bool)) {
	s.agree(&agreement{id: name, peer: peer, addrs: addrs, cluster: cluster, initiator: initiator, take: take}, min(expires, maxExpires))
}

// DialBack dials the peer for a tunnel that a program of this node has confirmed
// and the peer could not dial for. It does not block.
func (s *Server) DialBack(peer ring.ID, name [16]byte, addrs []wire.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.agreed[name]
	if a == nil || a.peer != peer || a.half == nil || a.both {
		return
	}
	a.both = true
	s.running.Add(1)
	go s.dialBack(a, addrs)
}

// Serve takes a connection that another node made for a tunnel, with the deadline
// that it has from its gate, and returns when it has ended.
func (s *Server) Serve(c *session.Conn) {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.running.Add(1)
	}
	s.mu.Unlock()
	defer c.Close()
	if closed {
		return
	}
	defer s.running.Done()
	s.accepted(c)
}

// Close ends everything and returns when nothing is running. Tunnels whose programs
// have ended may bring what they owe, for up to two seconds; so may those that
// still had both, but for what waited for credit. The programs are given the reason.
func (s *Server) Close(reason string) {
	s.mu.Lock()
	s.closed = true
	halves := make([]*half, 0, len(s.halves))
	for h := range s.halves {
		halves = append(halves, h)
	}
	s.mu.Unlock()
	s.cancel(errors.New(reason))
	var b queue.Batch
	now := time.Now()
	for _, h := range halves {
		if !h.Told() {
			h.Fail(now, &b, reason)
		}
	}
	b.Flush()
	late := time.NewTimer(closeTime)
	defer late.Stop()
	for i, h := range halves {
		select {
		case <-h.done:
			continue
		case <-late.C:
		}
		for _, h := range halves[i:] {
			h.abandon()
		}
		break
	}
	s.running.Wait()
}
