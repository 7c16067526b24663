package session

import (
	"bytes"
	"crypto/hmac"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

const (
	alpn    = "iris/1"
	maxLeaf = 2048 // octets
)

// config returns the TLS configuration of one connection. Both sides present a
// certificate, and both check the other's with check: nothing is sent that would
// name the network to a stranger. met is set to who the other side is, which counts
// once the handshake is complete.
func (i *Identity) config(dials bool, expect ring.ID, met *peer) *tls.Config {
	return &tls.Config{
		Time:                        i.now,
		MinVersion:                  tls.VersionTLS13,
		CurvePreferences:            []tls.CurveID{tls.X25519MLKEM768},
		NextProtos:                  []string{alpn},
		GetConfigForClient:          checkClient,
		GetCertificate:              func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return i.certificate() },
		GetClientCertificate:        func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return i.certificate() },
		ClientAuth:                  tls.RequireAnyClientCert, // ClientCAs would be sent
		InsecureSkipVerify:          true,                     // check does it all
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true, // records leave together (stage.go)
		VerifyConnection: func(s tls.ConnectionState) (err error) {
			*met, err = i.check(&s, dials, expect)
			return err
		},
	}
}

// checkClient gives a name to what TLS would refuse as well.
func checkClient(h *tls.ClientHelloInfo) (*tls.Config, error) {
	if !slices.Contains(h.SupportedVersions, tls.VersionTLS13) || !slices.Contains(h.SupportedCurves, tls.X25519MLKEM768) {
		return nil, &Error{PeerVersion, nil}
	}
	if !slices.Contains(h.SupportedProtos, alpn) {
		return nil, refuse(PeerALPN, "the peer speaks %q, want %s", h.SupportedProtos, alpn)
	}
	return nil, nil
}

// A peer is who is at the other end.
type peer struct {
	id     ring.ID
	anchor int
}

// check says who the peer is, or what is wrong with it, in the order of
// docs/security.md, TLS. It runs before the peer has proved that it holds its key.
func (i *Identity) check(s *tls.ConnectionState, dialled bool, expect ring.ID) (peer, error) {
	switch { // 1 to 3
	case s.Version != tls.VersionTLS13 || s.DidResume || s.CurveID != tls.X25519MLKEM768:
		return peer{}, &Error{PeerVersion, nil}
	case s.NegotiatedProtocol != alpn:
		return peer{}, refuse(PeerALPN, "the peer speaks %q, want %s", s.NegotiatedProtocol, alpn)
	case len(s.PeerCertificates) != 1:
		return peer{}, refuse(PeerChain, "the peer sent %d certificates, want one", len(s.PeerCertificates))
	case len(s.PeerCertificates[0].Raw) > maxLeaf:
		return peer{}, refuse(PeerChain, "the peer's certificate has %d octets", len(s.PeerCertificates[0].Raw))
	}
	leaf := s.PeerCertificates[0]
	usage := x509.ExtKeyUsageClientAuth
	if dialled {
		usage = x509.ExtKeyUsageServerAuth
	}
	tag, err := checkForm(leaf, usage) // 4
	if err != nil {
		return peer{}, &Error{PeerLeaf, err}
	}
	t := i.trusts()
	anchor, err := t.verify(leaf, usage, i.now()) // 5, 6
	if err != nil {
		return peer{}, err
	}
	if !hmac.Equal(tag, networkTag(t.Anchors[anchor].Discovery, leaf.RawSubjectPublicKeyInfo)) { // 7
		return peer{}, &Error{PeerTag, nil}
	}
	id := ring.Node(t.Network, leaf.RawSubjectPublicKeyInfo)
	switch {
	case id == i.id: // 8
		return peer{}, &Error{PeerSelf, nil}
	case !expect.IsZero() && id != expect: // 9
		return peer{}, refuse(PeerOther, "node %v is at the address of %v", id.Short(), expect.Short())
	}
	return peer{id, anchor}, nil
}

// ed25519Prefix begins the SubjectPublicKeyInfo of every Ed25519 key, and sanPrefix
// the value of a SubjectAltName extension that has our URI alone.
const (
	ed25519Prefix = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"
	sanPrefix     = "\x30\x27\x86\x25iris:"
)

var oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

// checkForm holds a certificate against the one form that nodes make, as Verify is
// lenient about much of it. It returns the network tag, as in the certificate.
func checkForm(leaf *x509.Certificate, usage x509.ExtKeyUsage) (tag []byte, err error) {
	spki := leaf.RawSubjectPublicKeyInfo
	switch {
	case leaf.Version != 3:
		return nil, errors.New("it is not of version 3")
	case len(spki) != 44 || !strings.HasPrefix(string(spki), ed25519Prefix):
		return nil, errors.New("its key is not an Ed25519 key")
	case leaf.IsCA:
		return nil, errors.New("it is an authority's")
	case leaf.KeyUsage != x509.KeyUsageDigitalSignature:
		return nil, errors.New("its key usage is not to sign, and that alone")
	case !slices.Contains(leaf.ExtKeyUsage, usage) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny):
		return nil, errors.New("its extended key usage is not that of its side")
	case len(leaf.SubjectKeyId)+len(leaf.AuthorityKeyId) > 0:
		return nil, errors.New("it has a key identifier")
	}
	for _, e := range leaf.Extensions {
		if tag, ok := bytes.CutPrefix(e.Value, []byte(sanPrefix)); ok && len(tag) == 32 && e.Id.Equal(oidSAN) {
			return tag, nil
		}
	}
	return nil, errors.New("it is not for a network's tag alone")
}

// verify returns which of the anchors signed the leaf.
func (t *trust) verify(leaf *x509.Certificate, usage x509.ExtKeyUsage, now time.Time) (anchor int, err error) {
	var dates error
	for n, roots := range t.roots {
		o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: now}
		if _, err = leaf.Verify(o); err == nil {
			return n, nil
		}
		var invalid x509.CertificateInvalidError
		if !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
			continue
		}
		// Dates are checked before the signature: is it only those?
		o.CurrentTime = leaf.NotBefore.Add(time.Second)
		if _, err := leaf.Verify(o); err == nil {
			dates = refuse(PeerTime, "its clock and ours differ by at least %v", skew(leaf, now).Round(time.Minute))
		}
	}
	if dates != nil {
		return 0, dates
	}
	return 0, &Error{PeerTrust, err}
}

// skew returns by how much the clock of a peer must differ that presents the leaf
// now, outside of its dates.
func skew(leaf *x509.Certificate, now time.Time) time.Duration {
	if now.Before(leaf.NotBefore) {
		return leaf.NotBefore.Add(leafBefore).Sub(now)
	}
	return now.Sub(leaf.NotAfter.Add(leafRenew - leafAfter))
}
