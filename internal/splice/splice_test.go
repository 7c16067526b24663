package splice

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/tunnel"
	"github.com/project-iris/iris/internal/wire"
)

func TestTunnelBetweenNodes(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		x, y := a.tunnel(b)
		x.send([]byte("hello"))
		y.send([]byte("there"))
		x.wantGot("there")
		y.wantGot("hello")
		long := strings.Repeat("0123456789", 1<<20)
		x.send([]byte(long))
		y.wantGot("hello" + long)
		x.close()
		x.wantClosed("")
		y.wantClosed("")
		if a.Open() != 0 || b.Open() != 0 {
			t.Errorf("%d and %d tunnels are open", a.Open(), b.Open())
		}
		if n, m := a.Stats.Orderly.Load(), b.Stats.Orderly.Load(); n != 1 || m != 1 {
			t.Errorf("%d and %d orderly ends are counted", n, m)
		}
		if len(a.Refused.Last())+len(b.Refused.Last()) > 0 {
			t.Errorf("somebody was refused: %v, %v", a.Refused.Counts(), b.Refused.Counts())
		}
	})
}

// Two programs that send and do not read learn of the end, whichever closes.
func TestCloseOvertakesData(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		y, id := b.accept(a)
		x := a.initiate(b, id)
		message := bytes.Repeat([]byte("x"), 64<<20)
		go x.send(message)
		go y.send(message)
		synctest.Wait()
		x.close()
		x.wantClosed("")
		y.wantOpen()
		sent := 64<<20 - func() int { y.mu.Lock(); defer y.mu.Unlock(); return int(y.window) }()
		if sent > 64<<20-(tunnel.Window-512<<10) {
			t.Error("the other program is stuck in a send")
		}
		y.allow(1 << 40)
		y.wantClosed("")
		y.mu.Lock()
		if n := len(y.got); n < 2*tunnel.Window-1<<20 || n > 2*tunnel.Window+1<<20 {
			t.Errorf("%d octets came, want those of two windows", n)
		}
		y.mu.Unlock()
	})
}

// A program that is still owed data of one that has closed, and closes too, ends the
// tunnel in order.
func TestBothCloseBeforeAllIsTaken(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		y, id := b.accept(a)
		x := a.initiate(b, id)
		go y.send(bytes.Repeat([]byte("x"), 2*tunnel.Window))
		synctest.Wait()
		y.close()
		synctest.Wait()
		x.close()
		x.wantClosed("")
		y.wantClosed("")
		for _, n := range []*node{a, b} {
			if n.Stats.Orderly.Load() != 1 || n.Stats.Lost.Load() != 0 || n.Open() != 0 {
				t.Errorf("%d orderly ends are counted, %d lost connections", n.Stats.Orderly.Load(), n.Stats.Lost.Load())
			}
		}
	})
}

func TestAcceptorThatDoesNotWantTheTunnel(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		y, id := b.accept(a)
		y.send([]byte("sorry"))
		y.close()
		y.wantClosed("")
		x := a.initiate(b, id)
		x.until(func() bool { return x.opened })
		x.wantOpen()
		x.allow(5)
		x.wantGot("sorry")
		x.wantClosed("")
	})
}

func TestAcceptorThatIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		y, id := b.accept(a)
		var batch queue.Batch
		y.table.Close(time.Now(), &batch, "peer disconnected")
		batch.Flush()
		x := a.initiate(b, id)
		x.until(func() bool { return x.opened })
		x.wantClosed("peer disconnected")
	})
}

func TestBuildThatHasEnded(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		y, id := b.accept(a)
		x := a.initiateOr(b, id, true)
		time.Sleep(time.Second)
		y.wantClosed(tunnel.Gone)
		if x.opened {
			t.Error("the tunnel opened")
		}
	})
}

// slowly makes dials to p take d.
func (n *node) slowly(p *node, d time.Duration) {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	p.slow = d
}

func (n *node) block() {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.blocked = true
}

func TestNodeThatCannotBeDialledDials(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		b.block()
		start := time.Now()
		x, y := a.tunnel(b)
		if d := time.Since(start); d > 0 {
			t.Errorf("it took %v", d)
		}
		x.send([]byte("hello"))
		y.wantGot("hello")
		if n := a.Stats.Dial.Load(); n != 1 {
			t.Errorf("%d failed dials are counted", n)
		}
		x.close()
		y.wantClosed("")
	})
}

