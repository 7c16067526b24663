package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/link"
	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relay"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/splice"
	"github.com/project-iris/iris/internal/tunnel"
	"github.com/project-iris/iris/internal/wire"
)

// network is what a node has to do with others.
type network struct {
	n        *Node
	identity *session.Identity
	gate     *session.Gate
	links    *link.Manager
	splice   *splice.Server
	listener net.Listener // nil: nobody dials this node
	search   *search

	ctx     context.Context // until the node is closed
	cancel  context.CancelFunc
	running sync.WaitGroup

	dial func(context.Context, netip.AddrPort) (net.Conn, error) // tests have it refuse

	linked map[ring.ID]*link.Link // the loop's
	pings  pings

	settled atomic.Bool // it has joined once, or need not wait for others

	mu    sync.Mutex
	addrs []wire.Addr // where others may dial this node
	state wire.State  // as it was when the loop last looked, as are the others
	alone bool
	view  map[netip.Addr]bool
	at    map[netip.AddrPort]ring.ID
	known []ring.ID // sorted
}

// newNetwork makes what the configuration asks for, and completes that of the core.
func newNetwork(n *Node, setup *core.Config) (*network, error) {
	c := &n.config
	credential, err := c.credential()
	if err != nil {
		return nil, err
	}
	w := &network{n: n, linked: make(map[ring.ID]*link.Link), dial: dialTCP, alone: true}
	if w.identity, err = session.NewIdentity(credential, c.Now); err != nil {
		return nil, err
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.gate = session.NewGate(session.GateConfig{Identity: w.identity, Refused: n.refused, InView: w.inView})
	if c.Listen != "" {
		if err := w.listen(); err != nil {
			return nil, err
		}
	}
	most := min(256, max(8, (descriptors()-512)/4))
	w.links = link.NewManager(link.Config{
		Identity:   w.identity,
		Refused:    n.refused,
		Log:        c.Log,
		Budget:     n.plane.Budget,
		Dial:       func(ctx context.Context, a netip.AddrPort) (net.Conn, error) { return w.dial(ctx, a) },
		Hello:      w.hello,
		Known:      func(id ring.ID) bool { return w.knows(id, netip.AddrPort{}) },
		Software:   "iris " + c.Version,
		Max:        most,
		Admit:      func(from ring.ID, links int) bool { return w.admits(from, links, most) },
		Handler:    w,
		MaxMessage: c.MaxMessage + 64<<10,
	})
	w.splice = splice.New(splice.Config{
		Timers:  n.plane.Timers,
		Budget:  n.plane.Budget,
		Tunnels: &n.tunnels,
		Refused: n.refused,
		Log:     c.Log,
		Rand:    rand.Reader,
		Max:     max(8, (descriptors()-512)/4),
		Dial:    w.dialTunnel,
		AskBack: w.askBack,
	})
	w.search = newSearch(w)
	n.plane.Self = w.identity.ID()
	n.plane.NoTunnel = w.splice.Busy
	n.plane.Accepted = w.accepted
	var seed [8]byte
	rand.Read(seed[:])
	setup.Network = c.Network
	setup.Self = w.identity.ID()
	setup.Addrs = w.addrs
	setup.Seed = binary.BigEndian.Uint64(seed[:])
	setup.Links = most
	setup.Workers = n.plane.Workers()
	setup.Drain = c.Drain
	return w, nil
}

// listen opens the port for other nodes.
func (w *network) listen() error {
	c := &w.n.config
	l, err := net.Listen("tcp", c.Listen)
	if isInUse(err) {
		return fmt.Errorf("port for other nodes: %s is in use: stop the program that has it, which may be another node, or choose another with --listen: %w", c.Listen, err)
	}
	if err != nil {
		return fmt.Errorf("port for other nodes: %w", err)
	}
	w.listener = l
	w.addrs, err = ownAddrs(l.Addr().(*net.TCPAddr).AddrPort(), c.Advertise, c.Interfaces)
	if err != nil {
		l.Close()
	}
	return err
}

// ownAddrs returns where other nodes may dial this one: where the operator says, else
// every address of this host that the listener is at.
func ownAddrs(at netip.AddrPort, advertise, interfaces []string) (addrs []wire.Addr, err error) {
	for _, a := range advertise {
		ap, err := netip.ParseAddrPort(a)
		if err != nil {
			return nil, fmt.Errorf("%q is not an address to advertise: give IP:PORT, such as 192.0.2.1:14142", a)
		}
		addrs = append(addrs, wire.Addr{AddrPort: ap, Advertised: true})
	}
	if len(addrs) == 0 && !at.Addr().IsUnspecified() {
		addrs = append(addrs, wire.Addr{AddrPort: at})
	}
	if len(addrs) > 0 {
		return addrs[:min(len(addrs), wire.MaxAddrs)], nil
	}
	all, err := discovery.Interfaces(interfaces)
	return hostAddrs(at, all), err
}

// hostAddrs returns the addresses of this host that a listener at all of them is at.
func hostAddrs(at netip.AddrPort, interfaces []discovery.Interface) (addrs []wire.Addr) {
	for _, i := range interfaces {
		for _, p := range i.Prefixes {
			if len(addrs) < wire.MaxAddrs && (at.Addr().Is6() || p.Addr().Is4()) {
				addrs = append(addrs, wire.Addr{AddrPort: netip.AddrPortFrom(p.Addr(), at.Port())})
			}
		}
	}
	return addrs
}

// start opens the doors, and looks for other nodes.
func (w *network) start() {
	if w.listener != nil {
		w.gate.Serve(w.listener, func(c *session.Conn) {
			if c.Purpose() == session.PurposeTunnel {
				w.splice.Serve(c)
			} else {
				w.links.Serve(c)
			}
		})
	}
	w.search.start()
}

func dialTCP(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr.String())
}

