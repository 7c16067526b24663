package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestBadFramesAreRefused(t *testing.T) {
	for _, v := range []struct{ frame, want string }{
		{"00000003", "frame of 3 octets after its length, want 4 to 65792"},
		{"00010101", "frame of 65793 octets after its length, want 4 to 65792"},
		{"ffffffff 10 00 00 01", "frame of 4294967295 octets after its length, want 4 to 65792"},
		{"0000000e 10 00 00 02", "BEAT of version 2, want 1"},
		{"00000004 77 00 00 00", "frame 77 of version 0, want 1"},
		{"0000000e 10 02 11 01", "BEAT with 17 hops, want at most 16"},
		{"00000023 10 02 01 01" + hexA + hexB[:30], "BEAT: ends within its fields"},
		{"0000001d 62 04 00 01" + strings.Repeat("00", 25), "CHUNK: ends within its fields"},
		{"0000000f 40 08 00 01" + strings.Repeat("00", 11), "PUBLISH: ends within its fields"},
		{"00000015 40 10 00 01 02" + strings.Repeat("00", 16), "PUBLISH: ends within its fields"},
		{"00000016 40 10 00 01 00 00" + hexKey, "PUBLISH: name of kind 0, split 0"},
		{"00000016 40 10 00 01 03 00" + hexKey, "PUBLISH: name of kind 3, split 0"},
		{"00000016 40 10 00 01 02 01" + hexKey, "PUBLISH: name of kind 2, split 1"},
		{"00000012 40 08 00 01 00000001 00000005 00000006 6869", "PUBLISH: fragment of 2 octets at 5 exceeds the message's 6"},
		{"00000012 40 08 00 01 00000001 ffffffff 00000001 6869", "PUBLISH: fragment of 2 octets at 4294967295 exceeds the message's 1"},
	} {
		var f Frame
		b := octets(v.frame)
		if n, err := Parse(b, &f); n != 0 || text(err) != v.want {
			t.Errorf("Parse(%s) = %d, %q; want 0, %q", v.frame, n, text(err), v.want)
		}
	}
}

func TestLongestFrameIsParsed(t *testing.T) {
	b := (&Frame{Type: TypeChunk}).AppendHead(nil, MaxFrame-4)
	b = append(b, make([]byte, MaxFrame-4)...)
	var f Frame
	if n, err := Parse(b, &f); n != 4+MaxFrame || err != nil {
		t.Errorf("Parse = %d, %v; want %d", n, err, 4+MaxFrame)
	}
}

func TestBadHeaderIsRefusedBeforeItsBodyIsThere(t *testing.T) {
	var f Frame
	if _, err := Parse(octets("0000000e 10 00 00 02"), &f); err == nil || err == ErrShort {
		t.Errorf("error %v, want another", err)
	}
}

func TestUnknownFramesAreHandedOn(t *testing.T) {
	for _, v := range []struct {
		frame string
		known bool
	}{
		{"00000006 77 01 00 01 6869", false},
		{"00000006 34 00 00 01 6869", false},
		{"00000006 05 00 00 01 6869", false}, // those of a later stage
		{"00000006 07 00 00 01 6869", false},
		{"00000006 10 80 00 01 6869", false}, // a flag that means something to others
		{"00000006 10 00 00 01 6869", true},
	} {
		var f Frame
		if n, err := Parse(octets(v.frame), &f); n != 10 || err != nil || string(f.Body) != "hi" || f.Known() != v.known {
			t.Errorf("Parse(%s) = %d, %v, body %q, known %t; want 10, known %t", v.frame, n, err, f.Body, f.Known(), v.known)
		}
	}
	if m, err := ParseMessage(0x77, nil); text(err) != "frame 77 is no control frame" {
		t.Errorf("ParseMessage of an unknown type = %v, %v", m, err)
	}
	if m, err := ParseMessage(TypeRequest, nil); text(err) != "REQUEST is no control frame" {
		t.Errorf("ParseMessage of a REQUEST = %v, %v", m, err)
	}
}

func TestBodyOfAFrameEndsWhereItDoes(t *testing.T) {
	b := append(Append(nil, Beat{}), 1, 2, 3)
	var f Frame
	if _, err := Parse(b, &f); err != nil {
		t.Fatal(err)
	}
	_ = append(f.Body, 9)
	if b[len(b)-3] != 1 {
		t.Error("an append to the body changed what follows the frame")
	}
}

