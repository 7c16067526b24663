package relaywire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
)

// vectors is testdata/relay-v1.json. Its delivery rules, which say when a
// chunk may go out, are left to the package that keeps them.
type vectors struct {
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
	Name, Direction, Message string
	Opcode                   Op
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

func readVectors(t testing.TB) *vectors {
	t.Helper()
	data, err := os.ReadFile("testdata/relay-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v := new(vectors)
	if err := d.Decode(v); err != nil {
		t.Fatal(err)
	}
	if v.Protocol != Version {
		t.Fatalf("vectors of protocol %q, want %q", v.Protocol, Version)
	}
	if len(v.Primitive) == 0 || len(v.NonCanonical) == 0 || len(v.Message) == 0 || len(v.Invalid) == 0 || len(v.Chunking) == 0 {
		t.Fatal("a part of the vectors is missing")
	}
	return v
}

// toNode reports whether a client sends the message.
func (v *vector) toNode() bool { return v.Direction == "client-to-node" }

// parse reads b as whoever receives v does.
func (v *vector) parse(l *Limits, b []byte, m *Message) (int, error) {
	switch {
	case !v.toNode():
		return l.ParseToClient(b, m)
	case v.Opcode == Init:
		return l.ParseInit(b, m)
	}
	return l.ParseToNode(b, m)
}

// append encodes m as whoever sends v does.
func (v *vector) append(b []byte, m *Message) []byte {
	if v.toNode() {
		return m.AppendToNode(b)
	}
	return m.AppendToClient(b)
}

// message returns what the fields of v say.
func (v *vector) message(t testing.TB) *Message {
	t.Helper()
	m := &Message{Op: v.Opcode}
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
			case f.Name == "tunnel_id" && v.toNode() && v.Opcode == TunnelConfirm:
				m.Tunnel = n
			case f.Name == "id", f.Name == "tunnel_id", f.Name == "build_id":
				m.ID = n
			case f.Name == "timeout_ms":
				m.Timeout = n
			case f.Name == "chunk_limit", f.Name == "space", f.Name == "size_or_cont":
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
			case "cluster", "topic":
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
	for _, v := range readVectors(t).Primitive {
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
	for _, v := range readVectors(t).NonCanonical {
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
	for _, v := range readVectors(t).Message {
		m := v.message(t)
		if got := v.append(nil, m); !bytes.Equal(got, v.Hex) {
			t.Errorf("%s: encoded to %x, want %x", v.Name, got, v.Hex)
		}
		if v.toNode() {
			continue
		}
		// In pieces, as a large body is written.
		parts := m.AppendHeadToClient(nil)
		if !bytes.HasPrefix(v.Hex, parts) {
			t.Errorf("%s: head %x is no prefix of %x", v.Name, parts, v.Hex)
		}
		parts = m.AppendTailToClient(append(parts, m.Body...))
		if !bytes.Equal(parts, v.Hex) {
			t.Errorf("%s: head, body and tail are %x, want %x", v.Name, parts, v.Hex)
		}
	}
}

func TestMessagesAreParsedAsInVectors(t *testing.T) {
	for _, v := range readVectors(t).Message {
		// What follows belongs to the next message.
		b := append(bytes.Clone(v.Hex), 0xff, 0x80)
		var got Message
		n, err := v.parse(&DefaultLimits, b, &got)
		if err != nil || n != len(v.Hex) {
			t.Errorf("%s: parsed %d octets of %d, error %v", v.Name, n, len(v.Hex), err)
			continue
		}
		if want := v.message(t); !same(&got, want) {
			t.Errorf("%s: parsed to %+v, want %+v", v.Name, got, *want)
		}
	}
}

func TestInvalidInputIsToldApart(t *testing.T) {
	for _, v := range readVectors(t).Invalid {
		parse := DefaultLimits.ParseToNode
		if !v.AfterHandshake {
			parse = DefaultLimits.ParseInit
		}
		var m Message
		n, err := parse(v.Hex, &m)
		complete := err == nil && n == len(v.Hex)

		switch v.Expect {
		case "drop", "drop-silent":
			if v.Name == "tunnel-confirm-unknown-build" {
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
	for _, v := range readVectors(t).Chunking {
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
