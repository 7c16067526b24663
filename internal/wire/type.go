package wire

import "fmt"

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

var typeNames = [256]string{
	TypeHello:       "HELLO",
	TypeWelcome:     "WELCOME",
	TypeAttach:      "ATTACH",
	TypeAttached:    "ATTACHED",
	TypeAbort:       "ABORT",
	TypeUndelivered: "UNDELIVERED",
	TypeLeaving:     "LEAVING",
	TypeLeave:       "LEAVE",
	TypeError:       "ERROR",
	TypeWant:        "WANT",

	TypeBeat:      "BEAT",
	TypeProbeFor:  "PROBE-FOR",
	TypeLeaves:    "LEAVES",
	TypeViewEvent: "VIEW-EVENT",
	TypeViewHash:  "VIEW-HASH",
	TypeViewGet:   "VIEW-GET",
	TypeLookup:    "LOOKUP",
	TypeFound:     "FOUND",

	TypeAnnounce:  "ANNOUNCE",
	TypeAnnounced: "ANNOUNCED",
	TypeResolve:   "RESOLVE",
	TypeMembers:   "MEMBERS",
	TypeRedirect:  "REDIRECT",
	TypeCheck:     "CHECK",
	TypeChecked:   "CHECKED",
	TypeDigestDir: "DIGEST-DIR",
	TypeReplicate: "REPLICATE",

	TypeRequest:    "REQUEST",
	TypeReply:      "REPLY",
	TypeNotStarted: "NOT-STARTED",
	TypeCancel:     "CANCEL",

	TypePublish:  "PUBLISH",
	TypeGap:      "GAP",
	TypeDigest:   "DIGEST",
	TypeNack:     "NACK",
	TypeUnwanted: "UNWANTED",

	TypeTunnelOffer:  "TUNNEL-OFFER",
	TypeTunnelAccept: "TUNNEL-ACCEPT",
	TypeDialBack:     "DIAL-BACK",

	TypeChunk:  "CHUNK",
	TypeCredit: "CREDIT",
	TypeClose:  "CLOSE",
}

// Known reports whether t is one of the frames above.
func (t Type) Known() bool { return typeNames[t] != "" }

// String returns the name of the frame as docs/messaging.md has it.
func (t Type) String() string {
	if name := typeNames[t]; name != "" {
		return name
	}
	return fmt.Sprintf("frame %02x", byte(t))
}
