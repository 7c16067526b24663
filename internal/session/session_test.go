package session

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/internal/ring"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectorsOfKnocksAndCertificates(t *testing.T) {
	var v struct {
		Certificate struct {
			DER, Serial, SPKI, Tag string
			Issued                 int64
			NetworkKeySeed         string `json:"network_key_seed"`
			NodeKeySeed            string `json:"node_key_seed"`
		}
		DerivedKeys struct {
			KnockKey  string `json:"knock_key"`
			PacketKey string `json:"packet_key"`
			TagKey    string `json:"tag_key"`
			Salt      string
			Secret    string
		} `json:"derived_keys"`
		Knock []struct {
			Expect, Knock, Name, Plain, Secret string
			Now                                int64
		}
	}
	data, err := os.ReadFile("testdata/vectors.json")
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		t.Fatal(err)
	}

	d := v.DerivedKeys
	secret := [32]byte(unhex(t, d.Secret))
	for _, c := range []struct{ salt, info, want string }{
		{d.Salt, knockInfo, d.KnockKey}, {d.Salt, packetInfo, d.PacketKey}, {"", "iris/tag/1", d.TagKey},
	} {
		if got := hex.EncodeToString(derive(secret, unhex(t, c.salt), c.info)); got != c.want {
			t.Errorf("derive for %s = %s, want %s", c.info, got, c.want)
		}
	}

	c := v.Certificate
	network := ed25519.NewKeyFromSeed(unhex(t, c.NetworkKeySeed))
	key := ed25519.NewKeyFromSeed(unhex(t, c.NodeKeySeed))
	k, err := KeyOf(network)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := NewCredential("test-net", k)
	if err != nil {
		t.Fatal(err)
	}
	spki := unhex(t, c.SPKI)
	if got := hex.EncodeToString(networkTag(credential.Anchors[0].Discovery, spki)); got != c.Tag {
		t.Errorf("network tag %s, want %s", got, c.Tag)
	}
	der, err := credential.Sign(leafTemplate(credential, key.Public(), spki, unhex(t, c.Serial), time.UnixMilli(c.Issued)))
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(der); got != c.DER {
		t.Errorf("certificate\n%s, want\n%s", got, c.DER)
	}

	for _, c := range v.Knock {
		t.Run(c.Name, func(t *testing.T) {
			now := time.UnixMilli(c.Now)
			i := &Identity{id: ring.ID{Hi: 1}, now: func() time.Time { return now }, trust: &trust{Credential: credential}}
			plain, _, ok := i.open(knockInfo, unhex(t, c.Knock))
			if ok && hex.EncodeToString(plain) != c.Plain {
				t.Errorf("opened as %x, want %s", plain, c.Plain)
			}
			_, err := i.answer(unhex(t, c.Knock), &salts{})
			got := "ok"
			var e *Error
			if errors.As(err, &e) {
				got = string(e.Code)
			}
			if got != c.Expect {
				t.Errorf("answered %s, want %s", got, c.Expect)
			}
		})
	}
}

// identity returns a node of the network with the key of a seed.
func identity(t *testing.T, network string, seed byte, also ...byte) *Identity {
	t.Helper()
	key := func(seed byte) *Key {
		s := make([]byte, ed25519.SeedSize)
		s[0] = seed
		k, err := KeyOf(ed25519.NewKeyFromSeed(s))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	var others []*Key
	for _, s := range also {
		others = append(others, key(s))
	}
	c, err := NewCredential(network, key(seed), others...)
	if err != nil {
		t.Fatal(err)
	}
	i, err := NewIdentity(c, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// A door is a gate at an in-memory listener that echoes what comes in.
type door struct {
	*Gate
	l *memnet.Listener
}

func openDoor(t *testing.T, i *Identity) *door {
	d := &door{l: memnet.Listen("node")}
	d.Gate = NewGate(GateConfig{Identity: i, Refused: NewRefusals(slog.New(slog.DiscardHandler), time.Now)})
	d.Serve(d.l, func(c *Conn) {
		defer c.Close()
		io.Copy(c, c)
	})
	t.Cleanup(func() {
		d.l.Close()
		d.Close()
	})
	return d
}

func (d *door) dial(t *testing.T, i *Identity, expect ring.ID) (*Conn, error) {
	t.Helper()
	nc, err := d.l.Dial()
	if err != nil {
		t.Fatal(err)
	}
	return i.Dial(context.Background(), nc, PurposeLink, 14142, expect)
}

func TestKnockThenTLS(t *testing.T) {
	a, b := identity(t, "net", 1), identity(t, "net", 1)
	d := openDoor(t, a)
	c, err := d.dial(t, b, a.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Peer() != a.ID() || c.Purpose() != PurposeLink {
		t.Errorf("peer %v, purpose %d", c.Peer(), c.Purpose())
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	var buf [5]byte
	if _, err := io.ReadFull(c, buf[:]); err != nil || string(buf[:]) != "hello" {
		t.Fatalf("echo %q, %v", buf, err)
	}
	if in, out := c.Wire(); in < 500 || out < 500 {
		t.Errorf("%d octets in, %d out on the wire", in, out)
	}
}
