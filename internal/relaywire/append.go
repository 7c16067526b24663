package relaywire

import "encoding/binary"

// AppendToNode appends the encoding of m as a client sends it.
func (m *Message) AppendToNode(b []byte) []byte {
	return m.appendFieldsToNode(append(b, byte(m.Op)))
}

// appendFieldsToNode appends what follows the opcode.
func (m *Message) appendFieldsToNode(b []byte) []byte {
	switch m.Op {
	case Init:
		b = appendBinary(b, m.Magic)
		b = appendBinary(b, m.Version)
		return appendBinary(b, m.Name)
	case Close:
		return b
	case Broadcast, Publish:
		b = appendBinary(b, m.Name)
		return appendBinary(b, m.Body)
	case Request:
		b = binary.AppendUvarint(b, m.ID)
		b = appendBinary(b, m.Name)
		b = appendBinary(b, m.Body)
		return binary.AppendUvarint(b, m.Timeout)
	case Reply:
		b = binary.AppendUvarint(b, m.ID)
		b = appendBool(b, !m.Fault)
		return appendBinary(b, m.Body)
	case Subscribe, Unsubscribe:
		return appendBinary(b, m.Name)
	case TunnelInit:
		b = binary.AppendUvarint(b, m.ID)
		b = appendBinary(b, m.Name)
		return binary.AppendUvarint(b, m.Timeout)
	case TunnelConfirm:
		b = binary.AppendUvarint(b, m.ID)
		return binary.AppendUvarint(b, m.Tunnel)
	case TunnelAllow:
		b = binary.AppendUvarint(b, m.ID)
		return binary.AppendUvarint(b, m.Size)
	case TunnelTransfer:
		b = binary.AppendUvarint(b, m.ID)
		b = binary.AppendUvarint(b, m.Size)
		return appendBinary(b, m.Body)
	case TunnelClose:
		return binary.AppendUvarint(b, m.ID)
	}
	panic("relaywire: no such message to a node")
}

// AppendToClient appends the encoding of m as a node sends it: the head, the
// body where the message has one, the tail.
func (m *Message) AppendToClient(b []byte) []byte {
	b = m.AppendHeadToClient(b)
	if m.hasBodyToClient() {
		b = append(b, m.Body...)
	}
	return m.AppendTailToClient(b)
}

// AppendHeadToClient appends what precedes the octets of m.Body, their length
// included, so that a large body need not be copied to be encoded. For a
// message without a body that is all but the tail.
func (m *Message) AppendHeadToClient(b []byte) []byte {
	b = append(b, byte(m.Op))
	switch m.Op {
	case Accept:
		b = appendBinary(b, m.Magic)
		return appendBinary(b, m.Version)
	case Deny:
		b = appendBinary(b, m.Magic)
	case Close, Broadcast:
	case Request:
		b = binary.AppendUvarint(b, m.ID)
	case Reply:
		b = binary.AppendUvarint(b, m.ID)
		b = appendBool(b, m.TimedOut)
		if m.TimedOut {
			return b
		}
		b = appendBool(b, !m.Fault)
	case Publish:
		b = appendBinary(b, m.Name)
	case TunnelInit, TunnelAllow:
		b = binary.AppendUvarint(b, m.ID)
		return binary.AppendUvarint(b, m.Size)
	case TunnelResult:
		b = binary.AppendUvarint(b, m.ID)
		b = appendBool(b, m.TimedOut)
		if m.TimedOut {
			return b
		}
		return binary.AppendUvarint(b, m.Size)
	case TunnelTransfer:
		b = binary.AppendUvarint(b, m.ID)
		b = binary.AppendUvarint(b, m.Size)
	case TunnelClose:
		b = binary.AppendUvarint(b, m.ID)
	default:
		panic("relaywire: no such message to a client")
	}
	return binary.AppendUvarint(b, uint64(len(m.Body)))
}

// AppendTailToClient appends what follows the octets of m.Body.
func (m *Message) AppendTailToClient(b []byte) []byte {
	if m.Op == Request {
		b = binary.AppendUvarint(b, m.Timeout)
	}
	return b
}

// hasBodyToClient reports whether m ends, towards a client, in the octets of
// m.Body and a tail.
func (m *Message) hasBodyToClient() bool {
	switch m.Op {
	case Accept, TunnelInit, TunnelAllow, TunnelResult:
		return false
	case Reply:
		return !m.TimedOut
	}
	return true
}

func appendBinary(b, v []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}
