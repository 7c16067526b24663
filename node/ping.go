package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/admin"
	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/link"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

const (
	pingLimit  = time.Second     // for the answer of a node that is known
	reachLimit = 4 * time.Second // for one that is not
)

// PingStatus is what came of looking for a node, once.
type PingStatus struct {
	Node     string      `json:"node"` // who answered, or was asked; empty: nobody knows who is there
	Self     bool        `json:"self"` // it is the node that was to ask
	Answered bool        `json:"answered"`
	Time     float64     `json:"time_ms"` // there and back
	Address  string      `json:"address"` // dialled, or that of who dialled
	Dialled  bool        `json:"dialled"` // by this node
	Via      string      `json:"via"`     // the node that handed the question on, as there is no link
	Hops     int         `json:"hops"`    // links that the answer passed
	Dial     *DialStatus `json:"dial,omitempty"`
	Code     string      `json:"code,omitempty"` // of the refusal, if it was one
	Error    string      `json:"error,omitempty"`
	Hint     string      `json:"hint,omitempty"`
}

// DialStatus is how far the dial of an address came that no known node has, from its
// begin; 0: not so far.
type DialStatus struct {
	Connected float64 `json:"connected_ms"` // TCP
	Trusted   float64 `json:"trusted_ms"`   // both have shown that they are of the network: knock and TLS
	Welcomed  float64 `json:"welcomed_ms"`  // there is a link
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// pings are the questions that others are to answer. The zero value has none.
type pings struct {
	mu      sync.Mutex
	waiting map[uint64]chan<- pong // by nonce
}

// A pong is an answer.
type pong struct {
	at   time.Time
	from ring.ID
	hops int
}

// expect returns a new nonce, the answer to which goes to c.
func (p *pings) expect(c chan<- pong) (nonce uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == nil {
		p.waiting = make(map[uint64]chan<- pong)
	}
	for nonce = rand.Uint64(); p.waiting[nonce] != nil; nonce++ {
	}
	p.waiting[nonce] = c
	return nonce
}

func (p *pings) forget(nonce uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, nonce)
}

// heard looks whether a control message is an answer that is waited for.
func (p *pings) heard(l *link.Link, f *wire.Frame, m wire.Message) {
	beat, ok := m.(wire.Beat)
	if !ok || !beat.Ack {
		return
	}
	got := pong{at: time.Now(), from: l.Peer(), hops: 1}
	if f.Flags&wire.Routed != 0 {
		got.from, got.hops = f.Origin, 1+wire.MaxHops-int(f.Hops)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.waiting[beat.Nonce] <- got: // never where nobody waits
	default:
	}
}

// ping asks a node for a sign of life, over the link to it or by way of others.
func (w *network) ping(ctx context.Context, id ring.ID) (p PingStatus) {
	p.Node = id.String()
	if id == w.identity.ID() {
		p.Self, p.Answered = true, true
		return p
	}
	answers := make(chan pong, 1)
	nonce := w.pings.expect(answers)
	defer w.pings.forget(nonce)
	var via ring.ID
	var sent time.Time
	known := false
	w.n.do(func(_ time.Time, _ *queue.Batch) {
		if via, known = w.n.loop.Core.Overlay().FirstHop(id); known {
			sent = time.Now()
			w.n.loop.Core.Send(id, wire.Beat{Nonce: nonce}, &w.n.loop.Out)
		}
	})
	if !known {
		p.Error = "there is neither a link to the node nor one that would hand the question on"
		return p
	}
	if via != id {
		p.Via = via.String()
	}
	if l := w.links.Link(via); l != nil {
		p.Address, p.Dialled = l.Addr().String(), l.Dialled()
	}
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	for {
		select {
		case a := <-answers:
			if a.from != id {
				continue
			}
			p.Answered, p.Time, p.Hops = true, milliseconds(a.at.Sub(sent)), a.hops
		case <-ctx.Done():
			p.Error = fmt.Sprintf("no answer in %v", pingLimit)
			p.Hint = "it may be busy, stopped or cut off: within seconds it answers, or is held for dead"
		}
		return p
	}
}

