package link

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

func TestDialsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var now, most atomic.Int32
		a := w.node(1, w.identity(), func(c *Config) {
			c.Dial = func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
				n := now.Add(1)
				defer now.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				<-ctx.Done()
				return nil, ctx.Err()
			}
		})
		defer a.stop()
		const nodes = 3 * maxDials
		for i := range nodes {
			a.Manager.Dial(ring.ID{Hi: uint64(i + 1)}, []netip.AddrPort{addr(i)})
			a.Manager.Dial(ring.ID{Hi: uint64(i + 1)}, []netip.AddrPort{addr(i)}) // has no effect
		}
		time.Sleep(3*connectLimit + time.Second)
		if most.Load() != maxDials {
			t.Errorf("%d dials at once, want %d", most.Load(), maxDials)
		}
		if n := count(a.heard(), "failed"); n != nodes {
			t.Errorf("%d of %d failed", n, nodes)
		}
	})
}

func TestDeadAddressDoesNotDelayTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b, c := w.node(1, w.identity()), w.node(2, w.identity()), w.node(3, w.identity())
		defer a.stop()
		defer b.stop()
		defer c.stop()
		w.stuck[addr(7)] = true
		// One that answers nothing, one where nobody listens, one of another node.
		a.Manager.Dial(b.Identity.ID(), []netip.AddrPort{addr(7), addr(8), c.addr, b.addr})
		time.Sleep(2 * stagger)
		a.wantEvents("up")
		if a.Link(b.Identity.ID()) == nil {
			t.Error("there is no link to the node that was wanted")
		}
	})
}

func TestSeedOfAKnownNodeRestsUntilThatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var known atomic.Bool
		a := w.node(1, w.identity(), func(c *Config) { c.Known = func(ring.ID) bool { return known.Load() } })
		b := w.node(2, w.identity())
		defer a.stop()
		defer b.stop()
		a.Seed(b.addr)
		synctest.Wait()
		known.Store(true)
		a.Close(b.Identity.ID(), "not needed")
		time.Sleep(time.Hour)
		if n := count(a.heard(), "up"); n != 1 {
			t.Errorf("up %d times, want once: others know the node", n)
		}
		known.Store(false)
		time.Sleep(2 * time.Second)
		if a.Link(b.Identity.ID()) == nil {
			t.Error("there is no link to a seed that nobody knows any more")
		}
	})
}

// What the operator names no longer is not dialled again; a link that is there stays.
func TestUnseededAddressIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.node(1, w.identity()), w.node(2, w.identity())
		defer a.stop()
		defer b.stop()
		a.Seed(b.addr)
		a.Seed(b.addr) // once is enough
		a.Seed(addr(3))
		synctest.Wait()
		a.Unseed(b.addr)
		a.Unseed(addr(3))
		a.Unseed(addr(4)) // was none
		time.Sleep(time.Minute)
		if a.Link(b.Identity.ID()) == nil {
			t.Error("the link is gone")
		}
		a.Close(b.Identity.ID(), "not needed")
		dialled := len(a.Outcomes())
		time.Sleep(time.Hour)
		if n := count(a.heard(), "up"); n != 1 || len(a.Outcomes()) != dialled {
			t.Errorf("up %d times, want once; dialled %v", n, a.Outcomes())
		}
		a.Seed(b.addr)
		synctest.Wait()
		if n := count(a.heard(), "up"); n != 2 {
			t.Errorf("up %d times once it is named again, want twice", n)
		}
	})
}

func TestFailedAddressIsLeftAloneForLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.node(1, w.identity())
		defer a.stop()
		var took []time.Duration
		for range 12 {
			start, heard := time.Now(), len(a.heard())
			a.Manager.Dial(ring.ID{Hi: 1}, []netip.AddrPort{addr(9)})
			for len(a.heard()) == heard {
				time.Sleep(time.Millisecond)
			}
			took = append(took, time.Since(start))
		}
		for i, d := range took {
			pause := time.Duration(0)
			if i > 0 {
				pause = min(backoffLeast<<(i-1), backoffMost)
			}
			if d < pause*3/4-time.Millisecond || d > pause*5/4+2*time.Millisecond {
				t.Errorf("dial %d took %v, want about %v", i+1, d, pause)
			}
		}
	})
}