func TestSlowDialIsHelped(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		a.slowly(b, time.Hour)
		start := time.Now()
		x, y := a.tunnel(b)
		if d := time.Since(start); d != dialBack {
			t.Errorf("it took %v", d)
		}
		y.send([]byte("hello"))
		x.wantGot("hello")
	})
}

func TestNeitherCanDial(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		a.block()
		b.block()
		y, id := b.accept(a)
		y.send([]byte("hello"))
		x := a.initiate(b, id)
		time.Sleep(maxExpires - 1)
		y.wantOpen()
		time.Sleep(time.Nanosecond)
		y.wantClosed(reasonLate)
		if x.opened {
			t.Error("the tunnel opened")
		}
		for _, n := range []*node{a, b} {
			if n.Stats.Dial.Load()+n.Stats.DialBack.Load() != 1 {
				t.Errorf("%d dials and %d dials back that failed are counted, want one", n.Stats.Dial.Load(), n.Stats.DialBack.Load())
			}
			if n.Stats.Expired.Load() != 1 || n.Busy(a.identity.ID()) {
				t.Errorf("%d expired are counted", n.Stats.Expired.Load())
			}
		}
		x.table.Failed(1) // as the deadline of its build does
	})
}

// attach has a speak as the initiator, on a connection of its own, and returns it
// with what b answers.
func (a *node) attach(b *node, id [16]byte) (*session.Conn, error) {
	a.t.Helper()
	c := a.raw(b)
	if err := writeAttach(c, id); err != nil {
		a.t.Fatal(err)
	}
	return c, readAttached(c)
}

func TestAttachOnce(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		y, id := b.accept(a)
		first, err := a.attach(b, id)
		//lint:ignore SA5001 the connection is there, whatever came of attaching it
		defer first.Close()
		if err != nil {
			t.Fatal(err)
		}
		second, err := a.attach(b, id)
		//lint:ignore SA5001 the connection is there, whatever came of attaching it
		defer second.Close()
		if err != errRefused {
			t.Errorf("a second connection for the tunnel: %v", err)
		}
		if _, err := second.Read(make([]byte, 1)); err == nil {
			t.Error("it is still open")
		}
		b.wantRefused(session.AttachUnknown, 1)
		y.wantOpen()
		x, z := a.tunnel(b) // it keeps serving
		x.close()
		z.wantClosed("")
	})
}

func TestAttachByOtherNode(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		y, id := b.accept(a)
		c, err := a.net.node().attach(b, id)
		//lint:ignore SA5001 the connection is there, whatever came of attaching it
		defer c.Close()
		if err != errRefused {
			t.Errorf("another node's connection for the tunnel: %v", err)
		}
		b.wantRefused(session.AttachPeer, 1)
		x := a.initiate(b, id) // the agreement is not used up
		x.until(func() bool { return x.opened })
		y.wantOpen()
		unknown, err := a.attach(b, [16]byte{99})
		//lint:ignore SA5001 the connection is there, whatever came of attaching it
		defer unknown.Close()
		if err != errRefused {
			t.Errorf("a connection for no tunnel: %v", err)
		}
		b.wantRefused(session.AttachUnknown, 1)
	})
}

func TestAttachExpired(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		y := b.program()
		var batch queue.Batch
		id, expires, err := b.Accept(&batch, a.identity.ID(), 3*time.Second, y.table, 1)
		if err != nil || expires != 3*time.Second {
			t.Fatalf("expires after %v, %v", expires, err)
		}
		time.Sleep(expires)
		y.wantClosed(reasonLate)
		c, err := a.attach(b, id)
		//lint:ignore SA5001 the connection is there, whatever came of attaching it
		defer c.Close()
		if err != errRefused {
			t.Errorf("a connection that comes late: %v", err)
		}
		b.wantRefused(session.AttachTime, 1)
		x, z := a.tunnel(b)
		x.close()
		z.wantClosed("")
	})
}

