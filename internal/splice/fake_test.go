package splice

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/tunnel"
	"github.com/project-iris/iris/internal/wheel"
	"github.com/project-iris/iris/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var networkKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// A node is what has tunnels: a server behind a gate.
type node struct {
	*Server
	t        testing.TB
	net      *network
	identity *session.Identity
	gate     *session.Gate
	listener net.Listener
	dials    []net.Conn
	blocked  bool          // nobody can dial it
	slow     time.Duration // a dial takes so long
}

// A network is some nodes, by id.
type network struct {
	t      testing.TB
	mu     sync.Mutex
	nodes  map[ring.ID]*node
	listen func() net.Listener
	dial   func(net.Listener) (net.Conn, error)
}

func newNetwork(t testing.TB) *network {
	return &network{
		t:      t,
		nodes:  make(map[ring.ID]*node),
		listen: func() net.Listener { return memnet.Listen("node") },
		dial:   func(l net.Listener) (net.Conn, error) { return l.(*memnet.Listener).Dial() },
	}
}

// ids are the ids that a node gives to tunnels.
type ids struct {
	node ring.ID
	n    atomic.Uint32
}

func (r *ids) Read(b []byte) (int, error) {
	binary.BigEndian.PutUint64(b, r.node.Hi)
	binary.BigEndian.PutUint32(b[8:], r.n.Add(1))
	return len(b), nil
}

func (w *network) node(change ...func(*Config)) *node {
	key, err := session.KeyOf(networkKey)
	if err != nil {
		w.t.Fatal(err)
	}
	credential, err := session.NewCredential("net", key)
	if err != nil {
		w.t.Fatal(err)
	}
	identity, err := session.NewIdentity(credential, time.Now)
	if err != nil {
		w.t.Fatal(err)
	}
	n := &node{t: w.t, net: w, identity: identity, listener: w.listen()}
	log := slog.New(slog.DiscardHandler)
	refused := session.NewRefusals(log, time.Now)
	c := Config{
		Timers:  wheel.NewTimers(time.Now(), func() {}),
		Budget:  queue.NewBudget(1 << 30),
		Tunnels: new(tunnel.Stats),
		Refused: refused,
		Log:     log,
		Rand:    &ids{node: identity.ID()},
		Max:     1000,
		Dial:    n.dial,
		AskBack: func(peer ring.ID, id [16]byte) {
			w.mu.Lock()
			p := w.nodes[peer]
			w.mu.Unlock()
			p.DialBack(n.identity.ID(), id, nil)
		},
	}
	for _, f := range change {
		f(&c)
	}
	n.Server = New(c)
	n.gate = session.NewGate(session.GateConfig{Identity: identity, Refused: refused})
	n.gate.Serve(n.listener, n.Serve)
	w.mu.Lock()
	w.nodes[identity.ID()] = n
	w.mu.Unlock()
	w.t.Cleanup(n.stop)
	return n
}

func (n *node) stop() {
	n.listener.Close()
	n.Close("stopped")
	n.gate.Close()
	if used := n.Budget.Used(); used != 0 {
		n.t.Errorf("%d octets stay charged", used)
	}
	if open := n.Tunnels.Open.Load(); open != 0 {
		n.t.Errorf("%d tunnels stay open", open)
	}
}

func (n *node) dial(ctx context.Context, peer ring.ID, _ []wire.Addr) (*session.Conn, error) {
	n.net.mu.Lock()
	p := n.net.nodes[peer]
	blocked, slow := p.blocked, p.slow
	n.net.mu.Unlock()
	if blocked {
		return nil, errors.New("blocked")
	}
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	nc, err := n.net.dial(p.listener)
	if err != nil {
		return nil, err
	}
	n.net.mu.Lock()
	n.dials = append(n.dials, nc)
	n.net.mu.Unlock()
	return n.identity.Dial(ctx, nc, session.PurposeTunnel, 14142, peer)
}

