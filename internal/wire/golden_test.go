package wire

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/project-iris/iris/internal/ring"
)

// Parts of the frames below.
const (
	hexA   = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
	hexB   = "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
	hexKey = "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf"

	hexName  = "01 00 " + hexKey
	hexTopic = "02 00 " + hexKey
	hexAddr4 = "00000000000000000000ffff c0000201 373e 00"
	hexAddr6 = "20010db8000000000000000000000001 373e 01"
	hexAddrs = "0002" + hexAddr4 + hexAddr6
)

var (
	idA   = ring.ID{Hi: 0xa0a1a2a3a4a5a6a7, Lo: 0xa8a9aaabacadaeaf}
	idB   = ring.ID{Hi: 0xb0b1b2b3b4b5b6b7, Lo: 0xb8b9babbbcbdbebf}
	name  = Name{Cluster, ring.ID{Hi: 0xc0c1c2c3c4c5c6c7, Lo: 0xc8c9cacbcccdcecf}}
	topic = Name{Topic, name.Key}
	addrs = []Addr{
		{netip.MustParseAddrPort("192.0.2.1:14142"), false},
		{netip.MustParseAddrPort("[2001:db8::1]:14142"), true},
	}
	tunnel = [16]byte{0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf}
)

// octets returns what text has in hexadecimal, spaces apart.
func octets(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// messages of control frames, with their frames: header and body.
var controlFrames = []struct {
	head, body string
	m          Message
	text       bool // a shorter body is a shorter text
}{
	{"0000001d 0a 00 00 01", hexA + "30 0102030405060708", Undelivered{idA, TypeRequest, 0x0102030405060708}, false},
	{"00000006 0b 00 00 01", "001e", Leaving{30}, false},
	{"00000004 0c 00 00 01", "", Leave{}, false},
	{"00000008 0d 00 00 01", "0102 6869", Error{0x0102, "hi"}, true},
	{"00000004 0e 00 00 01", "", Want{}, false},

	{"0000000e 10 00 00 01", "0102030405060708 00 01", Beat{0x0102030405060708, false, true}, false},
	{"0000000e 10 00 00 01", "0102030405060708 01 00", Beat{0x0102030405060708, true, false}, false},
	{"0000001c 11 00 00 01", "0102030405060708" + hexA, ProbeFor{0x0102030405060708, idA}, false},
	{"00000053 12 00 00 01", "02 0002" + hexA + "02" + hexAddrs + hexB + "03 0000",
		Leaves{Active, []Contact{{idA, Active, addrs}, {idB, InLeaving, nil}}}, false},
	{"00000062 13 00 00 01", "0002" + hexA + "01 0000000000000007" + hexAddrs + hexB + "04 0000000000000008 0000",
		ViewEvent{[]Event{{idA, EventJoin, 7, addrs}, {idB, EventDead, 8, nil}}}, false},
	{"00000804 14 00 00 01", "0102030405060708" + strings.Repeat("00", 254*8) + "1112131415161718",
		ViewHash{[256]uint64{0: 0x0102030405060708, 255: 0x1112131415161718}}, false},
	{"00000024 15 00 00 01", "01" + strings.Repeat("00", 30) + "80", ViewGet{[32]byte{0: 1, 31: 0x80}}, false},
	{"0000001d 16 00 00 01", "0102030405060708" + hexKey + "01", Lookup{0x0102030405060708, name.Key, true}, false},
	{"00000044 17 00 00 01", "0102030405060708" + hexA + hexAddrs, Found{0x0102030405060708, idA, addrs}, false},

	{"0000003a 20 00 00 01", "0102030405060708 0002" + hexName + "0001 0004" + hexTopic + "0000 0000",
		Announce{0x0102030405060708, []Registration{{name, 1, 4}, {topic, 0, 0}}}, false},
	{"00000012 21 00 00 01", "0102030405060708 0002 0001 0203", Announced{0x0102030405060708, []uint16{1, 0x203}}, false},
	{"00000025 22 00 00 01", "01020304 01 0001" + hexName + "11121314 00000005",
		Resolve{0x01020304, true, []Held{{name, Ver{0x11121314, 5}}}}, false},
	{"00000049 23 00 00 01", "01020304" + hexName + "11121314 00000005 11121314 00000004 03 0001" + hexA + "0001 0004 0000000000000007",
		Members{0x01020304, name, Ver{0x11121314, 5}, Ver{0x11121314, 4}, true, true, []Entry{{idA, 1, 4, 7}}}, false},
	{"00000052 24 00 00 01", "01020304" + hexName + hexA + hexAddrs, Redirect{0x01020304, name, idA, addrs}, false},
	{"00000024 25 00 00 01", "01020304 0001" + hexTopic + "11121314 00000005",
		Check{0x01020304, []Held{{topic, Ver{0x11121314, 5}}}}, false},
	{"00000015 26 00 00 01", "01020304 0001 0003 02 11121314 00000005",
		Checked{0x01020304, []CheckedName{{3, CheckNotMine, Ver{0x11121314, 5}}}}, false},
	{"00000011 27 00 00 01", "01 00000009 0102030405060708", DigestDir{DigestRoot, 9, 0x0102030405060708, false}, false},
	{"00000006 27 00 00 01", "02 01", DigestDir{Role: DigestAnswer, Wanted: true}, false},
	{"0000003c 28 00 00 01", "0001" + hexName + "11121314 00000005" + hexA + "0001 0004 0000000000000007",
		Replicate{[]Replica{{name, Ver{0x11121314, 5}, Entry{idA, 1, 4, 7}}}}, false},

	{"00000026 43 00 00 01", hexTopic + "0000000000000001 0000000000000002", Nack{topic, 1, 2}, false},
	{"0000001e 44 00 00 01", hexTopic + "0000000000000007", Unwanted{topic, 7}, false},
	{"0000003c 52 00 00 01", hexA + hexAddrs, DialBack{tunnel, addrs}, false},
}

func TestControlFramesHaveGoldenBytes(t *testing.T) {
	seen := map[Type]bool{}
	for _, v := range controlFrames {
		want := octets(v.head + v.body)
		seen[v.m.Type()] = true
		if got := Append([]byte{0xff}, v.m); !bytes.Equal(got[1:], want) {
			t.Errorf("%v is appended as %x, want %x", v.m.Type(), got[1:], want)
		}
		var f Frame
		n, err := Parse(append(bytes.Clone(want), 0xff), &f)
		if n != len(want) || err != nil || f.Type != v.m.Type() || !f.Known() {
			t.Errorf("%v: Parse took %d octets, error %v, type %v; want %d", v.m.Type(), n, err, f.Type, len(want))
			continue
		}
		// What follows the last field is of a later version, or the text.
		body := f.Body
		if !v.text {
			body = append(body, 0xff)
		}
		got, err := ParseMessage(f.Type, body)
		if err != nil || !reflect.DeepEqual(got, v.m) {
			t.Errorf("%v is parsed as %+v, error %v; want %+v", f.Type, got, err, v.m)
		}
		for i := range len(body) {
			body[i] = 0x55
		}
		if err == nil && !reflect.DeepEqual(got, v.m) {
			t.Errorf("%v changed with the octets it was parsed from", f.Type)
		}
	}
	for i := range 256 {
		if ty := Type(i); (messages[ty] != nil) != seen[ty] {
			t.Errorf("%v: a control frame is %t, has golden bytes is %t", ty, messages[ty] != nil, seen[ty])
		}
	}
}

func TestControlFramesEndNowhereElse(t *testing.T) {
	for _, v := range controlFrames {
		body := octets(v.body)
		for n := range body {
			if v.text && n >= 2 {
				break
			}
			if m, err := ParseMessage(v.m.Type(), body[:n:n]); err == nil {
				t.Errorf("%d octets of %d of %v are parsed as %+v", n, len(body), v.m.Type(), m)
			} else if !strings.HasPrefix(err.Error(), v.m.Type().String()+": ") {
				t.Errorf("%v: error %q", v.m.Type(), err)
			}
		}
	}
}

// appender is what all bodies are.
type appender interface{ AppendBody(b []byte) []byte }

// with returns a parser of bodies without a payload in the form of those with
// one.
func with[T appender](parse func([]byte) (T, error)) func([]byte) (appender, []byte, error) {
	return func(b []byte) (appender, []byte, error) {
		m, err := parse(b)
		return m, nil, err
	}
}

func head[T appender](parse func([]byte) (T, []byte, error)) func([]byte) (appender, []byte, error) {
	return func(b []byte) (appender, []byte, error) {
		m, rest, err := parse(b)
		return m, rest, err
	}
}

// dataFrames are the frames whose bodies have functions of their own, but for
// those in testdata.
var dataFrames = []struct {
	f          Frame
	head, body string
	m          appender
	payload    string // of those that have one
	parse      func([]byte) (appender, []byte, error)
}{
	{Frame{Type: TypeAbort}, "00000009 09 00 00 01", "01020304 05", Abort{0x01020304, 5}, "", with(ParseAbort)},

	{Frame{Type: TypeRequest, Flags: Named, Name: name}, "0000002a 30 10 00 01" + hexName,
		"00000000 0102030405060708 00001388 8827", RequestHead{0x0102030405060708, 5000, 5000}, "6869", head(ParseRequestHead)},
	{Frame{Type: TypeRequest, Flags: Named | Routed, Hops: 16, Origin: idA, Target: idB, Name: name},
		"0000004a 30 12 10 01" + hexA + hexB + hexName,
		"00000000 0102030405060708 00001388 8827", RequestHead{0x0102030405060708, 5000, 5000}, "6869", head(ParseRequestHead)},
	{Frame{Type: TypeReply}, "00000015 31 00 00 01",
		"0102030405060708 01 0003 0004 0b84", ReplyHead{0x0102030405060708, ReplyFault, Load{3, 4, 0x0b84}}, "6869", head(ParseReplyHead)},
	{Frame{Type: TypeNotStarted}, "00000013 32 00 00 01",
		"0102030405060708 02 0003 0004 0b84", NotStarted{0x0102030405060708, Gone, Load{3, 4, 0x0b84}}, "", with(ParseNotStarted)},
	{Frame{Type: TypeCancel, Flags: Skip}, "0000000c 33 01 00 01", "0102030405060708", Cancel{0x0102030405060708}, "", with(ParseCancel)},

	{Frame{Type: TypePublish, Flags: Named | First, Name: topic}, "00000028 40 30 00 01" + hexTopic,
		"00000000 00000000 0102030405060708", PublishHead{Number: 0x0102030405060708}, "6869", head(ParsePublishHead)},
	{Frame{Type: TypePublish, Flags: Named | Replay | Fragment, Message: 9, Offset: 32768, Total: 32804, Name: topic},
		"00000044 40 58 00 01 00000009 00008000 00008024" + hexTopic,
		"00000000 0001 0001 0102030405060708", PublishHead{true, 1, 0x0102030405060708}, hexA + "6869", head(ParsePublishHead)},
	{Frame{Type: TypeGap, Flags: Named, Name: topic}, "0000002f 41 10 00 01" + hexTopic,
		"00000000 00000005 0000000000000001 0000000000000002 03", Gap{5, 1, 2, 3}, "", with(ParseGap)},
	{Frame{Type: TypeDigest, Flags: Named | First, Name: topic}, "00000028 42 30 00 01" + hexTopic,
		"00000005 0001 00000000 0000000000000002", Digest{5, 2}, "", with(ParseDigest)},

	{Frame{Type: TypeTunnelOffer, Flags: Named, Name: name}, "00000028 50 10 00 01" + hexName,
		"00000000 0102030405060708 00001388 8827", OfferHead{0x0102030405060708, 5000, 5000}, "", head(ParseRequestHead)},
	{Frame{Type: TypeTunnelAccept}, "0000004e 51 00 00 01",
		"0102030405060708" + hexA + "00001388 0003 0004 0b84" + hexAddrs,
		TunnelAccept{0x0102030405060708, tunnel, 5000, Load{3, 4, 0x0b84}, addrs}, "", with(ParseTunnelAccept)},
	{Frame{Type: TypeChunk, Flags: Trace, Trace: [26]byte{0: 1, 25: 2}}, "00000023 62 04 00 01 01" + strings.Repeat("00", 24) + "02",
		"8001", ChunkHead{128}, "686921", head(ParseChunkHead)},
	{Frame{Type: TypeCredit}, "00000008 63 00 00 01", "00400000", Credit{4 << 20}, "", with(ParseCredit)},
	{Frame{Type: TypeClose}, "0000000c 64 00 00 01", "0102030405060708", Close{0x0102030405060708, ""}, "", with(ParseClose)},
	{Frame{Type: TypeRequest, Flags: Named | Choosy, Name: name}, "0000002a 30 30 00 01" + hexName,
		"00000000 0102030405060708 00001388 8827", RequestHead{0x0102030405060708, 5000, 5000}, "6869", head(ParseRequestHead)},
	{Frame{Type: TypeNotStarted}, "00000013 32 00 00 01",
		"0102030405060708 03 0003 0004 0b84", NotStarted{0x0102030405060708, Waits, Load{3, 4, 0x0b84}}, "", with(ParseNotStarted)},
}

func TestDataFramesHaveGoldenBytes(t *testing.T) {
	seen := map[Type]bool{}
	for _, v := range dataFrames {
		seen[v.f.Type] = true
		want := octets(v.head + v.body + v.payload)
		body := append(v.m.AppendBody(nil), octets(v.payload)...)
		if got := append(v.f.AppendHead([]byte{0xff}, len(body)), body...); !bytes.Equal(got[1:], want) {
			t.Errorf("%v is appended as %x, want %x", v.f.Type, got[1:], want)
		}
		var f Frame
		n, err := Parse(append(bytes.Clone(want), 0xff), &f)
		if n != len(want) || err != nil {
			t.Errorf("%v: Parse took %d octets of %d, error %v", v.f.Type, n, len(want), err)
			continue
		}
		m, rest, err := v.parse(f.Body)
		if err != nil || !reflect.DeepEqual(m, v.m) || !bytes.Equal(rest, octets(v.payload)) {
			t.Errorf("%v is parsed as %+v, payload %x, error %v; want %+v, %s", v.f.Type, m, rest, err, v.m, v.payload)
		}
		f.Body = nil
		if !reflect.DeepEqual(f, v.f) {
			t.Errorf("%v: header %+v, want %+v", v.f.Type, f, v.f)
		}
	}
	for i := range 256 {
		ty := Type(i)
		first := ty >= TypeHello && ty <= TypeAttached // in testdata
		if want := ty.Known() && !first && messages[ty] == nil; seen[ty] != want {
			t.Errorf("%v: has golden bytes is %t, want %t", ty, seen[ty], want)
		}
	}
}

func TestDataFramesEndNowhereElse(t *testing.T) {
	for _, v := range dataFrames {
		body := octets(v.body)
		for n := range body {
			if m, _, err := v.parse(body[:n:n]); err == nil {
				t.Errorf("%d octets of %d of %v are parsed as %+v", n, len(body), v.f.Type, m)
			}
		}
	}
}

func TestFramesEndNowhereElse(t *testing.T) {
	for _, v := range dataFrames {
		whole := octets(v.head + v.body + v.payload)
		for n := range whole {
			want := len(whole)
			if n < 4 {
				want = HeaderSize
			}
			var f Frame
			if need, err := Parse(whole[:n:n], &f); need != want || err != ErrShort {
				t.Errorf("Parse of %d octets of %v: need %d, error %v; want %d, %v", n, v.f.Type, need, err, want, ErrShort)
			}
		}
	}
}