func TestBothDialTunnel(t *testing.T) {
	// The nodes' dials take as long as this, from their different beginnings.
	const ms = time.Millisecond
	for _, d := range [][2]time.Duration{{1500 * ms, 400 * ms}, {1500 * ms, 500 * ms}, {1500 * ms, 600 * ms}, {1000 * ms, 1}, {1001 * ms, ms}} {
		bubble(t, func(t *testing.T, a, b *node) {
			a.slowly(b, d[0])
			a.slowly(a, d[1])
			x, y := a.tunnel(b)
			x.send([]byte("hello"))
			y.send([]byte("there"))
			x.wantGot("there")
			y.wantGot("hello")
			time.Sleep(time.Minute)
			if a.Open() != 1 || b.Open() != 1 {
				t.Errorf("dials of %v: %d and %d tunnels", d, a.Open(), b.Open())
			}
			for _, n := range []*node{a, b} {
				// A dial that is given up is refused for what it did not finish.
				for code, times := range n.Refused.Counts() {
					if code != session.KnockNone && code != session.TLSFailed {
						t.Errorf("dials of %v: %s was counted %d times", d, code, times)
					}
				}
			}
		})
	}
}

func TestOnlyTheInitiatorMayAskToBeDialled(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		a.slowly(a, time.Second)
		_, id := b.accept(a)
		b.DialBack(b.identity.ID(), id, nil)
		b.DialBack(a.identity.ID(), [16]byte{99}, nil)
		for range 3 {
			b.DialBack(a.identity.ID(), id, nil)
		}
		x := a.initiate(b, id)
		a.DialBack(b.identity.ID(), id, nil)
		x.until(func() bool { return x.opened })
		time.Sleep(time.Minute)
		if len(a.dials) != 1 || len(b.dials) > 1 {
			t.Errorf("%d and %d dials", len(a.dials), len(b.dials))
		}
	})
}

func TestAgreementsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork(t)
		a, b := w.node(), w.node()
		var programs []*program
		c, d, e := w.node(), w.node(), w.node(func(c *Config) { c.Max = 2 })
		for _, peer := range []*node{a, c} {
			for range maxAgreedBy {
				p, _ := b.accept(peer)
				programs = append(programs, p)
			}
			var batch queue.Batch
			p := b.program()
			_, _, err := b.Accept(&batch, peer.identity.ID(), time.Second, p.table, 1)
			if err != ErrBusy || !b.Busy(peer.identity.ID()) {
				t.Errorf("one more than %d: %v", maxAgreedBy, err)
			}
			p.table.Failed(1)
		}
		if !b.Busy(d.identity.ID()) {
			t.Errorf("more than %d in all", maxAgreed)
		}
		b.wantRefused(session.AttachFull, 2)
		time.Sleep(maxExpires)
		synctest.Wait()
		for _, p := range programs {
			p.wantClosed(reasonLate)
		}
		a.tunnel(e)
		e.accept(a)
		if !e.Busy(d.identity.ID()) {
			t.Error("more tunnels than descriptors")
		}
	})
}

func TestLostConnectionClosesBothEnds(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		x, y := a.tunnel(b)
		x.send([]byte("hello"))
		synctest.Wait()
		for _, nc := range a.dials {
			nc.Close()
		}
		x.wantClosed(reasonLost)
		y.wantClosed(reasonLost)
		y.wantGot("hello")
		if a.Stats.Lost.Load() != 1 || b.Stats.Lost.Load() != 1 {
			t.Error("a lost connection is not counted")
		}
	})
}

func TestKeyLimitEndsTheTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork(t)
		a, b := w.node(func(c *Config) { c.KeyLimit = 256 << 10 }), w.node()
		x, y := a.tunnel(b)
		// By payload it would last for many more: each has an octet.
		for range 20_000 {
			x.send([]byte("x"))
			synctest.Wait()
			if x.closed {
				break
			}
		}
		x.wantClosed(reasonKey)
		y.wantClosed(reasonKey)
		if n := len(y.got); n < 5000 {
			t.Errorf("closed after %d octets", n)
		}
		a.wantRefused(session.KeyLimit, 1)
	})
}

