// Package relaywire is the codec of relay protocol v1 ("v1.0-draft2"), the
// protocol programs speak to the node of their own host, and of the older v0. It
// is shared by the relay and by client libraries, does no I/O and keeps no state:
// messages are appended to and parsed from byte slices in place. The protocols
// themselves are docs/relay-v1.md and docs/relay-v0.md; requirement numbers such as
// R5 and V5 refer to them.
package relaywire

// Constants of the protocol.
const (
	ClientMagic = "iris-client-magic" // first string of a client's Init
	NodeMagic   = "iris-relay-magic"  // first string of the node's answer
	Version     = "v1.0-draft2"       // of V1
	VersionV0   = "v1.0"              // of V0, where it is the first string of an Init

	ChunkLimit   = 65536   // largest payload of a TunnelTransfer, octets
	TunnelWindow = 4 << 20 // octets a node first allows a client to send on a tunnel
	MaxTimeout   = 1<<31 - 1
)

// An Op is the first octet of a message. Some name two messages, one in each
// direction.
type Op byte

const (
	Init           Op = 0x00 // to client: Accept
	Deny           Op = 0x01 // to client only
	Close          Op = 0x02
	Broadcast      Op = 0x03
	Request        Op = 0x04
	Reply          Op = 0x05
	Subscribe      Op = 0x06 // to node only
	Unsubscribe    Op = 0x07 // to node only
	Publish        Op = 0x08
	TunnelInit     Op = 0x09
	TunnelConfirm  Op = 0x0a // to client: TunnelResult
	TunnelAllow    Op = 0x0b
	TunnelTransfer Op = 0x0c
	TunnelClose    Op = 0x0d

	Accept       = Init
	TunnelResult = TunnelConfirm
)

// A Message is any message of the protocol. Op and the direction say which
// fields count; the others are ignored by the encoder and zero after parsing.
// The slices of a parsed message point into the parsed bytes.
//
//	op              to node                        to client
//	Init, Accept    Magic, Version, Name           Magic, Version
//	Deny            -                              Magic, Body (reason)
//	Close           nothing                        Body (reason)
//	Broadcast       Name, Body                     Body
//	Request         ID, Name, Body, Timeout        ID, Body, Timeout
//	Reply           ID, Fault, Body                ID, TimedOut, Fault, Body
//	Subscribe       Name                           -
//	Unsubscribe     Name                           -
//	Publish         Name, Body                     Name, Body
//	TunnelInit      ID, Name, Timeout              ID (build id), Size (chunk limit)
//	TunnelConfirm   ID (build id), Tunnel          -
//	TunnelResult    -                              ID, TimedOut, Size (chunk limit)
//	TunnelAllow     ID, Size (space)               same
//	TunnelTransfer  ID, Size (size or 0), Body     same
//	TunnelClose     ID                             ID, Body (reason)
//
// V0 has less, and counts messages of tunnels where V1 counts octets: a transfer is a
// whole message, an allowance is for one.
//
//	op              to node                        to client
//	Init, Accept    Version, Name                  nothing
//	Close           nothing                        nothing
//	Request         as above                       ID, Body
//	Reply           ID, Body                       ID, TimedOut, Body
//	TunnelInit      ID, Name, Size, Timeout        ID, Size (messages)
//	TunnelConfirm   ID, Tunnel, Size (messages)    -
//	TunnelResult    -                              ID, TimedOut, Size (messages)
//	TunnelAllow     ID                             same
//	TunnelTransfer  ID, Body                       same
//	TunnelClose     ID                             same
type Message struct {
	Op       Op
	Fault    bool   // Reply: Body is the text of a fault, not a reply
	TimedOut bool   // Reply, TunnelResult to the client: time passed without an answer
	ID       uint64 // request, tunnel or build id
	Tunnel   uint64 // TunnelConfirm: the id the acceptor chose for its end
	Timeout  uint64 // milliseconds
	Size     uint64 // octets: chunk limit, space, or size of the message a chunk starts
	Magic    []byte
	Version  []byte
	Name     []byte // cluster or topic
	Body     []byte // payload, fault text or reason
}
