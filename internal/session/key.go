// Package session decides who belongs to a network. A [Key] is that of the
// network, a [Credential] what its holder may do with it, an [Identity] one
// process of it, which dials others and lets them in at a [Gate]. Who is not
// let in is told nothing, and noted in [Refusals]. What connections are for is
// left to others. It follows docs/security.md.
package session

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// A Key is the private key of a network: whoever holds it is a full member.
// It is immutable and may be used concurrently. Make one with [ParseKey] or
// one of the functions that read it from somewhere.
type Key struct {
	signer crypto.Signer // ed25519.PrivateKey or *rsa.PrivateKey
	ikm    [32]byte
}

// Signer returns the key itself, an ed25519.PrivateKey or a *rsa.PrivateKey.
func (k *Key) Signer() crypto.Signer { return k.signer }

// Fingerprint names the public key: "SHA256:" and the unpadded base64 of the
// SHA-256 of its SubjectPublicKeyInfo. Two operators may compare it aloud; it
// tells nothing of the secret.
func (k *Key) Fingerprint() string { return fingerprint(k.signer.Public()) }

func fingerprint(public crypto.PublicKey) string {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "no key"
	}
	sum := sha256.Sum256(spki)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// String returns the fingerprint, so that printing a Key never prints the secret.
func (k *Key) String() string { return k.Fingerprint() }

// GoString does as String.
func (k *Key) GoString() string { return k.String() }

// Secret returns the discovery secret of network, which must have passed
// [CheckNetwork]. All encodings of one key give the same secret, and
// different networks have unrelated ones.
func (k *Key) Secret(network string) [32]byte {
	secret, err := hkdf.Key(sha256.New, k.ikm[:], []byte("iris/discovery/1"), string(appendField(nil, network)), 32)
	if err != nil {
		panic("session: " + err.Error()) // 32 octets are within HKDF's reach
	}
	return [32]byte(secret)
}

// appendField appends field, preceded by its length, so that two fields in a
// row cannot be read as two others.
func appendField[T string | []byte](b []byte, field T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(field))), field...)
}

const maxBytes = 64 << 10 // an 8,192-bit RSA key in PEM has 6.4 KiB

// makeOne is what most can do whose key is refused.
const makeOne = `make a network key with "iris keygen"`

// ParseKey returns the one private key in data: PEM or DER, Ed25519 in
// PKCS#8, or RSA in PKCS#1 or PKCS#8 with 2,048 to 8,192 bits and two primes.
// The error tells the user what to do instead. ParseKey keeps no reference to
// data.
func ParseKey(data []byte) (*Key, error) {
	switch {
	case len(data) > maxBytes:
		return nil, fmt.Errorf("it is larger than 64 KiB, so it is not a network key; %s", makeOne)
	case len(bytes.TrimSpace(data)) == 0:
		return nil, fmt.Errorf("it is empty; %s", makeOne)
	case bytes.HasPrefix(data, []byte("ssh-")), bytes.HasPrefix(data, []byte("ecdsa-")):
		return nil, errPublic
	case bytes.Contains(data, []byte(pemBegin)):
		der, err := onlyKey(data)
		if err != nil {
			return nil, err
		}
		return parseDER(der)
	}
	return parseDER(data)
}

const pemBegin = "-----BEGIN "

var errPublic = errors.New("it holds a public key; the private one is needed, the file that iris keygen wrote")

// onlyKey returns the contents of the one private key among the PEM blocks of data.
func onlyKey(data []byte) ([]byte, error) {
	var keys []*pem.Block
	var other string // type of the last block that is no private key
	found := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		found++
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			keys = append(keys, block)
		} else {
			other = block.Type
		}
	}
	switch {
	case found != bytes.Count(data, []byte(pemBegin)):
		// pem.Decode passes over a damaged block, which may be a second key.
		return nil, errors.New("a PEM block in it is damaged; copy the file again from where it works")
	case len(keys) > 1:
		return nil, fmt.Errorf("it holds %d private keys; leave the one of the network", len(keys))
	case len(keys) == 0 && strings.HasSuffix(other, "PUBLIC KEY"):
		return nil, errPublic
	case len(keys) == 0:
		return nil, fmt.Errorf("it holds a %s, not a private key; %s", strings.ToLower(other), makeOne)
	}

	key := keys[0]
	switch {
	case key.Type == "OPENSSH PRIVATE KEY":
		return nil, fmt.Errorf("it is in OpenSSH's own format; a network deserves a key of its own: %s", makeOne)
	case key.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(key.Headers["Proc-Type"], "ENCRYPTED"):
		return nil, errors.New("it is encrypted; decrypt it on the way, openssl pkey -in FILE | iris ... --key -")
	}
	return key.Bytes, nil
}

// parseDER returns the private key that der encodes.
func parseDER(der []byte) (*Key, error) {
	// ParsePKCS8PrivateKey ignores what follows the key, which may be another one.
	if rest, err := asn1.Unmarshal(der, new(asn1.RawValue)); err == nil && len(rest) > 0 {
		return nil, errors.New("more data follows the private key; leave the key of the network alone in it")
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		key, err = x509.ParsePKCS1PrivateKey(der)
	}
	if err != nil {
		if _, ecErr := x509.ParseECPrivateKey(der); ecErr == nil {
			return nil, errElliptic
		}
		if isPublic(der) {
			return nil, errPublic
		}
		return nil, fmt.Errorf("it is not an Ed25519 or RSA private key in PKCS#8 or PKCS#1, or it is damaged; %s", makeOne)
	}

	switch key := key.(type) {
	case ed25519.PrivateKey:
		return &Key{signer: key, ikm: [32]byte(key.Seed())}, nil
	case *rsa.PrivateKey:
		return newRSAKey(key)
	case *ecdsa.PrivateKey, *ecdh.PrivateKey:
		return nil, errElliptic
	}
	return nil, fmt.Errorf("a %T is not supported; %s", key, makeOne)
}

var errElliptic = fmt.Errorf("it is an EC key, where Ed25519 or RSA is needed; %s", makeOne)

func isPublic(der []byte) bool {
	_, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		_, err = x509.ParsePKCS1PublicKey(der)
	}
	return err == nil
}

// newRSAKey returns the network key of key, which x509 has validated.
func newRSAKey(key *rsa.PrivateKey) (*Key, error) {
	bits := key.N.BitLen()
	switch {
	case bits < 2048:
		return nil, fmt.Errorf("an RSA key of %d bits is too short, 2,048 are the least; %s", bits, makeOne)
	case bits > 8192:
		return nil, fmt.Errorf("an RSA key of %d bits is too long, 8,192 are the most; %s", bits, makeOne)
	case len(key.Primes) != 2:
		return nil, fmt.Errorf("an RSA key of %d primes is not supported, only of two; %s", len(key.Primes), makeOne)
	}
	// Encodings differ in the order of the primes and in the form of the
	// private exponent: only the sorted primes are the same in all of them.
	p, q := key.Primes[0], key.Primes[1]
	if p.Cmp(q) > 0 {
		p, q = q, p
	}
	b := []byte("iris/rsa/1")
	for _, prime := range []*big.Int{p, q} {
		b = appendField(b, prime.Bytes())
	}
	return &Key{signer: key, ikm: sha256.Sum256(b)}, nil
}
