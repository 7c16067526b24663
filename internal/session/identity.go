package session

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

const maxAnchors = 4

// An Anchor is what a node trusts: the public key of a network, and the secret
// that belongs to it. They are a pair: one of each of two networks never passes.
type Anchor struct {
	Trust     crypto.PublicKey
	Discovery [32]byte
}

// String returns the fingerprint of the public key, so that printing an Anchor never
// prints the secret.
func (a Anchor) String() string { return fingerprint(a.Trust) }

// GoString does as String.
func (a Anchor) GoString() string { return a.String() }

// MarshalText returns what String does.
func (a Anchor) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// A Credential signs as one party and accepts several.
type Credential struct {
	Network string
	Anchors []Anchor // 1 to 4; the first seals and signs, all open and verify
	Sign    func(leaf *x509.Certificate) ([]byte, error)
}

// NewCredential returns what the holder of a network's key may do: sign with key,
// and accept it and the others.
func NewCredential(network string, key *Key, also ...*Key) (*Credential, error) {
	if err := CheckNetwork(network); err != nil {
		return nil, err
	}
	if len(also) >= maxAnchors {
		return nil, fmt.Errorf("%d further keys are accepted, %d are the most: finish one roll-over before the next", len(also), maxAnchors-1)
	}
	c := &Credential{Network: network}
	for _, k := range append([]*Key{key}, also...) {
		c.Anchors = append(c.Anchors, Anchor{k.signer.Public(), k.Secret(network)})
	}
	c.Sign = func(leaf *x509.Certificate) ([]byte, error) {
		// An issuer that was never parsed and has no key identifier: the leaf then
		// names none, which would be a hash of the network key.
		issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "iris"}}
		return x509.CreateCertificate(rand.Reader, leaf, issuer, leaf.PublicKey, key.signer)
	}
	return c, nil
}

// KeyOf returns the network key that a signer is: an ed25519.PrivateKey, or an
// *rsa.PrivateKey of 2,048 to 8,192 bits.
func KeyOf(signer crypto.Signer) (*Key, error) {
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, fmt.Errorf("a %T is not a network key; %s", signer, makeOne)
	}
	return parseDER(der)
}

// An Identity is who this process is to other nodes: a key of its own, made at the
// start and never stored, a certificate made anew each day, and whom it accepts.
// Safe for concurrent use.
type Identity struct {
	network string
	id      ring.ID
	key     ed25519.PrivateKey
	spki    []byte
	now     func() time.Time

	mu    sync.Mutex
	trust *trust
	leaf  *tls.Certificate // nil: to be made
	made  time.Time
}

// trust is a credential made ready.
type trust struct {
	*Credential
	roots []*x509.CertPool // by anchor
}

// NewIdentity makes a node key, and shakes hands with itself: whatever is wrong with
// the credential, or with this build's TLS, shows here. Times are now's.
func NewIdentity(c *Credential, now func() time.Time) (*Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a node key: %w", err)
	}
	return newIdentity(c, key, now)
}

func newIdentity(c *Credential, key ed25519.PrivateKey, now func() time.Time) (*Identity, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	i := &Identity{network: c.Network, id: ring.Node(c.Network, spki), key: key, spki: spki, now: now}
	if err := i.Accept(c); err != nil {
		return nil, err
	}
	return i, nil
}

// ID returns the node's id.
func (i *Identity) ID() ring.ID { return i.id }

// String returns the node's id, so that printing an Identity never prints a secret.
func (i *Identity) String() string { return i.id.String() }

// GoString does as String.
func (i *Identity) GoString() string { return i.String() }

