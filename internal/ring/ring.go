// Package ring is the arithmetic of 128-bit ids: the ids of nodes, derived from
// their keys, and the keys of names share one circle, on which a name belongs to
// the node closest to it (docs/overlay.md). Everything in it is pure.
package ring

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
)

// Size is how many octets an encoded ID has.
const Size = 16

// An ID is a place on the ring: a node's, or that of a name. The zero ID is
// nobody's. IDs are compared with ==.
type ID struct{ Hi, Lo uint64 }

// FromBytes returns the ID that the first 16 octets of b encode, big endian.
func FromBytes(b []byte) ID {
	return ID{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:Size])}
}

// Parse returns the ID that 32 hexadecimal digits stand for.
func Parse(s string) (ID, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != Size {
		return ID{}, fmt.Errorf("%q is not an id of 32 hexadecimal digits", s)
	}
	return FromBytes(b), nil
}

// Append appends the 16 octets of the encoded ID to b.
func (a ID) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, a.Hi), a.Lo)
}

// String returns the ID as 32 hexadecimal digits.
func (a ID) String() string { return fmt.Sprintf("%016x%016x", a.Hi, a.Lo) }

// Short returns the first 8 digits, enough to tell the nodes of a network apart
// in a log.
func (a ID) Short() string { return fmt.Sprintf("%08x", a.Hi>>32) }

// IsZero reports whether a is nobody's.
func (a ID) IsZero() bool { return a == ID{} }

// Compare orders IDs as numbers: -1, 0 or +1.
func (a ID) Compare(b ID) int {
	if c := cmp.Compare(a.Hi, b.Hi); c != 0 {
		return c
	}
	return cmp.Compare(a.Lo, b.Lo)
}

// Less reports whether a is the smaller number.
func (a ID) Less(b ID) bool { return a.Compare(b) < 0 }

// Sub returns a - b modulo 2^128: how far it is from b clockwise to a.
func (a ID) Sub(b ID) ID {
	lo, borrow := bits.Sub64(a.Lo, b.Lo, 0)
	hi, _ := bits.Sub64(a.Hi, b.Hi, borrow)
	return ID{hi, lo}
}

// Distance returns how far a and b are apart, the shorter way round.
func (a ID) Distance(b ID) ID {
	d, e := a.Sub(b), b.Sub(a)
	if e.Less(d) {
		return e
	}
	return d
}

// Closer reports whether a owns key rather than b: it is closer, or as close and
// smaller.
func Closer(key, a, b ID) bool {
	if c := key.Distance(a).Compare(key.Distance(b)); c != 0 {
		return c < 0
	}
	return a.Less(b)
}

// Node returns the id of the node with the public key spki, an encoded
// SubjectPublicKeyInfo, in the network of that name (docs/security.md,
// Derivations).
func Node(network string, spki []byte) ID {
	b := appendField([]byte("iris/node/1"), network)
	return sum(appendField(b, string(spki)))
}

// Key returns the place of a name: kind is 1 for clusters and 2 for topics; split
// is 0 as long as no name has more than one root.
func Key(network string, kind byte, name string, split byte) ID {
	b := append(appendField([]byte("iris/key/1"), network), kind)
	return sum(append(appendField(b, name), split))
}

func sum(b []byte) ID {
	h := sha256.Sum256(b)
	return FromBytes(h[:])
}

// appendField appends field, preceded by its length, so that two fields in a
// row cannot be read as two others.
func appendField(b []byte, field string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(field))), field...)
}
