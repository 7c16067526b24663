package session

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

// hold returns how many wait at the gate, and how many shake hands.
func (g *Gate) hold() (waiting, shaking int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting), len(g.shaking)
}

// host returns one of many addresses.
func host(n int) string { return fmt.Sprintf("10.0.%d.%d", n>>8, n&0xff) }

// knocking returns n connections, each from an address of its own, that knock and
// say no more.
func (s *site) knocking(t *testing.T, thief *Identity, n int) (conns []net.Conn) {
	for n := range n {
		nc, _ := s.connect(t, host(n))
		nc.Write(thief.knock(PurposeLink, 1))
		conns = append(conns, nc)
	}
	synctest.Wait()
	return conns
}

func TestHandshakeFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, member := openSite(t, identity(t, "net", 1)), identity(t, "net", 1)
		conns := s.knocking(t, member, 1000)
		if w, h := s.hold(); w != maxWaiting || h != maxStrange {
			t.Errorf("%d wait and %d shake hands, want %d and %d", w, h, maxWaiting, maxStrange)
		}
		s.counts(t, map[Code]uint64{AcceptFull: 1000 - maxWaiting - maxStrange})
		time.Sleep(acceptTime)
		synctest.Wait()
		s.counts(t, map[Code]uint64{AcceptFull: 1000 - maxWaiting - maxStrange, TLSTime: maxWaiting + maxStrange})
		if w, h := s.hold(); w != 0 || h != 0 {
			t.Errorf("%d wait and %d shake hands after the flood", w, h)
		}
		s.serves(t, member, "192.0.2.1")
		for _, c := range conns {
			c.Close()
		}
	})
}

func TestOneAddressHoldsLittle(t *testing.T) {
	for _, v := range []struct {
		addrs            []string
		waiting, shaking int
	}{
		{[]string{"192.0.2.66"}, maxFrom, maxAlike},
		{[]string{"2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff::"}, maxFrom, maxAlike},
		{[]string{"::ffff:192.0.2.66", "192.0.2.66"}, maxFrom, maxAlike},
		{[]string{"2001:db8:0:1::1", "2001:db8:0:2::1"}, 2 * maxFrom, 2 * maxAlike},
		{[]string{"127.0.0.1"}, 100 - maxShakes, maxShakes},
		{[]string{"::1"}, 100 - maxShakes, maxShakes},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, member := openSite(t, identity(t, "net", 1)), identity(t, "net", 1)
			var conns []net.Conn
			for n := range 100 {
				nc, _ := s.connect(t, v.addrs[n%len(v.addrs)])
				nc.Write(member.knock(PurposeLink, 1))
				conns = append(conns, nc)
			}
			synctest.Wait()
			if w, h := s.hold(); w != v.waiting || h != v.shaking {
				t.Errorf("of %v %d wait and %d shake hands, want %d and %d", v.addrs, w, h, v.waiting, v.shaking)
			}
			if got, want := s.Refused.Counts()[AcceptFull], uint64(100-v.waiting-v.shaking); got != want {
				t.Errorf("of %v %d are refused, want %d", v.addrs, got, want)
			}
			for _, c := range conns {
				c.Close()
			}
			s.serves(t, member, "192.0.2.1")
		})
	}
}

func TestViewKeepsItsSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, identity(t, "net", 1), "192.0.2.1", "192.0.2.2")
		known, member := identity(t, "net", 1), identity(t, "net", 1)
		conns := s.knocking(t, member, 1000)
		before := s.Refused.Counts()[AcceptFull]

		// Who is known comes through, and a stranger goes for it.
		start := time.Now()
		for range 20 {
			s.serves(t, known, "192.0.2.1")
		}
		if took := time.Since(start); took > 500*time.Millisecond {
			t.Errorf("twenty links of a known node took %v", took)
		}
		if n := s.Refused.Counts()[AcceptFull]; n != before+1 { // each takes the place that the first was given
			t.Errorf("%d strangers went for them, want 1", n-before)
		}

		// The other half of the slots is for the known alone, and no more than that.
		for range 2 * maxFrom {
			nc, _ := s.connect(t, "192.0.2.2")
			nc.Write(known.knock(PurposeLink, 1))
			conns = append(conns, nc)
			synctest.Wait()
		}
		if _, h := s.hold(); h != maxShakes {
			t.Errorf("%d shake hands, want %d", h, maxShakes)
		}
		for _, c := range conns {
			c.Close()
		}
		synctest.Wait()
		s.serves(t, member, "192.0.2.66")
	})
}