// raw returns a connection to p that the test speaks on.
func (n *node) raw(p *node) *session.Conn {
	n.t.Helper()
	c, err := n.dial(context.Background(), p.identity.ID(), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

func (n *node) wantRefused(code session.Code, times uint64) {
	n.t.Helper()
	if got := n.Refused.Counts()[code]; got != times {
		n.t.Errorf("%s was counted %d times, want %d (all: %v)", code, got, times, n.Refused.Counts())
	}
}

// A program is one end of a tunnel, under id 1. It takes all that comes.
type program struct {
	t     testing.TB
	table *tunnel.Table
	ended bool // take finds that the build has

	out queue.Batch // of send

	mu       sync.Mutex
	change   sync.Cond
	opened   bool
	window   int64
	got      []byte
	octets   int64 // also of what was not kept
	discards bool
	grants   bool // what came, in steps
	granted  int64
	closed   bool
	reason   string
}

func (n *node) program() *program {
	p := &program{t: n.t}
	p.change.L = &p.mu
	p.table = tunnel.NewTable(p, n.Budget, n.Tunnels)
	p.table.Building(1)
	return p
}

func (p *program) TunnelOpen(*queue.Batch, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened = true
	p.change.Broadcast()
}

func (p *program) TunnelAllow(_ *queue.Batch, _, octets uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.window += int64(octets)
	p.change.Broadcast()
}

func (p *program) TunnelClose(_ *queue.Batch, _ uint64, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.t.Errorf("a second close, for %q", reason)
	}
	p.closed, p.reason = true, reason
	p.change.Broadcast()
}

func (p *program) TunnelChunk(b *queue.Batch, _, size uint64, octets []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.t.Error("a chunk after the close")
	}
	p.octets += int64(len(octets))
	if !p.discards {
		p.got = append(p.got, octets...)
	}
	if p.grants {
		b.Add(p)
	}
	p.change.Broadcast()
	return true
}

// Flush grants again what came.
func (p *program) Flush(b *queue.Batch) {
	p.mu.Lock()
	n := p.octets - p.granted
	if n < 1<<20 {
		p.mu.Unlock()
		return
	}
	p.granted += n
	p.mu.Unlock()
	if e := p.table.End(1); e != nil {
		e.Allow(time.Now(), b, uint64(n))
	}
}

// until waits for what is true under the lock.
func (p *program) until(ok func() bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !ok() {
		p.change.Wait()
	}
}

// send sends a message, as fast as it may.
func (p *program) send(message []byte) {
	b := &p.out
	for size := uint64(len(message)); len(message) > 0; size = 0 {
		part := message[:min(len(message), 1<<16)]
		p.until(func() bool { return p.window >= int64(len(part)) || p.closed })
		p.mu.Lock()
		p.window -= int64(len(part))
		p.mu.Unlock()
		if e := p.table.End(1); e != nil {
			if err := e.Chunk(time.Now(), b, size, part); err != nil {
				p.t.Error(err)
			}
		}
		b.Flush()
		message = message[len(part):]
	}
}

func (p *program) allow(n uint64) {
	var b queue.Batch
	if e := p.table.End(1); e != nil {
		e.Allow(time.Now(), &b, n)
	}
	b.Flush()
}

func (p *program) close() {
	var b queue.Batch
	if e := p.table.End(1); e != nil {
		e.Close(time.Now(), &b)
	}
	b.Flush()
}

func (p *program) wantOpen() {
	p.t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.t.Fatalf("closed for %q", p.reason)
	}
}

func (p *program) wantClosed(reason string) {
	p.t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed || p.reason != reason {
		p.t.Fatalf("closed %v for %q, want %q", p.closed, p.reason, reason)
	}
}

func (p *program) wantGot(want string) {
	p.t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if string(p.got) != want {
		p.t.Fatalf("got %d octets %.20q, want %d, %.20q", len(p.got), p.got, len(want), want)
	}
}

// accept has a program of n confirm a tunnel for one of peer.
func (n *node) accept(peer *node) (p *program, id [16]byte) {
	n.t.Helper()
	p = n.program()
	var b queue.Batch
	id, _, err := n.Accept(&b, peer.identity.ID(), time.Minute, p.table, 1)
	if err != nil {
		n.t.Fatal(err)
	}
	b.Flush()
	return p, id
}

// initiate opens the tunnel for a program of n.
func (n *node) initiate(peer *node, id [16]byte) *program { return n.initiateOr(peer, id, false) }

func (n *node) initiateOr(peer *node, id [16]byte, ended bool) *program {
	p := n.program()
	p.ended = ended
	n.Initiate(peer.identity.ID(), id, nil, time.Minute, "", p.table, func() (uint64, bool) {
		if p.ended {
			p.table.Failed(1)
		}
		return 1, !p.ended
	})
	return p
}

// tunnel makes a tunnel from n to peer. Both programs take much.
func (n *node) tunnel(peer *node) (x, y *program) {
	y, id := peer.accept(n)
	x = n.initiate(peer, id)
	x.until(func() bool { return x.opened })
	x.allow(1 << 40)
	y.allow(1 << 40)
	return x, y
}

// bubble runs a test in a bubble, with two nodes.
func bubble(t *testing.T, f func(t *testing.T, a, b *node)) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork(t)
		f(t, w.node(), w.node())
	})
}
