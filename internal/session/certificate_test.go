package session

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

// bothKinds calls f with a network key of each kind.
func bothKinds(t *testing.T, f func(t *testing.T, k *Key)) {
	t.Run("Ed25519", func(t *testing.T) { f(t, networkKey(t, 1)) })
	t.Run("RSA", func(t *testing.T) {
		signer, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		k, err := KeyOf(signer)
		if err != nil {
			t.Fatal(err)
		}
		f(t, k)
	})
}

// member returns a node of the network "net".
func member(t *testing.T, k *Key, now func() time.Time) *Identity {
	t.Helper()
	c, err := NewCredential("net", k)
	if err != nil {
		t.Fatal(err)
	}
	i, err := NewIdentity(c, now)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// shown returns the certificate that i shows now.
func shown(t testing.TB, i *Identity) *x509.Certificate {
	t.Helper()
	c, err := i.certificate()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func TestLeafHasNoKeyIdentifier(t *testing.T) {
	bothKinds(t, func(t *testing.T, k *Key) {
		leaf := shown(t, member(t, k, time.Now))
		if len(leaf.SubjectKeyId)+len(leaf.AuthorityKeyId) > 0 {
			t.Errorf("key identifiers %x and %x", leaf.SubjectKeyId, leaf.AuthorityKeyId)
		}
		if leaf.Subject.String() != "CN=node" || leaf.Issuer.String() != "CN=iris" {
			t.Errorf("subject %v, issuer %v", leaf.Subject, leaf.Issuer)
		}
		if b := leaf.SerialNumber.Bytes(); len(b) != 16 || b[0]>>6 != 1 {
			t.Errorf("serial number %x", b)
		}
	})
}

func TestIndependentRootsVerify(t *testing.T) {
	bothKinds(t, func(t *testing.T, k *Key) {
		a, b := member(t, k, time.Now), member(t, k, time.Now)
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			if anchor, err := b.trusts().verify(shown(t, a), usage, time.Now()); anchor != 0 || err != nil {
				t.Errorf("verified with key %d, %v", anchor, err)
			}
		}
	})
}

// Tags tell a stranger who sees two certificates nothing in common.
func TestTagsDifferPerNode(t *testing.T) {
	a, b := identity(t, "net", 1), identity(t, "net", 1)
	if x, y := shown(t, a).URIs[0].String(), shown(t, b).URIs[0].String(); x == y || len(x) != 37 {
		t.Errorf("tags %s and %s", x, y)
	}
	if a.ID() == b.ID() {
		t.Errorf("both nodes are %v", a.ID())
	}
}

func TestRenewalAfterDay(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	i := identityAt(t, func() time.Time { return now }, "net", 1)
	first := shown(t, i)
	if !first.NotBefore.Equal(now.Add(-26*time.Hour)) || !first.NotAfter.Equal(now.Add(72*time.Hour)) {
		t.Errorf("valid from %v to %v", first.NotBefore, first.NotAfter)
	}
	now = now.Add(24 * time.Hour)
	if got := shown(t, i); !got.Equal(first) {
		t.Error("the certificate is made anew within a day")
	}
	now = now.Add(1)
	second := shown(t, i)
	if second.Equal(first) || !bytes.Equal(second.RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo) {
		t.Error("after a day there is no new certificate for the same key")
	}
	if left := first.NotAfter.Sub(now); left < 48*time.Hour-time.Second {
		t.Errorf("the first has %v left", left)
	}
}

func TestRenewalAfterClockJump(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	i := identityAt(t, func() time.Time { return now }, "net", 1)
	first := shown(t, i)
	now = now.Add(-time.Hour)
	if !shown(t, i).Equal(first) {
		t.Error("the certificate is made anew for an hour")
	}
	for _, jump := range []time.Duration{-1, -1000 * time.Hour, 5000 * time.Hour} {
		before := shown(t, i)
		now = now.Add(jump)
		if got := shown(t, i); got.Equal(before) || now.Before(got.NotBefore) || now.After(got.NotAfter) {
			t.Errorf("after a jump by %v the certificate is valid from %v to %v, at %v", jump, got.NotBefore, got.NotAfter, now)
		}
	}
}

// The monotonic clock, which time.Now reads too, does not notice jumps.
func TestRenewalGoesByTheWallClock(t *testing.T) {
	i := identity(t, "net", 1)
	shown(t, i)
	if m := i.made; m != m.Round(0) {
		t.Errorf("the certificate was made at %v, by the monotonic clock", m)
	}
}

func TestSkewOf26Hours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := identity(t, "net", 1)
		early := identityAt(t, func() time.Time { return time.Now().Add(26 * time.Hour) }, "net", 1)
		atLate, atEarly := openSite(t, late), openSite(t, early)
		atLate.serves(t, early, "192.0.2.1")
		atEarly.serves(t, late, "192.0.2.1")
		time.Sleep(24 * time.Hour) // certificates are as old as they get
		atLate.serves(t, early, "192.0.2.1")
		atEarly.serves(t, late, "192.0.2.1")
		atLate.counts(t, nil)
		atEarly.counts(t, nil)
	})
}

// lurker notes tickets.
type lurker struct{ tickets int }

func (l *lurker) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (l *lurker) Put(string, *tls.ClientSessionState)        { l.tickets++ }