// hello is what this node says of itself.
func (w *network) hello() (wire.State, []wire.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state, w.addrs
}

// own returns where others may dial this node.
func (w *network) own() []wire.Addr {
	_, addrs := w.hello()
	return addrs
}

// inView reports whether a node that is known has the address.
func (w *network) inView(a netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view[a]
}

// admits reports whether there is room for a link that another node dials.
func (w *network) admits(from ring.ID, links, most int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return overlay.Admits(w.identity.ID(), from, w.known, links, most)
}

// Up implements link.Handler.
func (w *network) Up(l *link.Link) {
	w.n.do(func(now time.Time, b *queue.Batch) {
		info := l.Info()
		w.n.loop.Core.Up(now, overlay.Peer{ID: l.Peer(), State: info.State, Addrs: info.Addrs, Dialled: l.Dialled()}, &w.n.loop.Out)
		w.n.plane.Join()
		w.linked[l.Peer()] = l
		w.become(w.loneliness)
		l.Value = w.n.plane.LinkUp(now, b, l.Peer(), l)
		w.n.tellNode("link_up", l.Peer(), l.Addr().String(), "")
	})
}

// Down implements link.Handler.
func (w *network) Down(l *link.Link, err error) {
	w.n.do(func(now time.Time, b *queue.Batch) {
		if w.linked[l.Peer()] == l {
			delete(w.linked, l.Peer())
			w.become(w.loneliness)
			w.n.loop.Core.Down(now, l.Peer(), &w.n.loop.Out)
		}
		w.n.plane.LinkDown(now, b, l.Peer(), l)
		w.n.tellNode("link_down", l.Peer(), l.Addr().String(), err.Error())
	})
}

// Failed implements link.Handler.
func (w *network) Failed(id ring.ID) {
	w.n.tell(func(now time.Time, _ *queue.Batch) { w.n.loop.Core.DialFailed(now, id, &w.n.loop.Out) })
}

// Control implements link.Handler.
func (w *network) Control(l *link.Link, m wire.Message, f *wire.Frame) error {
	head := *f
	head.Body = nil
	w.pings.heard(l, &head, m)
	w.n.tell(func(now time.Time, _ *queue.Batch) { w.n.loop.Core.Receive(now, l.Peer(), &head, m, &w.n.loop.Out) })
	return nil
}

