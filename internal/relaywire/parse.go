package relaywire

import "math"

// A Violation is the way in which bytes break the protocol. Whoever receives
// one drops the connection the bytes came on; the text is fit to be sent as
// the reason.
type Violation string

func (v Violation) Error() string { return string(v) }

// ErrShort says that a message goes on after the end of the bytes at hand.
const ErrShort = Violation("message is incomplete")

// What a handshake may end with beside ErrShort and a malformed field.
const (
	ErrNotInit = Violation("first message is not an init")
	ErrMagic   = Violation("unknown magic string")
)

// Violations by field.
const (
	errVarint   = Violation("varint exceeds 64 bits or 10 octets")
	errBool     = Violation("boolean is neither 0 nor 1")
	errOp       = Violation("unknown opcode")
	errName     = Violation("name limit exceeded")
	errText     = Violation("text limit exceeded")
	errBody     = Violation("message limit exceeded")
	errChunk    = Violation("chunk limit exceeded")
	errTooLarge = Violation("handshake string limit exceeded")
)

// Limits bounds what a parser accepts, in octets. A length prefix is held
// against them before anything else is done with it (R6).
type Limits struct {
	Handshake int // strings of Init, Accept, Deny
	Name      int // clusters, topics, fault texts, reasons
	Body      int // payload of broadcasts, requests, replies, events
}

// DefaultLimits are those of section 9 of the protocol.
var DefaultLimits = Limits{Handshake: 1024, Name: 64 << 10, Body: 64 << 20}

// ParseInit reads the client's half of a handshake from the start of b, of either
// dialect. It returns the octets the message took, or an error: ErrShort as in
// ParseToNode, ErrNotInit and ErrMagic as soon as the bytes tell, so that the rest need
// not be waited for.
func (l *Limits) ParseInit(b []byte, m *Message) (int, error) {
	*m = Message{}
	if len(b) == 0 {
		return 1, ErrShort
	}
	if Op(b[0]) != Init {
		return 0, ErrNotInit
	}
	p := parser{b: b, off: 1}
	m.Magic = p.binary(l.Handshake, errTooLarge)
	if p.err != nil {
		return p.result()
	}
	switch string(m.Magic) {
	case ClientMagic:
		m.Version = p.binary(l.Handshake, errTooLarge)
	case VersionV0:
		m.Magic, m.Version = nil, m.Magic
	default:
		return 0, ErrMagic
	}
	m.Name = p.binary(l.Handshake, errTooLarge)
	return p.result()
}

// ParseToNode reads the message at the start of b as a node does once the
// handshake is over. It returns the octets the message took.
//
// With ErrShort the number is how many octets from the start of b must be
// there before another attempt can succeed: more than len(b), at most what the
// limits permit, not necessarily enough. Any other error is a Violation.
func (l *Limits) ParseToNode(b []byte, m *Message) (int, error) {
	return l.parseToNode(first(b), b, m)
}

// parseToNode reads a message whose opcode stands for op.
func (l *Limits) parseToNode(op Op, b []byte, m *Message) (int, error) {
	*m = Message{}
	if len(b) == 0 {
		return 1, ErrShort
	}
	m.Op = op
	p := parser{b: b, off: 1}
	switch m.Op {
	case Close:
	case Broadcast, Publish:
		m.Name = p.binary(l.Name, errName)
		m.Body = p.binary(l.Body, errBody)
	case Request:
		m.ID = p.varint()
		m.Name = p.binary(l.Name, errName)
		m.Body = p.binary(l.Body, errBody)
		m.Timeout = p.varint()
	case Reply:
		m.ID = p.varint()
		p.outcome(l, m)
	case Subscribe, Unsubscribe:
		m.Name = p.binary(l.Name, errName)
	case TunnelInit:
		m.ID = p.varint()
		m.Name = p.binary(l.Name, errName)
		m.Timeout = p.varint()
	case TunnelConfirm:
		m.ID = p.varint()
		m.Tunnel = p.varint()
	case TunnelAllow:
		m.ID = p.varint()
		m.Size = p.varint()
	case TunnelTransfer:
		m.ID = p.varint()
		m.Size = p.varint()
		m.Body = p.binary(ChunkLimit, errChunk)
	case TunnelClose:
		m.ID = p.varint()
	default:
		return 0, errOp
	}
	return p.result()
}

