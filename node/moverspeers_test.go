package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// open lets other nodes in, in memory.
func (b *bed) open() *bed {
	b.door = memnet.Listen("door")
	w := b.n.network
	w.gate.Serve(b.door, func(c *session.Conn) {
		if c.Purpose() == session.PurposeTunnel {
			w.splice.Serve(c)
		} else {
			w.links.Serve(c)
		}
	})
	return b
}

func (b *bed) knock() net.Conn {
	nc, err := b.door.Dial()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { nc.Close() })
	return nc
}

// somebody is a node of a network.
func (b *bed) somebody(key ed25519.PrivateKey, now func() time.Time) *session.Identity {
	k, err := session.KeyOf(key)
	if err != nil {
		b.Fatal(err)
	}
	c, err := session.NewCredential("test", k)
	if err != nil {
		b.Fatal(err)
	}
	id, err := session.NewIdentity(c, now)
	if err != nil {
		b.Fatal(err)
	}
	return id
}

func (b *bed) member() *session.Identity { return b.somebody(testKey, time.Now) }

// dials has somebody dial; who is refused gets no connection.
func (b *bed) dials(id *session.Identity, p session.Purpose) *session.Conn {
	c, err := id.Dial(context.Background(), b.knock(), p, 14142, b.n.network.identity.ID())
	if err != nil {
		return nil
	}
	b.Cleanup(func() { c.NetConn().Close() })
	return c
}

// A stranger is another node that has a link to this one, and does what the test wants.
type stranger struct {
	*bed
	id      *session.Identity
	control *session.Conn
	link    uint64
}

func (b *bed) stranger() *stranger {
	h := &stranger{bed: b.open()}
	h.id = h.member()
	h.control = h.dials(h.id, session.PurposeLink)
	h.link = h.says(h.control, wire.Hello{Role: wire.RoleControl, State: wire.Active}).Link
	synctest.Wait()
	return h
}

func (b *bed) says(c *session.Conn, m wire.Message) wire.Welcome {
	c.Write(wire.Append(nil, m))
	welcome, err := session.ReadFirst(c, wire.TypeWelcome, wire.ParseWelcome)
	if err != nil {
		b.Fatal(err)
	}
	return welcome
}

// data opens the data connection.
func (h *stranger) data() *session.Conn {
	c := h.dials(h.id, session.PurposeLink)
	h.says(c, wire.Hello{Role: wire.RoleData, Link: h.link})
	synctest.Wait()
	return c
}

// fragment sends the start of a long message.
func (h *stranger) fragment() *session.Conn {
	c := h.data()
	f := wire.Frame{Type: wire.TypeRequest, Flags: wire.Fragment | wire.Named, Name: h.name(core.Cluster, "there"), Message: 1, Total: 1 << 20}
	c.Write(append(f.AppendHead(nil, wire.MaxBody), make([]byte, wire.MaxBody)...))
	synctest.Wait()
	return c
}

// reaches says what becomes of the node's dials.
func (b *bed) reaches(dial func(ctx context.Context) (net.Conn, error)) {
	b.n.network.dial = func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) { return dial(ctx) }
	b.n.network.links.Dial(ring.ID{Hi: 5}, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:14142")})
	time.Sleep(30 * time.Second)
}

// joined returns another node of the network, which this one has dialled.
func (b *bed) joined() *bed {
	other := newBed(b.T).open()
	b.n.network.dial = func(context.Context, netip.AddrPort) (net.Conn, error) { return other.door.Dial() }
	b.n.network.links.Seed(netip.MustParseAddrPort("192.0.2.1:14142"))
	time.Sleep(20 * time.Second)
	if !loopSays(b.n, func() bool { return b.n.loop.Core.State() == wire.Active && len(b.n.loop.Core.View()) == 2 }) {
		b.Fatal("the nodes have not joined")
	}
	return other
}

// asksForTunnel has a program ask for a tunnel to a node, which says that a program there
// has confirmed it.
func (b *bed) asksForTunnel(to ring.ID, dial func(context.Context, netip.AddrPort) (net.Conn, error)) {
	f := &far{bed: b, key: to}
	f.up()
	go b.client("", nil).Tunnel(b.Context(), "there")
	synctest.Wait()
	f.joins(core.Cluster, "there")
	b.n.network.dial = dial
	at := []wire.Addr{{AddrPort: netip.MustParseAddrPort("192.0.2.1:14142")}}
	f.says(wire.TypeTunnelAccept, 0, wire.Name{}, wire.TunnelAccept{Number: f.lastOf(wire.TypeTunnelOffer), Tunnel: [16]byte{1}, Expires: 1000, Addrs: at}.AppendBody(nil))
	time.Sleep(time.Minute)
}