// What a node of the view took up is given back, though it left the view meanwhile.
func TestViewMayChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, member := openSite(t, identity(t, "net", 1)), identity(t, "net", 1)
		var known atomic.Bool
		s.InView = func(netip.Addr) bool { return known.Load() }
		for _, v := range []bool{true, false, true} {
			known.Store(v)
			nc, _ := s.connect(t, "192.0.2.1")
			nc.Write(member.knock(PurposeLink, 1))
			synctest.Wait()
			known.Store(!v)
			nc.Close()
			synctest.Wait()
			if w, h := s.hold(); w != 0 || h != 0 {
				t.Errorf("%d wait and %d shake hands", w, h)
			}
		}
		s.serves(t, member, "192.0.2.1")
	})
}

func TestRackBootsAtOnce(t *testing.T) {
	const hosts = 150
	synctest.Test(t, func(t *testing.T) {
		s, member := openSite(t, identity(t, "net", 1)), identity(t, "net", 1)
		start := time.Now()
		var all sync.WaitGroup
		for n := range hosts {
			nc, _ := s.connect(t, host(n))
			all.Go(func() {
				defer nc.Close()
				c, err := member.Dial(t.Context(), nc, PurposeLink, 1, s.ID())
				if err != nil {
					t.Errorf("host %d: %v", n, err)
					return
				}
				echo(t, c)
			})
		}
		all.Wait()
		s.counts(t, nil)
		if took, least := time.Since(start), (hosts-shakeBurst)*shakeEvery; took < least || took > 2*least {
			t.Errorf("it took %v, want %v for the rate", took, least)
		}
		s.serves(t, member, "192.0.2.1")
	})
}

func TestHandshakesHaveARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateConfig{})
		begun := func(within time.Duration, of int) (n int) {
			limit := time.Now().Add(within)
			for range of {
				if !g.ticket().After(limit) {
					n++
				}
			}
			return n
		}
		time.Sleep(time.Hour)
		if n := begun(0, 100); n != shakeBurst {
			t.Errorf("%d begin at once, want %d", n, shakeBurst)
		}
		time.Sleep(time.Second)
		if n := begun(time.Second, 1000); n != shakeBurst+200 {
			t.Errorf("%d begin within a second, want %d", n, shakeBurst+200)
		}
	})
}

func TestCertificateFlood(t *testing.T) {
	flood := func(certificates int) func(t *testing.T, _ *Identity) forger {
		return func(t *testing.T, _ *Identity) forger {
			i := identity(t, "net", 1)
			var chain [][]byte
			for range certificates {
				chain = append(chain, i.sign(t, i.template(time.Now())))
			}
			i.present(i.key, chain...)
			return forger{i, nil}
		}
	}
	refused(t, PeerChain, PeerChain, flood(30)) // 10 KiB
	refused(t, TLSBytes, TLSBytes, flood(60))
	// A large one.
	refused(t, PeerChain, PeerChain, func(t *testing.T, _ *Identity) forger {
		i := identity(t, "net", 1)
		leaf := i.template(time.Now())
		for n := range 100 {
			leaf.DNSNames = append(leaf.DNSNames, fmt.Sprintf("a%028d", n))
		}
		i.present(i.key, i.sign(t, leaf))
		return forger{i, nil}
	})
}

