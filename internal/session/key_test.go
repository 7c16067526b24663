package session

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
)

// vectors returns the published keys and their discovery secrets.
func vectors(t *testing.T) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		DiscoverySecret []vector `json:"discovery_secret"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.DiscoverySecret) == 0 {
		t.Fatal("no vectors")
	}
	return file.DiscoverySecret
}

// A vector is a key, encoded in one of two forms, and its secret in a network.
type vector struct{ Name, Network, PEM, DER, Secret string }

func (v vector) data(t *testing.T) []byte {
	t.Helper()
	if v.PEM != "" {
		return []byte(v.PEM)
	}
	der, err := hex.DecodeString(v.DER)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestSecurityVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name+"/"+v.Network, func(t *testing.T) {
			key, err := ParseKey(v.data(t))
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%x", key.Secret(v.Network)); got != v.Secret {
				t.Errorf("Secret(%q) = %s, want %s", v.Network, got, v.Secret)
			}
		})
	}
}

func TestOneRSAKeyOneSecret(t *testing.T) {
	secrets := map[[32]byte]bool{}
	fingerprints := map[string]bool{}
	for _, v := range vectors(t) {
		if !strings.HasPrefix(v.Name, "rsa-") {
			continue
		}
		key, err := ParseKey(v.data(t))
		if err != nil {
			t.Fatal(err)
		}
		secrets[key.Secret("test-net")] = true
		fingerprints[key.Fingerprint()] = true
	}
	if len(secrets) != 1 || len(fingerprints) != 1 {
		t.Errorf("the encodings of one RSA key have %d secrets and %d fingerprints, want 1 and 1", len(secrets), len(fingerprints))
	}
}

func TestEveryNetworkHasItsOwnSecret(t *testing.T) {
	key := testKey(t)
	if key.Secret("a") == key.Secret("b") {
		t.Error("networks a and b have the same secret")
	}
}

func TestFramingSeparatesFields(t *testing.T) {
	one := appendField(appendField(nil, "ab"), "c")
	other := appendField(appendField(nil, "a"), "bc")
	if bytes.Equal(one, other) {
		t.Errorf("ab, c and a, bc are both framed as %q", one)
	}
}

func TestFingerprintIsThatOfThePublicKey(t *testing.T) {
	key := testKey(t)
	spki, err := x509.MarshalPKIXPublicKey(key.Signer().Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(spki)
	want := "SHA256:" + strings.TrimRight(base64.StdEncoding.EncodeToString(sum[:]), "=")
	if got := key.Fingerprint(); got != want {
		t.Errorf("Fingerprint() = %s, want %s", got, want)
	}
}

func TestPrintedKeyShowsNoSecret(t *testing.T) {
	key := testKey(t)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, key); got != key.Fingerprint() {
			t.Errorf("Sprintf(%q) = %s, want the fingerprint", format, got)
		}
	}
}

func TestKeyMayStandBetweenOtherText(t *testing.T) {
	key, text := newKey(t)
	for name, data := range map[string]string{
		"comment":     "the key of test-net\n\n" + text + "\nkeep it safe\n",
		"certificate": encode("CERTIFICATE", []byte("any")) + text,
		"windows":     strings.ReplaceAll(text, "\n", "\r\n"),
	} {
		got, err := ParseKey([]byte(data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got.Fingerprint() != key.Fingerprint() {
			t.Errorf("%s: another key came out", name)
		}
	}
}

func TestEncryptedKeyIsRefused(t *testing.T) {
	pkcs8 := encode("ENCRYPTED PRIVATE KEY", []byte("any"))
	legacy := string(pem.EncodeToMemory(&pem.Block{
		Type:    "RSA PRIVATE KEY",
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"},
		Bytes:   []byte("any"),
	}))
	refuses(t, pkcs8, "encrypted", "openssl pkey")
	refuses(t, legacy, "encrypted", "openssl pkey")
}

func TestEllipticKeyIsRefused(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{
		// As openssl ecparam -genkey writes it.
		encode("EC PARAMETERS", []byte("any")) + encode("EC PRIVATE KEY", sec1),
		encode("PRIVATE KEY", pkcs8(t, key)),
		encode("PRIVATE KEY", pkcs8(t, exchange)),
		string(sec1),
	} {
		refuses(t, data, "EC key", "Ed25519 or RSA", "iris keygen")
	}
}

func TestOpenSSHKeyIsRefused(t *testing.T) {
	refuses(t, encode("OPENSSH PRIVATE KEY", []byte("openssh-key-v1\x00")), "OpenSSH", "iris keygen")
}

func TestTwoKeysAreRefused(t *testing.T) {
	_, one := newKey(t)
	_, two := newKey(t)
	refuses(t, one+two, "2 private keys", "leave the one")

	// A damaged second block is passed over by the PEM decoder.
	refuses(t, one+two[:len(two)-10], "damaged", "copy the file again")

	first, _ := pem.Decode([]byte(one))
	second, _ := pem.Decode([]byte(two))
	refuses(t, string(first.Bytes)+string(second.Bytes), "more data follows")
}

func TestShortRSAKeyIsRefused(t *testing.T) {
	for _, bits := range []int{1024, 2047} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		refuses(t, encode("PRIVATE KEY", pkcs8(t, key)), fmt.Sprintf("%d bits is too short", bits), "iris keygen")
	}
}

func TestLongRSAKeyIsRefused(t *testing.T) {
	key := mersenneRSA(4253, 4423)
	refuses(t, encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)), "8676 bits is too long", "iris keygen")
}

func TestRSAKeyWithinBoundsIsAccepted(t *testing.T) {
	for _, key := range []*rsa.PrivateKey{mersenneRSA(1279, 2203), mersenneRSA(3217, 4423)} {
		got, err := ParseKey(x509.MarshalPKCS1PrivateKey(key))
		if err != nil {
			t.Errorf("%d bits: %v", key.N.BitLen(), err)
		} else if !key.Equal(got.Signer()) {
			t.Errorf("%d bits: another key came out", key.N.BitLen())
		}
	}
}

func TestMultiPrimeRSAKeyIsRefused(t *testing.T) {
	key := mersenneRSA(521, 607, 1279)
	refuses(t, encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)), "3 primes", "iris keygen")
}

func TestInconsistentRSAKeyIsRefused(t *testing.T) {
	key := mersenneRSA(1279, 2203)
	key.D.Add(key.D, big.NewInt(2))
	refuses(t, encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)), "damaged", "iris keygen")
}

func TestPublicKeyIsRefused(t *testing.T) {
	key := mersenneRSA(1279, 2203)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PublicKey(&key.PublicKey)
	for _, data := range []string{
		encode("PUBLIC KEY", spki),
		encode("RSA PUBLIC KEY", pkcs1),
		string(spki),
		string(pkcs1),
		"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA somebody@somewhere\n",
	} {
		refuses(t, data, "public key", "private one is needed")
	}
}

func TestCertificateIsRefused(t *testing.T) {
	refuses(t, encode("CERTIFICATE", []byte("any")), "certificate", "iris keygen")
}

func TestGarbageIsRefused(t *testing.T) {
	for _, data := range []string{"hunter2", encode("PRIVATE KEY", []byte("hunter2")), "\x30\x03\x02\x01\x00"} {
		refuses(t, data, "not an Ed25519 or RSA private key", "iris keygen")
	}
}

func TestTruncatedKeyIsRefused(t *testing.T) {
	for _, v := range vectors(t) {
		data := v.data(t)
		if v.PEM != "" {
			data = bytes.TrimRight(data, "\n")
		}
		for n := range data {
			if _, err := ParseKey(data[:n]); err == nil {
				t.Errorf("%s: the first %d octets of %d are accepted", v.Name, n, len(data))
			}
		}
	}
}

func TestEmptyKeyIsRefused(t *testing.T) {
	refuses(t, "", "empty", "iris keygen")
	refuses(t, "\n \n", "empty", "iris keygen")
}

func TestHugeKeyIsRefused(t *testing.T) {
	_, text := newKey(t)
	refuses(t, text+strings.Repeat("\n", maxBytes), "larger than 64 KiB", "iris keygen")
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte{0x30, 0x03, 0x02, 0x01, 0x00})
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := ParseKey(data)
		if (key == nil) == (err == nil) {
			t.Errorf("ParseKey(%q) = %v, %v", data, key, err)
		}
	})
}

// refuses checks that ParseKey refuses data and that the message has every part.
func refuses(t *testing.T, data string, parts ...string) {
	t.Helper()
	_, err := ParseKey([]byte(data))
	hasParts(t, err, parts...)
}

// hasParts checks that err is there and that its message has every part.
func hasParts(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("accepted, want an error with %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error is %q, want %q in it", err, part)
		}
	}
}

func testKey(t *testing.T) *Key {
	t.Helper()
	key, _ := newKey(t)
	return key
}

// newKey returns a fresh Ed25519 key, also as PEM.
func newKey(t *testing.T) (*Key, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	text := encode("PRIVATE KEY", pkcs8(t, private))
	key, err := ParseKey([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return key, text
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func encode(kind string, data []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}))
}

// mersenneRSA returns the RSA key of the primes 2^e - 1, which would take long
// to find if they were random.
func mersenneRSA(exponents ...uint) *rsa.PrivateKey {
	one := big.NewInt(1)
	n, phi := big.NewInt(1), big.NewInt(1)
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{E: 65537}}
	for _, e := range exponents {
		less := new(big.Int).Lsh(one, e)
		less.Sub(less, big.NewInt(2))
		prime := new(big.Int).Add(less, one)
		n.Mul(n, prime)
		phi.Mul(phi, less)
		key.Primes = append(key.Primes, prime)
	}
	key.N = n
	key.D = new(big.Int).ModInverse(big.NewInt(65537), phi)
	return key
}
