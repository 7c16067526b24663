package link

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// A world is a network in memory with nodes on it.
type world struct {
	t   testing.TB
	key *session.Key

	mu        sync.Mutex
	listeners map[netip.AddrPort]*memnet.Listener
	conns     []net.Conn // dialled
	stuck     map[netip.AddrPort]bool
}

func newKey(t testing.TB) *session.Key {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	k, err := session.KeyOf(private)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newWorld(t testing.TB) *world {
	return &world{t: t, key: newKey(t), listeners: make(map[netip.AddrPort]*memnet.Listener), stuck: make(map[netip.AddrPort]bool)}
}

// listen takes an address without a node.
func (w *world) listen(i int) (*memnet.Listener, netip.AddrPort) {
	l := memnet.Listen(fmt.Sprint("nobody ", i))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners[addr(i)] = l
	return l, addr(i)
}

func (w *world) dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	l, stuck := w.listeners[addr], w.stuck[addr]
	w.mu.Unlock()
	if stuck {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	nc, err := l.Dial()
	if err == nil {
		w.mu.Lock()
		w.conns = append(w.conns, nc)
		w.mu.Unlock()
	}
	return nc, err
}

// A node is a manager at an address, with a handler that keeps what it hears.
type node struct {
	*Manager
	w        *world
	addr     netip.AddrPort
	gate     *session.Gate
	listener *memnet.Listener
	refused  *session.Refusals
	state    atomic.Int32

	mu     sync.Mutex
	events []string
	link   *Link // the last that came up
	live   map[ring.ID]*Link
	ctl    []wire.Message
	data   []received
	errs   []error
	onData func(l *Link, b *queue.Batch, f *wire.Frame) error
	onCtl  func(l *Link, m wire.Message) error
	onUp   func(l *Link)
}

type received struct {
	frame wire.Frame
	body  []byte
}

func addr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 14142)
}

func (w *world) identity(keys ...*session.Key) *session.Identity {
	if len(keys) == 0 {
		keys = []*session.Key{w.key}
	}
	c, err := session.NewCredential("test", keys[0], keys[1:]...)
	if err != nil {
		w.t.Fatal(err)
	}
	id, err := session.NewIdentity(c, time.Now)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// pair returns two identities, the lower id first.
func (w *world) pair() (low, high *session.Identity) {
	low, high = w.identity(), w.identity()
	if high.ID().Less(low.ID()) {
		low, high = high, low
	}
	return low, high
}

func (w *world) node(i int, id *session.Identity, change ...func(*Config)) *node {
	n := &node{w: w, addr: addr(i), live: make(map[ring.ID]*Link), listener: memnet.Listen(fmt.Sprint("node ", i))}
	n.refused = session.NewRefusals(slog.New(slog.DiscardHandler), time.Now)
	c := Config{
		Identity: id, Refused: n.refused, Log: slog.New(slog.DiscardHandler), Budget: queue.NewBudget(1 << 30),
		Dial: w.dial, Software: fmt.Sprint("test ", i), Max: 100, Handler: n,
		Hello: func() (wire.State, []wire.Addr) {
			return wire.State(n.state.Load()), []wire.Addr{{AddrPort: n.addr}}
		},
	}
	n.state.Store(int32(wire.Active))
	for _, f := range change {
		f(&c)
	}
	n.Manager = NewManager(c)
	n.gate = session.NewGate(session.GateConfig{Identity: id, Refused: n.refused})
	n.gate.Serve(n.listener, n.Serve)
	w.mu.Lock()
	w.listeners[n.addr] = n.listener
	w.mu.Unlock()
	return n
}

func (n *node) stop() {
	n.listener.Close()
	n.w.mu.Lock()
	if n.w.listeners[n.addr] == n.listener {
		delete(n.w.listeners, n.addr)
	}
	n.w.mu.Unlock()
	n.Manager.Stop()
	n.gate.Close()
	if used := n.Budget.Used(); used != 0 {
		n.w.t.Errorf("node %v: %d octets stay charged", n.addr, used)
	}
	if used := n.Joining.Used(); used != 0 {
		n.w.t.Errorf("node %v: %d octets of fragments stay charged", n.addr, used)
	}
}

func (n *node) note(format string, args ...any) {
	n.events = append(n.events, fmt.Sprintf(format, args...))
}

func (n *node) Up(l *Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.note("up")
	n.link = l
	if n.live[l.Peer()] != nil {
		n.w.t.Errorf("node %v: a second link to %v", n.addr, l.Peer())
	}
	n.live[l.Peer()] = l
	if n.onUp != nil {
		n.onUp(l)
	}
}

func (n *node) Down(l *Link, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.note("down %v", err.(*Error).Reason)
	n.alive(l)
	delete(n.live, l.Peer())
	n.errs = append(n.errs, err)
}

// alive checks that what is heard of a link is between its Up and its Down.
func (n *node) alive(l *Link) {
	if n.live[l.Peer()] != l {
		n.w.t.Errorf("node %v hears of a link to %v that is not up", n.addr, l.Peer())
	}
}

func (n *node) Failed(id ring.ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.note("failed")
}

func (n *node) Control(l *Link, m wire.Message, f *wire.Frame) error {
	n.mu.Lock()
	n.alive(l)
	n.ctl = append(n.ctl, m)
	f2 := n.onCtl
	n.mu.Unlock()
	if f2 != nil {
		return f2(l, m)
	}
	return nil
}

func (n *node) Data(l *Link, now time.Time, b *queue.Batch, f *wire.Frame) error {
	n.mu.Lock()
	n.alive(l)
	on := n.onData
	if on == nil {
		n.data = append(n.data, received{*f, append([]byte(nil), f.Body...)})
	}
	n.mu.Unlock()
	if on != nil {
		return on(l, b, f)
	}
	return nil
}

func (n *node) Dropped(l *Link, now time.Time, b *queue.Batch, f *wire.Frame) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.note("dropped %v", f.Type)
}

