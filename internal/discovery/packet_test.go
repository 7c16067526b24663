package discovery

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// A sealer seals as docs/security.md says, with salts that count up.
type sealer struct {
	secret []byte
	salt   salt
}

func (s *sealer) seal(plain []byte) []byte {
	for i := range s.salt {
		if s.salt[i]++; s.salt[i] != 0 {
			break
		}
	}
	return s.cipher(s.salt[:]).Seal(bytes.Clone(s.salt[:]), make([]byte, 12), plain, nil)
}

func (s *sealer) open(packet []byte) ([]byte, int, bool) {
	plain, err := s.cipher(packet[:saltSize]).Open(nil, make([]byte, 12), packet[saltSize:], nil)
	return plain, 0, err == nil
}

func (s *sealer) cipher(salt []byte) cipher.AEAD {
	key, err := hkdf.Key(sha256.New, s.secret, salt, "iris/packet/1", 32)
	if err != nil {
		panic(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return gcm
}

// octets are written in hexadecimal.
type octets []byte

func (o *octets) UnmarshalText(text []byte) (err error) {
	*o, err = hex.DecodeString(string(text))
	return err
}

// A vector is one packet of testdata/packets.json.
type vector struct {
	Name                  string
	Now                   int64
	Secret, Plain, Packet octets
	Expect                string
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/packets.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ Packet []vector }
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Packet) == 0 {
		t.Fatal("there are no vectors")
	}
	return v.Packet
}

func TestPacketsAreThoseOfTheVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		s := &sealer{secret: v.Secret}
		x := New(Config{Open: s.open, Knows: func(ring.ID) bool { return false }})
		p, code, err := x.open(time.UnixMilli(v.Now), Datagram{From: netip.MustParseAddrPort("192.0.2.7:1"), Octets: v.Packet})
		if want := v.Expect; want != "ok" {
			if string(code) != want {
				t.Errorf("%s: code %q, error %v; want %q", v.Name, code, err, want)
			}
			continue
		}
		if code != "" {
			t.Errorf("%s: code %q, error %v", v.Name, code, err)
			continue
		}
		if got := p.Append(nil); !bytes.Equal(got, v.Plain) {
			t.Errorf("%s: %+v is appended as %x, want %x", v.Name, p, got, v.Plain)
		}
		if v.Name != "answer" {
			continue
		}
		want := Packet{Kind: Answer, State: wire.Active, Nodes: 1000, Time: time.UnixMilli(1735689600000).UTC(),
			Node:  ring.ID{Hi: 0x0b2ff74d6ef828f3, Lo: 0xfe9543168ed560af},
			Token: [16]byte(v.Plain[32:48])}
		for range 4 {
			want.Addrs = append(want.Addrs, wire.Addr{AddrPort: netip.MustParseAddrPort("192.0.2.1:14142")},
				wire.Addr{AddrPort: netip.MustParseAddrPort("[2001:db8::1]:14142"), Advertised: true})
		}
		if !reflect.DeepEqual(p, want) {
			t.Errorf("%s is parsed as %+v, want %+v", v.Name, p, want)
		}
	}
}

func TestPacketsHaveOneSize(t *testing.T) {
	for _, addrs := range []int{0, 1, wire.MaxAddrs, 100} {
		for kind := Beacon; kind <= Entry; kind++ {
			p := Packet{Kind: kind, Addrs: make([]wire.Addr, addrs)}
			if got := len(p.Append(nil)); got != PlainSize {
				t.Errorf("kind %d with %d addresses has %d octets, want %d", kind, addrs, got, PlainSize)
			}
		}
	}
	n := newNode(1)
	for _, size := range []int{0, 1, PacketSize - 1, PacketSize + 1, 1500} {
		n.refused(t, Datagram{From: away(1), Octets: make([]byte, size)}, session.PacketSize)
	}
	for n := range PlainSize {
		if p, err := Parse(make([]byte, n)); err == nil {
			t.Errorf("%d octets are parsed as %+v", n, p)
		}
	}
	// All that goes out has it.
	n.x.Beacon(n.now, &n.out)
	n.x.Probe(n.now, away(1), &n.out)
	n.x.answer(n.now, [16]byte{}, away(1), &n.out)
	for _, s := range n.out.Send {
		if len(s.Packet) != PacketSize {
			t.Errorf("a packet of %d octets is sent", len(s.Packet))
		}
	}
	n.serves(t)
}

func FuzzOpenPacket(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add([]byte(v.Packet), []byte(v.Plain), true)
	}
	f.Fuzz(func(t *testing.T, packet, plain []byte, group bool) {
		n := newNode(1)
		d := Datagram{From: away(1), Group: group, Interface: "eth0"}
		d.Octets = packet
		n.x.Receive(n.now, d, &n.out)
		if len(n.out.Refused) == 0 {
			t.Fatal("somebody has our key")
		}
		n.out = Output{}
		d.Octets = n.other.seal(plain)
		n.x.Receive(n.now, d, &n.out)
		for _, dial := range n.out.Dial {
			for _, a := range dial.Addrs {
				if !(wire.Addr{AddrPort: a}).MayDial(false) {
					t.Fatalf("%v is dialled", a)
				}
			}
		}
		p, err := Parse(plain)
		if err != nil {
			return
		}
		// What means nothing is lost: unused addresses, bits, the zero field.
		enc := p.Append(nil)
		again, err := Parse(enc)
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%+v, appended, is parsed as %+v, error %v", p, again, err)
		}
		if twice := again.Append(nil); !bytes.Equal(twice, enc) {
			t.Fatalf("%+v is appended as %x and %x", p, enc, twice)
		}
	})
}