func TestNoTicketsNoSNI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := identity(t, "net", 1), identity(t, "net", 1)

		// What a node says when it dials.
		var hello *tls.ClientHelloInfo
		spy := forger{b, func(c *tls.Config) {
			c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) { hello = h; return nil, nil }
		}}
		near, far := pipe(t)
		go spy.serve(far)
		if _, err := a.Dial(t.Context(), near, PurposeLink, 14142, ring.ID{}); err != nil {
			t.Fatal(err)
		}
		near.Close()
		const sni, ticket, preShared, early = 0, 35, 41, 42
		for _, extension := range []uint16{sni, preShared, early} {
			if slices.Contains(hello.Extensions, extension) {
				t.Errorf("ClientHello has extension %d", extension)
			}
		}
		if !slices.Equal(hello.SupportedProtos, []string{alpn}) || !slices.Equal(hello.SupportedCurves, []tls.CurveID{tls.X25519MLKEM768}) {
			t.Errorf("ClientHello offers %v and %v", hello.SupportedProtos, hello.SupportedCurves)
		}

		// What it says when it is dialled.
		var authorities [][]byte
		cache := new(lurker)
		client := forger{b, func(c *tls.Config) {
			c.SessionTicketsDisabled, c.ClientSessionCache, c.ServerName = false, cache, "node"
			show := c.GetClientCertificate
			c.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				authorities = r.AcceptableCAs
				return show(r)
			}
		}}
		s := openSite(t, a)
		nc, _ := s.connect(t, "192.0.2.1")
		c := tls.Client(&counted{Conn: nc, first: b.knock(PurposeLink, 1)}, client.tls(true))
		echo(t, c)
		if cache.tickets > 0 || len(authorities) > 0 {
			t.Errorf("%d tickets, authorities %x", cache.tickets, authorities)
		}
		nc.Close()
	})
}

func TestSelfHandshakeAtStart(t *testing.T) {
	c := credential(t, "net", 1, 2)
	other := *c
	other.Anchors = []Anchor{c.Anchors[1], c.Anchors[0]} // signed with another key than the first
	_, err := NewIdentity(&other, time.Now)
	hasParts(t, err, "cannot shake hands with itself", "peer_tag")

	other.Anchors = c.Anchors[1:]
	_, err = NewIdentity(&other, time.Now)
	hasParts(t, err, "cannot shake hands with itself", "peer_trust")

	other.Anchors = []Anchor{{crypto.PublicKey("none"), c.Anchors[0].Discovery}}
	_, err = NewIdentity(&other, time.Now)
	hasParts(t, err, "network key", "unsupported")

	other.Anchors = slices.Repeat(c.Anchors, 3)
	_, err = NewIdentity(&other, time.Now)
	hasParts(t, err, "6 network keys are accepted, want 1 to 4")

	t.Setenv("GODEBUG", "tlsmlkem=0")
	_, err = NewIdentity(c, time.Now)
	hasParts(t, err, "cannot shake hands with itself", "GODEBUG has tlsmlkem=0, take it out")
}

func TestOtherNetworkNeedsAnotherNode(t *testing.T) {
	i := identity(t, "net", 1)
	hasParts(t, i.Accept(credential(t, "other", 1)), `is of network "net"`, `"other"`, "start anew")
}

// The three rounds of docs/security.md, over two nodes that are linked.
func TestRollOverLosesNoLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := identity(t, "net", 1), identity(t, "net", 1)
		s := openSite(t, a)
		nc, _ := s.connect(t, "192.0.2.1")
		link, err := b.Dial(t.Context(), nc, PurposeLink, 14142, a.ID())
		if err != nil {
			t.Fatal(err)
		}
		id := a.ID()
		for _, round := range [][]byte{{1, 2}, {2, 1}, {2}} {
			for _, i := range []*Identity{a, b} {
				if err := i.Accept(credential(t, "net", round...)); err != nil {
					t.Fatal(err)
				}
				echo(t, link)
				s.serves(t, b, "192.0.2.2")
			}
		}
		if a.ID() != id {
			t.Errorf("the node has become %v", a.ID())
		}
		s.counts(t, nil)
		s.serves(t, identity(t, "net", 2), "192.0.2.3")
		nc.Close()
	})
}

func TestRollOverRoundSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, identity(t, "net", 1))
		ahead := identity(t, "net", 2, 1) // while the site does not know the new key
		nc, _ := s.connect(t, "192.0.2.1")
		if _, err := ahead.Dial(t.Context(), nc, PurposeLink, 14142, ring.ID{}); codeOf(err) != DialClosed {
			t.Errorf("dialling a node that was left behind: %v", err)
		}
		synctest.Wait()
		s.counts(t, map[Code]uint64{KnockKey: 1})

		near, far := pipe(t)
		go forger{ahead, nil}.serve(far) // which knows the old key
		if _, err := s.Identity.Dial(t.Context(), near, PurposeLink, 14142, ring.ID{}); codeOf(err) != PeerTrust {
			t.Errorf("dialling a node that is ahead: %v", err)
		}
		s.serves(t, identity(t, "net", 1), "192.0.2.1")
	})
}

// Which of the accepted keys signed for the peer.
func TestAnchorIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, identity(t, "net", 1, 2))
		for anchor, i := range []*Identity{identity(t, "net", 2, 1), identity(t, "net", 1, 2)} {
			nc, _ := s.connect(t, "192.0.2.1")
			c, err := i.Dial(t.Context(), nc, PurposeLink, 14142, ring.ID{})
			if err != nil {
				t.Fatal(err)
			}
			if want := 1 - anchor; c.Anchor() != want {
				t.Errorf("node %d met key %d, want %d", anchor, c.Anchor(), want)
			}
			nc.Close()
		}
	})
}
