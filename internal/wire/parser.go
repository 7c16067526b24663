package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/project-iris/iris/internal/ring"
)

var (
	errEnd    = errors.New("ends within its fields")
	errVarint = errors.New("varint exceeds 64 bits")
	errRole   = errors.New("unknown role 0")
	errEvent  = errors.New("unknown event 0")

	// ErrHandle says that a frame uses a handle, which no frame defines.
	ErrHandle = errors.New("unknown handle")
)

// A parser takes fields off the front of b. After the first error it yields
// zeros.
type parser struct {
	b   []byte
	err error
}

// fail stops the parser.
func (p *parser) fail(err error) {
	if p.err == nil {
		p.err, p.b = err, nil
	}
}

// failed returns the first error, with the frame it is about.
func (p *parser) failed(t Type) error {
	if p.err == nil {
		return nil
	}
	return fmt.Errorf("%v: %w", t, p.err)
}

// octets returns the next n octets, as part of b, or nil.
func (p *parser) octets(n int) []byte {
	if len(p.b) < n {
		p.fail(errEnd)
		return nil
	}
	v := p.b[:n:n]
	p.b = p.b[n:]
	return v
}

func (p *parser) byte() byte {
	if b := p.octets(1); b != nil {
		return b[0]
	}
	return 0
}

func (p *parser) uint16() uint16 {
	if b := p.octets(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (p *parser) uint32() uint32 {
	if b := p.octets(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (p *parser) uint64() uint64 {
	if b := p.octets(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (p *parser) uvarint() uint64 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 {
		if n == 0 {
			p.fail(errEnd)
		} else {
			p.fail(errVarint)
		}
		return 0
	}
	p.b = p.b[n:]
	return v
}

// flag reads an octet of which only the lowest bit means something.
func (p *parser) flag() bool { return p.byte()&1 != 0 }

// choice reads an octet that is one of the numbers up to last.
func (p *parser) choice(what string, last byte) byte {
	v := p.byte()
	if v > last {
		p.fail(fmt.Errorf("unknown %s %d", what, v))
		return 0
	}
	return v
}

func (p *parser) id() ring.ID {
	if b := p.octets(ring.Size); b != nil {
		return ring.FromBytes(b)
	}
	return ring.ID{}
}

func (p *parser) tunnel() (id [16]byte) {
	copy(id[:], p.octets(len(id)))
	return id
}

// time reads Unix milliseconds.
func (p *parser) time() time.Time {
	return time.UnixMilli(int64(p.uint64())).UTC()
}

func (p *parser) state() State { return State(p.choice("state", byte(InLeaving))) }

// text reads a short string, preceded by its length as a uvarint.
func (p *parser) text(most int) string {
	n := p.uvarint()
	if n > uint64(most) {
		p.fail(fmt.Errorf("text of %d octets, want at most %d", n, most))
		return ""
	}
	b := p.octets(int(n))
	if !utf8.Valid(b) {
		p.fail(errors.New("text is not UTF-8"))
		return ""
	}
	return string(b)
}

// handle reads the short form of a name, in place of which all frames have the
// name itself.
func (p *parser) handle() {
	if p.uint32() != 0 {
		p.fail(ErrHandle)
	}
}

// rest reads what is left as a text for people, of which no more than most
// octets count. What is not UTF-8 in it is replaced.
func (p *parser) rest(most int) string {
	if p.err != nil {
		return ""
	}
	return cut(strings.ToValidUTF8(string(p.b[:min(len(p.b), most)]), "?"), most)
}

// list reads a list of items of at least size octets each. What it says of its
// length is held against what is there before anything is allocated.
func list[T any](p *parser, size int, item func(*parser) T) []T {
	n := int(p.uint16())
	if n*size > len(p.b) {
		p.fail(fmt.Errorf("list of %d items goes on after the end", n))
		return nil
	}
	if n == 0 {
		return nil
	}
	items := make([]T, n)
	for i := range items {
		items[i] = item(p)
		if p.err != nil {
			return nil
		}
	}
	return items
}

func appendUint16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }
func appendUint32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }
func appendUint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

func appendFlag(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendTime(b []byte, t time.Time) []byte { return appendUint64(b, uint64(t.UnixMilli())) }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// cut returns the start of s, at most that many octets, without half a
// character at its end.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// appendCount appends the length of a list. It panics if that does not fit:
// whoever makes lists bounds them.
func appendCount(b []byte, n int) []byte {
	if n > 1<<16-1 {
		panic(fmt.Sprintf("wire: list of %d items", n))
	}
	return appendUint16(b, uint16(n))
}
