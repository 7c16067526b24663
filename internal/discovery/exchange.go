package discovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

const (
	maxSkew     = 26 * time.Hour
	tokenLife   = 5 * time.Second
	answerDelay = 200 * time.Millisecond // at most, to the group
	answerers   = 3                      // nodes of a network that answer a beacon
)

// Config is what an Exchange needs from its node.
type Config struct {
	Self ring.ID
	Seed [32]byte // not to be guessed, for tokens

	// Loopback says that our listener is bound to loopback: addresses there may
	// be dialled.
	Loopback bool

	// Seal returns the packet of PacketSize octets around a plain of PlainSize;
	// Open returns what is sealed in a packet, and with which of the accepted
	// keys. They are those of a session.Identity.
	Seal func(plain []byte) (packet []byte)
	Open func(packet []byte) (plain []byte, anchor int, ok bool)

	// Knows reports whether a node is known, and need not be found.
	Knows func(id ring.ID) bool

	// Wall is the time that packets say; nil: the one that is handed in.
	Wall func() time.Time
}

// wall returns the time that packets say.
func (c *Config) wall(now time.Time) time.Time {
	if c.Wall == nil {
		return now
	}
	return c.Wall()
}

// An Exchange is a node's part in finding others by packets. It does no I/O:
// what comes goes in, what to do comes out. One goroutine at a time.
type Exchange struct {
	c      Config
	random *rand.Rand

	state wire.State
	nodes int
	addrs []wire.Addr

	opened   rate
	salts    salts
	answered answered
	asked    []question // oldest first
	pending  []question // to answer to the group; at: when
}

// A question is a token, and when it was asked or is to be answered.
type question struct {
	token [16]byte
	at    time.Time
}

// New returns the Exchange of a node that has yet to say what it is.
func New(c Config) *Exchange {
	return &Exchange{c: c, random: rand.New(rand.NewChaCha8(c.Seed)), nodes: 1}
}

// A Datagram is what was received by UDP. Its octets are not kept.
type Datagram struct {
	From      netip.AddrPort
	Group     bool   // it was sent to the group
	Interface string // that it came by, as zones are written
	Octets    []byte
}

// Output is what is to be done. The caller empties it.
type Output struct {
	Send    []Send
	Dial    []Dial
	Refused []Refusal
	Heard   []Heard
}

// Heard is a packet of another node of the network.
type Heard struct {
	Kind  Kind
	Node  ring.ID
	Known bool // else: search on, and soon
	Group bool
	From  netip.Addr
}

// Send is a packet to send: to an address, or to the group on every interface if
// that is zero.
type Send struct {
	Kind   Kind
	To     netip.AddrPort
	Packet []byte
}

// Dial is a node worth dialling, within what the node may dial at all.
type Dial struct {
	Node  ring.ID
	From  netip.Addr // that the packet came from
	Addrs []netip.AddrPort
}

// Refusal is a packet, or an address in one, of which nothing came.
type Refusal struct {
	Code session.Code
	From netip.AddrPort
	Node ring.ID // zero where it is not known
	Err  error   // what there is to say beside the code
}

// Become says what our packets say of us from now on. The addresses are those of
// our listener, and never dialled.
func (x *Exchange) Become(state wire.State, nodes int, addrs []wire.Addr) {
	x.state, x.nodes, x.addrs = state, max(nodes, 1), slices.Clone(addrs)
}

// Beacon asks the group who is there.
func (x *Exchange) Beacon(now time.Time, out *Output) { x.ask(now, Beacon, netip.AddrPort{}, out) }

// Probe asks whether a node is at an address.
func (x *Exchange) Probe(now time.Time, to netip.AddrPort, out *Output) { x.ask(now, Probe, to, out) }

func (x *Exchange) ask(now time.Time, kind Kind, to netip.AddrPort, out *Output) {
	x.forget(now)
	q := question{at: now}
	binary.BigEndian.PutUint64(q.token[:8], x.random.Uint64())
	binary.BigEndian.PutUint64(q.token[8:], x.random.Uint64())
	x.asked = append(x.asked, q)
	x.send(now, kind, q.token, to, out)
}

func (x *Exchange) send(now time.Time, kind Kind, token [16]byte, to netip.AddrPort, out *Output) {
	p := Packet{Kind: kind, State: x.state, Nodes: uint32(x.nodes), Time: x.c.wall(now), Node: x.c.Self, Token: token, Addrs: x.addrs}
	out.Send = append(out.Send, Send{kind, to, x.c.Seal(p.Append(nil))})
}

// forget drops questions that are too old to be answered.
func (x *Exchange) forget(now time.Time) {
	x.asked = slices.DeleteFunc(x.asked, func(q question) bool { return now.Sub(q.at) > tokenLife })
}

// Receive takes in a datagram, of which no octet is trusted.
func (x *Exchange) Receive(now time.Time, d Datagram, out *Output) {
	p, code, err := x.open(now, d)
	if code != "" {
		out.Refused = append(out.Refused, Refusal{code, d.From, p.Node, err})
		return
	}
	known := x.c.Knows(p.Node)
	out.Heard = append(out.Heard, Heard{p.Kind, p.Node, known, d.Group, d.From.Addr().Unmap()})
	switch p.Kind {
	case Probe:
		x.answer(now, p.Token, d.From, out)
	case Beacon:
		if !known {
			x.heard(now, d, &p, out)
		}
	case Answer:
		x.pending = slices.DeleteFunc(x.pending, func(q question) bool { return q.token == p.Token })
		x.forget(now)
		ours := slices.ContainsFunc(x.asked, func(q question) bool { return q.token == p.Token })
		if ours && !known {
			x.dial(d, &p, out)
		}
	}
}

