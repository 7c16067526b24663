// Package wire is the protocol between nodes: every frame's layout, encoded and
// decoded (docs/messaging.md, Frames). Everything in it is pure.
package wire

import (
	"errors"

	"github.com/project-iris/iris/internal/ring"
)

// Version is the version of the protocol that frames carry.
const Version = 1

const (
	// HeaderSize is how many octets precede the extensions of a frame.
	HeaderSize = 8

	// MaxFrame bounds what the length field may say.
	MaxFrame = 64<<10 + 256

	// MaxBody is the longest body sent in one frame; longer ones are cut into
	// fragments of this size.
	MaxBody = 32 << 10

	// MaxHops is how many routers a frame may pass.
	MaxHops = 16
)

// A Type says what a frame is.
type Type byte

// The frames.
const (
	TypeHello       Type = 0x01
	TypeWelcome     Type = 0x02
	TypeAttach      Type = 0x03
	TypeAttached    Type = 0x04
	TypeAbort       Type = 0x09
	TypeUndelivered Type = 0x0a
	TypeLeaving     Type = 0x0b
	TypeLeave       Type = 0x0c
	TypeError       Type = 0x0d
	TypeWant        Type = 0x0e // the acceptor of a link asks for its data session

	TypeBeat      Type = 0x10
	TypeProbeFor  Type = 0x11
	TypeLeaves    Type = 0x12
	TypeViewEvent Type = 0x13
	TypeViewHash  Type = 0x14
	TypeViewGet   Type = 0x15
	TypeLookup    Type = 0x16
	TypeFound     Type = 0x17

	TypeAnnounce  Type = 0x20
	TypeAnnounced Type = 0x21
	TypeResolve   Type = 0x22
	TypeMembers   Type = 0x23
	TypeRedirect  Type = 0x24
	TypeCheck     Type = 0x25
	TypeChecked   Type = 0x26
	TypeDigestDir Type = 0x27
	TypeReplicate Type = 0x28

	TypeRequest    Type = 0x30
	TypeReply      Type = 0x31
	TypeNotStarted Type = 0x32
	TypeCancel     Type = 0x33

	TypePublish  Type = 0x40
	TypeGap      Type = 0x41
	TypeDigest   Type = 0x42
	TypeNack     Type = 0x43
	TypeUnwanted Type = 0x44

	TypeTunnelOffer  Type = 0x50
	TypeTunnelAccept Type = 0x51
	TypeDialBack     Type = 0x52

	TypeChunk  Type = 0x62
	TypeCredit Type = 0x63
	TypeClose  Type = 0x64
)

// Flags of a frame.
type Flags byte

const (
	Skip     Flags = 0x01 // who does not know the type skips the frame
	Routed   Flags = 0x02 // Origin and Target are there
	Trace    Flags = 0x04 // a trace context is there
	Fragment Flags = 0x08 // Message, Offset and Total are there
	Named    Flags = 0x10 // Name is there
	First    Flags = 0x20 // the receiver's stream starts here
	Replay   Flags = 0x40 // sent again on demand
)

// A Kind says what a name is the name of.
type Kind byte

const (
	Cluster Kind = 1
	Topic   Kind = 2
)

// A Name stands for the name of a cluster or topic: names themselves never
// travel.
type Name struct {
	Kind Kind
	Key  ring.ID
}

// A Frame is the header of a frame, its extensions, and its body.
//
//	length  uint32    octets after this field
//	type    byte
//	flags   byte
//	hops    byte      routers it may still pass; 0: not routed
//	version byte      1
//	origin, target [16]                  with Routed
//	trace   [26]                         with Trace
//	message, offset, total uint32        with Fragment
//	kind, split byte, key [16]           with Named
//	body
type Frame struct {
	Type    Type
	Flags   Flags
	Hops    byte
	Origin  ring.ID
	Target  ring.ID
	Trace   [26]byte
	Message uint32 // fragments of one message share it
	Offset  uint32 // of this fragment in the joined body
	Total   uint32 // octets of the joined body
	Name    Name
	Body    []byte // aliases what was parsed
}

// ErrShort says that more octets are needed. Every other error means that the
// sender broke the protocol.
var ErrShort = errors.New("frame is incomplete")
