package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// vectors is testdata/first.json.
type vectors struct {
	Frame []struct {
		Name  string
		Frame string
	}
	Address []struct {
		Text, Wire string
		MayDial    bool `json:"may_dial"`
	}
}

func readVectors(t testing.TB) *vectors {
	t.Helper()
	data, err := os.ReadFile("testdata/first.json")
	if err != nil {
		t.Fatal(err)
	}
	v := new(vectors)
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
	if len(v.Frame) == 0 || len(v.Address) == 0 {
		t.Fatal("a part of the vectors is missing")
	}
	return v
}

// firstFrames are what the vectors stand for.
var firstFrames = map[string]Message{
	"hello-control": Hello{Role: RoleControl, State: Solo, Time: vectorTime, Addrs: addrs, Software: "iris 0.1.0"},
	"hello-control-replace": Hello{Role: RoleControl, Replace: true, State: Active, Link: 0x1122334455667788,
		Time: vectorTime, Addrs: addrs[:1], Software: "iris 0.1.0"},
	"hello-data": Hello{Role: RoleData, State: Active, Link: 0x1122334455667788, Time: vectorTime, Software: "iris 0.1.0"},
	"welcome-up": Welcome{State: Active, Link: 0x1122334455667788, Time: vectorTime,
		Seen: Addr{netip.MustParseAddrPort("192.0.2.9:50123"), false}, Addrs: addrs[1:], Software: "iris 0.1.0"},
	"welcome-tie": Welcome{Result: ResultTie, State: Active, Time: vectorTime,
		Seen: Addr{netip.MustParseAddrPort("192.0.2.9:50123"), false}, Software: "iris 0.1.0"},
	"attach":           Attach{tunnel},
	"attached-open":    Attached{0},
	"attached-refused": Attached{1},
}

var vectorTime = time.UnixMilli(1735689600000).UTC()

func parseFirst(t Type, body []byte) (Message, error) {
	switch t {
	case TypeHello:
		return ParseHello(body)
	case TypeWelcome:
		return ParseWelcome(body)
	case TypeAttach:
		return ParseAttach(body)
	}
	return ParseAttached(body)
}

func TestFirstFramesAreThoseOfTheVectors(t *testing.T) {
	all := readVectors(t).Frame
	if len(all) != len(firstFrames) {
		t.Errorf("%d vectors, want %d", len(all), len(firstFrames))
	}
	for _, v := range all {
		want := firstFrames[v.Name]
		b := octets(v.Frame)
		var f Frame
		if n, err := Parse(b, &f); n != len(b) || err != nil {
			t.Errorf("%s: Parse took %d octets of %d, error %v", v.Name, n, len(b), err)
			continue
		}
		got, err := parseFirst(f.Type, f.Body)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is parsed as %+v, error %v; want %+v", v.Name, got, err, want)
		}
		if enc := Append(nil, want); !bytes.Equal(enc, b) {
			t.Errorf("%s is appended as %x, want %x", v.Name, enc, b)
		}
		for n := range f.Body {
			if m, err := parseFirst(f.Type, f.Body[:n:n]); err == nil {
				t.Errorf("%d octets of %d of %s are parsed as %+v", n, len(f.Body), v.Name, m)
			}
		}
	}
}

func TestFirstFramesFitTheirBound(t *testing.T) {
	w := Welcome{Addrs: make([]Addr, MaxAddrs), Software: strings.Repeat("x", 100)}
	if b := Append(nil, w); len(b) > 4+MaxFirst {
		t.Errorf("the longest WELCOME has %d octets", len(b))
	}
}