func TestNodeThatBreaksTheProtocol(t *testing.T) {
	frame := func(t wire.Type, body ...byte) []byte {
		f := wire.Frame{Type: t}
		return append(f.AppendHead(nil, len(body)), body...)
	}
	for _, test := range []struct {
		name  string
		sends []byte
	}{
		{"no frame", []byte("GET / HTTP/1.1\r\n\r\n")},
		{"another frame", wire.Append(nil, wire.Attached{})},
		{"unknown frame", frame(0xee)},
		{"beyond the window", bytes.Repeat(frame(wire.TypeChunk, append([]byte{0x80, 0x80, 0x04}, make([]byte, 1<<16)...)...), 90)},
		{"long chunk", frame(wire.TypeChunk, append([]byte{0x81, 0x80, 0x04}, make([]byte, 1<<16+1)...)...)},
		{"short credit", frame(wire.TypeCredit, 1, 2, 3)},
		{"end before what came", append(frame(wire.TypeChunk, 5, 1, 2, 3, 4, 5), wire.Append(nil, wire.Close{Final: 4})...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, a, b *node) {
				y, id := b.accept(a)
				c, err := a.attach(b, id)
				if err != nil {
					t.Fatal(err)
				}
				go c.Write(test.sends)
				go func() {
					defer c.Close()
					c.SetReadDeadline(time.Now().Add(time.Minute))
					for buf := make([]byte, 1<<16); err == nil; {
						_, err = c.Read(buf)
					}
				}()
				y.allow(1 << 20)
				synctest.Wait()
				y.allow(1 << 30) // what came before
				y.wantClosed(reasonBroken)
				time.Sleep(2 * time.Minute)
				if n := b.Stats.Broken.Load(); n != 1 || b.Open() > 0 {
					t.Errorf("%d broken are counted, %d open", n, b.Open())
				}
			})
		})
	}
}

func TestFrameThatMayBeSkippedIsSkipped(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		y, id := b.accept(a)
		c, err := a.attach(b, id)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		f := wire.Frame{Type: 0xee, Flags: wire.Skip}
		c.Write(append(f.AppendHead(nil, 1), 0))
		c.Write(wire.Append(nil, wire.Close{Reason: "bye"}))
		y.wantClosed("bye")
	})
}

func TestConnectionWithoutATunnelIsClosed(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		silent, odd := a.raw(b), a.raw(b)
		defer silent.Close()
		defer odd.Close()
		odd.Write(wire.Append(nil, wire.Hello{}))
		for _, c := range []*session.Conn{silent, odd} {
			if n, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("got %d octets", n)
			}
		}
		synctest.Wait()
		b.wantRefused(session.TLSTime, 1)
		b.wantRefused(session.FirstFrame, 1)
	})
}

func TestCloseOfTheNode(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		x, y := a.tunnel(b)
		x.send([]byte("hello"))
		synctest.Wait()
		waiting, _ := b.accept(a)
		b.Close("node terminating")
		x.wantClosed("node terminating")
		y.wantClosed("node terminating")
		y.wantGot("hello")
		waiting.wantClosed("node terminating")
		if !b.Busy(a.identity.ID()) {
			t.Error("a closed server takes tunnels")
		}
		c := a.raw(b)
		defer c.Close()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a closed server speaks")
		}
	})
}

// What a program sent before its node closes is brought, if the other takes it.
func TestCloseOfTheNodeBringsWhatIsOwed(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		y, id := b.accept(a)
		x := a.initiate(b, id)
		x.until(func() bool { return x.opened })
		message := bytes.Repeat([]byte("x"), 6<<20)
		go x.send(message)
		synctest.Wait()
		x.close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.Close("node terminating")
		}()
		time.Sleep(time.Second)
		y.allow(1 << 30)
		<-done
		y.wantClosed("")
		if len(y.got) != len(message) {
			t.Errorf("%d octets came of %d", len(y.got), len(message))
		}
	})
}

// Between what Close does first and last, too, there is nobody who would end it.
func TestServerThatClosesTakesNoConnection(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *node) {
		y, id := b.accept(a)
		b.mu.Lock()
		b.closed = true
		agreed := b.agreed[id]
		b.mu.Unlock()
		if b.claim(agreed, agreed.half, nil) {
			t.Fatal("the connection is a tunnel's")
		}
		b.Close("node terminating")
		y.wantClosed("node terminating")
	})
}
