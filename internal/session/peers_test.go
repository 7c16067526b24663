package session

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/internal/ring"
)

// networkKey returns the network key of a seed.
func networkKey(t testing.TB, seed byte) *Key {
	t.Helper()
	k, err := KeyOf(ed25519.NewKeyFromSeed(append(make([]byte, 31), seed)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// credential returns that of a holder of the first key who accepts the others.
func credential(t testing.TB, network string, seeds ...byte) *Credential {
	t.Helper()
	var keys []*Key
	for _, s := range seeds {
		keys = append(keys, networkKey(t, s))
	}
	c, err := NewCredential(network, keys[0], keys[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// identity returns a node of the network that signs with the key of the first seed,
// and accepts those of the others.
func identity(t testing.TB, network string, seeds ...byte) *Identity {
	t.Helper()
	return identityAt(t, time.Now, network, seeds...)
}

func identityAt(t testing.TB, now func() time.Time, network string, seeds ...byte) *Identity {
	t.Helper()
	i, err := NewIdentity(credential(t, network, seeds...), now)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// pipe returns the ends of a connection in memory.
func pipe(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l := memnet.Listen("pipe")
	defer l.Close()
	near, err := l.Dial()
	if err != nil {
		t.Fatal(err)
	}
	far, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

var discard = slog.New(slog.DiscardHandler)

// An arrival is an accepted connection from an address of the test's choice, which
// shows what is done to it.
type arrival struct {
	net.Conn
	addr net.Addr

	mu      sync.Mutex
	written int
	linger  int // as set, else -1
}

func (a *arrival) RemoteAddr() net.Addr { return a.addr }

func (a *arrival) Write(b []byte) (int, error) {
	a.mu.Lock()
	a.written += len(b)
	a.mu.Unlock()
	return a.Conn.Write(b)
}

func (a *arrival) SetLinger(sec int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.linger = sec
	return nil
}

// got returns how many octets were written to the other side, and the linger time.
func (a *arrival) got() (octets, linger int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.written, a.linger
}

// A street is a listener that connections of any address come to.
type street struct {
	conns chan net.Conn
	errs  chan error
	done  chan struct{}
}

func (s *street) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case err := <-s.errs:
		return nil, err
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *street) Close() error   { close(s.done); return nil }
func (s *street) Addr() net.Addr { return memnet.Addr("street") }

// A site is a node behind a gate that echoes what comes in.
type site struct {
	*Identity
	*Gate
	*street
	log *bytes.Buffer

	mu  sync.Mutex
	met []ring.ID
}

// openSite returns a site, to be used in a bubble, whose view has the addresses.
func openSite(t testing.TB, i *Identity, view ...string) *site {
	s := &site{Identity: i, log: new(bytes.Buffer), street: &street{make(chan net.Conn), make(chan error), make(chan struct{})}}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	known := make(map[netip.Addr]bool)
	for _, a := range view {
		known[netip.MustParseAddr(a)] = true
	}
	s.Gate = NewGate(GateConfig{
		Identity: i, Refused: NewRefusals(log, i.now),
		InView: func(a netip.Addr) bool { return known[a] },
	})
	s.Serve(s.street, func(c *Conn) {
		defer c.Close()
		c.SetDeadline(time.Time{})
		s.mu.Lock()
		s.met = append(s.met, c.Peer())
		s.mu.Unlock()
		io.Copy(c, c)
	})
	t.Cleanup(func() {
		s.street.Close()
		s.Gate.Close()
	})
	return s
}

// connect returns a connection to the site from an address without a port.
func (s *site) connect(t testing.TB, from string) (near net.Conn, far *arrival) {
	t.Helper()
	near, c := pipe(t)
	far = &arrival{Conn: c, linger: -1, addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 40000))}
	s.street.conns <- far
	return near, far
}

// counts fails unless these are all who were refused.
func (s *site) counts(t testing.TB, want map[Code]uint64) {
	t.Helper()
	if got := s.Refused.Counts(); !maps.Equal(got, want) {
		t.Errorf("refused: %v, want %v", got, want)
	}
}

// serves fails unless i, at an address, is let in and served.
func (s *site) serves(t testing.TB, i *Identity, from string) {
	t.Helper()
	nc, _ := s.connect(t, from)
	c, err := i.Dial(context.Background(), nc, PurposeLink, 14142, s.ID())
	if err != nil {
		t.Errorf("the node does not go on serving: %v", err)
		return
	}
	defer nc.Close()
	echo(t, c)
}

// echo fails unless what is sent comes back.
func echo(t testing.TB, c net.Conn) {
	t.Helper()
	var buf [5]byte
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Error(err)
	} else if _, err := io.ReadFull(c, buf[:]); err != nil || string(buf[:]) != "hello" {
		t.Errorf("echo %q, %v", buf, err)
	}
}

// A forger is a peer that is not quite as it must be.
type forger struct {
	*Identity
	change func(*tls.Config) // may be nil
}

func (f forger) tls(dials bool) *tls.Config {
	c := f.config(dials, ring.ID{}, new(peer))
	c.VerifyConnection, c.GetConfigForClient = nil, nil
	if f.change != nil {
		f.change(c)
	}
	return c
}

// dial knocks, shakes hands, and reads until the end. It returns what it was told.
func (f forger) dial(nc net.Conn) ([]byte, error) {
	defer nc.Close()
	raw := &counted{Conn: nc, first: f.Identity.knock(PurposeLink, 14142)}
	return io.ReadAll(tls.Client(raw, f.tls(true)))
}

// serve takes a knock, whatever it is, and shakes hands.
func (f forger) serve(nc net.Conn) {
	defer nc.Close()
	if _, err := io.ReadFull(nc, make([]byte, knockSize)); err == nil {
		io.Copy(io.Discard, tls.Server(nc, f.tls(false)))
	}
}

// present has i show a certificate that it made itself.
func (i *Identity) present(key any, chain ...[]byte) {
	i.leaf, i.made = &tls.Certificate{Certificate: chain, PrivateKey: key}, i.now()
}

// template returns the certificate that i would have made.
func (i *Identity) template(now time.Time) *x509.Certificate {
	return leafTemplate(i.trust.Credential, i.key.Public(), i.spki, []byte{0x40, 1, 2, 3}, now)
}

// sign returns the certificate signed by whom the identity signs.
func (i *Identity) sign(t testing.TB, leaf *x509.Certificate) []byte {
	t.Helper()
	der, err := i.trust.Sign(leaf)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func codeOf(err error) Code {
	var e *Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.Code
}

// refused fails unless a node that accepts the keys of seeds 1 and 2 refuses a
// forger that dials it for the first reason, and one that it dials for the second,
// and serves the network afterwards. It returns the error of its dial.
func refused(t *testing.T, accepting, dialling Code, make func(t *testing.T, node *Identity) forger) (err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		node := identity(t, "net", 1, 2)
		s := openSite(t, node)

		if accepting != "" {
			nc, _ := s.connect(t, "192.0.2.66")
			told, err := make(t, node).dial(nc)
			if err == nil || len(told) > 0 {
				t.Errorf("the forger was told %q, %v", told, err)
			}
			synctest.Wait()
			s.counts(t, map[Code]uint64{accepting: 1})
			if last := s.Refused.Last(); len(last) != 1 || last[0].Addr != "192.0.2.66" || !last[0].Peer.IsZero() {
				t.Errorf("what is remembered: %+v", last)
			}
			if len(s.met) > 0 {
				t.Error("the forger was let in")
			}
		}
		if dialling != "" {
			f := make(t, node)
			near, far := pipe(t)
			go f.serve(far)
			_, err = node.Dial(t.Context(), near, PurposeLink, 14142, ring.ID{})
			if codeOf(err) != dialling {
				t.Errorf("dialling the forger: %v, want %s", err, dialling)
			}
			if _, err := near.Read(nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the connection is not closed: %v", err)
			}
		}

		for _, seed := range []byte{1, 2} {
			friend := identity(t, "net", seed, 3-seed)
			s.serves(t, friend, "192.0.2.1")
			near, far := pipe(t)
			go forger{friend, nil}.serve(far)
			if _, err := node.Dial(t.Context(), near, PurposeLink, 14142, friend.ID()); err != nil {
				t.Errorf("the node does not go on dialling: %v", err)
			}
			near.Close()
		}
	})
	return err
}
