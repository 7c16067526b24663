// Package wire is the protocol between nodes: every frame's layout, encoded and
// decoded (docs/messaging.md, Frames). Everything in it is pure.
//
// Integers are big endian, uv is a uvarint, id a ring.ID of 16 octets, and
// [x, y] a list: its length as uint16, then the pairs. Octets after the last
// field of a frame, and bits of flags that have no meaning yet, are ignored.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

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

	// MaxRouted is the longest body that is routed on a control connection.
	MaxRouted = 16 << 10

	// MaxHops is how many routers a frame may pass.
	MaxHops = 16
)

// Flags of a frame.
type Flags byte

// The flags.
const (
	Skip     Flags = 0x01 // who does not know the type skips the frame
	Routed   Flags = 0x02 // Origin and Target are there
	Trace    Flags = 0x04 // a trace context is there
	Fragment Flags = 0x08 // Message, Offset and Total are there
	Named    Flags = 0x10 // Name is there
	First    Flags = 0x20 // of a stream: the receiver's starts here
	Choosy   Flags = 0x20 // of a request: rather turned down than made to wait
	Replay   Flags = 0x40 // sent again on demand

	unknownFlags Flags = 0x80
	extensions         = Routed | Trace | Fragment | Named
)

// A Frame is the header of a frame, its extensions, and its body.
//
//	length  uint32    octets after this field
//	type    byte
//	flags   byte
//	hops    byte      routers it may still pass; 0: not routed
//	version byte      1
//	origin, target id                    with Routed
//	trace   [26]byte                     with Trace
//	message, offset, total uint32        with Fragment
//	kind, split byte, key id             with Named
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

// Known reports whether the frame means something to this version of the
// protocol. One that does not is passed over if it has Skip, and otherwise
// breaks the protocol.
func (f *Frame) Known() bool { return f.Type.Known() && f.Flags&unknownFlags == 0 }

// Parse reads the frame at the start of b, whatever its type, and returns the
// octets it took. f.Body points into b, and an append to it copies it.
//
// With ErrShort, n is how many octets from the start of b must be there before
// another attempt can succeed: more than len(b), at most 4 + MaxFrame. f counts
// only without an error.
func Parse(b []byte, f *Frame) (n int, err error) {
	if len(b) < 4 {
		return HeaderSize, ErrShort
	}
	length := binary.BigEndian.Uint32(b)
	if length < HeaderSize-4 || length > MaxFrame {
		return 0, fmt.Errorf("frame of %d octets after its length, want %d to %d", length, HeaderSize-4, MaxFrame)
	}
	n = 4 + int(length)
	if len(b) < HeaderSize {
		return n, ErrShort
	}
	*f = Frame{Type: Type(b[4]), Flags: Flags(b[5]), Hops: b[6]}
	if b[7] != Version {
		return 0, fmt.Errorf("%v of version %d, want %d", f.Type, b[7], Version)
	}
	if f.Hops > MaxHops {
		return 0, fmt.Errorf("%v with %d hops, want at most %d", f.Type, f.Hops, MaxHops)
	}
	if len(b) < n {
		return n, ErrShort
	}
	f.Body = b[HeaderSize:n:n]
	if f.Flags&extensions != 0 {
		if err := f.parseExtensions(); err != nil {
			return 0, fmt.Errorf("%v: %w", f.Type, err)
		}
	}
	return n, nil
}

func (f *Frame) parseExtensions() error {
	p := parser{b: f.Body}
	if f.Flags&Routed != 0 {
		f.Origin, f.Target = p.id(), p.id()
	}
	if f.Flags&Trace != 0 {
		copy(f.Trace[:], p.octets(len(f.Trace)))
	}
	if f.Flags&Fragment != 0 {
		f.Message, f.Offset, f.Total = p.uint32(), p.uint32(), p.uint32()
	}
	if f.Flags&Named != 0 {
		f.Name = p.name()
	}
	f.Body = p.b
	if f.Flags&Fragment != 0 && p.err == nil && uint64(f.Offset)+uint64(len(f.Body)) > uint64(f.Total) {
		return fmt.Errorf("fragment of %d octets at %d exceeds the message's %d", len(f.Body), f.Offset, f.Total)
	}
	return p.err
}

// AppendHead appends what precedes the body of f, which will have that many
// octets; f.Body has no part in it. It panics if the frame would be longer than
// MaxFrame: whoever makes bodies bounds them.
func (f *Frame) AppendHead(b []byte, body int) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, byte(f.Type), byte(f.Flags), f.Hops, Version)
	if f.Flags&extensions != 0 {
		b = f.appendExtensions(b)
	}
	putLength(b[start:], len(b)-start+body)
	return b
}

func (f *Frame) appendExtensions(b []byte) []byte {
	if f.Flags&Routed != 0 {
		b = f.Target.Append(f.Origin.Append(b))
	}
	if f.Flags&Trace != 0 {
		b = append(b, f.Trace[:]...)
	}
	if f.Flags&Fragment != 0 {
		b = appendUint32(b, f.Message)
		b = appendUint32(b, f.Offset)
		b = appendUint32(b, f.Total)
	}
	if f.Flags&Named != 0 {
		b = f.Name.append(b)
	}
	return b
}

// putLength writes the length of a frame of size octets in all to its start.
func putLength(b []byte, size int) {
	if size-4 > MaxFrame {
		panic(fmt.Sprintf("wire: frame of %d octets", size))
	}
	binary.BigEndian.PutUint32(b, uint32(size-4))
}