func TestMalformedMessagesAreRefused(t *testing.T) {
	for _, v := range []struct {
		t          Type
		body, want string
	}{
		{TypeLeaves, "04 0000", "LEAVES: unknown state 4"},
		{TypeLeaves, "02 0001" + hexA + "04 0000", "LEAVES: unknown state 4"},
		{TypeLeaves, "02 ffff" + hexA + "02 0000", "LEAVES: list of 65535 items goes on after the end"},
		{TypeViewEvent, "0001" + hexA + "00 0000000000000001 0000", "VIEW-EVENT: unknown event 0"},
		{TypeViewEvent, "0001" + hexA + "05 0000000000000001 0000", "VIEW-EVENT: unknown event 5"},
		{TypeFound, "0000000000000001" + hexA + "0009", "FOUND: list of 9 addresses, want at most 8"},
		{TypeFound, "0000000000000001" + hexA + "0001", "FOUND: ends within its fields"},
		{TypeAnnounce, "0000000000000001 0001" + "00 00" + hexKey + "0000 0000", "ANNOUNCE: name of kind 0, split 0"},
		{TypeAnnounced, "0000000000000001 0003 0001 0002", "ANNOUNCED: list of 3 items goes on after the end"},
		{TypeChecked, "00000001 0001 0000 03 00000000 00000000", "CHECKED: unknown state 3"},
		{TypeDigestDir, "03", "DIGEST-DIR: unknown role 3"},
		{TypeNack, hexTopic + "0000000000000002 0000000000000001", "NACK: numbers from 2 to 1"},
	} {
		m, err := ParseMessage(v.t, octets(v.body))
		if m != nil || text(err) != v.want {
			t.Errorf("ParseMessage(%v, %s) = %+v, %q; want %q", v.t, v.body, m, text(err), v.want)
		}
	}
}

func TestMalformedHeadsAreRefused(t *testing.T) {
	const one = "0000000000000001"
	overlong := strings.Repeat("ff", 10) + "01"
	for _, v := range []struct {
		what  string
		parse func([]byte) (appender, []byte, error)
		body  string
		want  string
	}{
		{"a timeout of 77 bits", head(ParseRequestHead), "00000000" + one + "00000000" + overlong, "REQUEST: varint exceeds 64 bits"},
		{"status 3", head(ParseReplyHead), one + "03 0000 0000 0000", "REPLY: unknown status 3"},
		{"reason 4", with(ParseNotStarted), one + "04 0000 0000 0000", "NOT-STARTED: unknown reason 4"},
		{"a gap of nothing", with(ParseGap), "00000000 00000000 0000000000000002" + one + "00", "GAP: gap from 2 to 1"},
		{"more others than there may be", head(ParsePublishHead), "00000000 0000 000d" + one + strings.Repeat(hexA, 13), "PUBLISH: for 13 others, of 208 octets"},
		{"neither the receiver nor others", head(ParsePublishHead), "00000000 0001 0000" + one + "01", "PUBLISH: for nobody"},
		{"others that are not there", head(ParsePublishHead), "00000000 0000 0002" + one + hexA + "01", "PUBLISH: for 2 others, of 17 octets"},
		{"no stream", with(ParseDigest), "00000000 0000" + "00000000" + one, "DIGEST: 0 streams, want 1"},
		{"two streams", with(ParseDigest), "00000000 0002" + "00000000" + one + "00000000" + one, "DIGEST: 2 streams, want 1"},
	} {
		if m, _, err := v.parse(octets(v.body)); text(err) != v.want {
			t.Errorf("%s: %+v, %q; want %q", v.what, m, text(err), v.want)
		}
	}
}

func TestHandlesAreRefused(t *testing.T) {
	long := strings.Repeat("00", 40)
	_, _, request := ParseRequestHead(octets("00000001" + long))
	_, _, publish := ParsePublishHead(octets("00000001" + long))
	_, gap := ParseGap(octets("00000001" + long))
	_, digest := ParseDigest(octets("00000000 0001 00000001" + long))
	for _, err := range []error{request, publish, gap, digest} {
		if !errors.Is(err, ErrHandle) {
			t.Errorf("error %v, want %v", err, ErrHandle)
		}
	}
}

func TestStartOfAStreamIsAskedForByTheHighestNumbers(t *testing.T) {
	want := Nack{topic, math.MaxUint64, math.MaxUint64}
	if got, err := ParseMessage(TypeNack, want.AppendBody(nil)); got != want || err != nil {
		t.Errorf("got %v, error %v", got, err)
	}
}