// Accept puts another credential of the same network into the place of the one
// there is; it is not to be changed afterwards. The node keeps its id, and links
// that are up stay up.
func (i *Identity) Accept(c *Credential) error {
	switch {
	case c.Network != i.network:
		return fmt.Errorf("the node is of network %q: to be of %q it has to start anew", i.network, c.Network)
	case len(c.Anchors) == 0 || len(c.Anchors) > maxAnchors:
		return fmt.Errorf("%d network keys are accepted, want 1 to %d", len(c.Anchors), maxAnchors)
	}
	t := &trust{Credential: c}
	for _, a := range c.Anchors {
		root, err := localRoot(a.Trust)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AddCert(root)
		t.roots = append(t.roots, pool)
	}
	other := &Identity{network: i.network, id: i.id, key: i.key, spki: i.spki, now: i.now, trust: t}
	if err := other.greetItself(); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.trust, i.leaf = t, nil
	return nil
}

// Fingerprints returns those of the keys that are accepted: of the one that signs, then
// of the others.
func (i *Identity) Fingerprints() (all []string) {
	for _, a := range i.trusts().Anchors {
		all = append(all, a.String())
	}
	return all
}

func (i *Identity) trusts() *trust {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.trust
}

// localRoot returns a certificate for the network key that is never sent: it gives
// Verify something to end at.
func localRoot(pub crypto.PublicKey) (*x509.Certificate, error) {
	// Who signs it does not matter, as nobody checks a root's own signature: a
	// throw-away key does, so that the network key need not be at hand.
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	root := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "iris"},
		NotBefore:             time.Unix(0, 0),
		NotAfter:              time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, pub, key)
	if err != nil {
		return nil, fmt.Errorf("network key: %w", err)
	}
	return x509.ParseCertificate(der)
}

// Dates of certificates. One is made anew when it is a day old, so that at least
// two days of it remain.
const (
	leafBefore = 26 * time.Hour // nodes whose clocks differ by less find each other's certificates valid
	leafAfter  = 72 * time.Hour
	leafRenew  = 24 * time.Hour
)

// certificate returns the node's certificate, made anew when it is a day old or the
// clock was set back by an hour.
func (i *Identity) certificate() (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now().Round(0) // the monotonic clock stands still in suspend, and knows no jumps
	if i.leaf != nil && !now.Before(i.made.Add(-time.Hour)) && !now.After(i.made.Add(leafRenew)) {
		return i.leaf, nil
	}
	der, err := i.issue(i.trust, now)
	if err != nil {
		return nil, err
	}
	i.leaf, i.made = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: i.key}, now
	return i.leaf, nil
}

func (i *Identity) issue(t *trust, now time.Time) ([]byte, error) {
	serial := make([]byte, 16)
	rand.Read(serial)
	serial[0] = serial[0]&0x3f | 0x40
	return t.Sign(leafTemplate(t.Credential, i.key.Public(), i.spki, serial, now))
}

func leafTemplate(c *Credential, pub crypto.PublicKey, spki, serial []byte, issued time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               pkix.Name{CommonName: "node"},
		NotBefore:             issued.Add(-leafBefore),
		NotAfter:              issued.Add(leafAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{{Scheme: "iris", Opaque: string(networkTag(c.Anchors[0].Discovery, spki))}},
		PublicKey:             pub,
	}
}

// PublicTags returns what marks the network where others can read it, for each key that
// is accepted. Who lacks the key learns nothing from it.
func (i *Identity) PublicTags() (tags []string) {
	for _, a := range i.trusts().Anchors {
		tags = append(tags, publicTag(a.Discovery))
	}
	return tags
}

// SealPacket seals a discovery packet.
func (i *Identity) SealPacket(plain []byte) []byte {
	return seal(nil, i.trusts().Anchors[0].Discovery, packetInfo, plain)
}

// OpenPacket opens a discovery packet that a member of the network sealed, and says
// with which of the keys.
func (i *Identity) OpenPacket(packet []byte) (plain []byte, anchor int, ok bool) {
	return i.open(packetInfo, packet)
}

func (i *Identity) open(info string, sealed []byte) (plain []byte, anchor int, ok bool) {
	for n, a := range i.trusts().Anchors {
		if plain, ok := open(a.Discovery, info, sealed); ok {
			return plain, n, true
		}
	}
	return nil, 0, false
}
