package relaywire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
)

// vectors is testdata/relay-v1.json or relay-v0.json. The delivery rules of V1, which
// say when a chunk may go out, are left to the package that keeps them.
type vectors struct {
	dialect   Dialect
	Protocol  string
	Primitive []struct {
		Name, Type string
		Value      any
		Hex        octets
	} `json:"primitives"`
	NonCanonical []struct {
		Name, Type, Value, Expect string
		Hex                       octets
	} `json:"non_canonical"`
	Message []vector `json:"messages"`
	Invalid []struct {
		Name, Expect   string
		AfterHandshake bool `json:"after_handshake"`
		Hex, Response  octets
	}
	Chunking []struct {
		Length     int
		ChunkLimit int      `json:"chunk_limit"`
		Chunks     [][2]int // announced size, payload
	}
}

// A vector is a message, its fields in wire order, and its encoding.
type vector struct {
	dialect                  Dialect
	Name, Direction, Message string
	Opcode                   byte
	Fields                   []struct {
		Name, Type string
		Value      any
	}
	Hex octets
}

// octets are written as hexadecimal digits.
type octets []byte

func (o *octets) UnmarshalText(text []byte) (err error) {
	*o, err = hex.DecodeString(string(text))
	return err
}

var dialects = []Dialect{V1, V0}

func readVectors(t testing.TB, dialect Dialect) *vectors {
	t.Helper()
	data, err := os.ReadFile("testdata/relay-" + dialect.String() + ".json")
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v := &vectors{dialect: dialect}
	if err := d.Decode(v); err != nil {
		t.Fatal(err)
	}
	if want := []string{Version, `v0 (version string "v1.0")`}[dialect]; v.Protocol != want {
		t.Fatalf("vectors of protocol %q, want %q", v.Protocol, want)
	}
	if len(v.Primitive) == 0 || len(v.NonCanonical) == 0 || len(v.Message) == 0 || len(v.Invalid) == 0 || dialect == V1 && len(v.Chunking) == 0 {
		t.Fatal("a part of the vectors is missing")
	}
	for i := range v.Message {
		v.Message[i].dialect = dialect
	}
	return v
}

// eachVector has check see the vectors of messages of both dialects.
func eachVector(t *testing.T, check func(t *testing.T, v *vector)) {
	for _, d := range dialects {
		for _, v := range readVectors(t, d).Message {
			t.Run(d.String()+"/"+v.Name, func(t *testing.T) { check(t, &v) })
		}
	}
}

// op returns what v is to the package.
func (v *vector) op() Op {
	if v.dialect == V0 {
		return opsV0[v.Opcode]
	}
	return Op(v.Opcode)
}

// toNode reports whether a client sends the message.
func (v *vector) toNode() bool { return v.Direction == "client-to-node" }

// unserved reports whether v is the Init of a version that is none of the package's. In
// V0 that is no more than an unknown magic string.
func (v *vector) unserved() bool {
	return v.dialect == V0 && v.Name == "init-unsupported-version"
}

// parse reads b as whoever receives v does.
func (v *vector) parse(l *Limits, b []byte, m *Message) (int, error) {
	switch {
	case !v.toNode():
		return v.dialect.ParseToClient(l, b, m)
	case v.op() == Init:
		return l.ParseInit(b, m)
	}
	return v.dialect.ParseToNode(l, b, m)
}

// append encodes m as whoever sends v does.
func (v *vector) append(b []byte, m *Message) []byte {
	if v.toNode() {
		return v.dialect.AppendToNode(b, m)
	}
	return v.dialect.AppendToClient(b, m)
}

// message returns what the fields of v say.
func (v *vector) message(t testing.TB) *Message {
	t.Helper()
	m := &Message{Op: v.op()}
	for _, f := range v.Fields {
		switch f.Type {
		case "bool":
			yes := f.Value.(bool)
			switch f.Name {
			case "success":
				m.Fault = !yes
			case "timeout":
				m.TimedOut = yes
			default:
				t.Fatalf("%s: unknown field %s", v.Name, f.Name)
			}
		case "varint":
			n := number(t, string(f.Value.(json.Number)))
			switch {
			case f.Name == "tunnel_id" && v.toNode() && v.op() == TunnelConfirm:
				m.Tunnel = n
			case f.Name == "id", f.Name == "tunnel_id", f.Name == "build_id", f.Name == "temp_id":
				m.ID = n
			case f.Name == "timeout_ms":
				m.Timeout = n
			case f.Name == "chunk_limit", f.Name == "space", f.Name == "size_or_cont", f.Name == "buffer":
				m.Size = n
			default:
				t.Fatalf("%s: unknown field %s", v.Name, f.Name)
			}
		default:
			b := content(t, f.Type, f.Value.(string))
			switch f.Name {
			case "magic":
				m.Magic = b
			case "version":
				m.Version = b
			case "cluster", "app", "topic":
				m.Name = b
			case "message", "request", "reply", "fault", "event", "payload", "reason":
				m.Body = b
			default:
				t.Fatalf("%s: unknown field %s", v.Name, f.Name)
			}
		}
	}
	return m
}