// Data implements link.Handler.
func (w *network) Data(l *link.Link, now time.Time, b *queue.Batch, f *wire.Frame) error {
	p, ok := l.Value.(*messaging.Peer)
	if !ok {
		return nil // the node is closing
	}
	return p.Receive(now, b, f)
}

// Dropped implements link.Handler.
func (w *network) Dropped(l *link.Link, now time.Time, b *queue.Batch, f *wire.Frame) {
	if p, ok := l.Value.(*messaging.Peer); ok {
		p.Dropped(now, b, f)
	}
}

// Idle implements link.Handler.
func (w *network) Idle(*link.Link, *queue.Batch) {}

// Room implements link.Handler.
func (w *network) Room(l *link.Link, _ *queue.Batch) {
	if p, ok := l.Value.(*messaging.Peer); ok {
		p.Room()
	}
}

// carryOut does what the loop's last turn left to do. Loop.
func (w *network) carryOut(now time.Time, b *queue.Batch) {
	n := w.n
	out := &n.loop.Out
	for _, s := range out.Send {
		l := w.linked[s.To]
		switch {
		case l == nil:
		case s.Target.IsZero():
			l.SendControl(s.Msg)
		default:
			f := wire.Frame{Type: s.Msg.Type(), Flags: wire.Routed, Hops: s.Hops, Origin: s.Origin, Target: s.Target}
			l.SendRouted(b, &f, nil, s.Msg.AppendBody(nil))
		}
	}
	for _, d := range out.Dial {
		w.links.Dial(d.ID, w.dialable(d.Addrs))
	}
	for _, d := range out.Drop {
		w.links.Close(d.ID, d.Reason)
	}
	for _, d := range n.loop.Data(now, b) {
		if m, ok := d.Msg.(wire.DialBack); ok {
			w.splice.DialBack(d.From, m.Tunnel, m.Addrs)
		}
	}
	if len(out.News) > 0 {
		w.follow(out.News)
	}
}

// follow logs what happened in the network, and keeps what others read of it.
func (w *network) follow(news []overlay.News) {
	log := w.n.config.Log
	for _, e := range news {
		switch e.Kind {
		case overlay.NodeJoined:
			log.Info("a node has joined", "node", e.ID.Short())
			w.n.tellNode("node_joined", e.ID, "", "")
			w.links.Forgive(w.dialable(w.n.loop.Core.Addrs(e.ID))) // it may have been cut off
		case overlay.NodeGone:
			log.Info("a node is gone", "node", e.ID.Short())
			w.n.tellNode("node_gone", e.ID, "", "")
		case overlay.StateChanged:
			state := w.n.loop.Core.State()
			log.Debug("this node is "+state.String(), "node", w.identity.ID())
			if state == wire.Active {
				w.settled.Store(true)
			}
			if w.n.events.heard() {
				w.n.events.publish(Event{Event: "state", State: state.String()})
			}
		}
	}
	view, at := make(map[netip.Addr]bool), make(map[netip.AddrPort]ring.ID)
	known := w.n.loop.Core.View()
	for _, id := range known {
		for _, a := range w.n.loop.Core.Addrs(id) {
			view[a.Addr()] = true
			at[a.AddrPort] = id
		}
	}
	w.become(func() {
		w.state, w.view, w.at, w.known = w.n.loop.Core.State(), view, at, known
		w.loneliness()
	})
}

// become changes what others read of the network, and has the search look at it. Loop.
func (w *network) become(change func()) {
	w.mu.Lock()
	change()
	w.mu.Unlock()
	w.search.changed()
}

// loneliness notes whether there are other nodes. Loop, under the lock.
func (w *network) loneliness() { w.alone = len(w.linked) == 0 && len(w.known) <= 1 }

// dialable returns those of the addresses that another node told which may be
// dialled on its word.
func (w *network) dialable(addrs []wire.Addr) []netip.AddrPort {
	loopback := w.listener != nil && w.listener.Addr().(*net.TCPAddr).IP.IsLoopback()
	out := make([]netip.AddrPort, 0, len(addrs))
	for _, a := range addrs {
		if a.MayDial(loopback) {
			out = append(out, a.AddrPort)
		}
	}
	return out
}

