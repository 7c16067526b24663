package relaywire

import (
	"bytes"
	"testing"
)

// fuzzLimits are small, so that the fuzzer gets past them now and then.
var fuzzLimits = Limits{Handshake: 32, Name: 256, Body: 1024}

func FuzzParseInit(f *testing.F) {
	encode := func(m *Message, b []byte) []byte { return m.Dialect().AppendToNode(b, m) }
	fuzzParse(f, dialects, (*Limits).ParseInit, encode, func(v *vector) bool { return v.toNode() && v.op() == Init })
}

func FuzzParseToNode(f *testing.F)     { fuzzParseToNode(f, V1) }
func FuzzParseToNodeV0(f *testing.F)   { fuzzParseToNode(f, V0) }
func FuzzParseToClient(f *testing.F)   { fuzzParseToClient(f, V1) }
func FuzzParseToClientV0(f *testing.F) { fuzzParseToClient(f, V0) }

func fuzzParseToNode(f *testing.F, d Dialect) {
	encode := func(m *Message, b []byte) []byte { return d.AppendToNode(b, m) }
	fuzzParse(f, []Dialect{d}, d.ParseToNode, encode, func(v *vector) bool { return v.toNode() && v.op() != Init })
}

func fuzzParseToClient(f *testing.F, d Dialect) {
	encode := func(m *Message, b []byte) []byte { return d.AppendToClient(b, m) }
	fuzzParse(f, []Dialect{d}, d.ParseToClient, encode, func(v *vector) bool { return !v.toNode() })
}

// fuzzParse gives parse any bytes, beginning with the wanted vectors of the dialects and
// with what is known to be invalid, and holds the result against the contract.
func fuzzParse(f *testing.F, of []Dialect, parse parseFunc, encode func(*Message, []byte) []byte, want func(*vector) bool) {
	for _, d := range of {
		all := readVectors(f, d)
		for _, v := range all.Message {
			if want(&v) {
				f.Add([]byte(v.Hex))
			}
		}
		for _, v := range all.Invalid {
			f.Add([]byte(v.Hex))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:len(b):len(b)] // reading beyond would panic
		in := bytes.Clone(b)
		var m Message
		n, err := parse(&fuzzLimits, b, &m)
		if !bytes.Equal(in, b) {
			t.Fatalf("input %x was changed to %x", in, b)
		}
		if _, ok := err.(Violation); err != nil && !ok {
			t.Fatalf("error %v is no violation", err)
		}
		if err == ErrShort {
			if n <= len(b) || n > 1+4*10+fuzzLimits.Name+ChunkLimit {
				t.Fatalf("of %d octets: need %d", len(b), n)
			}
			// One octet less than needed is not enough, whatever comes.
			more := append(in, make([]byte, n-1-len(b))...)
			if again, err := parse(&fuzzLimits, more, &m); again != n || err != ErrShort {
				t.Fatalf("of %d octets: need %d; of %d: %d, error %v", len(b), n, len(more), again, err)
			}
			return
		}
		if err != nil {
			return
		}
		if n < 1 || n > len(b) {
			t.Fatalf("parsed %d octets of %d", n, len(b))
		}
		for _, field := range [][]byte{m.Magic, m.Version, m.Name, m.Body} {
			if len(field) > n || cap(field) != len(field) {
				t.Fatalf("field of %d octets, capacity %d, in a message of %d", len(field), cap(field), n)
			}
		}

		// What follows a message has no part in it.
		var alone Message
		if k, err := parse(&fuzzLimits, b[:n:n], &alone); k != n || err != nil || !same(&alone, &m) {
			t.Fatalf("without what follows: %+v from %d octets, error %v; want %+v from %d", alone, k, err, m, n)
		}

		enc := encode(&m, nil)
		var again Message
		if k, err := parse(&fuzzLimits, enc, &again); k != len(enc) || err != nil || !same(&again, &m) {
			t.Fatalf("encoded anew: %+v from %d octets, error %v; want %+v from %d", again, k, err, m, len(enc))
		}
		// A padded varint takes more octets than the shortest form, and
		// nothing else can be written in two ways.
		if len(enc) > n || len(enc) == n && !bytes.Equal(enc, b[:n]) {
			t.Fatalf("%x encoded anew is %x", b[:n], enc)
		}
	})
}
