package relaywire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
)

// parseFunc is any of the three parsers.
type parseFunc func(*Limits, []byte, *Message) (int, error)

func TestTruncatedMessageSaysHowMuchIsNeeded(t *testing.T) {
	eachVector(t, func(t *testing.T, v *vector) {
		before := 0
		for k := range v.Hex {
			var m Message
			need, err := v.parse(&DefaultLimits, v.Hex[:k:k], &m)
			if v.unserved() && err == ErrMagic {
				return
			}
			if err != ErrShort {
				t.Fatalf("first %d octets of %d: error %v, want %v", k, len(v.Hex), err, ErrShort)
			}
			if need <= k || need > len(v.Hex) || need < before {
				t.Fatalf("first %d octets of %d: need %d, before %d", k, len(v.Hex), need, before)
			}
			before = need
		}
	})
}

func TestPartOfBodyAsksForAllOfIt(t *testing.T) {
	b := []byte("\x03\x04echo\x80\x80\x04he")
	var m Message
	if need, err := DefaultLimits.ParseToNode(b, &m); need != 9+65536 || err != ErrShort {
		t.Errorf("need %d, error %v; want %d, %v", need, err, 9+65536, ErrShort)
	}
}

// A prefixed field is one whose length goes on the wire, with the octets that
// lead up to the length and those that complete the message.
type prefixed struct {
	name     string
	parse    parseFunc
	before   string
	after    string
	limit    func(*Limits) int
	exceeded Violation
}

var prefixedFields = func() []prefixed {
	init, toNode, toClient := (*Limits).ParseInit, (*Limits).ParseToNode, (*Limits).ParseToClient
	toNodeV0, toClientV0 := V0.ParseToNode, V0.ParseToClient
	handshake := func(l *Limits) int { return l.Handshake }
	name := func(l *Limits) int { return l.Name }
	body := func(l *Limits) int { return l.Body }
	chunk := func(*Limits) int { return ChunkLimit }
	const magic = "\x00\x11" + ClientMagic
	return []prefixed{
		{"init version", init, magic, "\x00", handshake, errTooLarge},
		{"init cluster", init, magic + "\x0b" + Version, "", handshake, errTooLarge},

		{"broadcast cluster to node", toNode, "\x03", "\x00", name, errName},
		{"broadcast message to node", toNode, "\x03\x00", "", body, errBody},
		{"request cluster to node", toNode, "\x04\x01", "\x00\x01", name, errName},
		{"request body to node", toNode, "\x04\x01\x00", "\x01", body, errBody},
		{"reply to node", toNode, "\x05\x01\x01", "", body, errBody},
		{"fault to node", toNode, "\x05\x01\x00", "", name, errText},
		{"subscribe topic", toNode, "\x06", "", name, errName},
		{"unsubscribe topic", toNode, "\x07", "", name, errName},
		{"publish topic to node", toNode, "\x08", "\x00", name, errName},
		{"publish event to node", toNode, "\x08\x00", "", body, errBody},
		{"tunnel cluster", toNode, "\x09\x01", "\x01", name, errName},
		{"chunk to node", toNode, "\x0c\x01\x01", "", chunk, errChunk},

		{"accept magic", toClient, "\x00", "\x00", handshake, errTooLarge},
		{"accept version", toClient, "\x00\x00", "", handshake, errTooLarge},
		{"deny magic", toClient, "\x01", "\x00", handshake, errTooLarge},
		{"deny reason", toClient, "\x01\x00", "", name, errText},
		{"close reason", toClient, "\x02", "", name, errText},
		{"broadcast to client", toClient, "\x03", "", body, errBody},
		{"request to client", toClient, "\x04\x01", "\x01", body, errBody},
		{"reply to client", toClient, "\x05\x01\x00\x01", "", body, errBody},
		{"fault to client", toClient, "\x05\x01\x00\x00", "", name, errText},
		{"publish topic to client", toClient, "\x08", "\x00", name, errName},
		{"publish event to client", toClient, "\x08\x00", "", body, errBody},
		{"chunk to client", toClient, "\x0c\x01\x01", "", chunk, errChunk},
		{"tunnel close reason", toClient, "\x0d\x01", "", name, errText},

		{"v0 init app", init, "\x00\x04v1.0", "", handshake, errTooLarge},
		{"v0 broadcast app to node", toNodeV0, "\x01", "\x00", name, errName},
		{"v0 broadcast message to node", toNodeV0, "\x01\x00", "", body, errBody},
		{"v0 request app to node", toNodeV0, "\x02\x01", "\x00\x01", name, errName},
		{"v0 request body to node", toNodeV0, "\x02\x01\x00", "\x01", body, errBody},
		{"v0 reply to node", toNodeV0, "\x03\x01", "", body, errBody},
		{"v0 subscribe topic", toNodeV0, "\x04", "", name, errName},
		{"v0 publish topic to node", toNodeV0, "\x05", "\x00", name, errName},
		{"v0 publish event to node", toNodeV0, "\x05\x00", "", body, errBody},
		{"v0 unsubscribe topic", toNodeV0, "\x06", "", name, errName},
		{"v0 tunnel app", toNodeV0, "\x08\x01", "\x01\x01", name, errName},
		{"v0 tunnel message to node", toNodeV0, "\x0a\x01", "", body, errBody},
		{"v0 broadcast to client", toClientV0, "\x01", "", body, errBody},
		{"v0 request to client", toClientV0, "\x02\x01", "", body, errBody},
		{"v0 reply to client", toClientV0, "\x03\x01\x00", "", body, errBody},
		{"v0 publish topic to client", toClientV0, "\x05", "\x00", name, errName},
		{"v0 publish event to client", toClientV0, "\x05\x00", "", body, errBody},
		{"v0 tunnel message to client", toClientV0, "\x0a\x01", "", body, errBody},
	}
}()

