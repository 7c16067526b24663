package wire

import "encoding/binary"

// An OfferHead is the body of a TUNNEL-OFFER.
type OfferHead = RequestHead

// TunnelAccept is the answer to an offer.
//
//	number  uint64
//	tunnel  [16]byte
//	expires uint32
//	load    Load
//	addrs   [Addr]
type TunnelAccept struct {
	Number  uint64
	Tunnel  [16]byte
	Expires uint32 // milliseconds
	Load    Load
	Addrs   []Addr
}

// AppendBody appends the layout above.
func (m TunnelAccept) AppendBody(b []byte) []byte {
	b = append(appendUint64(b, m.Number), m.Tunnel[:]...)
	b = m.Load.append(appendUint32(b, m.Expires))
	return appendAddrList(b, m.Addrs)
}

// ParseTunnelAccept reads the body of a TUNNEL-ACCEPT. The result shares nothing
// with it.
func ParseTunnelAccept(body []byte) (TunnelAccept, error) {
	p := parser{b: body}
	m := TunnelAccept{p.uint64(), p.tunnel(), p.uint32(), p.load(), p.addrList()}
	return m, p.failed(TypeTunnelAccept)
}

// DialBack asks a node to dial its sender: the accepting node of a tunnel for that,
// and with no tunnel any node for a link.
//
//	tunnel [16]byte  or zeros
//	addrs  [Addr]
type DialBack struct {
	Tunnel [16]byte
	Addrs  []Addr
}

// Type returns TypeDialBack.
func (DialBack) Type() Type { return TypeDialBack }

// AppendBody appends the layout above.
func (m DialBack) AppendBody(b []byte) []byte {
	return appendAddrList(append(b, m.Tunnel[:]...), m.Addrs)
}

func parseDialBack(p *parser) Message { return DialBack{p.tunnel(), p.addrList()} }

// A ChunkHead precedes the payload in a CHUNK.
//
//	size uv
type ChunkHead struct {
	Size uint64 // of the message that the chunk starts; 0: it continues one
}

// AppendBody appends the layout above.
func (h ChunkHead) AppendBody(b []byte) []byte { return binary.AppendUvarint(b, h.Size) }

// ParseChunkHead reads the start of the body of a CHUNK. The rest is part of
// body.
func ParseChunkHead(body []byte) (h ChunkHead, rest []byte, err error) {
	p := parser{b: body}
	h = ChunkHead{p.uvarint()}
	return h, p.b, p.failed(TypeChunk)
}

// Credit lets the other side of a tunnel send that many octets more.
//
//	bytes uint32
type Credit struct{ Bytes uint32 }

// Type returns TypeCredit.
func (Credit) Type() Type { return TypeCredit }

// AppendBody appends the layout above.
func (m Credit) AppendBody(b []byte) []byte { return appendUint32(b, m.Bytes) }

// ParseCredit reads the body of a CREDIT.
func ParseCredit(body []byte) (Credit, error) {
	p := parser{b: body}
	return Credit{p.uint32()}, p.failed(TypeCredit)
}

// Close ends a tunnel. The octets of Reason beyond 1,024 are not sent, nor read.
//
//	final  uint64
//	reason the rest
type Close struct {
	Final  uint64 // octets its sender sends in all
	Reason string
}

// Type returns TypeClose.
func (Close) Type() Type { return TypeClose }

// AppendBody appends the layout above.
func (m Close) AppendBody(b []byte) []byte {
	return append(appendUint64(b, m.Final), cut(m.Reason, maxReason)...)
}

// ParseClose reads the body of a CLOSE.
func ParseClose(body []byte) (Close, error) {
	p := parser{b: body}
	return Close{p.uint64(), p.rest(maxReason)}, p.failed(TypeClose)
}