// reach dials an address that no known node has, and says how far that came.
func (w *network) reach(ctx context.Context, addr netip.AddrPort) PingStatus {
	steps, err := w.links.Reach(ctx, addr)
	p := PingStatus{Address: addr.String(), Dialled: true, Dial: &DialStatus{milliseconds(steps.Connected), milliseconds(steps.Trusted), milliseconds(steps.Welcomed)}}
	if !steps.Node.IsZero() {
		p.Node = steps.Node.String()
	}
	var refused *session.Error
	switch {
	case err == nil:
		p.Answered, p.Hops = true, 1
		if l := w.links.Link(steps.Node); l != nil {
			p.Time = milliseconds(l.RTT())
		}
	case errors.As(err, &refused) && refused.Code == session.PeerSelf:
		p.Node, p.Self, p.Answered = w.identity.ID().String(), true, true
	case errors.As(err, &refused):
		p.Code, p.Error, p.Hint = string(refused.Code), refused.Code.Meaning(), refused.Code.Hint()
	default:
		p.Error = err.Error()
	}
	return p
}

// find returns what somebody means by a host: the first digits of a known node's id, as
// tables show them, an address, or a name that has addresses. An address stands for the
// known node that has it: the id is zero if there is none.
func (w *network) find(ctx context.Context, host string) (id ring.ID, addr netip.AddrPort, err error) {
	var known []overlay.Known
	w.n.do(func(time.Time, *queue.Batch) { known = w.n.loop.Core.Nodes() })
	known = append(known, overlay.Known{ID: w.identity.ID(), Addrs: w.own()})
	if id, ok, err := byDigits(known, host); ok || err != nil {
		return id, addr, err
	}
	addrs, err := lookUp(ctx, host)
	if err != nil {
		return id, addr, err
	}
	for _, a := range addrs {
		if id, ok, err := w.byAddress(known, a); ok || err != nil {
			return id, a, err
		}
	}
	return id, netip.AddrPortFrom(addrs[0].Addr(), cmp.Or(addrs[0].Port(), discovery.Port)), nil
}

// byDigits returns the node whose id begins so.
func byDigits(known []overlay.Known, digits string) (id ring.ID, ok bool, err error) {
	const fewest = 4 // less are no id, but the name of a host
	var those []string
	for _, k := range known {
		if len(digits) >= fewest && strings.HasPrefix(k.ID.String(), strings.ToLower(digits)) {
			id, those = k.ID, append(those, k.ID.String())
		}
	}
	if len(those) > 1 {
		err = fmt.Errorf("%d nodes have an id that begins so: give more digits, of %s", len(those), strings.Join(those, " or "))
	}
	return id, len(those) == 1, err
}

// byAddress returns the node that is known at an address, of any port if that is 0.
func (w *network) byAddress(known []overlay.Known, a netip.AddrPort) (id ring.ID, ok bool, err error) {
	is := func(b netip.AddrPort) bool { return b == a || a.Port() == 0 && b.Addr().Unmap() == a.Addr() }
	var those []string
	for _, k := range known {
		l := w.links.Link(k.ID)
		if slices.ContainsFunc(k.Addrs, func(b wire.Addr) bool { return is(b.AddrPort) }) || l != nil && is(l.Addr()) {
			id, those = k.ID, append(those, k.ID.Short())
		}
	}
	if len(those) > 1 {
		err = fmt.Errorf("%d nodes are known there: give a port, or one of the ids %s", len(those), strings.Join(those, " "))
	}
	return id, len(those) == 1, err
}

// lookUp returns the addresses of a host, with port 0 if none is given.
func lookUp(ctx context.Context, host string) (addrs []netip.AddrPort, err error) {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a.Unmap(), 0)}, nil
	}
	name, port := host, uint64(0)
	if h, p, err := net.SplitHostPort(host); err == nil {
		if port, err = strconv.ParseUint(p, 10, 16); err != nil || port == 0 {
			return nil, fmt.Errorf("%q is no port: give HOST:PORT, such as 192.0.2.1:%d", p, discovery.Port)
		}
		name = h
	}
	ctx, cancel := context.WithTimeout(ctx, reachLimit/2)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil || len(ips) == 0 {
		return nil, fmt.Errorf(`neither the id of a known node begins so, nor is there an address of that name: "iris status" shows ids and addresses of nodes (%v)`, err)
	}
	for _, ip := range ips {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return addrs, nil
}

// Ping looks for a node once: over its link, by way of others, or at an address that no
// known node has.
func (n *Node) Ping(ctx context.Context, host string) PingStatus {
	w := n.network
	if w == nil {
		return PingStatus{Error: "this node is alone for good", Hint: "it was started with --dev: with --net and --key there may be others"}
	}
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	id, addr, err := w.find(ctx, host)
	switch {
	case err != nil:
		return PingStatus{Error: err.Error()}
	case id.IsZero():
		return w.reach(ctx, addr)
	}
	return w.ping(ctx, id)
}

func (n *Node) answerPing(w http.ResponseWriter, r *http.Request) {
	admin.JSON(w, n.Ping(r.Context(), r.FormValue("host")))
}
