package session

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"

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
	if got := string(networkTag(credential.Anchors[0].Discovery, spki)); got != c.Tag {
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
			sealed := unhex(t, c.Knock)
			if plain, _, ok := i.open(knockInfo, sealed); ok {
				if hex.EncodeToString(plain) != c.Plain {
					t.Errorf("opened as %x, want %s", plain, c.Plain)
				}
				aead := sealer([32]byte(unhex(t, c.Secret)), knockInfo, sealed[:saltSize])
				if again := aead.Seal(sealed[:saltSize:saltSize], make([]byte, 12), plain, nil); !bytes.Equal(again, sealed) {
					t.Errorf("sealed again as %x, want %x", again, sealed)
				}
			}
			k, err := i.answer(sealed, &salts{})
			if err == nil && hex.EncodeToString(k.append(nil)) != c.Plain {
				t.Errorf("read as %+v, want %s", k, c.Plain)
			}
			if got := cmp.Or(codeOf(err), "ok"); got != Code(c.Expect) {
				t.Errorf("answered %s, want %s", got, c.Expect)
			}
		})
	}
}

func TestPublicTagIsThatOfTheManual(t *testing.T) {
	var secret [32]byte
	for i := range secret {
		secret[i] = byte(i)
	}
	if tag, want := publicTag(secret), "34d28a535e885f3c0789310e64178458"; tag != want {
		t.Errorf("the tag is %s, want %s", tag, want)
	}
}
