package doctor

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/node"
)

var testKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

// start starts a node on loopback with a clock that is off.
func start(t *testing.T, off time.Duration, peers ...string) *node.Node {
	t.Helper()
	n, err := node.New(node.Config{
		Network: "test", Key: testKey, Listen: "127.0.0.1:0", Peers: peers,
		Now: func() time.Time { return time.Now().Add(off) },
	})
	if err == nil {
		err = n.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// await waits until the reports of nodes lead to a cause, whatever this host is like.
func await(t *testing.T, want string, nodes ...*node.Node) Finding {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var reports []*node.Report
		for _, n := range nodes {
			r, err := n.Report()
			if err != nil {
				t.Fatal(err)
			}
			r.Interfaces = report(1).Interfaces
			reports = append(reports, r)
		}
		found := Diagnose(reports[0], append(reports, nil)[1])
		if first(found) == want {
			return append(found, Finding{})[0]
		}
		if time.Now().After(end) {
			t.Fatalf("%+v, want %q", found, want)
		}
	}
}

func address(t *testing.T, n *node.Node) string {
	t.Helper()
	r, err := n.Report()
	if err != nil {
		t.Fatal(err)
	}
	return r.Listen
}

// The node that refuses knows that it is the clock; that of the other has to be told.
func TestClockThatIsOff(t *testing.T) {
	a := start(t, 0)
	b := start(t, 30*time.Hour, address(t, a))
	if f := await(t, Clock, a); !strings.Contains(f.Text, "knock_time") || !strings.Contains(f.Text, "its clock says 20") {
		t.Errorf("%+v", f)
	}
	await(t, Closed, b)
	await(t, Clock, a, b)
	if f := await(t, Clock, b, a); !f.Certain {
		t.Errorf("%+v", f)
	}
}

// A node with the network's key, and of a version to come, is told from others.
func TestNodeOfALaterVersion(t *testing.T) {
	a := start(t, 0)
	nc, err := net.Dial("tcp", address(t, a))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write(knock(t, 2)); err != nil {
		t.Fatal(err)
	}
	if f := await(t, Version, a); !strings.Contains(f.Text, "version 2") {
		t.Errorf("%+v", f)
	}
}

func key(t *testing.T) *session.Key {
	t.Helper()
	k, err := session.KeyOf(testKey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// knock returns one of a version (docs/security.md, Knock).
func knock(t *testing.T, version byte) []byte {
	t.Helper()
	secret, salt := key(t).Secret("test"), make([]byte, 24)
	rand.Read(salt)
	derived, err := hkdf.Key(sha256.New, secret[:], salt, "iris/knock/1", 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	plain := make([]byte, 24)
	plain[0], plain[1] = version, 1
	binary.BigEndian.PutUint64(plain[8:], uint64(time.Now().UnixMilli()))
	return aead.Seal(salt, make([]byte, 12), plain, nil)
}

// Nodes that meet are well, and their reports hold no secret.
func TestReportHoldsNoSecret(t *testing.T) {
	a := start(t, 0)
	b := start(t, 0, address(t, a))
	await(t, "", b)
	await(t, "", a, b)
	r, err := a.Report()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	secret := key(t).Secret("test")
	for _, b := range [][]byte{testKey.Seed(), secret[:]} {
		for _, shown := range []string{string(b), hex.EncodeToString(b), base64.StdEncoding.EncodeToString(b)} {
			if strings.Contains(string(text), shown) {
				t.Errorf("a secret is in the report: %s", text)
			}
		}
	}
}
