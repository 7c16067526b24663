package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
)

const (
	saltSize = 24
	tagSize  = 16
	overhead = saltSize + tagSize
)

// What is sealed: each has keys of its own (docs/security.md, Derivations).
const (
	knockInfo  = "iris/knock/1"
	packetInfo = "iris/packet/1"
)

// seal appends salt, plain sealed under the key of that salt, and the tag. The key
// serves once, so the nonce is constant.
func seal(b []byte, secret [32]byte, info string, plain []byte) []byte {
	n := len(b)
	b = append(b, make([]byte, saltSize)...)
	rand.Read(b[n:])
	return sealer(secret, info, b[n:n+saltSize]).Seal(b, make([]byte, 12), plain, nil)
}

// open returns what was sealed, if it was with this secret.
func open(secret [32]byte, info string, sealed []byte) ([]byte, bool) {
	if len(sealed) < overhead {
		return nil, false
	}
	plain, err := sealer(secret, info, sealed[:saltSize]).Open(nil, make([]byte, 12), sealed[saltSize:], nil)
	return plain, err == nil
}

func sealer(secret [32]byte, info string, salt []byte) cipher.AEAD {
	block, err := aes.NewCipher(derive(secret, salt, info))
	if err != nil {
		panic("session: " + err.Error()) // the key has 32 octets
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("session: " + err.Error())
	}
	return aead
}

func derive(secret [32]byte, salt []byte, info string) []byte {
	key, err := hkdf.Key(sha256.New, secret[:], salt, info, 32)
	if err != nil {
		panic("session: " + err.Error()) // 32 octets are within HKDF's reach
	}
	return key
}

// networkTag returns, in hexadecimal, what marks the certificate of the node key
// spki as one of the network: the same key under another name gives another.
func networkTag(secret [32]byte, spki []byte) []byte {
	h := hmac.New(sha256.New, derive(secret, nil, "iris/tag/1"))
	h.Write(appendField(nil, spki))
	return hex.AppendEncode(nil, h.Sum(nil)[:16])
}

// publicTag marks a network where others can read it: they learn nothing from it.
func publicTag(secret [32]byte) string {
	return hex.EncodeToString(derive(secret, nil, "iris/public/1")[:16])
}