func TestLengthAboveLimitIsRefusedFromPrefixAlone(t *testing.T) {
	for _, f := range prefixedFields {
		limit := uint64(f.limit(&DefaultLimits))
		for _, n := range []uint64{
			limit + 1, limit | 1<<31, limit | 1<<32, // limit, if cut to 31 or 32 bits
			math.MaxInt32, 1 << 31, math.MaxUint32, 1 << 32, math.MaxInt64, 1 << 63, math.MaxUint64,
		} {
			var m Message
			b := binary.AppendUvarint([]byte(f.before), n)
			if got, err := f.parse(&DefaultLimits, b, &m); err != f.exceeded {
				t.Errorf("%s of %d octets: got %d, error %v; want %v", f.name, n, got, err, f.exceeded)
			}
		}
	}
}

func TestLengthAtLimitIsAccepted(t *testing.T) {
	small := Limits{Handshake: 20, Name: 21, Body: 22}
	for _, f := range prefixedFields {
		for _, l := range []*Limits{&DefaultLimits, &small} {
			n := f.limit(l)
			b := binary.AppendUvarint([]byte(f.before), uint64(n))
			var m Message
			if need, err := f.parse(l, b, &m); err != ErrShort || need != len(b)+n {
				t.Errorf("%s, length of %d octets alone: need %d, error %v; want %d, %v", f.name, n, need, err, len(b)+n, ErrShort)
			}
			if n > ChunkLimit {
				continue // 64 MiB of zeros would prove no more
			}
			b = append(append(b, make([]byte, n)...), f.after...)
			if took, err := f.parse(l, b, &m); err != nil || took != len(b) {
				t.Errorf("%s of %d octets: parsed %d octets of %d, error %v", f.name, n, took, len(b), err)
			}
		}
	}
}

func TestLimitOfAnySizeOverflowsNothing(t *testing.T) {
	huge := Limits{Handshake: math.MaxInt, Name: math.MaxInt, Body: math.MaxInt}
	for _, f := range prefixedFields {
		for _, n := range []uint64{math.MaxInt - 1, math.MaxInt, math.MaxUint64} {
			var m Message
			b := binary.AppendUvarint([]byte(f.before), n)
			if got, err := f.parse(&huge, b, &m); err != f.exceeded {
				t.Errorf("%s of %d octets: got %d, error %v; want %v", f.name, n, got, err, f.exceeded)
			}
		}
	}
}

