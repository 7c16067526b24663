package wire

import (
	"encoding/binary"
	"math/bits"
	"time"
)

// A RequestHead precedes the program's body in a REQUEST, and is all there is in
// a TUNNEL-OFFER. The frame has Named.
//
//	handle  uint32    0
//	number  uint64
//	life    uint32
//	timeout uv
type RequestHead struct {
	Number  uint64
	Life    uint32 // milliseconds left
	Timeout uint64 // as the program said
}

// AppendBody appends the layout above.
func (h RequestHead) AppendBody(b []byte) []byte {
	b = appendUint64(appendUint32(b, 0), h.Number)
	return binary.AppendUvarint(appendUint32(b, h.Life), h.Timeout)
}

// ParseRequestHead reads the start of the body of a REQUEST or TUNNEL-OFFER. The
// rest is part of body.
func ParseRequestHead(body []byte) (h RequestHead, rest []byte, err error) {
	p := parser{b: body}
	p.handle()
	h = RequestHead{p.uint64(), p.uint32(), p.uvarint()}
	return h, p.b, p.failed(TypeRequest)
}

// Life returns where the life of a REQUEST or TUNNEL-OFFER is in p, the start of its
// frame, so that it may be written over; nil: p is not such a frame, is but a fragment,
// or does not go so far.
func Life(p []byte) []byte {
	if len(p) < HeaderSize {
		return nil
	}
	f := Frame{Type: Type(p[4]), Flags: Flags(p[5]), Body: p[HeaderSize:]}
	if f.Type != TypeRequest && f.Type != TypeTunnelOffer || f.Flags&Fragment != 0 || f.parseExtensions() != nil || len(f.Body) < 16 {
		return nil
	}
	return f.Body[12:16] // behind the handle and the number
}

// A Load is what every answer says of the name at the member node.
//
//	inFlight uint16
//	workers  uint16
//	handler  uint16
type Load struct {
	InFlight uint16
	Workers  uint16
	Handler  uint16 // mean time, as PackHandler has it
}

// PackHandler returns d in 16 bits: an exponent of 5, a mantissa of 11, of
// microseconds. It is at most 1/1024 less than d, or 1 us; d is taken for 0 if
// it is less, and for 50 days if it is more.
func PackHandler(d time.Duration) uint16 {
	us := uint64(max(d.Microseconds(), 0))
	exp := max(bits.Len64(us)-11, 0)
	if exp > 31 {
		return 1<<16 - 1
	}
	return uint16(exp)<<11 | uint16(us>>exp)
}

// HandlerTime returns what l.Handler stands for.
func (l Load) HandlerTime() time.Duration {
	return time.Duration(l.Handler&(1<<11-1)) << (l.Handler >> 11) * time.Microsecond
}

func (l Load) append(b []byte) []byte {
	return appendUint16(appendUint16(appendUint16(b, l.InFlight), l.Workers), l.Handler)
}

func (p *parser) load() Load { return Load{p.uint16(), p.uint16(), p.uint16()} }

// Statuses of a reply.
const (
	ReplyOK byte = iota
	ReplyFault
	ReplyLost // the member died, whatever it had done of the request
)

// A ReplyHead precedes the reply, or the text of the fault, in a REPLY.
//
//	number uint64
//	status byte
//	load   Load
type ReplyHead struct {
	Number uint64
	Status byte
	Load   Load
}

// AppendBody appends the layout above.
func (h ReplyHead) AppendBody(b []byte) []byte {
	return h.Load.append(append(appendUint64(b, h.Number), h.Status))
}

// ParseReplyHead reads the start of the body of a REPLY. The rest is part of
// body.
func ParseReplyHead(body []byte) (h ReplyHead, rest []byte, err error) {
	p := parser{b: body}
	h = ReplyHead{p.uint64(), p.choice("status", ReplyLost), p.load()}
	return h, p.b, p.failed(TypeReply)
}

// Reasons of a NotStarted.
const (
	Busy byte = iota
	Draining
	Gone
	Waits // it was Choosy, and would have waited
)

// NotStarted says that an attempt was refused, and will never be executed.
//
//	number uint64
//	reason byte
//	load   Load
type NotStarted struct {
	Number uint64
	Reason byte
	Load   Load
}

// AppendBody appends the layout above.
func (m NotStarted) AppendBody(b []byte) []byte {
	return m.Load.append(append(appendUint64(b, m.Number), m.Reason))
}

// ParseNotStarted reads the body of a NOT-STARTED.
func ParseNotStarted(body []byte) (NotStarted, error) {
	p := parser{b: body}
	return NotStarted{p.uint64(), p.choice("reason", Waits), p.load()}, p.failed(TypeNotStarted)
}

// Cancel hints that nobody waits for an attempt any more. Its frame has Skip.
//
//	number uint64
type Cancel struct{ Number uint64 }

// AppendBody appends the layout above.
func (m Cancel) AppendBody(b []byte) []byte { return appendUint64(b, m.Number) }

// ParseCancel reads the body of a CANCEL.
func ParseCancel(body []byte) (Cancel, error) {
	p := parser{b: body}
	return Cancel{p.uint64()}, p.failed(TypeCancel)
}
