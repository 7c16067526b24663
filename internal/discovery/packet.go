// Package discovery finds addresses worth dialling: each Source finds some, and a
// Finder dials them (docs/discovery.md). Packet, Exchange and Seeker are what nodes say
// to each other on a local network (docs/security.md, Discovery packet), and do no I/O;
// a LAN is their sockets.
package discovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

const (
	// PacketSize is how many octets every packet has.
	PacketSize = 256

	// PlainSize is how many octets of a packet are sealed.
	PlainSize = 216

	saltSize = 24 // of what comes first, and is never the same twice
	version  = 1
	addrsAt  = 64
)

// A Kind says what a packet is for.
type Kind byte

// The kinds.
const (
	Beacon Kind = 1 + iota // to the group: here is a node, who else?
	Probe                  // to an address: is there a node?
	Answer                 // to either
	Entry                  // in an etcd, for whoever looks there: never sent
)

// A Packet is what a node says of itself.
//
//	version byte     1
//	kind    byte
//	state   byte
//	count   byte     0-8
//	nodes   uint32
//	time    int64    Unix milliseconds
//	node    id
//	token   [16]byte
//	zero    [16]byte
//	addrs   [8]Addr  unused ones zero
type Packet struct {
	Kind  Kind
	State wire.State
	Nodes uint32 // it knows; 0: unknown
	Time  time.Time
	Node  ring.ID
	Token [16]byte // of a question, random; its answers have the same
	Addrs []wire.Addr
}

// Append appends the layout above, in which no more than the first 8 addresses
// have room.
func (p *Packet) Append(b []byte) []byte {
	addrs := p.Addrs[:min(len(p.Addrs), wire.MaxAddrs)]
	start := len(b)
	b = append(b, version, byte(p.Kind), byte(p.State), byte(len(addrs)))
	b = binary.BigEndian.AppendUint32(b, p.Nodes)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Time.UnixMilli()))
	b = append(p.Node.Append(b), p.Token[:]...)
	b = append(b, make([]byte, 16)...)
	for _, a := range addrs {
		b = a.Append(b)
	}
	return append(b, make([]byte, start+PlainSize-len(b))...)
}

var (
	errVersion = errors.New("unknown version or kind")
	errForm    = errors.New("malformed")
)

// Parse reads what was sealed in a packet. The result shares nothing with it.
// The error says, for errors.Is, whether it is of a newer software.
func Parse(b []byte) (Packet, error) {
	if len(b) != PlainSize {
		return Packet{}, fmt.Errorf("%w: %d octets, want %d", errForm, len(b), PlainSize)
	}
	kind, state, count := Kind(b[1]), wire.State(b[2]), int(b[3])
	if b[0] != version || kind < Beacon || kind > Entry {
		return Packet{}, fmt.Errorf("%w: %d, %d", errVersion, b[0], kind)
	}
	if count > wire.MaxAddrs {
		return Packet{}, fmt.Errorf("%w: %d addresses, want at most %d", errForm, count, wire.MaxAddrs)
	}
	if state > wire.InLeaving {
		return Packet{}, fmt.Errorf("%w: state %d", errForm, state)
	}
	p := Packet{
		Kind:  kind,
		State: state,
		Nodes: binary.BigEndian.Uint32(b[4:]),
		Time:  time.UnixMilli(int64(binary.BigEndian.Uint64(b[8:]))).UTC(),
		Node:  ring.FromBytes(b[16:]),
		Token: [16]byte(b[32:]),
	}
	for i := range count {
		p.Addrs = append(p.Addrs, wire.AddrFromBytes(b[addrsAt+i*wire.AddrSize:]))
	}
	return p, nil
}