func TestHandshakeEndsAsSoonAsItsBytesTell(t *testing.T) {
	const magic, version = "\x00\x11" + ClientMagic, "\x0b" + Version
	long := func(n int) string {
		return string(binary.AppendUvarint(nil, uint64(n))) + strings.Repeat("x", n)
	}
	for _, c := range []struct {
		name string
		in   string
		n    int // octets taken or needed
		err  error
	}{
		{"nothing", "", 1, ErrShort},
		{"another opcode", "\x03", 0, ErrNotInit},
		{"a request of HTTP", "G", 0, ErrNotInit},
		{"opcode", "\x00", 2, ErrShort},
		{"magic begun", "\x00\x11iris", 19, ErrShort},
		{"wrong magic, but not all of it", "\x00\x11iris-klient-magi", 19, ErrShort},
		{"wrong magic", "\x00\x11iris-klient-magic", 0, ErrMagic},
		{"wrong case", "\x00\x11IRIS-client-magic", 0, ErrMagic},
		{"magic of the node", "\x00\x10" + NodeMagic, 0, ErrMagic},
		{"no magic", "\x00\x00", 0, ErrMagic},
		{"longest magic", "\x00" + long(1024), 0, ErrMagic},
		{"magic too long", "\x00\x81\x08", 0, errTooLarge},
		{"endless length", "\x00" + strings.Repeat("\x80", 10), 0, errVarint},
		{"older protocol begun", "\x00\x04v1.0", 7, ErrShort},
		{"older protocol", "\x00\x04v1.0\x04echo\x07", 11, nil},
		{"older protocol without an app", "\x00\x04v1.0\x00", 7, nil},
		{"older protocol, longest app", "\x00\x04v1.0" + long(1024), 1032, nil},
		{"older protocol, app too long", "\x00\x04v1.0\x81\x08", 0, errTooLarge},
		{"older still", "\x00\x04v0.9", 0, ErrMagic},
		{"magic alone", magic, 20, ErrShort},
		{"other version, but no cluster", magic + "\x04v9.9", 25, ErrShort},
		{"other version", magic + "\x04v9.9\x00", 25, nil},
		{"cluster begun", magic + version + "\x04ec", 36, ErrShort},
		{"client", magic + version + "\x00", 32, nil},
		{"service, and more input", magic + version + "\x04echo\x02", 36, nil},
		{"longest cluster", magic + version + long(1024), 1057, nil},
		{"cluster too long", magic + version + "\x81\x08", 0, errTooLarge},
	} {
		var m Message
		n, err := DefaultLimits.ParseInit([]byte(c.in), &m)
		if n != c.n || err != c.err {
			t.Errorf("%s: got %d, %v; want %d, %v", c.name, n, err, c.n, c.err)
		}
	}
}

func TestOpcodeOfOtherDirectionIsRefused(t *testing.T) {
	toNode := map[Op]bool{Close: true, Broadcast: true, Request: true, Reply: true, Subscribe: true, Unsubscribe: true,
		Publish: true, TunnelInit: true, TunnelConfirm: true, TunnelAllow: true, TunnelTransfer: true, TunnelClose: true}
	toClient := map[Op]bool{Accept: true, Deny: true, Close: true, Broadcast: true, Request: true, Reply: true,
		Publish: true, TunnelInit: true, TunnelResult: true, TunnelAllow: true, TunnelTransfer: true, TunnelClose: true}
	for i := range 256 {
		b := []byte{byte(i)}
		var m Message
		if _, err := DefaultLimits.ParseToNode(b, &m); (err != errOp) != toNode[Op(i)] {
			t.Errorf("opcode %02x to a node: error %v", i, err)
		}
		if _, err := DefaultLimits.ParseToClient(b, &m); (err != errOp) != toClient[Op(i)] {
			t.Errorf("opcode %02x to a client: error %v", i, err)
		}
		if _, err := V0.ParseToNode(&DefaultLimits, b, &m); (err != errOp) != (1 <= i && i <= 0x0c) {
			t.Errorf("opcode %02x of V0 to a node: error %v", i, err)
		}
		if _, err := V0.ParseToClient(&DefaultLimits, b, &m); (err != errOp) != (i <= 0x0c && i != 0x04 && i != 0x06) {
			t.Errorf("opcode %02x of V0 to a client: error %v", i, err)
		}
	}
}