// TestForgivenAddressIsDialledAtOnce has a node be away for long and come back: who
// hears of that from others need not wait until it would have tried again.
func TestForgivenAddressIsDialledAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, id := w.node(1, w.identity()), w.identity()
		defer a.stop()
		dial := func() { a.Manager.Dial(id.ID(), []netip.AddrPort{addr(2)}) }
		for range 10 {
			dial()
			time.Sleep(backoffMost)
		}
		b := w.node(2, id)
		defer b.stop()
		dial() // and waits
		synctest.Wait()
		start := time.Now()
		a.Forgive([]netip.AddrPort{addr(2)})
		for a.Link(id.ID()) == nil {
			time.Sleep(time.Millisecond)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("the node is linked after %v", d)
		}
	})
}

func TestRoutedFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := linkedPair(t)
		l := a.current()
		var batch queue.Batch
		send := func(typ wire.Type, size int) error {
			f := wire.Frame{Type: typ, Flags: wire.Routed, Hops: 5, Origin: ring.ID{Hi: 1}, Target: ring.ID{Hi: 2}}
			if typ == wire.TypePublish {
				f.Flags |= wire.Named
				f.Name.Kind = wire.Topic
			}
			err := l.SendRouted(&batch, &f, make([]byte, 8), make([]byte, size-8))
			batch.Flush()
			synctest.Wait()
			return err
		}
		// Without a data connection only what is short, and no streams.
		if err := send(wire.TypeReply, wire.MaxRouted); err != nil {
			t.Error(err)
		}
		if send(wire.TypeReply, wire.MaxRouted+1) != ErrTooLong || send(wire.TypePublish, 20) != ErrTooLong {
			t.Error("a frame was taken that control must not carry")
		}
		nack := wire.Nack{Name: wire.Name{Kind: wire.Topic}}
		if err := l.SendRouted(&batch, &wire.Frame{Type: wire.TypeNack, Flags: wire.Routed, Hops: 1}, nil, nack.AppendBody(nil)); err != nil {
			t.Error(err)
		}
		batch.Flush()
		if len(l.conns) != 1 {
			t.Error("a routed frame opened the data connection")
		}
		a.request(1, nil)
		synctest.Wait()
		if err := send(wire.TypeReply, 100_000); err != nil {
			t.Error(err)
		}
		if err := send(wire.TypePublish, 20); err != nil {
			t.Error(err)
		}
		if len(b.ctl) != 1 || b.ctl[0] != nack {
			t.Errorf("control frames: %v", b.ctl)
		}
		var got []string
		for _, r := range b.got() {
			got = append(got, fmt.Sprintln(r.frame.Type, len(r.body), r.frame.Hops, r.frame.Origin.Hi, r.frame.Target.Hi))
		}
		want := []string{"REPLY 16384 5 1 2\n", "REQUEST 17 0 0 0\n", "REPLY 100000 5 1 2\n", "PUBLISH 20 5 1 2\n"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestLatestOutcomeOfADialIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.node(1, w.identity()), w.node(2, w.identity())
		defer a.stop()
		defer b.stop()
		vacant := func(i int) netip.AddrPort { return netip.AddrPortFrom(addr(9).Addr(), uint16(1+i)) }
		for i := range keptOutcomes + 10 {
			a.Manager.Find(t.Context(), ring.ID{}, []netip.AddrPort{vacant(i % (keptOutcomes + 5))})
		}
		if err := a.Manager.Find(t.Context(), ring.ID{}, []netip.AddrPort{b.addr}); err != nil {
			t.Fatal(err)
		}
		all := a.Outcomes()
		if len(all) != keptOutcomes {
			t.Fatalf("%d outcomes are kept, want %d", len(all), keptOutcomes)
		}
		if first := all[0]; first.Addr != vacant(11) || !isCode(first.Err, session.DialRefused) || first.Held != 0 {
			t.Errorf("the first kept is %+v", first)
		}
		if last := all[len(all)-1]; last.Addr != b.addr || last.Peer != b.Identity.ID() || last.Err != nil {
			t.Errorf("the last is %+v", last)
		}
		if before := all[len(all)-2]; before.Addr != vacant(4) {
			t.Errorf("the one dialled twice is %+v, want it where it was dialled last", before)
		}
	})
}