// ParseToClient reads the message at the start of b as a client does, the
// answer to its Init included. The results are those of ParseToNode.
func (l *Limits) ParseToClient(b []byte, m *Message) (int, error) {
	return l.parseToClient(first(b), b, m)
}

// parseToClient is parseToNode for messages to a client.
func (l *Limits) parseToClient(op Op, b []byte, m *Message) (int, error) {
	*m = Message{}
	if len(b) == 0 {
		return 1, ErrShort
	}
	m.Op = op
	p := parser{b: b, off: 1}
	switch m.Op {
	case Accept:
		m.Magic = p.binary(l.Handshake, errTooLarge)
		m.Version = p.binary(l.Handshake, errTooLarge)
	case Deny:
		m.Magic = p.binary(l.Handshake, errTooLarge)
		m.Body = p.binary(l.Name, errText)
	case Close:
		m.Body = p.binary(l.Name, errText)
	case Broadcast:
		m.Body = p.binary(l.Body, errBody)
	case Request:
		m.ID = p.varint()
		m.Body = p.binary(l.Body, errBody)
		m.Timeout = p.varint()
	case Reply:
		m.ID = p.varint()
		if m.TimedOut = p.bool(); !m.TimedOut {
			p.outcome(l, m)
		}
	case Publish:
		m.Name = p.binary(l.Name, errName)
		m.Body = p.binary(l.Body, errBody)
	case TunnelInit, TunnelAllow:
		m.ID = p.varint()
		m.Size = p.varint()
	case TunnelResult:
		m.ID = p.varint()
		if m.TimedOut = p.bool(); !m.TimedOut {
			m.Size = p.varint()
		}
	case TunnelTransfer:
		m.ID = p.varint()
		m.Size = p.varint()
		m.Body = p.binary(ChunkLimit, errChunk)
	case TunnelClose:
		m.ID = p.varint()
		m.Body = p.binary(l.Name, errText)
	default:
		return 0, errOp
	}
	return p.result()
}

// first returns the opcode of the message at the start of b, if there is one.
func first(b []byte) Op {
	if len(b) == 0 {
		return 0
	}
	return Op(b[0])
}

// A parser walks over one message; after the first error it stands still.
type parser struct {
	b    []byte
	off  int
	need int // with ErrShort: octets from the start of b
	err  error
}

// result returns what the Parse functions do.
func (p *parser) result() (int, error) {
	if p.err == ErrShort {
		return p.need, p.err
	}
	if p.err != nil {
		return 0, p.err
	}
	return p.off, nil
}

// short stops at the end of the input, n octets of which would be needed.
func (p *parser) short(n int) {
	p.err, p.need = ErrShort, n
}

// varint reads up to 10 octets, padded forms included (R5).
func (p *parser) varint() uint64 {
	if p.err != nil {
		return 0
	}
	var v uint64
	for i := 0; i < 10; i++ {
		if p.off+i >= len(p.b) {
			p.short(p.off + i + 1)
			return 0
		}
		c := p.b[p.off+i]
		if i == 9 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			p.off += i + 1
			return v
		}
	}
	p.err = errVarint
	return 0
}

func (p *parser) bool() bool {
	if p.err != nil {
		return false
	}
	if p.off >= len(p.b) {
		p.short(p.off + 1)
		return false
	}
	c := p.b[p.off]
	if c > 1 {
		p.err = errBool
		return false
	}
	p.off++
	return c == 1
}

// binary reads a length of at most limit and that many octets. Their capacity
// ends where they do, so an append by the caller copies them.
func (p *parser) binary(limit int, over Violation) []byte {
	n := p.varint()
	if p.err != nil {
		return nil
	}
	if n > uint64(min(limit, math.MaxInt-p.off)) { // the end has to fit an int
		p.err = over
		return nil
	}
	end := p.off + int(n)
	if end > len(p.b) {
		p.short(end)
		return nil
	}
	v := p.b[p.off:end:end]
	p.off = end
	return v
}

// outcome reads the end of a Reply: success, then a reply or a fault text.
func (p *parser) outcome(l *Limits, m *Message) {
	m.Fault = !p.bool()
	if m.Fault {
		m.Body = p.binary(l.Name, errText)
	} else {
		m.Body = p.binary(l.Body, errBody)
	}
	if p.err != nil {
		m.Fault = false
	}
}
