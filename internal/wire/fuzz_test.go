package wire

import (
	"bytes"
	"reflect"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, v := range controlFrames {
		f.Add(octets(v.head + v.body))
	}
	for _, v := range dataFrames {
		f.Add(octets(v.head + v.body + v.payload))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:len(b):len(b)] // reading beyond would panic
		in := bytes.Clone(b)
		var got Frame
		n, err := Parse(b, &got)
		if !bytes.Equal(b, in) {
			t.Fatalf("input %x was changed to %x", in, b)
		}
		if err == ErrShort {
			if n <= len(b) || n > 4+MaxFrame {
				t.Fatalf("of %d octets: need %d", len(b), n)
			}
			return
		}
		if err != nil {
			if n != 0 {
				t.Fatalf("%d octets with error %v", n, err)
			}
			return
		}
		if n < HeaderSize || n > len(b) || cap(got.Body) != len(got.Body) {
			t.Fatalf("took %d octets of %d, body of %d, capacity %d", n, len(b), len(got.Body), cap(got.Body))
		}
		// There is one way to write a header.
		if again := append(got.AppendHead(nil, len(got.Body)), got.Body...); !bytes.Equal(again, b[:n]) {
			t.Fatalf("%x is appended as %x", b[:n], again)
		}
		for _, v := range dataFrames {
			if v.f.Type == got.Type {
				checkBody(t, got.Body, v.parse)
			}
		}
	})
}

func FuzzParseMessage(f *testing.F) {
	for _, v := range controlFrames {
		f.Add(byte(v.m.Type()), octets(v.body))
	}
	f.Fuzz(func(t *testing.T, ty byte, b []byte) {
		checkBody(t, b, with(func(b []byte) (appender, error) {
			m, err := ParseMessage(Type(ty), b)
			if err == nil && m.Type() != Type(ty) {
				t.Fatalf("%v is parsed as %v", Type(ty), m.Type())
			}
			return m, err
		}))
	})
}

func FuzzParseHello(f *testing.F)   { fuzzFirst(f, TypeHello, with(ParseHello)) }
func FuzzParseWelcome(f *testing.F) { fuzzFirst(f, TypeWelcome, with(ParseWelcome)) }

func fuzzFirst(f *testing.F, ty Type, parse func([]byte) (appender, []byte, error)) {
	for _, v := range readVectors(f).Frame {
		if fr := frame(f, octets(v.Frame)); fr.Type == ty {
			f.Add(fr.Body)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkBody(t, b, parse) })
}

// checkBody holds what parse makes of b against its contract: parsed and
// appended it is parsed as the same, and appended as the same.
func checkBody(t *testing.T, b []byte, parse func([]byte) (appender, []byte, error)) {
	b = b[:len(b):len(b)] // reading beyond would panic
	in := bytes.Clone(b)
	m, rest, err := parse(b)
	if !bytes.Equal(b, in) {
		t.Fatalf("input %x was changed to %x", in, b)
	}
	if err != nil {
		return
	}
	if !bytes.HasSuffix(b, rest) {
		t.Fatalf("payload %x is no end of %x", rest, b)
	}
	enc := m.AppendBody(nil)
	again, more, err := parse(append(enc, rest...))
	if err != nil || !reflect.DeepEqual(again, m) || !bytes.Equal(more, rest) {
		t.Fatalf("%+v, appended, is parsed as %+v, payload %x, error %v; want payload %x", m, again, more, err, rest)
	}
	if twice := again.AppendBody(nil); !bytes.Equal(twice, enc) {
		t.Fatalf("%+v is appended as %x and %x", m, enc, twice)
	}
}
