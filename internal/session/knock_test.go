package session

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

// A tapped connection keeps each write.
type tapped struct {
	net.Conn
	writes [][]byte
}

func (c *tapped) Write(b []byte) (int, error) {
	c.writes = append(c.writes, bytes.Clone(b))
	return c.Conn.Write(b)
}

func TestKnockThenTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := identity(t, "net", 1), identity(t, "net", 1)
		s := openSite(t, a)
		for _, p := range []Purpose{PurposeLink, PurposeTunnel} {
			nc, far := s.connect(t, "192.0.2.1")
			tap := &tapped{Conn: nc}
			c, err := b.Dial(t.Context(), tap, p, 14142, a.ID())
			if err != nil {
				t.Fatal(err)
			}
			if c.Peer() != a.ID() || c.Purpose() != p || c.Anchor() != 0 {
				t.Errorf("peer %v, purpose %d, anchor %d", c.Peer(), c.Purpose(), c.Anchor())
			}
			echo(t, c)
			// One write: the knock, and a TLS record.
			if w := tap.writes[0]; len(w) < knockSize+5 || w[knockSize] != 22 || len(w) != knockSize+5+int(binary.BigEndian.Uint16(w[knockSize+3:])) {
				t.Errorf("the first write has %d octets", len(w))
			}
			sent := 0
			for _, w := range tap.writes {
				sent += len(w)
			}
			received, _ := far.got()
			if in, out := c.Wire(); in != uint64(received) || out != uint64(sent) {
				t.Errorf("counted %d octets in and %d out, want %d and %d", in, out, received, sent)
			}
			nc.Close()
		}
		synctest.Wait()
		s.counts(t, nil)
		if !slices.Equal(s.met, []ring.ID{b.ID(), b.ID()}) {
			t.Errorf("the node met %v", s.met)
		}
	})
}

func TestStrangerGetsNoOctet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := identity(t, "net", 1)
		s := openSite(t, a)
		member := identity(t, "net", 1)
		noise := make([]byte, 2000)
		rand.Read(noise)
		var hello tapped
		near, far := pipe(t)
		hello.Conn = near
		go tls.Client(&hello, &tls.Config{InsecureSkipVerify: true}).Handshake()
		synctest.Wait()
		near.Close()
		far.Close()

		knocks := [][]byte{noise, noise[:knockSize], hello.writes[0], append([]byte("GET / HTTP/1.1\r\nHost: "), noise...)}
		for _, at := range []int{0, saltSize - 1, saltSize, knockSize - tagSize - 1, knockSize - 1} {
			k := member.knock(PurposeLink, 14142)
			k[at] ^= 1
			knocks = append(knocks, k)
		}
		packet := member.SealPacket(make([]byte, knockPlain)) // of the network, but no knock
		for _, k := range append(knocks, packet) {
			nc, far := s.connect(t, "192.0.2.66")
			nc.Write(k)
			if told, err := io.ReadAll(nc); len(told) > 0 {
				t.Errorf("told %x, %v", told, err)
			}
			if octets, linger := far.got(); octets != 0 || linger != 0 {
				t.Errorf("%d octets written, linger %d", octets, linger)
			}
			nc.Close()
		}
		synctest.Wait()
		s.counts(t, map[Code]uint64{KnockKey: uint64(len(knocks) + 1)})
		s.serves(t, member, "192.0.2.1")
	})
}

func TestSilentStrangerIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, member := identity(t, "net", 1), identity(t, "net", 1)
		s := openSite(t, a)
		for n, says := range [][]byte{nil, member.knock(PurposeLink, 1)[:63], member.knock(PurposeLink, 1)} {
			want, code := 2*time.Second, KnockNone
			if n == 2 { // it knocks, and is silent then
				want, code = 5*time.Second, TLSTime
			}
			start := time.Now()
			nc, _ := s.connect(t, "192.0.2.66")
			nc.Write(says)
			if told, err := io.ReadAll(nc); len(told) > 0 {
				t.Errorf("told %x, %v", told, err)
			}
			if got := time.Since(start); got != want {
				t.Errorf("with %d octets, closed after %v, want %v", len(says), got, want)
			}
			synctest.Wait()
			if got := s.Refused.Last()[n].Code; got != code {
				t.Errorf("with %d octets: %s, want %s", len(says), got, code)
			}
		}
		// One that goes.
		nc, _ := s.connect(t, "192.0.2.66")
		nc.Close()
		synctest.Wait()
		s.counts(t, map[Code]uint64{KnockNone: 3, TLSTime: 1})
		s.serves(t, member, "192.0.2.1")
	})
}

