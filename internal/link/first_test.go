package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// raw dials a node as somebody who then does what the test wants.
func (w *world) raw(id *session.Identity, to *node, p session.Purpose) *session.Conn {
	w.t.Helper()
	nc, err := to.listener.Dial()
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := id.Dial(context.Background(), nc, p, to.addr.Port(), to.Identity.ID())
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// say sends a first frame and returns the WELCOME.
func (w *world) say(c *session.Conn, m wire.Message) wire.Welcome {
	w.t.Helper()
	if _, err := c.Write(wire.Append(nil, m)); err != nil {
		w.t.Fatal(err)
	}
	welcome, err := session.ReadFirst(c, wire.TypeWelcome, wire.ParseWelcome)
	if err != nil {
		w.t.Fatalf("no WELCOME: %v", err)
	}
	return welcome
}

// silent reports that nothing comes for a while, and then the end if it is to.
func (w *world) silent(c net.Conn, d time.Duration) {
	w.t.Helper()
	c.SetReadDeadline(time.Now().Add(d))
	defer c.SetReadDeadline(time.Time{})
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Fatalf("read %d octets, %v; want silence", n, err)
	}
}

func (n *node) wantRefused(code session.Code) {
	n.w.t.Helper()
	if n.refused.Counts()[code] == 0 {
		n.w.t.Errorf("node %v counted %v, want some %s", n.addr, n.refused.Counts(), code)
	}
}

// serves checks that others can still link to a node.
func (n *node) serves() {
	n.w.t.Helper()
	other := n.w.node(99, n.w.identity())
	defer other.stop()
	other.join(n)
	synctest.Wait()
	other.wantEvents("up")
}

func TestNothingBeforeWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		// A node that is dialled says nothing before it has read HELLO.
		b := w.node(2, w.identity())
		defer b.stop()
		c := w.raw(w.identity(), b, session.PurposeLink)
		w.silent(c, 4*time.Second)
		if welcome := w.say(c, wire.Hello{Role: wire.RoleControl}); welcome.Result != wire.ResultUp || welcome.Link == 0 {
			t.Errorf("WELCOME %+v", welcome)
		}
		c.Close()
		c = w.raw(w.identity(), b, session.PurposeLink)
		if n, err := c.Read(make([]byte, 1)); n > 0 || err != io.EOF {
			t.Errorf("who does not send HELLO reads %d octets, %v", n, err)
		}
		b.wantRefused(session.TLSTime)
		b.serves()

		// A node that dials says nothing but HELLO before it has read WELCOME.
		a := w.node(1, w.identity())
		defer a.stop()
		told := make(chan *session.Conn, 1)
		id := w.identity()
		gate := session.NewGate(session.GateConfig{Identity: id, Refused: a.refused})
		l, _ := w.listen(3)
		gate.Serve(l, func(c *session.Conn) {
			c.SetDeadline(time.Time{})
			told <- c
		})
		defer gate.Close()
		defer l.Close()
		for _, answer := range []wire.Message{
			wire.Beat{}, wire.Hello{Role: wire.RoleControl}, wire.Welcome{}, wire.Attached{},
			wire.Error{Text: string(make([]byte, 1024))},
		} {
			heard, refused := len(a.heard()), a.refused.Counts()[session.FirstFrame]
			a.Manager.Dial(id.ID(), []netip.AddrPort{addr(3)})
			c := <-told
			if _, err := readHello(c); err != nil {
				t.Fatal(err)
			}
			w.silent(c, 5*time.Second)
			if _, err := c.Write(wire.Append(nil, answer)); err != nil {
				t.Fatalf("%v: %v; %q %v", answer.Type(), err, a.heard(), a.refused.Counts())
			}
			synctest.Wait()
			if got := a.heard()[heard:]; fmt.Sprint(got) != "[failed]" {
				t.Errorf("after %v in place of WELCOME the handler hears %q", answer.Type(), got)
			}
			if n := a.refused.Counts()[session.FirstFrame]; n != refused+1 {
				t.Errorf("after %v in place of WELCOME: %v", answer.Type(), a.refused.Counts())
			}
			c.Close()
		}
		a.serves()
	})
}

func TestPurposeMustFitFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.node(2, w.identity())
		defer b.stop()
		hello := wire.Append(nil, wire.Hello{Role: wire.RoleControl})
		long := wire.Frame{Type: wire.TypeHello}
		for i, first := range []struct {
			purpose session.Purpose
			octets  []byte
		}{
			{session.PurposeTunnel, nil}, // the purpose says enough: what came after it would be left unread
			{session.PurposeLink, wire.Append(nil, wire.Attach{Tunnel: [16]byte{1}})},
			{session.PurposeLink, wire.Append(nil, wire.Beat{})},
			{session.PurposeLink, hello[:8]},
			{session.PurposeLink, slices.Concat(hello[:8], []byte{7}, hello[9:])}, // role 7
			{session.PurposeLink, long.AppendHead(nil, wire.MaxFirst)},
			{session.PurposeLink, []byte{0, 0, 0, 0, 1, 0, 0, 1}},
		} {
			c := w.raw(w.identity(), b, first.purpose)
			if i == 3 { // a HELLO without a body
				first.octets[3] = 4
			}
			c.Write(first.octets)
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			answer, err := io.ReadAll(c)
			var f wire.Frame
			if len(answer) > 0 {
				wire.Parse(answer, &f)
				if m, _ := wire.ParseWelcome(f.Body); m.Result != wire.ResultMalformed {
					t.Errorf("%x was answered by %v", first.octets, m)
				}
			}
			if err != nil {
				t.Errorf("%x: %v", first.octets, err)
			}
			synctest.Wait()
			if n := b.refused.Counts()[session.FirstFrame]; n != uint64(i+1) {
				t.Fatalf("after %x: %v", first.octets, b.refused.Counts())
			}
		}
		b.wantEvents()
		b.serves()
	})
}