// accepts has another node ask for tunnels to a program of this one, which confirms.
func (b *bed) accepts(n int) {
	h := b.stranger()
	connect(b, b.n, "there", &handler{tunnel: func(t *Tunnel) { t.Close() }})
	c := h.data()
	for i := range n {
		f := wire.Frame{Type: wire.TypeTunnelOffer, Flags: wire.Named, Name: h.name(core.Cluster, "there")}
		head := wire.RequestHead{Number: uint64(2 * i), Life: 60_000, Timeout: 60_000}.AppendBody(nil)
		c.Write(append(f.AppendHead(nil, len(head)), head...))
		synctest.Wait()
	}
}

func init() {
	movers = append(movers, []mover{
		{`peer_anchor{anchor="0"} link_closed{reason="lost"}`, func(b *bed) {
			b.stranger().control.NetConn().Close()
		}},
		{`frames_bad link_closed{reason="protocol_violation"}`, func(b *bed) {
			h := b.stranger()
			f := wire.Frame{Type: 0x7f}
			h.control.Write(f.AppendHead(nil, 0))
			synctest.Wait()
			h.control.Close()
			time.Sleep(5 * time.Second)
		}},
		{`frames_skipped`, func(b *bed) {
			f := wire.Frame{Type: 0x7f, Flags: wire.Skip}
			b.stranger().control.Write(f.AppendHead(nil, 0))
		}},
		{`link_closed{reason="closed"}`, func(b *bed) {
			h := b.stranger()
			b.n.network.links.Close(h.id.ID(), "no longer needed")
			time.Sleep(5 * time.Second)
		}},
		{`link_closed{reason="closed_by_peer"}`, func(b *bed) {
			other := b.joined()
			defer other.close()
			other.n.network.links.Close(b.n.network.identity.ID(), "no longer needed")
			time.Sleep(3 * time.Second)
		}},
		{`link_closed{reason="replaced"}`, func(b *bed) {
			h := b.stranger()
			h.says(h.dials(h.id, session.PurposeLink), wire.Hello{Role: wire.RoleControl})
		}},
		{`link_closed{reason="peer_does_not_read"}`, func(b *bed) {
			h := b.stranger()
			l := b.n.network.links.Link(h.id.ID())
			long := wire.Announce{Names: make([]wire.Registration, 1000)}
			for range 400 {
				l.SendControl(long)
			}
			time.Sleep(5 * time.Second)
		}},
		{`link_closed{reason="no_data_connection"}`, func(b *bed) {
			other := b.joined()
			defer other.close()
			b.n.network.dial = func(context.Context, netip.AddrPort) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
			l := b.n.network.links.Link(other.n.network.identity.ID())
			l.Send(&b.b, wire.Requests, &wire.Frame{Type: wire.TypeCancel, Flags: wire.Skip}, wire.Cancel{}.AppendBody(nil), queue.Payload{})
			b.b.Flush()
			time.Sleep(time.Minute)
		}},
		{`link_closed{reason="node_stops"}`, func(b *bed) {
			b.stranger()
			b.close()
		}},
		{`fragments_dropped{cause="aborted"}`, func(b *bed) {
			b.stranger().fragment().Write(wire.Append(nil, wire.Abort{Message: 1}))
		}},
		{`fragments_dropped{cause="stalled"}`, func(b *bed) {
			h := b.stranger()
			h.fragment()
			for range 15 {
				h.control.Write(wire.Append(nil, wire.Beat{}))
				time.Sleep(time.Second)
			}
		}},
		{`memory_shed{pool="reassembly"}`, func(b *bed) {
			h := b.stranger()
			b.scarce()
			h.fragment()
		}},
		{`routed{what="no_room"}`, func(b *bed) {
			h := b.stranger()
			f := wire.Frame{Type: wire.TypeRequest, Flags: wire.Routed | wire.Named, Target: ring.ID{Hi: 9}}
			b.n.network.links.Link(h.id.ID()).SendRouted(&b.b, &f, nil, make([]byte, wire.MaxRouted+1))
		}},

		{`refused{reason="knock_none"}`, func(b *bed) {
			b.open().knock()
			time.Sleep(6 * time.Second)
		}},
		{`refused{reason="knock_key"}`, func(b *bed) {
			other := ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), 1))
			b.open().dials(b.somebody(other, time.Now), session.PurposeLink)
		}},
		{`refused{reason="knock_time"}`, func(b *bed) {
			late := func() time.Time { return time.Now().Add(30 * time.Hour) }
			b.open().dials(b.somebody(testKey, late), session.PurposeLink)
		}},
		{`refused{reason="knock_self"}`, func(b *bed) { b.open().dials(b.n.network.identity, session.PurposeLink) }},
		{`refused{reason="peer_other"}`, func(b *bed) {
			other := newBed(b.T).open()
			defer other.close()
			b.reaches(func(context.Context) (net.Conn, error) { return other.door.Dial() })
		}},
		{`refused{reason="first_frame"}`, func(b *bed) {
			c := b.open().dials(b.member(), session.PurposeLink)
			c.Write(wire.Append(nil, wire.Beat{}))
			time.Sleep(6 * time.Second)
		}},
		{`refused{reason="tls_time"}`, func(b *bed) {
			b.open().dials(b.member(), session.PurposeTunnel)
			time.Sleep(6 * time.Second)
		}},
		{`refused{reason="link_unknown"}`, func(b *bed) {
			b.open()
			b.says(b.dials(b.member(), session.PurposeLink), wire.Hello{Role: wire.RoleData, Link: 99})
		}},
		{`refused{reason="attach_unknown"}`, func(b *bed) {
			c := b.open().dials(b.member(), session.PurposeTunnel)
			c.Write(wire.Append(nil, wire.Attach{Tunnel: [16]byte{1}}))
			time.Sleep(6 * time.Second)
		}},
		{`refused{reason="accept_full"}`, func(b *bed) {
			b.open()
			for range 600 {
				b.knock()
			}
			time.Sleep(10 * time.Second)
		}},
		{`refused{reason="dial_refused"}`, func(b *bed) {
			b.reaches(func(context.Context) (net.Conn, error) { return nil, syscall.ECONNREFUSED })
		}},
		{`refused{reason="dial_timeout"}`, func(b *bed) {
			b.reaches(func(ctx context.Context) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
		}},
		{`refused{reason="dial_closed"}`, func(b *bed) {
			l := memnet.Listen("closes")
			defer l.Close()
			go func() {
				for nc, err := l.Accept(); err == nil; nc, err = l.Accept() {
					nc.Close()
				}
			}()
			b.reaches(func(context.Context) (net.Conn, error) { return l.Dial() })
		}},

		{`tunnel_failed{cause="expired"}`, func(b *bed) {
			b.accepts(1)
			time.Sleep(15 * time.Second)
		}},
		{`tunnel_failed{cause="limit"} refused{reason="attach_full"}`, func(b *bed) {
			b.n.plane.NoTunnel = nil // what the node asks before it offers
			b.accepts(129)
			time.Sleep(15 * time.Second)
		}},
		{`tunnel_failed{cause="dial"}`, func(b *bed) {
			b.asksForTunnel(ring.ID{Hi: 7}, func(context.Context, netip.AddrPort) (net.Conn, error) { return nil, errors.New("no way") })
		}},
		{`tunnel_failed{cause="attach_refused"}`, func(b *bed) {
			other := newBed(b.T).open()
			defer other.close()
			b.asksForTunnel(other.n.network.identity.ID(), func(context.Context, netip.AddrPort) (net.Conn, error) { return other.door.Dial() })
		}},
		{`refused{reason="tunnel_full"}`, func(b *bed) {
			b.n.plane.NoTunnel = nil // what the node asks before it offers
			b.n.network.splice.Max = 0
			b.accepts(1)
		}},
		{`routed{what="sent"} request_retries{reason="undelivered"}`, func(b *bed) {
			router, g := b.far(7), &far{bed: b, key: ring.ID{Hi: 8}}
			b.ask("there", 10, 5*time.Second)
			b.loop(func(now time.Time, batch *queue.Batch) {
				p, name := b.n.plane, b.name(core.Cluster, "there")
				routes := []overlay.Route{{ID: router.key, Via: router.key, Hands: true}, {ID: g.key, Via: router.key}}
				p.Member(batch, directory.Change{Name: name, Node: g.key, Members: 1, Workers: 1}, &messaging.Asks{})
				p.Apply(now, batch, nil)
				p.Route(now, batch, routes)
				p.Found(now, batch, name)
				p.Undelivered(now, batch, wire.Undelivered{Target: g.key, Of: wire.TypeRequest, Number: router.last()})
			})
		}},
		{`directory_events{cause="unwanted"}`, func(b *bed) {
			other := b.joined()
			defer other.close()
			other.client("", nil).Subscribe("news", func([]byte) {})
			b.client("", nil).Publish("news", nil)
			time.Sleep(5 * time.Second)
			b.control(other.n.network.identity.ID(), wire.Unwanted{Name: b.name(core.Topic, "news"), Seq: 1 << 62})
		}},
		{`refused{reason="welcome_tie"} refused{reason="welcome_full"} refused{reason="welcome_leaving"}`, func(b *bed) {
			var dials atomic.Int32
			gate := session.NewGate(session.GateConfig{Identity: b.member(), Refused: session.NewRefusals(slog.New(slog.DiscardHandler), time.Now)})
			l := memnet.Listen("turns away")
			defer gate.Close()
			defer l.Close()
			gate.Serve(l, func(c *session.Conn) {
				session.ReadFirst(c, wire.TypeHello, wire.ParseHello)
				results := []byte{wire.ResultTie, wire.ResultFull, wire.ResultLeaving}
				c.Write(wire.Append(nil, wire.Welcome{Result: results[dials.Add(1)%3]}))
				c.Close()
			})
			b.n.network.dial = func(context.Context, netip.AddrPort) (net.Conn, error) { return l.Dial() }
			b.n.network.links.Seed(netip.MustParseAddrPort("192.0.2.1:14142"))
			time.Sleep(time.Minute)
		}},
		{`directory_events{cause="incomplete"}`, func(b *bed) {
			other := b.joined()
			defer other.close()
			c := b.client("", nil)
			for i := range 20 { // the other node is the root of some
				c.Publish(fmt.Sprint(i), nil)
			}
			time.Sleep(5 * time.Second)
			for i := range 20 {
				b.control(other.n.network.identity.ID(), wire.Members{Name: b.name(core.Topic, fmt.Sprint(i)), Ver: wire.Ver{Epoch: 1 << 30}, Incomplete: true})
			}
		}},
		{`tunnel_closed{reason="program"}`, func(b *bed) {
			from, to := b.program(""), b.program("there")
			from.send(relaywire.Message{Op: relaywire.TunnelInit, ID: 1, Name: []byte("there"), Size: 4, Timeout: 1000})
			o := to.want(relaywire.TunnelInit)
			to.send(relaywire.Message{Op: relaywire.TunnelConfirm, ID: o.ID, Tunnel: 2, Size: 4})
			from.want(relaywire.TunnelResult)
			to.send(relaywire.Message{Op: relaywire.TunnelAllow, ID: 2, Size: 100})
			from.want(relaywire.TunnelAllow)
			from.send(relaywire.Message{Op: relaywire.TunnelTransfer, ID: 1, Size: 1, Body: []byte("more")}) // than the message has
		}},

		{`directory_events{cause="redirect"} directory_events{cause="watcher_dropped"} refused{reason="watch_full"} directory_events{cause="mismatch"}`, func(b *bed) {
			other := b.joined()
			defer other.close()
			b.loop(func(now time.Time, _ *queue.Batch) {
				c, out := b.n.loop.Core, &b.n.loop.Out
				says := func(from ring.ID, m wire.Message) { c.Receive(now, from, &wire.Frame{}, m, out) }
				for i := range uint64(4100) {
					for n := range 8 { // this node is the root of some
						says(ring.ID{Hi: 100 + i}, wire.Resolve{Query: 1, Watch: true, Names: []wire.Held{{Name: b.name(core.Topic, fmt.Sprint(n))}}})
					}
				}
				says(other.n.network.identity.ID(), wire.DigestDir{Role: wire.DigestMember, Count: 9, Sum: 9})
			})
		}},
		{`tunnel_closed{reason="orderly"} tunnel_closed{reason="lost"}`, func(b *bed) {
			other := b.joined()
			defer other.close()
			var conns []net.Conn
			dial := b.n.network.dial
			b.n.network.dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
				nc, err := dial(ctx, a)
				conns = append(conns, nc)
				return nc, err
			}
			connect(b, other.n, "there", &handler{tunnel: func(t *Tunnel) { t.Recv(context.Background()) }})
			c := b.client("", nil)
			for i := range 2 {
				t, err := c.Tunnel(b.Context(), "there")
				if err != nil {
					b.Fatal(err)
				}
				if synctest.Wait(); i == 0 {
					t.Close()
					time.Sleep(time.Minute)
				} else {
					conns[len(conns)-1].Close()
				}
			}
		}},
		{`routed{what="forwarded"}`, func(b *bed) {
			f, g := b.far(7), b.far(8)
			b.loop(func(now time.Time, batch *queue.Batch) {
				b.n.plane.Route(now, batch, []overlay.Route{{ID: f.key, Via: f.key, Hands: true}, {ID: g.key, Via: g.key, Hands: true}})
				f.Receive(now, batch, &wire.Frame{Type: wire.TypeReply, Flags: wire.Routed, Hops: 3, Origin: f.key, Target: g.key, Body: wire.ReplyHead{Number: 2}.AppendBody(nil)})
			})
		}},
	}...)
}
