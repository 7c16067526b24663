package session

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

// shaped returns a forger with a certificate of its own making, signed by the
// network key.
func shaped(change func(*x509.Certificate)) func(*testing.T, *Identity) forger {
	return func(t *testing.T, _ *Identity) forger {
		i := identity(t, "net", 1)
		leaf := i.template(time.Now())
		change(leaf)
		i.present(i.key, i.sign(t, leaf))
		return forger{i, nil}
	}
}

// configured returns a forger with a TLS configuration of its own.
func configured(change func(*tls.Config)) func(*testing.T, *Identity) forger {
	return func(t *testing.T, _ *Identity) forger { return forger{identity(t, "net", 1), change} }
}

// thief returns a node that has the secret of the network, and so may knock, but
// another key and perhaps another name of the network.
func thief(t *testing.T, network string, seed byte) *Identity {
	i := identity(t, network, seed)
	stolen := *i.trust.Credential
	stolen.Anchors = []Anchor{{i.trust.Anchors[0].Trust, networkKey(t, 1).Secret("net")}}
	i.trust = &trust{Credential: &stolen, roots: i.trust.roots}
	return i
}

// authority returns a certificate for a key of its own with which others can be
// signed, made by the issuer, or by itself.
func authority(t *testing.T, issuer *x509.Certificate, by ed25519.PrivateKey) (*x509.Certificate, ed25519.PrivateKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if issuer == nil {
		issuer, by = ca, key
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, issuer, key.Public(), by)
	if err == nil {
		ca, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ca, key
}

// signedBy returns the leaf of i signed by an authority.
func signedBy(t *testing.T, i *Identity, ca *x509.Certificate, key ed25519.PrivateKey) []byte {
	t.Helper()
	leaf := i.template(time.Now())
	ca.SubjectKeyId = nil
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, i.key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// netIssuer is what signs the leaves of the network.
func netIssuer(t *testing.T) (*x509.Certificate, ed25519.PrivateKey) {
	return &x509.Certificate{Subject: pkix.Name{CommonName: "iris"}}, networkKey(t, 1).Signer().(ed25519.PrivateKey)
}

func TestForeignKeySameName(t *testing.T) {
	refused(t, KnockKey, PeerTrust, func(t *testing.T, _ *Identity) forger { return forger{identity(t, "net", 9), nil} })
	refused(t, PeerTrust, PeerTrust, func(t *testing.T, _ *Identity) forger { return forger{thief(t, "net", 9), nil} })
}

func TestSameKeyOtherName(t *testing.T) {
	refused(t, KnockKey, PeerTag, func(t *testing.T, _ *Identity) forger { return forger{identity(t, "other", 1), nil} })
	refused(t, PeerTag, PeerTag, func(t *testing.T, _ *Identity) forger {
		i := identity(t, "other", 1)
		if _, err := i.certificate(); err != nil { // with the tag of the other name
			t.Fatal(err)
		}
		i.trust = identity(t, "net", 1).trust
		return forger{i, nil}
	})
}

func TestChainOfTwo(t *testing.T) {
	refused(t, PeerChain, PeerChain, func(t *testing.T, _ *Identity) forger {
		i := identity(t, "net", 1)
		issuer, by := netIssuer(t)
		host, key := authority(t, issuer, by)
		i.present(i.key, signedBy(t, i, host, key), host.Raw)
		return forger{i, nil}
	})
}

func TestLeafThatIsCA(t *testing.T) {
	refused(t, PeerLeaf, PeerLeaf, shaped(func(c *x509.Certificate) { c.IsCA = true }))
}

func TestLeafSignedByLeaf(t *testing.T) {
	refused(t, PeerTrust, PeerTrust, func(t *testing.T, _ *Identity) forger {
		i, other := identity(t, "net", 1), identity(t, "net", 1)
		leaf, err := x509.ParseCertificate(other.sign(t, other.template(time.Now())))
		if err != nil {
			t.Fatal(err)
		}
		i.present(i.key, signedBy(t, i, leaf, other.key))
		return forger{i, nil}
	})
}

func TestLeafWithoutEKU(t *testing.T) {
	refused(t, PeerLeaf, PeerLeaf, shaped(func(c *x509.Certificate) { c.ExtKeyUsage = nil }))
}

func TestLeafWithAnyEKU(t *testing.T) {
	refused(t, PeerLeaf, PeerLeaf, shaped(func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny) }))
}