// content returns the octets of a binary, written in hexadecimal, or string.
func content(t testing.TB, kind, value string) []byte {
	t.Helper()
	if kind == "string" {
		return []byte(value)
	}
	b, err := hex.DecodeString(value)
	if err != nil || kind != "binary" {
		t.Fatalf("%s %s: %v", kind, value, err)
	}
	return b
}

func number(t testing.TB, value string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// same reports whether a and b have equal fields.
func same(a, b *Message) bool {
	return a.Op == b.Op && a.Fault == b.Fault && a.TimedOut == b.TimedOut &&
		a.ID == b.ID && a.Tunnel == b.Tunnel && a.Timeout == b.Timeout && a.Size == b.Size &&
		bytes.Equal(a.Magic, b.Magic) && bytes.Equal(a.Version, b.Version) &&
		bytes.Equal(a.Name, b.Name) && bytes.Equal(a.Body, b.Body)
}

func TestPrimitivesAreEncodedAsInVectors(t *testing.T) {
	for _, v := range slices.Concat(readVectors(t, V1).Primitive, readVectors(t, V0).Primitive) {
		var enc []byte
		p := parser{b: v.Hex}
		switch v.Type {
		case "varint":
			n := number(t, v.Value.(string))
			enc = binary.AppendUvarint(nil, n)
			if got := p.varint(); got != n {
				t.Errorf("%s: decoded to %d", v.Name, got)
			}
		case "bool":
			enc = appendBool(nil, v.Value.(bool))
			if got := p.bool(); got != v.Value.(bool) {
				t.Errorf("%s: decoded to %t", v.Name, got)
			}
		default:
			c := content(t, v.Type, v.Value.(string))
			enc = appendBinary(nil, c)
			if got := p.binary(len(c), errBody); !bytes.Equal(got, c) {
				t.Errorf("%s: decoded to %x", v.Name, got)
			}
		}
		if !bytes.Equal(enc, v.Hex) {
			t.Errorf("%s: encoded to %x, want %x", v.Name, enc, v.Hex)
		}
		if p.err != nil || p.off != len(v.Hex) {
			t.Errorf("%s: decoding took %d octets of %d, error %v", v.Name, p.off, len(v.Hex), p.err)
		}
	}
}

func TestPaddedVarintIsAcceptedUpTo10Octets(t *testing.T) {
	for _, v := range slices.Concat(readVectors(t, V1).NonCanonical, readVectors(t, V0).NonCanonical) {
		p := parser{b: v.Hex}
		n := p.varint()
		switch v.Expect {
		case "accept":
			if p.err != nil || p.off != len(v.Hex) || n != number(t, v.Value) {
				t.Errorf("%s: got %d from %d octets, error %v; want %s", v.Name, n, p.off, p.err, v.Value)
			}
		case "reject":
			if p.err != errVarint {
				t.Errorf("%s: got %d, error %v; want %v", v.Name, n, p.err, errVarint)
			}
		default:
			t.Errorf("%s: unknown expectation %q", v.Name, v.Expect)
		}
	}
}

func TestMessagesAreEncodedAsInVectors(t *testing.T) {
	eachVector(t, func(t *testing.T, v *vector) {
		m := v.message(t)
		if got := v.append(nil, m); !bytes.Equal(got, v.Hex) {
			t.Errorf("encoded to %x, want %x", got, v.Hex)
		}
		if v.toNode() {
			return
		}
		// In pieces, as a large body is written.
		parts := v.dialect.AppendHeadToClient(nil, m)
		if !bytes.HasPrefix(v.Hex, parts) {
			t.Errorf("head %x is no prefix of %x", parts, v.Hex)
		}
		parts = v.dialect.AppendTailToClient(append(parts, m.Body...), m)
		if !bytes.Equal(parts, v.Hex) {
			t.Errorf("head, body and tail are %x, want %x", parts, v.Hex)
		}
	})
}

func TestMessagesAreParsedAsInVectors(t *testing.T) {
	eachVector(t, func(t *testing.T, v *vector) {
		// What follows belongs to the next message.
		b := append(bytes.Clone(v.Hex), 0xff, 0x80)
		var got Message
		n, err := v.parse(&DefaultLimits, b, &got)
		if v.unserved() {
			if err != ErrMagic {
				t.Errorf("parsed to %+v, error %v; want %v", got, err, ErrMagic)
			}
			return
		}
		if err != nil || n != len(v.Hex) {
			t.Errorf("parsed %d octets of %d, error %v", n, len(v.Hex), err)
			return
		}
		if want := v.message(t); !same(&got, want) {
			t.Errorf("parsed to %+v, want %+v", got, *want)
		}
		if v.toNode() && v.op() == Init && got.Dialect() != v.dialect {
			t.Errorf("an Init of dialect %v", got.Dialect())
		}
	})
}

func TestInvalidInputIsToldApart(t *testing.T) {
	for _, d := range dialects {
		testInvalidInput(t, d)
	}
}

func testInvalidInput(t *testing.T, d Dialect) {
	for _, v := range readVectors(t, d).Invalid {
		parse := d.ParseToNode
		if !v.AfterHandshake {
			parse = (*Limits).ParseInit
		}
		var m Message
		n, err := parse(&DefaultLimits, v.Hex, &m)
		complete := err == nil && n == len(v.Hex)

		switch v.Expect {
		case "drop", "drop-silent":
			if v.Name == "tunnel-confirm-unknown-build" || v.Name == "tunnel-reply-unknown-temp-id" {
				// Only the node knows which builds it announced.
				if !complete {
					t.Errorf("%s: parsed %d octets, error %v", v.Name, n, err)
				}
				continue
			}
			var violation Violation
			if !errors.As(err, &violation) || err == ErrShort {
				t.Errorf("%s: parsed to %+v, error %v; want a violation", v.Name, m, err)
			}
		case "ignore":
			if !complete {
				t.Errorf("%s: parsed %d octets, error %v", v.Name, n, err)
			}
		case "drop-on-eof":
			if err != ErrShort {
				t.Errorf("%s: error %v, want %v", v.Name, err, ErrShort)
			}
		case "deny-and-close":
			if !complete || string(m.Version) == Version {
				t.Errorf("%s: parsed to %+v, error %v", v.Name, m, err)
			}
			deny := Message{Op: Deny, Magic: []byte(NodeMagic),
				Body: fmt.Appendf(nil, "Unsupported protocol. Client: %s. Iris: %s.", m.Version, Version)}
			if got := deny.AppendToClient(nil); !bytes.Equal(got, v.Response) {
				t.Errorf("%s: answer %x, want %x", v.Name, got, v.Response)
			}
		default:
			t.Errorf("%s: unknown expectation %q", v.Name, v.Expect)
		}
	}
}

func TestChunksOfVectorsFitTheProtocol(t *testing.T) {
	for _, v := range readVectors(t, V1).Chunking {
		if v.ChunkLimit != ChunkLimit {
			t.Errorf("length %d: cut for chunks of %d, want %d", v.Length, v.ChunkLimit, ChunkLimit)
		}
		sum := 0
		for i, c := range v.Chunks {
			size, payload := c[0], c[1]
			if want := map[bool]int{true: v.Length}[i == 0]; size != want {
				t.Errorf("length %d: chunk %d announces %d, want %d", v.Length, i, size, want)
			}
			sent := Message{Op: TunnelTransfer, ID: 1, Size: uint64(size), Body: make([]byte, payload)}
			b := sent.AppendToNode(nil)
			var got Message
			if n, err := DefaultLimits.ParseToNode(b, &got); err != nil || n != len(b) || !same(&got, &sent) {
				t.Errorf("length %d: chunk %d parsed %d octets of %d, error %v", v.Length, i, n, len(b), err)
			}
			sum += payload
		}
		if sum != v.Length {
			t.Errorf("length %d: chunks add up to %d", v.Length, sum)
		}
	}
}
