package wire

import "github.com/project-iris/iris/internal/ring"

// Undelivered is a router's answer to the origin of a frame that it could not
// forward.
//
//	target id
//	of     byte      type of the frame
//	number uint64    of the frame, if it has one
type Undelivered struct {
	Target ring.ID
	Of     Type
	Number uint64
}

// Type returns TypeUndelivered.
func (Undelivered) Type() Type { return TypeUndelivered }

// AppendBody appends the layout above.
func (m Undelivered) AppendBody(b []byte) []byte {
	return appendUint64(append(m.Target.Append(b), byte(m.Of)), m.Number)
}

func parseUndelivered(p *parser) Message {
	return Undelivered{p.id(), Type(p.byte()), p.uint64()}
}

// Leaving says that its sender withdraws, and has that many seconds left.
//
//	seconds uint16
type Leaving struct{ Seconds uint16 }

// Type returns TypeLeaving.
func (Leaving) Type() Type { return TypeLeaving }

// AppendBody appends the layout above.
func (m Leaving) AppendBody(b []byte) []byte { return appendUint16(b, m.Seconds) }

func parseLeaving(p *parser) Message { return Leaving{p.uint16()} }

// Leave says that its sender is gone. It has no fields.
type Leave struct{}

// Type returns TypeLeave.
func (Leave) Type() Type { return TypeLeave }

// AppendBody appends nothing.
func (Leave) AppendBody(b []byte) []byte { return b }

// Error is the last frame before its sender closes the connection. The octets
// of Text beyond 1,024 are not sent, nor read.
//
//	code uint16
//	text the rest
type Error struct {
	Code uint16
	Text string
}

// maxReason bounds texts that end a frame.
const maxReason = 1024

// Type returns TypeError.
func (Error) Type() Type { return TypeError }

// AppendBody appends the layout above.
func (m Error) AppendBody(b []byte) []byte {
	return append(appendUint16(b, m.Code), cut(m.Text, maxReason)...)
}

func parseError(p *parser) Message { return Error{p.uint16(), p.rest(maxReason)} }

// Want asks the dialler of a link for its data session. It has no fields.
type Want struct{}

// Type returns TypeWant.
func (Want) Type() Type { return TypeWant }

// AppendBody appends nothing.
func (Want) AppendBody(b []byte) []byte { return b }

// Abort says that no more fragments of a message come.
//
//	message uint32
//	reason  byte
type Abort struct {
	Message uint32
	Reason  byte
}

// Type returns TypeAbort.
func (Abort) Type() Type { return TypeAbort }

// AppendBody appends the layout above.
func (a Abort) AppendBody(b []byte) []byte { return append(appendUint32(b, a.Message), a.Reason) }

// ParseAbort reads the body of an ABORT.
func ParseAbort(body []byte) (Abort, error) {
	p := parser{b: body}
	return Abort{p.uint32(), p.byte()}, p.failed(TypeAbort)
}