// open checks a datagram, in the order of docs/security.md. Without a code the
// packet is of a member of the network, and not known to be repeated.
func (x *Exchange) open(now time.Time, d Datagram) (p Packet, code session.Code, err error) {
	if len(d.Octets) != PacketSize {
		return p, session.PacketSize, fmt.Errorf("%d octets, want %d", len(d.Octets), PacketSize)
	}
	if !x.opened.take(now, source(d.From)) {
		return p, session.PacketRate, nil
	}
	plain, _, ok := x.c.Open(d.Octets)
	if !ok {
		return p, session.PacketKey, nil
	}
	wall := x.c.wall(now)
	switch p, err = Parse(plain); {
	case errors.Is(err, errVersion):
		return p, session.PacketVersion, err
	case err != nil:
		return p, session.PacketForm, err
	case p.Kind == Entry:
		return p, session.PacketForm, errors.New("it is of an etcd, and was not sent by who made it")
	case wall.Sub(p.Time).Abs() > maxSkew:
		return p, session.PacketTime, fmt.Errorf("its clock says %v, ours %v", p.Time.UTC().Format(time.RFC3339), wall.UTC().Format(time.RFC3339))
	case !x.salts.add(now, salt(d.Octets)):
		return p, session.PacketReplay, nil
	case p.Node == x.c.Self:
		return p, session.PacketSelf, nil
	}
	return p, "", nil
}

// heard acts on the beacon of a node that we do not know, if it falls to us: a
// few of a network do, however many hear it. The smaller of two networks dials,
// the larger answers, so that many that hear one newcomer do not all dial it; but
// one that nobody can dial dials itself.
func (x *Exchange) heard(now time.Time, d Datagram, p *Packet, out *Output) {
	if x.state == wire.InLeaving || x.random.IntN(x.nodes) >= answerers {
		return
	}
	if len(p.Addrs) > 0 && (int64(x.nodes) <= int64(p.Nodes) || len(x.addrs) == 0) {
		x.dial(d, p, out)
		return
	}
	if len(x.addrs) == 0 {
		return
	}
	if len(x.pending) >= answersAll {
		out.Refused = append(out.Refused, Refusal{session.AnswerRate, d.From, p.Node, nil})
		return
	}
	delay := time.Duration(x.random.Int64N(int64(answerDelay)))
	x.pending = append(x.pending, question{p.Token, now.Add(delay)})
}

// answer answers to an address, or to the group if that is zero, within the
// bounds for answers.
func (x *Exchange) answer(now time.Time, token [16]byte, to netip.AddrPort, out *Output) {
	if x.state == wire.InLeaving {
		return
	}
	var who netip.Addr
	if to.IsValid() {
		who = source(to)
	}
	if !x.answered.take(now, who) {
		out.Refused = append(out.Refused, Refusal{session.AnswerRate, to, ring.ID{}, nil})
		return
	}
	x.send(now, Answer, token, to, out)
}

// dial makes known what of p may be dialled.
func (x *Exchange) dial(d Datagram, p *Packet, out *Output) {
	if p.State == wire.InLeaving {
		return
	}
	dial := Dial{Node: p.Node, From: d.From.Addr().Unmap()}
	for _, a := range p.Addrs {
		if slices.ContainsFunc(x.addrs, func(own wire.Addr) bool { return own.AddrPort == a.AddrPort }) {
			continue // two hosts that have a network of the same numbers inside, as of containers
		}
		addr, err := x.mayDial(d, a)
		if err != nil {
			out.Refused = append(out.Refused, Refusal{session.AddressRefused, d.From, p.Node, err})
			continue
		}
		dial.Addrs = append(dial.Addrs, addr)
	}
	if len(dial.Addrs) > 0 {
		// What it came from works, most likely; it is only dialled if the node told it.
		slices.SortStableFunc(dial.Addrs, func(a, b netip.AddrPort) int {
			from := func(ap netip.AddrPort) int {
				if ap.Addr() == d.From.Addr().Unmap() {
					return 0
				}
				return 1
			}
			return from(a) - from(b)
		})
		out.Dial = append(out.Dial, dial)
	}
}

// mayDial returns what to dial for an address in a packet. Link-local ones mean
// something on the link that they were told on, and only if that is certain.
func (x *Exchange) mayDial(d Datagram, a wire.Addr) (netip.AddrPort, error) {
	if d.Group && a.Addr().IsLinkLocalUnicast() {
		a.AddrPort = netip.AddrPortFrom(a.Addr().WithZone(d.Interface), a.Port())
	}
	if !a.MayDial(x.c.Loopback) {
		return netip.AddrPort{}, fmt.Errorf("address %v, told by another node, is none to dial", a.AddrPort)
	}
	return a.AddrPort, nil
}

// Advance sends the answers to the group that are due and that nobody else has
// given.
func (x *Exchange) Advance(now time.Time, out *Output) {
	x.pending = slices.DeleteFunc(x.pending, func(q question) bool {
		due := !q.at.After(now)
		if due {
			x.answer(now, q.token, netip.AddrPort{}, out)
		}
		return due
	})
}

// Next returns when Advance has something to do, zero if never.
func (x *Exchange) Next() time.Time {
	var next time.Time
	for _, q := range x.pending {
		if next.IsZero() || q.at.Before(next) {
			next = q.at
		}
	}
	return next
}
