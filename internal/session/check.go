package session

import (
	"crypto/hmac"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

const alpn = "iris/1"

// config returns the TLS configuration of one connection. Both sides present a
// certificate, and both check the other's with check: nothing of it is sent that
// would name the network to a stranger.
func (i *Identity) config(dials bool, expect ring.ID, met *peer) *tls.Config {
	return &tls.Config{
		Time:                   i.now,
		MinVersion:             tls.VersionTLS13,
		CurvePreferences:       []tls.CurveID{tls.X25519MLKEM768},
		NextProtos:             []string{alpn},
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return i.certificate() },
		GetClientCertificate:   func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return i.certificate() },
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // check does it all
		SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			p, err := i.check(&s, dials, expect)
			*met = p
			return err
		},
	}
}

// peer is who is at the other end.
type peer struct {
	id     ring.ID
	anchor int
}

// check says who the peer is, or what is wrong with it (docs/security.md, TLS). It
// runs before the peer has proved that it holds its key: what it returns counts only
// once the handshake is complete.
func (i *Identity) check(s *tls.ConnectionState, dialled bool, expect ring.ID) (peer, error) {
	fail := func(c Code, format string, args ...any) (peer, error) {
		return peer{}, &Error{c, fmt.Errorf(format, args...)}
	}
	switch { // 1 to 3
	case s.Version != tls.VersionTLS13 || s.DidResume || s.CurveID != tls.X25519MLKEM768:
		return peer{}, &Error{PeerVersion, errOld}
	case s.NegotiatedProtocol != alpn:
		return fail(PeerALPN, "the peer speaks %q, not %s", s.NegotiatedProtocol, alpn)
	case len(s.PeerCertificates) != 1:
		return fail(PeerChain, "the peer sent %d certificates, want one", len(s.PeerCertificates))
	case len(s.PeerCertificates[0].Raw) > 2048:
		return fail(PeerChain, "the peer's certificate has %d octets", len(s.PeerCertificates[0].Raw))
	}
	leaf := s.PeerCertificates[0]
	usage := x509.ExtKeyUsageClientAuth
	if dialled {
		usage = x509.ExtKeyUsageServerAuth
	}
	if err := checkLeaf(leaf, usage); err != nil { // 4
		return peer{}, &Error{PeerLeaf, err}
	}
	t := i.trusts()
	anchor, err := t.verify(leaf, usage, i.now()) // 5, 6
	if err != nil {
		return peer{}, err
	}
	tag := fmt.Sprintf("iris:%x", networkTag(t.Anchors[anchor].Discovery, leaf.RawSubjectPublicKeyInfo))
	if !hmac.Equal([]byte(tag), []byte(uriOf(leaf.URIs[0]))) { // 7
		return fail(PeerTag, "the peer has the network key, but another name of the network")
	}
	id := ring.Node(t.Network, leaf.RawSubjectPublicKeyInfo)
	switch {
	case id == i.id: // 8
		return fail(PeerSelf, "the peer is this node itself")
	case !expect.IsZero() && id != expect: // 9
		return fail(PeerOther, "another node than expected, %v, is at this address", expect.Short())
	}
	return peer{id, anchor}, nil
}

func uriOf(u *url.URL) string { return u.Scheme + ":" + u.Opaque }

// ed25519Prefix begins every SubjectPublicKeyInfo of an Ed25519 key.
const ed25519Prefix = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"

// checkLeaf holds the form of a certificate against the one form there is: Verify
// is lenient about much of it.
func checkLeaf(leaf *x509.Certificate, usage x509.ExtKeyUsage) error {
	spki := leaf.RawSubjectPublicKeyInfo
	switch {
	case leaf.Version != 3:
		return fmt.Errorf("version %d", leaf.Version)
	case len(spki) != 44 || !strings.HasPrefix(string(spki), ed25519Prefix):
		return errors.New("its key is not an Ed25519 key")
	case leaf.IsCA:
		return errors.New("it is one of an authority")
	case leaf.KeyUsage != x509.KeyUsageDigitalSignature:
		return fmt.Errorf("key usage %#x", int(leaf.KeyUsage))
	case !slices.Contains(leaf.ExtKeyUsage, usage) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny):
		return fmt.Errorf("extended key usages %v", leaf.ExtKeyUsage)
	case len(leaf.URIs) != 1 || len(leaf.DNSNames)+len(leaf.EmailAddresses)+len(leaf.IPAddresses) > 0:
		return errors.New("its names are not one URI")
	case len(leaf.SubjectKeyId)+len(leaf.AuthorityKeyId) > 0:
		return errors.New("it has a key identifier")
	}
	return nil
}

// verify returns the anchor that signed the leaf.
func (t *trust) verify(leaf *x509.Certificate, usage x509.ExtKeyUsage, now time.Time) (anchor int, err error) {
	var late error
	for n, roots := range t.roots {
		o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: now}
		_, err = leaf.Verify(o)
		if err == nil {
			return n, nil
		}
		var invalid x509.CertificateInvalidError
		if !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
			continue
		}
		// Dates are checked before the signature: is it only those?
		o.CurrentTime = leaf.NotBefore.Add(time.Second)
		if _, e := leaf.Verify(o); e == nil {
			off := leaf.NotBefore.Sub(now)
			if now.After(leaf.NotAfter) {
				off = now.Sub(leaf.NotAfter)
			}
			late = &Error{PeerTime, fmt.Errorf("the clock of the peer differs by at least %v: set both right", (off + leafBefore).Round(time.Minute))}
		}
	}
	if late != nil {
		return 0, late
	}
	return 0, &Error{PeerTrust, fmt.Errorf("no accepted network key signed the peer's certificate: %w", err)}
}