func TestBooleanIs0Or1(t *testing.T) {
	for _, c := range []struct {
		name   string
		parse  parseFunc
		before string
	}{
		{"success to node", (*Limits).ParseToNode, "\x05\x07"},
		{"timeout of reply", (*Limits).ParseToClient, "\x05\x07"},
		{"success to client", (*Limits).ParseToClient, "\x05\x07\x00"},
		{"timeout of tunnel", (*Limits).ParseToClient, "\x0a\x07"},
		{"timeout of reply in V0", V0.ParseToClient, "\x03\x07"},
		{"timeout of tunnel in V0", V0.ParseToClient, "\x09\x07"},
	} {
		for i := range 256 {
			var m Message
			_, err := c.parse(&DefaultLimits, append([]byte(c.before), byte(i)), &m)
			if (err == errBool) != (i > 1) {
				t.Errorf("%s: octet %02x: error %v", c.name, i, err)
			}
		}
	}
}

// A name is any octets (R3).
func TestTextIsPassedOnUnchanged(t *testing.T) {
	name := []byte("\xff\x00\xc3(")
	sent := Message{Op: Subscribe, Name: name}
	var got Message
	if _, err := DefaultLimits.ParseToNode(sent.AppendToNode(nil), &got); err != nil || !bytes.Equal(got.Name, name) {
		t.Errorf("topic %x arrived as %x, error %v", name, got.Name, err)
	}
}

func TestAppendToParsedBodyLeavesInputAlone(t *testing.T) {
	b := []byte("\x03\x02hi\x02")
	var m Message
	if _, err := DefaultLimits.ParseToClient(b, &m); err != nil {
		t.Fatal(err)
	}
	_ = append(m.Body, '!')
	if b[4] != 0x02 {
		t.Errorf("octet after the body became %02x", b[4])
	}
}

func TestMessageOfOtherDirectionIsNotEncoded(t *testing.T) {
	toNodeV0 := func(m *Message, b []byte) []byte { return V0.AppendToNode(b, m) }
	toClientV0 := func(m *Message, b []byte) []byte { return V0.AppendToClient(b, m) }
	for _, c := range []struct {
		op     Op
		encode func(*Message, []byte) []byte
	}{
		{Deny, (*Message).AppendToNode},
		{0x0e, (*Message).AppendToNode},
		{Subscribe, (*Message).AppendToClient},
		{Unsubscribe, (*Message).AppendToClient},
		{0x0e, (*Message).AppendToClient},
		{Deny, toNodeV0},
		{0x0e, toNodeV0},
		{Deny, toClientV0},
		{Subscribe, toClientV0},
		{Unsubscribe, toClientV0},
		{0x0e, toClientV0},
	} {
		t.Run(fmt.Sprintf("%02x", byte(c.op)), func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("encoded without a panic")
				}
			}()
			c.encode(&Message{Op: c.op}, nil)
		})
	}
}

// V0 has no word for a fault, and programs must take it for the end of their patience.
func TestFaultInV0IsATimeout(t *testing.T) {
	m := Message{Op: Reply, ID: 7, Fault: true, Body: []byte("because")}
	if got, want := V0.AppendToClient(nil, &m), []byte{3, 7, 1}; !bytes.Equal(got, want) {
		t.Errorf("encoded to %x, want %x", got, want)
	}
}
