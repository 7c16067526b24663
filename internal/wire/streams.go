package wire

import (
	"errors"
	"fmt"

	"github.com/project-iris/iris/internal/ring"
)

// PublishHeadSize is how many octets of a PUBLISH precede the ids and the payload.
const PublishHeadSize = 16

// MostOthers is for how many nodes a PUBLISH may be besides the receiver.
const MostOthers = 12

// A PublishHead precedes an event or broadcast in a PUBLISH. The frame has Named. The
// ids of nodes that the receiver is to hand it on to are between the two; a frame that
// was itself routed has none.
//
//	handle uint32    0
//	pass   uint16    1: it is not for the receiver itself
//	others uint16    ids that follow, MostOthers at most
//	number uint64
type PublishHead struct {
	Pass   bool
	Others int
	Number uint64
}

// AppendBody appends the layout above.
func (h PublishHead) AppendBody(b []byte) []byte {
	pass := uint16(0)
	if h.Pass {
		pass = 1
	}
	return appendUint64(appendUint16(appendUint16(appendUint32(b, 0), pass), uint16(h.Others)), h.Number)
}

// ParsePublishHead reads the start of the body of a PUBLISH. The rest is part of
// body: ids, if there are any, of 16 octets each, and the payload.
func ParsePublishHead(body []byte) (h PublishHead, rest []byte, err error) {
	p := parser{b: body}
	p.handle()
	h = PublishHead{p.uint16()&1 != 0, int(p.uint16()), p.uint64()}
	if p.err == nil && (h.Others > MostOthers || h.Others*ring.Size > len(p.b)) {
		p.fail(fmt.Errorf("for %d others, of %d octets", h.Others, len(p.b)))
	}
	if p.err == nil && h.Pass && h.Others == 0 {
		p.fail(errors.New("for nobody"))
	}
	return h, p.b, p.failed(TypePublish)
}

// Gap declares numbers of a stream lost. The frame has Named.
//
//	handle uint32    0
//	group  uint32
//	from   uint64
//	to     uint64
//	cause  byte
type Gap struct {
	Group    uint32
	From, To uint64 // both lost
	Cause    byte
}

// AppendBody appends the layout above.
func (m Gap) AppendBody(b []byte) []byte {
	b = appendUint32(appendUint32(b, 0), m.Group)
	return append(appendUint64(appendUint64(b, m.From), m.To), m.Cause)
}

// ParseGap reads the body of a GAP.
func ParseGap(body []byte) (Gap, error) {
	p := parser{b: body}
	p.handle()
	m := Gap{p.uint32(), p.uint64(), p.uint64(), p.byte()}
	if m.From > m.To {
		p.fail(fmt.Errorf("gap from %d to %d", m.From, m.To))
	}
	return m, p.failed(TypeGap)
}

// Digest says where a stream stands. The frame has Named, and hence one stream.
//
//	group  uint32
//	count  uint16    1
//	handle uint32    0
//	last   uint64
type Digest struct {
	Group uint32
	Last  uint64 // number last published; First: the stream begins after it
}

// AppendBody appends the layout above.
func (m Digest) AppendBody(b []byte) []byte {
	b = appendUint16(appendUint32(b, m.Group), 1)
	return appendUint64(appendUint32(b, 0), m.Last)
}

// ParseDigest reads the body of a DIGEST.
func ParseDigest(body []byte) (Digest, error) {
	p := parser{b: body}
	m := Digest{Group: p.uint32()}
	if n := p.uint16(); n != 1 && p.err == nil {
		p.fail(fmt.Errorf("%d streams, want 1", n))
	}
	p.handle()
	m.Last = p.uint64()
	return m, p.failed(TypeDigest)
}

// Nack asks a publisher for numbers of its stream again.
//
//	name Name
//	from uint64
//	to   uint64
type Nack struct {
	Name     Name
	From, To uint64 // both wanted; both max: asks for the start of the stream
}

// Type returns TypeNack.
func (Nack) Type() Type { return TypeNack }

// AppendBody appends the layout above.
func (m Nack) AppendBody(b []byte) []byte {
	return appendUint64(appendUint64(m.Name.append(b), m.From), m.To)
}

func parseNack(p *parser) Message {
	m := Nack{p.name(), p.uint64(), p.uint64()}
	if m.From > m.To {
		p.fail(fmt.Errorf("numbers from %d to %d", m.From, m.To))
	}
	return m
}

// Unwanted tells a publisher that its sender has no member of a name, unless the
// publisher knows of a later announcement than Seq.
//
//	name Name
//	seq  uint64
type Unwanted struct {
	Name Name
	Seq  uint64
}

// Type returns TypeUnwanted.
func (Unwanted) Type() Type { return TypeUnwanted }

// AppendBody appends the layout above.
func (m Unwanted) AppendBody(b []byte) []byte { return appendUint64(m.Name.append(b), m.Seq) }

func parseUnwanted(p *parser) Message { return Unwanted{p.name(), p.uint64()} }