func TestReplayedKnock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, member := identity(t, "net", 1), identity(t, "net", 1)
		s := openSite(t, a)
		nc, _ := s.connect(t, "192.0.2.1")
		tap := &tapped{Conn: nc}
		if _, err := member.Dial(t.Context(), tap, PurposeLink, 1, a.ID()); err != nil {
			t.Fatal(err)
		}
		nc.Close()
		replay := func() int {
			nc, far := s.connect(t, "192.0.2.66")
			for _, w := range tap.writes {
				nc.Write(w)
			}
			io.Copy(io.Discard, nc)
			nc.Close()
			synctest.Wait()
			octets, _ := far.got()
			return octets
		}
		if n := replay(); n != 0 {
			t.Errorf("a replay gets %d octets", n)
		}
		s.counts(t, map[Code]uint64{KnockReplay: 1})
		// Later it buys a handshake, which leads nowhere.
		time.Sleep(saltLife + 1)
		if n := replay(); n < 100 {
			t.Errorf("a late replay gets %d octets, want a ServerHello", n)
		}
		s.counts(t, map[Code]uint64{KnockReplay: 1, TLSFailed: 1})
		s.serves(t, member, "192.0.2.1")
		if len(s.met) != 2 {
			t.Errorf("let in: %v", s.met)
		}
	})
}

func TestOldestSaltIsForgottenFirst(t *testing.T) {
	now := time.Now()
	var seen salts
	salt := func(n int) (s [saltSize]byte) {
		binary.BigEndian.PutUint32(s[:], uint32(n))
		return s
	}
	for n := range maxSalts + 1 {
		if !seen.add(salt(n), now) {
			t.Fatalf("salt %d is not new", n)
		}
	}
	if seen.add(salt(1), now) || !seen.add(salt(0), now) {
		t.Error("another than the oldest salt was forgotten")
	}
	if len(seen.at) != maxSalts || len(seen.order) != maxSalts {
		t.Errorf("%d and %d salts are remembered", len(seen.at), len(seen.order))
	}
}

func TestKnockOutsideSkew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := identity(t, "net", 1)
		s := openSite(t, a)
		for _, skew := range []time.Duration{maxSkew + time.Millisecond, -maxSkew - time.Millisecond, 100_000 * time.Hour, -100_000 * time.Hour} {
			member := identityAt(t, func() time.Time { return time.Now().Add(skew) }, "net", 1)
			nc, far := s.connect(t, "192.0.2.66")
			if _, err := member.Dial(t.Context(), nc, PurposeLink, 1, a.ID()); codeOf(err) != DialClosed {
				t.Errorf("with a clock off by %v: %v", skew, err)
			}
			if n, _ := far.got(); n != 0 {
				t.Errorf("with a clock off by %v, told %d octets", skew, n)
			}
		}
		synctest.Wait()
		s.counts(t, map[Code]uint64{KnockTime: 4})
		s.serves(t, identityAt(t, func() time.Time { return time.Now().Add(maxSkew) }, "net", 1), "192.0.2.1")
	})
}

func TestKnockPortMayDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, identity(t, "net", 1))
		nc, _ := s.connect(t, "192.0.2.1")
		c, err := identity(t, "net", 1).Dial(t.Context(), nc, PurposeLink, 1, s.ID())
		if err != nil {
			t.Fatal(err)
		}
		echo(t, c)
		nc.Close()
		s.counts(t, nil)
	})
}

func TestDialEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pipe(t)
		defer far.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := identity(t, "net", 1).Dial(ctx, near, PurposeLink, 1, ring.ID{})
		if codeOf(err) != TLSTime || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dialling one who says nothing: %v", err)
		}
	})
}

func TestKnockOfAnotherVersion(t *testing.T) {
	i := identity(t, "net", 1)
	plain := knock{PurposeLink, 14142, i.now(), 7}.append(nil)
	plain[0]++
	if _, err := i.answer(seal(nil, i.trust.Anchors[0].Discovery, knockInfo, plain), new(salts)); codeOf(err) != KnockVersion {
		t.Errorf("a knock that begins with %x: %v, want %s", plain[0], err, KnockVersion)
	}
}

func FuzzOpenKnock(f *testing.F) {
	i := identity(f, "net", 1)
	now := time.UnixMilli(1735689600000)
	i.now = func() time.Time { return now }
	secret := i.trust.Anchors[0].Discovery
	f.Add(knock{PurposeLink, 14142, now, 7}.append(nil), []byte(nil))
	f.Add(knock{PurposeTunnel, 1, now.Add(maxSkew), 7}.append(nil), []byte(nil))
	f.Add(knock{PurposeLink, 1, now, i.id.Hi}.append(nil), []byte(nil))
	f.Add(make([]byte, knockPlain), make([]byte, knockSize))
	for _, far := range []int64{math.MinInt64, math.MaxInt64} {
		f.Add(knock{PurposeLink, 1, time.UnixMilli(far), 7}.append(nil), []byte(nil))
	}
	f.Add([]byte(nil), []byte{1})
	f.Fuzz(func(t *testing.T, plain, sealed []byte) {
		if _, err := i.answer(sealed, new(salts)); codeOf(err) != KnockKey {
			t.Fatalf("octets that nobody sealed: %v", err)
		}
		k, err := i.answer(seal(nil, secret, knockInfo, plain), new(salts))
		switch code := cmp.Or(codeOf(err), "ok"); code {
		case "ok":
			again := k.append(nil)
			copy(again[4:8], plain[4:]) // ignored
			if !bytes.Equal(again, plain) {
				t.Fatalf("%x was read as %x", plain, again)
			}
		case KnockKey:
			if len(plain) == knockPlain {
				t.Fatal("a sealed knock does not open")
			}
		case KnockVersion, KnockTime, KnockSelf:
		default:
			t.Fatalf("a knock led to %s", code)
		}
	})
}
