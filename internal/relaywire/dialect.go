package relaywire

import "encoding/binary"

// A Dialect is a version of the protocol that a connection speaks, from its handshake
// to its end. The methods are the codec of all that follows the Init.
type Dialect byte

const (
	V1 Dialect = iota // Version
	V0                // VersionV0, the older one (docs/relay-v0.md)
)

// String returns the name of the version, "v1" or "v0".
func (d Dialect) String() string { return [...]string{V1: "v1", V0: "v0"}[d] }

// Dialect returns the version of an Init: of one that is neither, V1.
func (m *Message) Dialect() Dialect {
	if m.Magic == nil && string(m.Version) == VersionV0 {
		return V0
	}
	return V1
}

// ParseToNode is Limits.ParseToNode.
func (d Dialect) ParseToNode(l *Limits, b []byte, m *Message) (int, error) {
	if d == V0 {
		return l.parseToNodeV0(b, m)
	}
	return l.ParseToNode(b, m)
}

// ParseToClient is Limits.ParseToClient.
func (d Dialect) ParseToClient(l *Limits, b []byte, m *Message) (int, error) {
	if d == V0 {
		return l.parseToClientV0(b, m)
	}
	return l.ParseToClient(b, m)
}

// AppendToNode is Message.AppendToNode.
func (d Dialect) AppendToNode(b []byte, m *Message) []byte {
	if d == V0 {
		return m.appendToNodeV0(b)
	}
	return m.AppendToNode(b)
}

// AppendToClient is Message.AppendToClient.
func (d Dialect) AppendToClient(b []byte, m *Message) []byte {
	if d == V1 {
		return m.AppendToClient(b)
	}
	if b = m.appendHeadToClientV0(b); m.hasBodyToClientV0() {
		b = append(b, m.Body...)
	}
	return b
}

// AppendHeadToClient is Message.AppendHeadToClient.
func (d Dialect) AppendHeadToClient(b []byte, m *Message) []byte {
	if d == V0 {
		return m.appendHeadToClientV0(b)
	}
	return m.AppendHeadToClient(b)
}

// AppendTailToClient is Message.AppendTailToClient.
func (d Dialect) AppendTailToClient(b []byte, m *Message) []byte {
	if d == V0 {
		return b
	}
	return m.AppendTailToClient(b)
}

// opsV0 are the messages of V0, by their first octets; numbersV0 is the inverse.
var (
	opsV0 = [...]Op{Init, Broadcast, Request, Reply, Subscribe, Publish, Unsubscribe, Close,
		TunnelInit, TunnelConfirm, TunnelTransfer, TunnelAllow, TunnelClose}
	numbersV0 = func() (n [TunnelClose + 1]byte) {
		for i, op := range opsV0 {
			n[op] = byte(i)
		}
		return n
	}()
)

func (l *Limits) parseToNodeV0(b []byte, m *Message) (int, error) {
	*m = Message{}
	switch {
	case len(b) == 0:
		return 1, ErrShort
	case int(b[0]) >= len(opsV0):
		return 0, errOp
	}
	m.Op = opsV0[b[0]]
	p := parser{b: b, off: 1}
	switch m.Op {
	case Reply, TunnelTransfer:
		m.ID = p.varint()
		m.Body = p.binary(l.Body, errBody)
	case TunnelInit:
		m.ID = p.varint()
		m.Name = p.binary(l.Name, errName)
		m.Size = p.varint()
		m.Timeout = p.varint()
	case TunnelConfirm:
		m.ID = p.varint()
		m.Tunnel = p.varint()
		m.Size = p.varint()
	case TunnelAllow:
		m.ID = p.varint()
	default: // as in V1
		return l.parseToNode(m.Op, b, m)
	}
	return p.result()
}

func (l *Limits) parseToClientV0(b []byte, m *Message) (int, error) {
	*m = Message{}
	switch {
	case len(b) == 0:
		return 1, ErrShort
	case int(b[0]) >= len(opsV0):
		return 0, errOp
	}
	m.Op = opsV0[b[0]]
	p := parser{b: b, off: 1}
	switch m.Op {
	case Accept, Close:
	case Request, TunnelTransfer:
		m.ID = p.varint()
		m.Body = p.binary(l.Body, errBody)
	case Reply:
		m.ID = p.varint()
		if m.TimedOut = p.bool(); !m.TimedOut {
			m.Body = p.binary(l.Body, errBody)
		}
	case TunnelAllow, TunnelClose:
		m.ID = p.varint()
	default: // as in V1
		return l.parseToClient(m.Op, b, m)
	}
	return p.result()
}

func (m *Message) appendToNodeV0(b []byte) []byte {
	b = append(b, numbersV0[m.Op])
	switch m.Op {
	case Init:
		b = appendBinary(b, m.Version)
		return appendBinary(b, m.Name)
	case Reply, TunnelTransfer:
		b = binary.AppendUvarint(b, m.ID)
		return appendBinary(b, m.Body)
	case TunnelInit:
		b = binary.AppendUvarint(b, m.ID)
		b = appendBinary(b, m.Name)
		b = binary.AppendUvarint(b, m.Size)
		return binary.AppendUvarint(b, m.Timeout)
	case TunnelConfirm:
		b = binary.AppendUvarint(b, m.ID)
		b = binary.AppendUvarint(b, m.Tunnel)
		return binary.AppendUvarint(b, m.Size)
	case TunnelAllow:
		return binary.AppendUvarint(b, m.ID)
	}
	return m.appendFieldsToNode(b) // as in V1
}

// appendHeadToClientV0 appends all but the octets of m.Body. There is no word for a
// fault: it is told as if time had passed.
func (m *Message) appendHeadToClientV0(b []byte) []byte {
	b = append(b, numbersV0[m.Op])
	switch m.Op {
	case Accept, Close:
		return b
	case Broadcast:
	case Request, TunnelTransfer:
		b = binary.AppendUvarint(b, m.ID)
	case Reply:
		b = binary.AppendUvarint(b, m.ID)
		if b = appendBool(b, m.TimedOut || m.Fault); m.TimedOut || m.Fault {
			return b
		}
	case Publish:
		b = appendBinary(b, m.Name)
	case TunnelInit:
		b = binary.AppendUvarint(b, m.ID)
		return binary.AppendUvarint(b, m.Size)
	case TunnelResult:
		b = binary.AppendUvarint(b, m.ID)
		if b = appendBool(b, m.TimedOut); m.TimedOut {
			return b
		}
		return binary.AppendUvarint(b, m.Size)
	case TunnelAllow, TunnelClose:
		return binary.AppendUvarint(b, m.ID)
	default:
		panic("relaywire: no such message to a client")
	}
	return binary.AppendUvarint(b, uint64(len(m.Body)))
}

func (m *Message) hasBodyToClientV0() bool {
	switch m.Op {
	case Broadcast, Request, TunnelTransfer, Publish:
		return true
	case Reply:
		return !m.TimedOut && !m.Fault
	}
	return false
}