func TestLeafForOtherRole(t *testing.T) {
	refused(t, PeerLeaf, "", shaped(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }))
	refused(t, "", PeerLeaf, shaped(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }))
}

func TestLeafWithoutKeyUsage(t *testing.T) {
	refused(t, PeerLeaf, PeerLeaf, shaped(func(c *x509.Certificate) { c.KeyUsage = 0 }))
	refused(t, PeerLeaf, PeerLeaf, shaped(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment }))
}

func TestLeafWithOtherNames(t *testing.T) {
	for _, change := range []func(*x509.Certificate){
		func(c *x509.Certificate) { c.URIs = nil },
		func(c *x509.Certificate) { c.DNSNames = []string{"node"} },
		func(c *x509.Certificate) { c.IPAddresses = []net.IP{{127, 0, 0, 1}} },
		func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) },
		func(c *x509.Certificate) { c.URIs[0].Scheme = "IRIS" },
		func(c *x509.Certificate) { c.URIs[0].Opaque += "0" },
	} {
		refused(t, PeerLeaf, "", shaped(change))
	}
	refused(t, PeerTag, "", shaped(func(c *x509.Certificate) { c.URIs[0].Opaque = strings.ToUpper(c.URIs[0].Opaque) }))
}

func TestLeafWithKeyIdentifier(t *testing.T) {
	refused(t, PeerLeaf, "", shaped(func(c *x509.Certificate) { c.SubjectKeyId = []byte{1} }))
}

func TestExpired(t *testing.T) {
	err := refused(t, PeerTime, PeerTime, shaped(func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = c.NotBefore.Add(-100*time.Hour), c.NotAfter.Add(-100*time.Hour)
	}))
	// The certificate is a hundred hours old, and is made anew after 24.
	hasParts(t, err, "differ by at least 76h0m0s", "peer_time")
}

func TestNotYetValid(t *testing.T) {
	err := refused(t, PeerTime, PeerTime, shaped(func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = c.NotBefore.Add(100*time.Hour), c.NotAfter.Add(100*time.Hour)
	}))
	hasParts(t, err, "differ by at least 100h0m0s", "peer_time")
}

func TestForeignExpiredIsNotClock(t *testing.T) {
	refused(t, PeerTrust, PeerTrust, func(t *testing.T, _ *Identity) forger {
		i := thief(t, "net", 9)
		i.present(i.key, i.sign(t, i.template(time.Now().Add(-100*time.Hour))))
		return forger{i, nil}
	})
}

func TestNoALPN(t *testing.T) {
	refused(t, PeerALPN, PeerALPN, configured(func(c *tls.Config) { c.NextProtos = nil }))
	refused(t, PeerALPN, "", configured(func(c *tls.Config) { c.NextProtos = []string{"iris/2", "h2"} }))
	i := identity(t, "net", 1)
	s := &tls.ConnectionState{Version: tls.VersionTLS13, CurveID: tls.X25519MLKEM768}
	if _, err := i.check(s, false, ring.ID{}); codeOf(err) != PeerALPN {
		t.Errorf("without ALPN: %v", err)
	}
}

// What a server offers too little of, TLS itself refuses.
func TestTLS12(t *testing.T) {
	old := func(c *tls.Config) {
		c.MinVersion, c.MaxVersion, c.CurvePreferences = tls.VersionTLS12, tls.VersionTLS12, nil
	}
	refused(t, PeerVersion, TLSFailed, configured(old))
	i := identity(t, "net", 1)
	for _, s := range []tls.ConnectionState{
		{Version: tls.VersionTLS12, CurveID: tls.X25519MLKEM768, NegotiatedProtocol: alpn},
		{Version: tls.VersionTLS13, CurveID: tls.X25519MLKEM768, NegotiatedProtocol: alpn, DidResume: true},
		{Version: tls.VersionTLS13, CurveID: tls.X25519, NegotiatedProtocol: alpn},
	} {
		if _, err := i.check(&s, false, ring.ID{}); codeOf(err) != PeerVersion {
			t.Errorf("version %x, resumed %t, curve %v: %v", s.Version, s.DidResume, s.CurveID, err)
		}
	}
}