// A slow connection takes its time for each write.
type slow struct {
	net.Conn
	d time.Duration
}

func (s slow) Write(b []byte) (int, error) {
	time.Sleep(s.d)
	return s.Conn.Write(b)
}

// linked checks that two nodes have one and the same link.
func linked(a, b *node) {
	a.w.t.Helper()
	la, lb := a.Link(b.Identity.ID()), b.Link(a.Identity.ID())
	switch {
	case la == nil || lb == nil:
		a.w.t.Fatalf("links: %v, %v; heard %q, %q; refused %v, %v", la != nil, lb != nil, a.heard(), b.heard(), a.refused.Counts(), b.refused.Counts())
	case la.name() != lb.name() || la.Dialled() == lb.Dialled():
		a.w.t.Fatalf("links %x and %x, dialled %v and %v", la.name(), lb.name(), la.Dialled(), lb.Dialled())
	}
	la.SendControl(wire.Beat{Nonce: 1})
	lb.SendControl(wire.Beat{Nonce: 2})
	a.request(1, []byte("a"))
	b.request(2, []byte("b"))
	synctest.Wait()
	time.Sleep(time.Second)
	if len(a.got()) != 1 || len(b.got()) != 1 || len(a.ctl) != 1 || len(b.ctl) != 1 {
		a.w.t.Fatalf("after the tie: %d and %d messages, %d and %d control frames; %q %q", len(a.got()), len(b.got()), len(a.ctl), len(b.ctl), a.heard(), b.heard())
	}
}

func TestTieKeepsExactlyOne(t *testing.T) {
	dialled := [2]int{}
	for seed := range uint64(24) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			r := rand.New(rand.NewPCG(seed, 0))
			low, high := w.pair()
			ms := func() time.Duration { return time.Duration(r.IntN(4)) * time.Millisecond }
			slowly := func(d time.Duration) func(*Config) {
				return func(c *Config) {
					c.Dial = func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
						nc, err := w.dial(ctx, addr)
						if err != nil {
							return nil, err
						}
						return slow{nc, d}, nil
					}
				}
			}
			a, b := w.node(1, low, slowly(ms())), w.node(2, high, slowly(ms()))
			defer a.stop()
			defer b.stop()
			pause := ms()
			if r.IntN(2) == 0 {
				a.join(b)
				time.Sleep(pause)
				b.join(a)
			} else {
				b.join(a)
				time.Sleep(pause)
				a.join(b)
			}
			time.Sleep(time.Second)
			a.wantEvents("up")
			b.wantEvents("up")
			linked(a, b)
			if a.current().Dialled() {
				dialled[0]++
			} else {
				dialled[1]++
			}
		})
	}
	if dialled[0] == 0 || dialled[1] == 0 {
		t.Errorf("the lower id dialled %d times, the higher %d times: the schedules are too much alike", dialled[0], dialled[1])
	}
}

func TestStuckDialLosesTie(t *testing.T) {
	for _, where := range []string{"connect", "handshake"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			low, high := w.pair()
			a, b := w.node(1, low), w.node(2, high)
			defer a.stop()
			defer b.stop()
			if where == "connect" {
				w.stuck[b.addr] = true
			} else {
				// Somebody takes the connection and says nothing.
				l, at := w.listen(7)
				defer l.Close()
				w.mu.Lock()
				w.listeners[b.addr] = w.listeners[at]
				w.mu.Unlock()
			}
			a.join(b)
			time.Sleep(time.Second)
			start := time.Now()
			b.join(a)
			synctest.Wait()
			if d := time.Since(start); d > 0 {
				t.Errorf("%s: the working dial took %v", where, d)
			}
			a.wantEvents("up")
			b.wantEvents("up")
			time.Sleep(20 * time.Second)
			a.wantEvents("up")
			w.mu.Lock()
			w.listeners[b.addr] = b.listener
			w.mu.Unlock()
			if n := a.refused.Counts(); len(n) > 0 {
				t.Errorf("the dial that was given up counts as %v", n)
			}
			linked(a, b)
		})
	}
}

func TestLostLinkIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.node(2, w.identity())
		defer b.stop()
		id := w.identity()
		hello := wire.Hello{Role: wire.RoleControl}

		// A dialler that never saw WELCOME does not name the link.
		first := w.raw(id, b, session.PurposeLink)
		one := w.say(first, hello)
		second := w.raw(id, b, session.PurposeLink)
		two := w.say(second, hello)
		synctest.Wait()
		b.wantEvents("up", "down replaced", "up")
		if n, err := first.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("the replaced connection: %d octets, %v", n, err)
		}

		// One that lost it does.
		hello.Link = two.Link
		third := w.raw(id, b, session.PurposeLink)
		three := w.say(third, hello)
		synctest.Wait()
		b.wantEvents("up", "down replaced", "up", "down replaced", "up")
		if one.Link == two.Link || two.Link == three.Link {
			t.Errorf("links %x, %x, %x", one.Link, two.Link, three.Link)
		}

		// A link that this node dialled is replaced if it is named; else the dials have
		// crossed.
		third.Close()
		synctest.Wait()
		other := w.node(3, w.identity())
		defer other.stop()
		b.join(other)
		synctest.Wait()
		name := b.current().name()
		heard := len(b.heard())
		hello.Link = 0
		if welcome := w.say(w.raw(other.Identity, b, session.PurposeLink), hello); welcome.Result != wire.ResultTie {
			t.Errorf("a crossed dial is answered by %+v", welcome)
		}
		hello.Link = name
		if welcome := w.say(w.raw(other.Identity, b, session.PurposeLink), hello); welcome.Result != wire.ResultUp {
			t.Errorf("who lost the link is answered by %+v", welcome)
		}
		synctest.Wait()
		if got := fmt.Sprint(b.heard()[heard:]); got != "[down replaced up]" {
			t.Errorf("heard %v", got)
		}
	})
}

func TestLostLinkIsDialledAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.node(1, w.identity()), w.node(2, w.identity())
		defer a.stop()
		defer b.stop()
		a.join(b)
		time.Sleep(2 * time.Second)
		start := time.Now()
		w.cut()
		synctest.Wait()
		if d := time.Since(start); d > 0 {
			t.Errorf("it took %v", d)
		}
		a.wantEvents("up", "down lost", "up")
		// The new link may be there before the other side has noticed the loss.
		if got := fmt.Sprint(b.heard()); got != "[up down lost up]" && got != "[up down replaced up]" {
			t.Errorf("the other side heard %s", got)
		}
		linked(a, b)

		// A node that has gone is given up, which is said once.
		b.stop()
		time.Sleep(time.Minute)
		a.wantEvents("up", "down lost", "up", "down closed by peer")
	})
}

func TestRollOverLosesNoLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		old, fresh := w.key, newKey(t)
		var nodes []*node
		for i := range 4 {
			nodes = append(nodes, w.node(i+1, w.identity(old)))
			defer nodes[i].stop()
		}
		hub := nodes[0]
		for _, n := range nodes[1:] {
			n.join(hub)
		}
		synctest.Wait()
		for round, keys := range [][]*session.Key{{old, fresh}, {fresh, old}, {fresh}} {
			for i, n := range nodes {
				c, err := session.NewCredential("test", keys[0], keys[1:]...)
				if err != nil {
					t.Fatal(err)
				}
				if err := n.Identity.Accept(c); err != nil {
					t.Fatal(err)
				}
				// In the middle of a round, too, anybody can link to anybody.
				late := w.node(50+i, w.identity(keys...))
				for _, n := range nodes {
					late.join(n)
				}
				synctest.Wait()
				late.wantEvents("up", "up", "up", "up")
				late.stop()
			}
			for i, n := range nodes[1:] {
				if ups := count(n.heard(), "down lost"); ups != 0 || n.Link(hub.Identity.ID()) == nil {
					t.Errorf("round %d: node %d heard %q", round+1, i+1, n.heard())
				}
			}
		}
		// The links dialled before the roll-over carry data still, over a connection of
		// after.
		for i, n := range nodes[1:] {
			l := n.Link(hub.Identity.ID())
			n.mu.Lock()
			n.link = l
			n.mu.Unlock()
			n.request(uint64(i), []byte("still here"))
		}
		synctest.Wait()
		if n := len(hub.got()); n != 3 {
			t.Errorf("%d of 3 messages arrived", n)
		}
	})
}

func count(events []string, what string) (n int) {
	for _, e := range events {
		if e == what {
			n++
		}
	}
	return n
}

func TestRollOverRoundSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		old, fresh := w.key, newKey(t)
		a, b := w.node(1, w.identity(old)), w.node(2, w.identity(old))
		defer a.stop()
		defer b.stop()
		a.join(b)
		synctest.Wait()
		c, err := session.NewCredential("test", fresh)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Identity.Accept(c); err != nil {
			t.Fatal(err)
		}
		// The link stays until it is lost; then there is none.
		a.current().SendControl(wire.Beat{})
		time.Sleep(time.Minute)
		a.wantEvents("up")
		w.cut()
		time.Sleep(time.Minute)
		a.wantEvents("up", "down lost", "failed")
		b.wantRefused(session.KnockKey)
		a.wantRefused(session.DialClosed)
		late := w.node(3, w.identity(fresh))
		defer late.stop()
		late.join(b)
		synctest.Wait()
		late.wantEvents("up")
	})
}