func TestLongTextsAreCutAtACharacter(t *testing.T) {
	long := "x" + strings.Repeat("ü", maxReason)
	m, err := ParseMessage(TypeError, Error{1, long}.AppendBody(nil))
	got, _ := m.(Error)
	if err != nil || len(got.Text) != maxReason-1 || !utf8.ValidString(got.Text) || !strings.HasPrefix(long, got.Text) {
		t.Errorf("error %v, %d octets, %.20q", err, len(got.Text), got.Text)
	}
	// From somebody who sends more, and worse.
	c, err := ParseClose(append(make([]byte, 8), bytes.Repeat([]byte("\xfföö"), maxReason)...))
	if err != nil || len(c.Reason) > maxReason || !utf8.ValidString(c.Reason) || !strings.HasPrefix(c.Reason, "?öö?öö") {
		t.Errorf("error %v, %d octets, %.20q", err, len(c.Reason), c.Reason)
	}
	h := Hello{Role: RoleControl, Software: strings.Repeat("ü", maxSoftware)}
	if h, err := ParseHello(h.AppendBody(nil)); err != nil || h.Software != strings.Repeat("ü", maxSoftware/2) {
		t.Errorf("software %q, error %v", h.Software, err)
	}
}

func TestTooMuchPanics(t *testing.T) {
	for what, f := range map[string]func(){
		"frame":     func() { (&Frame{}).AppendHead(nil, MaxFrame-3) },
		"message":   func() { Append(nil, ViewEvent{make([]Event, 4000)}) },
		"list":      func() { Append(nil, Announced{0, make([]uint16, 1<<16)}) },
		"addresses": func() { Append(nil, Found{Addrs: make([]Addr, MaxAddrs+1)}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", what)
				}
			}()
			f()
		}()
	}
}

func TestHandlerTimesArePacked(t *testing.T) {
	for _, v := range []struct {
		d    time.Duration
		want uint16
		back time.Duration
	}{
		{0, 0, 0},
		{-time.Second, 0, 0},
		{999 * time.Nanosecond, 0, 0},
		{time.Microsecond, 1, time.Microsecond},
		{2047 * time.Microsecond, 2047, 2047 * time.Microsecond},
		{2048 * time.Microsecond, 1<<11 | 1024, 2048 * time.Microsecond},
		{2049 * time.Microsecond, 1<<11 | 1024, 2048 * time.Microsecond},
		{1800 * time.Microsecond, 1800, 1800 * time.Microsecond},
		{time.Second, 9<<11 | 1953, 999936 * time.Microsecond},
		{time.Hour, 21<<11 | 1716, 1716 << 21 * time.Microsecond},
		{2047 << 31 * time.Microsecond, 1<<16 - 1, 2047 << 31 * time.Microsecond},
		{math.MaxInt64, 1<<16 - 1, 2047 << 31 * time.Microsecond},
	} {
		got := PackHandler(v.d)
		if back := (Load{Handler: got}).HandlerTime(); got != v.want || back != v.back {
			t.Errorf("PackHandler(%v) = %#x, or %v; want %#x, %v", v.d, got, back, v.want, v.back)
		}
	}
}

func TestPackingLosesAThousandth(t *testing.T) {
	last := time.Duration(-1)
	for us := int64(0); us < 1<<41; us += 1 + us/3000 {
		d := time.Duration(us) * time.Microsecond
		got := Load{Handler: PackHandler(d)}.HandlerTime()
		if got > d || got < d-d/1024 || got < last {
			t.Fatalf("%v is packed as %v, what was less as %v", d, got, last)
		}
		last = got
	}
}

func TestNamesOfFramesAreDistinct(t *testing.T) {
	seen := map[string]Type{}
	for i := range 256 {
		s := Type(i).String()
		if other, ok := seen[s]; ok || s == "" {
			t.Errorf("%#x and %#x are both called %q", byte(other), i, s)
		}
		seen[s] = Type(i)
	}
}

func TestStatesHaveNames(t *testing.T) {
	for s, want := range map[State]string{Solo: "solo", Joining: "joining", Active: "active", InLeaving: "leaving"} {
		if s.String() != want {
			t.Errorf("state %d is %q, want %q", s, s, want)
		}
	}
}

// frame returns the only frame in b.
func frame(t testing.TB, b []byte) *Frame {
	t.Helper()
	f := new(Frame)
	if n, err := Parse(b, f); n != len(b) || err != nil || n != 4+int(binary.BigEndian.Uint32(b)) {
		t.Fatalf("Parse took %d octets of %d, error %v", n, len(b), err)
	}
	return f
}