// After the handshake there is no limit.
func TestOctetsAreLimitedOnlyBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, identity(t, "net", 1))
		nc, _ := s.connect(t, "192.0.2.1")
		c, err := identity(t, "net", 1).Dial(t.Context(), nc, PurposeLink, 1, s.ID())
		if err != nil {
			t.Fatal(err)
		}
		for range 10_000 {
			echo(t, c)
		}
		if in, out := c.Wire(); in < 10_000*27 || out < 10_000*27 { // with the header, type and tag of each record
			t.Errorf("counted %d in, %d out", in, out)
		}
		nc.Close()
	})
}

// The listener is kept when there is no descriptor for a connection: one that has not
// knocked is closed.
func TestSilentStrangerIsClosedForItsDescriptor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, member := openSite(t, identity(t, "net", 1), "192.0.2.1"), identity(t, "net", 1)
		none := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
		s.errs <- none
		synctest.Wait()
		s.counts(t, map[Code]uint64{AcceptFiles: 1}) // there was nobody to close

		var far []*arrival
		for _, from := range []string{"192.0.2.66", "192.0.2.67", "192.0.2.1"} {
			nc, a := s.connect(t, from)
			defer nc.Close()
			far = append(far, a)
		}
		synctest.Wait()
		knocks, _ := s.connect(t, "192.0.2.1")
		defer knocks.Close()
		go member.Dial(t.Context(), knocks, PurposeLink, 1, ring.ID{})
		for _, n := range []int{0, 1, 2} {
			s.errs <- none
			synctest.Wait()
			last := s.Refused.Last()
			if got := last[len(last)-1]; got.Code != AcceptFiles || got.Addr != far[n].addr.(*net.TCPAddr).IP.String() {
				t.Errorf("%v was closed for %s, want %v", got.Addr, got.Code, far[n].addr)
			}
			if octets, linger := far[n].got(); octets != 0 || linger != 0 {
				t.Errorf("%d octets written, linger %d", octets, linger)
			}
		}
		s.counts(t, map[Code]uint64{AcceptFiles: 4})
		s.serves(t, member, "192.0.2.1")
	})
}

func TestAcceptErrorsDoNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, identity(t, "net", 1))
		start := time.Now()
		for range 20 {
			s.errs <- errors.New("accept: no buffer space available")
		}
		if took := time.Since(start); took < 10*time.Second || took > 20*time.Second {
			t.Errorf("twenty failures took %v", took)
		}
		s.serves(t, identity(t, "net", 1), "192.0.2.1")
	})
}

func TestClosedGateLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, member := openSite(t, identity(t, "net", 1)), identity(t, "net", 1)
		conns := s.knocking(t, member, 100)
		silent, _ := s.connect(t, "192.0.2.1")
		synctest.Wait()
		start := time.Now()
		s.street.Close()
		s.Gate.Close()
		if took := time.Since(start); took > 0 {
			t.Errorf("closing took %v", took)
		}
		for _, c := range append(conns, silent) {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("a connection is open")
			}
		}
		s.counts(t, nil)
		s.street.done = make(chan struct{}) // for the cleanup
	})
}

// A connection that is let in has what is left of its time.
func TestDeadlineComesWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := identity(t, "net", 1), identity(t, "net", 1)
		g := NewGate(GateConfig{Identity: a, Refused: NewRefusals(discard, time.Now)})
		l := &street{make(chan net.Conn), make(chan error), make(chan struct{})}
		failed := make(chan time.Duration, 1)
		start := time.Now()
		g.Serve(l, func(c *Conn) {
			defer c.Close()
			c.Read(make([]byte, 1))
			failed <- time.Since(start)
		})
		near, far := pipe(t)
		l.conns <- far
		time.Sleep(time.Second)
		if _, err := b.Dial(t.Context(), near, PurposeTunnel, 1, ring.ID{}); err != nil {
			t.Fatal(err)
		}
		if got := <-failed; got != acceptTime {
			t.Errorf("the first frame was awaited for %v, want %v", got, acceptTime)
		}
		near.Close()
		l.Close()
		g.Close()
	})
}