func (n *node) Idle(l *Link, b *queue.Batch) {}
func (n *node) Room(l *Link, b *queue.Batch) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.note("room")
}

func (n *node) heard() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.events...)
}

func (n *node) got() []received {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]received(nil), n.data...)
}

func (n *node) wantEvents(want ...string) {
	n.w.t.Helper()
	if got := n.heard(); fmt.Sprint(got) != fmt.Sprint(want) {
		n.w.t.Fatalf("node %v heard %q, want %q", n.addr, got, want)
	}
}

func (n *node) current() *Link {
	n.w.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.link == nil {
		n.w.t.Fatalf("node %v has no link: %q", n.addr, n.events)
	}
	return n.link
}

// join links a to b.
func (a *node) join(b *node) {
	a.Manager.Dial(b.Identity.ID(), []netip.AddrPort{b.addr})
}

func (w *world) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// request sends a request with a body.
func (n *node) request(number uint64, body []byte) (uint64, error) {
	var b queue.Batch
	f := wire.Frame{Type: wire.TypeRequest, Flags: wire.Named, Name: wire.Name{Kind: wire.Cluster, Key: ring.ID{Hi: 1}}}
	pos, err := n.current().Send(&b, wire.Requests, &f, wire.RequestHead{Number: number, Life: 1, Timeout: 1}.AppendBody(nil), queue.Payload{Data: body})
	b.Flush()
	return pos, err
}

func (n *node) publish(topic uint64, number uint64, body []byte) (uint64, error) {
	var b queue.Batch
	f := wire.Frame{Type: wire.TypePublish, Flags: wire.Named, Name: wire.Name{Kind: wire.Topic, Key: ring.ID{Hi: topic}}}
	pos, err := n.current().Send(&b, wire.Publications, &f, wire.PublishHead{Number: number}.AppendBody(nil), queue.Payload{Data: body})
	b.Flush()
	return pos, err
}

func TestControlAndDataBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.node(1, w.identity()), w.node(2, w.identity())
		defer a.stop()
		defer b.stop()
		a.join(b)
		synctest.Wait()
		a.wantEvents("up")
		b.wantEvents("up")
		la, lb := a.current(), b.current()
		if !la.Dialled() || lb.Dialled() || la.Peer() != b.Identity.ID() || lb.Info().Software != "test 1" || la.Info().State != wire.Active {
			t.Errorf("links %v and %v do not know each other: %+v, %+v", la.Peer(), lb.Peer(), la.Info(), lb.Info())
		}
		la.SendControl(wire.Beat{Nonce: 7})
		lb.SendControl(wire.Leaving{Seconds: 3})
		synctest.Wait()
		if got := fmt.Sprint(b.ctl, a.ctl); got != "[{7 false false}] [{3}]" {
			t.Errorf("control frames: %v", got)
		}
		if len(la.conns) != 1 {
			t.Errorf("%d connections before the first message", len(la.conns))
		}
		// The side that was dialled has to ask for the data connection.
		b.request(1, []byte("from b"))
		synctest.Wait()
		a.request(1, []byte("from a"))
		synctest.Wait()
		for _, n := range []*node{a, b} {
			got := n.got()
			if len(got) != 1 {
				t.Fatalf("node %v got %d messages", n.addr, len(got))
			}
			h, rest, err := wire.ParseRequestHead(got[0].body)
			if err != nil || h.Number != 1 || len(rest) != 6 {
				t.Errorf("node %v got %v, %q, %v", n.addr, h, rest, err)
			}
		}
		if len(la.conns) != 2 {
			t.Errorf("%d connections after the first message", len(la.conns))
		}
	})
}