// abroad opens the tunnel that a program of this node confirmed for one of another.
func (n *Node) abroad(b *queue.Batch, o messaging.Offer, t *tunnel.Table, id uint64) error {
	w := n.network
	name, expires, err := w.splice.Accept(b, o.Peer.ID, o.Timeout, t, id)
	if err != nil {
		o.Peer.Deny(b, o)
		return err
	}
	o.Peer.Accept(b, wire.TunnelAccept{Number: o.Number, Tunnel: name, Expires: uint32(expires / time.Millisecond), Load: o.Load, Addrs: w.own()})
	return nil
}

// accepted connects the program of this node whose build a member of another node
// confirmed.
func (w *network) accepted(from *messaging.Peer, t messaging.Build, m wire.TunnelAccept) {
	table := t.From().Sink().(relay.Tunneler).Tunnels()
	w.splice.Initiate(from.ID, m.Tunnel, m.Addrs, time.Duration(m.Expires)*time.Millisecond, t.Cluster(), table, t.Take)
}

// dialTunnel makes a connection for a tunnel to a node.
func (w *network) dialTunnel(ctx context.Context, peer ring.ID, addrs []wire.Addr) (*session.Conn, error) {
	may := w.dialable(addrs)
	if l := w.links.Link(peer); l != nil && l.Dialled() { // where it is known to answer comes first
		may = append([]netip.AddrPort{l.Addr()}, may...)
	}
	err := error(&session.Error{Code: session.DialRefused, Err: errors.New("no address is known")})
	for _, a := range may {
		var nc net.Conn
		if nc, err = w.dial(ctx, a); err != nil {
			continue
		}
		var c *session.Conn
		if c, err = w.identity.Dial(ctx, nc, session.PurposeTunnel, a.Port(), peer); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// askBack asks a node to dial this one for a tunnel.
func (w *network) askBack(peer ring.ID, id [16]byte) {
	w.n.tell(func(time.Time, *queue.Batch) {
		w.n.loop.Core.Send(peer, wire.DialBack{Tunnel: id, Addrs: w.own()}, &w.n.loop.Out)
	})
}

const (
	drainPause = 10 * time.Millisecond // between two looks at what is still open
	drainQuiet = 3                     // looks for which nobody has asked for anything any more
)

// drain takes this node out of the network step by step: nobody sends it anything
// new, and what its programs are working on is finished (docs/messaging.md, Drain).
func (w *network) drain() {
	n := w.n
	n.do(func(now time.Time, b *queue.Batch) {
		n.plane.Drain()
		n.loop.Core.Leave(now, &n.loop.Out)
	})
	end := time.Now().Add(time.Second + n.config.Drain) // whoever does not acknowledge
	w.until(max(time.Second, n.config.Drain/2), func() bool { return n.loop.Core.Withdrawn() })
	// Who has not heard of it yet is refused, and asks another node. What is on its way
	// when the links end would be lost.
	quiet, refused := 0, n.plane.Drops.Refused.Load()
	w.until(time.Until(end), func() bool {
		quiet++
		if now := n.plane.Drops.Refused.Load(); n.plane.Open() > 0 || now != refused {
			quiet, refused = 0, now
		}
		return quiet == drainQuiet
	})
}

// until asks the loop until it says yes, for so long.
func (w *network) until(limit time.Duration, done func() bool) {
	for end := time.Now().Add(limit); ; {
		ok := true
		w.n.do(func(time.Time, *queue.Batch) { ok = done() })
		if ok || !time.Now().Before(end) {
			return
		}
		time.Sleep(drainPause)
	}
}

// close ends what this node has to do with others; programs are gone by now.
func (w *network) close(served bool) {
	w.cancel()
	if w.listener != nil {
		w.listener.Close()
	}
	w.splice.Close(Terminating)
	if served {
		w.n.do(func(now time.Time, _ *queue.Batch) { w.n.loop.Core.Depart(now, &w.n.loop.Out) })
	}
	w.links.Stop()
	w.gate.Close()
	w.running.Wait()
}

var _ link.Handler = (*network)(nil)
var _ messaging.Link = (*link.Link)(nil)