func TestMalformedFirstFramesAreRefused(t *testing.T) {
	hello := Append(nil, firstFrames["hello-control"])[HeaderSize:]
	welcome := Append(nil, firstFrames["welcome-up"])[HeaderSize:]
	name := len(hello) - len("iris 0.1.0")
	for _, v := range []struct {
		what string
		t    Type
		body []byte
		at   int
		set  byte
		want string // "": ignored
	}{
		{"role", TypeHello, hello, 0, 0, "HELLO: unknown role 0"},
		{"role", TypeHello, hello, 0, 3, "HELLO: unknown role 3"},
		{"flags", TypeHello, hello, 1, 0xfe, ""},
		{"state", TypeHello, hello, 2, 4, "HELLO: unknown state 4"},
		{"count", TypeHello, hello, 3, 9, "HELLO: list of 9 addresses, want at most 8"},
		{"count", TypeHello, hello, 3, 8, "HELLO: ends within its fields"},
		{"length of software", TypeHello, hello, name - 1, 65, "HELLO: text of 65 octets, want at most 64"},
		{"software", TypeHello, hello, name, 0xff, "HELLO: text is not UTF-8"},
		{"attr", TypeHello, hello, 28 + 18, 0xfe, ""},
		{"zero", TypeWelcome, welcome, 2, 1, ""},
		{"state", TypeWelcome, welcome, 1, 4, "WELCOME: unknown state 4"},
		{"count", TypeWelcome, welcome, 3, 9, "WELCOME: list of 9 addresses, want at most 8"},
	} {
		body := bytes.Clone(v.body)
		body[v.at] = v.set
		m, err := parseFirst(v.t, body)
		if got := text(err); got != v.want {
			t.Errorf("%v with %s %d: %+v, error %q; want %q", v.t, v.what, v.set, m, got, v.want)
		}
		if body[v.at] = v.body[v.at]; v.want == "" {
			if want, _ := parseFirst(v.t, body); !reflect.DeepEqual(m, want) {
				t.Errorf("%v with %s %d: %+v, want %+v", v.t, v.what, v.set, m, want)
			}
		}
	}
}

func TestUnknownResultOfWelcomeIsHandedOn(t *testing.T) {
	w, err := ParseWelcome(Welcome{Result: 200, Time: vectorTime}.AppendBody(nil))
	if w.Result != 200 || err != nil {
		t.Errorf("result %d, error %v; want 200", w.Result, err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAddressesAreThoseOfTheVectors(t *testing.T) {
	for _, v := range readVectors(t).Address {
		a := Addr{AddrPort: netip.MustParseAddrPort(v.Text)}
		if got := hex.EncodeToString(a.Append(nil)); got != v.Wire {
			t.Errorf("%v is appended as %s, want %s", a, got, v.Wire)
		}
		if got := AddrFromBytes(octets(v.Wire)); got != a {
			t.Errorf("%s is parsed as %v, want %v", v.Wire, got, a)
		}
		if got := a.MayDial(false); got != v.MayDial {
			t.Errorf("%v.MayDial(false) = %t, want %t", a, got, v.MayDial)
		}
	}
}

func TestMayDial(t *testing.T) {
	for _, v := range []struct {
		addr           string
		away, loopback bool // by what our listener is bound to
	}{
		{"192.0.2.1:1", true, true},
		{"127.0.0.1:1", false, true},
		{"127.255.0.1:1", false, true},
		{"[::1]:1", false, true},
		{"[::ffff:127.0.0.1]:1", false, true},
		{"[::ffff:0.0.0.0]:1", false, false},
		{"127.0.0.1:0", false, false},
		{"169.254.1.1:1", false, false},
		{"169.254.169.254:80", false, false},
		{"[::ffff:169.254.169.254]:80", false, false},
		{"[fe80::1]:1", false, false},
		{"[fe80::1%eth0]:1", true, true},
		{"[fd00:ec2::254%eth0]:80", false, false},
		{"[ff02::1%eth0]:1", false, false},
		{"224.0.0.1:1", false, false},
		{"255.255.255.255:1", false, false},
		{"[::ffff:255.255.255.255]:1", false, false},
	} {
		a := Addr{AddrPort: netip.MustParseAddrPort(v.addr)}
		if got := a.MayDial(false); got != v.away {
			t.Errorf("%v.MayDial(false) = %t, want %t", a, got, v.away)
		}
		if got := a.MayDial(true); got != v.loopback {
			t.Errorf("%v.MayDial(true) = %t, want %t", a, got, v.loopback)
		}
	}
	if (Addr{}).MayDial(true) {
		t.Error("the zero Addr may be dialled")
	}
}