func TestClassicalKeyExchange(t *testing.T) {
	refused(t, PeerVersion, TLSFailed, configured(func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }))
}

// What the system trusts counts for nothing.
func TestPublicCACertificate(t *testing.T) {
	dir := t.TempDir()
	refused(t, PeerTrust, PeerTrust, func(t *testing.T, _ *Identity) forger {
		i := identity(t, "net", 1)
		ca, key := authority(t, nil, nil)
		file := filepath.Join(dir, "ca.pem")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("SSL_CERT_FILE", file)
		der := signedBy(t, i, ca, key)
		i.present(i.key, der)
		return forger{i, nil}
	})
	if roots, err := x509.SystemCertPool(); runtime.GOOS == "linux" && (err != nil || roots.Equal(x509.NewCertPool())) {
		t.Errorf("the system trusts nobody: %v", err)
	}
}

func TestRSALeaf(t *testing.T) {
	refused(t, PeerLeaf, PeerLeaf, func(t *testing.T, _ *Identity) forger {
		i := identity(t, "net", 1)
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		leaf := i.template(time.Now())
		leaf.PublicKey = key.Public()
		i.present(key, i.sign(t, leaf))
		return forger{i, nil}
	})
}

func TestOwnCertificateReflected(t *testing.T) {
	refused(t, PeerSelf, PeerSelf, func(t *testing.T, node *Identity) forger {
		i := identity(t, "net", 1)
		i.present(i.key, node.sign(t, node.template(time.Now())))
		return forger{i, nil}
	})
	// A mirror of all octets.
	synctest.Test(t, func(t *testing.T) {
		node := identity(t, "net", 1)
		s := openSite(t, node)
		nc, _ := s.connect(t, "192.0.2.66")
		if _, err := node.Dial(t.Context(), nc, PurposeLink, 14142, ring.ID{}); codeOf(err) != DialClosed {
			t.Errorf("dialling itself: %v", err)
		}
		synctest.Wait()
		s.counts(t, map[Code]uint64{KnockSelf: 1})
		s.serves(t, identity(t, "net", 1), "192.0.2.1")
	})
}

func TestCopiedCertificateLeavesNoTrace(t *testing.T) {
	refused(t, TLSFailed, TLSFailed, func(t *testing.T, _ *Identity) forger {
		i, victim := identity(t, "net", 1), identity(t, "net", 1)
		i.present(i.key, victim.sign(t, victim.template(time.Now())))
		return forger{i, nil}
	})
}

// Key and secret form a pair.
func TestMixedAnchors(t *testing.T) {
	for _, seeds := range [][2]byte{{1, 2}, {2, 1}} {
		refused(t, PeerTag, PeerTag, func(t *testing.T, _ *Identity) forger {
			i, other := identity(t, "net", seeds[0]), identity(t, "net", seeds[1])
			mixed := *i.trust.Credential
			mixed.Anchors = []Anchor{{i.trust.Anchors[0].Trust, other.trust.Anchors[0].Discovery}}
			i.trust = &trust{Credential: &mixed, roots: i.trust.roots}
			i.leaf = nil
			return forger{i, nil}
		})
	}
}

func TestUnexpectedNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, node := openSite(t, identity(t, "net", 1)), identity(t, "net", 1)
		nc, _ := s.connect(t, "192.0.2.1")
		_, err := node.Dial(t.Context(), nc, PurposeLink, 14142, ring.ID{Hi: 1})
		if codeOf(err) != PeerOther {
			t.Errorf("dialling another node: %v", err)
		}
		hasParts(t, err, s.ID().Short(), ring.ID{Hi: 1}.Short())
		synctest.Wait()
		s.counts(t, map[Code]uint64{TLSFailed: 1})
		s.serves(t, node, "192.0.2.1")
	})
}
