package link

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// linkedPair returns two nodes with a link, and one message each way through it.
func linkedPair(t *testing.T, change ...func(*Config)) (w *world, a, b *node) {
	w = newWorld(t)
	a, b = w.node(1, w.identity(), change...), w.node(2, w.identity(), change...)
	t.Cleanup(func() {
		a.stop()
		b.stop()
	})
	a.join(b)
	synctest.Wait()
	return w, a, b
}

// halted has b's handler block on the first message, so that lanes of a fill up.
func halted(b *node) (resume func()) {
	hold := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onData = func(l *Link, _ *queue.Batch, f *wire.Frame) error {
		<-hold
		b.mu.Lock()
		defer b.mu.Unlock()
		b.data = append(b.data, received{*f, bytes.Clone(f.Body)})
		return nil
	}
	return func() { close(hold) }
}

func TestControlPassesFullLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := linkedPair(t)
		resume := halted(b)
		l := a.current()
		full := [wire.Lanes]bool{}
		for i := 0; !full[0] || !full[1] || !full[2]; i++ {
			_, err := a.request(uint64(i), make([]byte, 30<<10))
			full[0] = full[0] || err == queue.ErrFull
			_, err = a.publish(1, uint64(i), make([]byte, 30<<10))
			full[1] = full[1] || err == queue.ErrFull
			_, err = a.request(uint64(i), make([]byte, 40<<10))
			full[2] = full[2] || err == queue.ErrFull
		}
		for _, n := range l.Counters().Waiting {
			if n < laneLimit || n > laneLimit+wire.MaxBody+headRoom+10<<10 {
				t.Errorf("%v octets wait, want little more than %d", l.Counters().Waiting, laneLimit)
				break
			}
		}
		start := time.Now()
		l.SendControl(wire.Beat{Nonce: 1})
		b.current().SendControl(wire.Beat{Nonce: 1, Ack: true})
		synctest.Wait()
		if len(b.ctl) != 1 || len(a.ctl) != 1 || time.Since(start) > 0 {
			t.Errorf("control frames %v, %v", a.ctl, b.ctl)
		}
		if l.RTT() <= 0 {
			t.Errorf("RTT %v", l.RTT())
		}
		resume()
		synctest.Wait()
		if n := count(a.heard(), "room"); n == 0 {
			t.Error("nobody was told of room")
		}
		for _, n := range l.Counters().Waiting {
			if n != 0 {
				t.Errorf("%v octets wait", l.Counters().Waiting)
			}
		}
	})
}

func TestLanesShareAsTheirWeightsSay(t *testing.T) {
	for _, size := range []int{100, 4000, 32 << 10} {
		synctest.Test(t, func(t *testing.T) {
			_, a, b := linkedPair(t)
			resume := halted(b)
			a.request(0, nil) // opens the data connection, and blocks it
			synctest.Wait()
			for i := range (2 << 20) / size {
				a.request(1, make([]byte, size-50))
				a.publish(1, uint64(i), make([]byte, size-50))
				var batch queue.Batch
				a.current().Send(&batch, wire.Bulk, &wire.Frame{Type: wire.TypeRequest, Flags: wire.Named, Name: wire.Name{Kind: wire.Cluster, Key: ring.ID{Hi: 2}}},
					wire.RequestHead{}.AppendBody(nil), queue.Payload{Data: make([]byte, size-50)})
				batch.Flush()
			}
			resume()
			synctest.Wait()
			// While all three have something the shares are 4 : 2 : 1. What left before
			// they had does not count.
			var octets [3]int
			early := 1 << 20
			for _, r := range b.got() {
				if early -= len(r.body); early > 0 {
					continue
				}
				if octets[0] > 512<<10 {
					break
				}
				lane := 0
				switch {
				case r.frame.Type == wire.TypePublish:
					lane = 1
				case r.frame.Name.Key.Hi == 2:
					lane = 2
				}
				octets[lane] += len(r.body)
			}
			for lane, weight := range []int{4, 2, 1} {
				want := octets[0] * weight / 4
				if octets[lane] < want*8/10 || octets[lane] > want*12/10 {
					t.Errorf("frames of %d octets: %v were written of the lanes", size, octets)
					break
				}
			}
		})
	}
}

func TestFragmentsAreJoinedAndNotOvertaken(t *testing.T) {
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	octets := func(number uint64, size int) []byte { return noise[number*631:][:size] }
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			_, a, b := linkedPair(t)
			var next [3]uint64
			for range 300 {
				topic := r.IntN(3)
				size := r.IntN(500)
				if r.IntN(5) == 0 {
					size = r.IntN(400 << 10)
				}
				if _, err := a.publish(uint64(topic), next[topic], octets(next[topic], size)); err != nil {
					t.Fatal(err)
				}
				next[topic]++
				if r.IntN(40) == 0 {
					synctest.Wait()
				}
			}
			synctest.Wait()
			var seen [3]uint64
			for _, m := range b.got() {
				h, body, err := wire.ParsePublishHead(m.body)
				topic := m.frame.Name.Key.Hi
				if err != nil || h.Number != seen[topic] {
					t.Fatalf("topic %d: number %d came, want %d (%v)", topic, h.Number, seen[topic], err)
				}
				if m.frame.Flags != wire.Named || !bytes.Equal(body, octets(h.Number, len(body))) {
					t.Fatalf("topic %d, number %d: %d octets are not those sent", topic, h.Number, len(body))
				}
				seen[topic]++
			}
			if seen != next {
				t.Fatalf("%v of %v arrived", seen, next)
			}
		})
	}
}

func TestLongMessagesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := linkedPair(t)
		a.request(1, make([]byte, 8<<20))
		a.request(2, make([]byte, 64<<10))
		synctest.Wait()
		var order []uint64
		for _, m := range b.got() {
			h, _, _ := wire.ParseRequestHead(m.body)
			order = append(order, h.Number)
		}
		if fmt.Sprint(order) != "[2 1]" {
			t.Errorf("they arrived as %v", order)
		}
	})
}

func TestOneBodyServesManyLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.node(1, w.identity())
		defer a.stop()
		var others []*node
		for i := range 5 {
			n := w.node(2+i, w.identity())
			defer n.stop()
			a.join(n)
			others = append(others, n)
		}
		synctest.Wait()
		const size = 3 << 20
		body := queue.NewBody(a.Budget, make([]byte, size))
		w.stuck = make(map[netip.AddrPort]bool)
		for _, n := range others {
			w.mu.Lock()
			w.stuck[n.addr] = true // the data connection keeps waiting
			w.mu.Unlock()
			var batch queue.Batch
			f := wire.Frame{Type: wire.TypePublish, Flags: wire.Named, Name: wire.Name{Kind: wire.Topic}}
			if _, err := a.Link(n.Identity.ID()).Send(&batch, wire.Publications, &f, wire.PublishHead{}.AppendBody(nil), queue.Payload{Data: body.Bytes(), Shared: body}); err != nil {
				t.Fatal(err)
			}
			batch.Flush()
		}
		body.Release()
		if used := a.Budget.Used(); used > size+10<<10 {
			t.Errorf("%d octets are charged for one body of %d", used, size)
		}
		w.mu.Lock()
		clear(w.stuck)
		w.mu.Unlock()
		time.Sleep(20 * time.Second)
		for _, n := range others {
			if got := n.got(); len(got) != 1 || len(got[0].body) != size+16 {
				t.Errorf("node %v got %d messages", n.addr, len(got))
			}
		}
	})
}

func TestWhatWaitsLeavesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := linkedPair(t)
		resume := halted(b)
		a.request(0, nil)
		synctest.Wait()
		l := a.current()
		for i := range 2000 {
			a.request(uint64(i), make([]byte, 100))
		}
		resume()
		synctest.Wait()
		_, written := l.data.out.Wire()
		// 2,001 frames of 143 octets need 18 records of 16 KiB, less what fitted into
		// the first ones.
		if over := int(written) - 2001*143; over > 10<<10 {
			t.Errorf("%d octets were written beyond the frames", over)
		}
		inOrder(t, b.got()[1:], 2000)
	})
}

func TestAnswersAreRefusedOnlyAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := linkedPair(t, func(c *Config) { c.Budget = queue.NewBudget(20 << 20); c.Joining = queue.NewBudget(1 << 20) })
		resume := halted(b)
		l := a.current()
		var batch queue.Batch
		n := 0
		for ; n < 5000; n++ {
			if _, err := l.Send(&batch, wire.Requests, &wire.Frame{Type: wire.TypeReply}, wire.ReplyHead{}.AppendBody(nil), queue.Payload{Data: make([]byte, 32<<10-100)}); err != nil {
				break
			}
			batch.Flush()
		}
		if n < answerLimit/(32<<10) || n > answerLimit/(32<<10)+20 {
			t.Errorf("%d answers of 32 KiB were taken", n)
		}
		time.Sleep(time.Second)
		resume()
		time.Sleep(2 * time.Second)
		a.wantEvents("up", "down peer does not read", "up")
	})
}

func TestControlThatDoesNotLeaveEndsTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := linkedPair(t)
		hold := make(chan struct{})
		b.mu.Lock()
		b.onCtl = func(*Link, wire.Message) error { <-hold; return nil }
		b.mu.Unlock()
		for range 2500 {
			a.current().SendControl(wire.Leaves{Contacts: make([]wire.Contact, 50)})
		}
		synctest.Wait()
		a.wantEvents("up")
		time.Sleep(1500 * time.Millisecond)
		a.wantEvents("up")
		time.Sleep(3 * time.Second)
		if got := a.heard(); len(got) < 2 || got[1] != "down peer does not read" {
			t.Errorf("heard %q with %+v", got, a.current().Counters())
		}
		close(hold)
	})
}

// TestUnknownHandle has a node use the short form of a name, which nothing defines.
func TestUnknownHandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.node(2, w.identity())
		defer b.stop()
		b.onData = func(_ *Link, _ *queue.Batch, f *wire.Frame) error {
			_, err := wire.ParseDigest(f.Body)
			return err
		}
		id := w.identity()
		ctl, data := w.raw(id, b, session.PurposeLink), w.raw(id, b, session.PurposeLink)
		defer ctl.Close()
		defer data.Close()
		w.say(data, wire.Hello{Role: wire.RoleData, Link: w.say(ctl, wire.Hello{Role: wire.RoleControl}).Link})
		f := wire.Frame{Type: wire.TypeDigest, Flags: wire.Named, Name: wire.Name{Kind: wire.Topic}}
		body := wire.Digest{}.AppendBody(nil)
		body[9] = 1 // the last octet of the handle
		data.Write(append(f.AppendHead(nil, len(body)), body...))
		synctest.Wait()
		ctl.Close()
		time.Sleep(3 * time.Second)
		b.wantEvents("up", "down protocol violation")
		if got := b.refused.Counts()[session.HandleUnknown]; got != 1 {
			t.Errorf("%d are counted for unknown handles, want 1: %v", got, b.refused.Counts())
		}
	})
}

func TestUnknownFrames(t *testing.T) {
	for _, c := range []struct {
		flags wire.Flags
		typ   wire.Type
		role  byte
		bad   bool
	}{
		{wire.Skip, 0x7f, wire.RoleControl, false},
		{wire.Skip | 0x80, wire.TypeBeat, wire.RoleControl, false},
		{wire.Skip, 0x7f, wire.RoleData, false},
		{0, 0x7f, wire.RoleControl, true},
		{0x80, wire.TypeBeat, wire.RoleControl, true},
		{0, 0x7f, wire.RoleData, true},
		// Known ones, on the wrong connection.
		{wire.Named, wire.TypePublish, wire.RoleControl, true},
		{wire.Named, wire.TypeRequest, wire.RoleControl, true},
		{0, wire.TypeBeat, wire.RoleData, true},
		{0, wire.TypeHello, wire.RoleControl, true},
		{0, wire.TypeChunk, wire.RoleData, true},
		{0, wire.TypeWant, wire.RoleControl, true}, // from the dialler
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			b := w.node(2, w.identity())
			defer b.stop()
			id := w.identity()
			ctl := w.raw(id, b, session.PurposeLink)
			defer ctl.Close()
			link := w.say(ctl, wire.Hello{Role: wire.RoleControl}).Link
			conn := ctl
			if c.role == wire.RoleData {
				conn = w.raw(id, b, session.PurposeLink)
				defer conn.Close()
				if welcome := w.say(conn, wire.Hello{Role: wire.RoleData, Link: link}); welcome.Link != link {
					t.Fatalf("WELCOME %+v", welcome)
				}
			}
			f := wire.Frame{Type: c.typ, Flags: c.flags, Name: wire.Name{Kind: wire.Topic}}
			conn.Write(append(f.AppendHead(nil, 100), make([]byte, 100)...))
			ctl.Write(wire.Append(nil, wire.Leaving{Seconds: 1}))
			synctest.Wait()
			if !c.bad {
				b.wantEvents("up")
				if len(b.ctl) != 1 || b.Stats.Skipped.Load() != 1 {
					t.Errorf("%+v: %d frames came after it, %d skipped", c, len(b.ctl), b.Stats.Skipped.Load())
				}
				return
			}
			var in [2000]byte
			n, _ := ctl.Read(in[:])
			var e wire.Frame
			if _, err := wire.Parse(in[:n], &e); err != nil || e.Type != wire.TypeError {
				t.Errorf("%+v is answered by %x, %v", c, in[:n], err)
			}
			ctl.Close()
			time.Sleep(3 * time.Second)
			b.wantEvents("up", "down protocol violation")
			if b.Stats.Bad.Load() != 1 || b.Stats.Closed[Violation].Load() != 1 {
				t.Errorf("%+v: %d bad frames, %d links closed", c, b.Stats.Bad.Load(), b.Stats.Closed[Violation].Load())
			}
			b.serves()
		})
	}
}

func TestAdmissionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.node(2, w.identity(), func(c *Config) { c.Max = 2 })
		defer b.stop()
		var others []*node
		for i := range 3 {
			n := w.node(3+i, w.identity())
			defer n.stop()
			n.join(b)
			synctest.Wait()
			others = append(others, n)
		}
		others[0].wantEvents("up")
		others[1].wantEvents("up")
		others[2].wantEvents("failed")
		others[2].wantRefused(session.WelcomeFull)
		b.wantRefused(session.LinkFull)
		others[0].Close(b.Identity.ID(), "no longer needed")
		synctest.Wait()
		others[2].join(b)
		time.Sleep(time.Second)
		others[2].wantEvents("failed", "up")
		if got := b.errs; len(got) != 1 || got[0].Error() != "closed by peer: closed: no longer needed" {
			t.Errorf("b heard %v", got)
		}
		b.state.Store(int32(wire.InLeaving))
		others[1].Close(b.Identity.ID(), "")
		time.Sleep(time.Second)
		others[1].join(b)
		time.Sleep(time.Second)
		others[1].wantEvents("up", "down closed", "failed")
		others[1].wantRefused(session.WelcomeLeaving)
	})
}

// A node takes in whom it is told to, of those that dial.
func TestAdmissionIsForThoseThereIsRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var welcome ring.ID
		b := w.node(2, w.identity(), func(c *Config) {
			c.Admit = func(from ring.ID, links int) bool { return links == 0 || from == welcome }
		})
		defer b.stop()
		for i, want := range []string{"up", "failed", "up"} {
			n := w.node(3+i, w.identity())
			defer n.stop()
			if i == 2 {
				welcome = n.Identity.ID()
			}
			n.join(b)
			synctest.Wait()
			n.wantEvents(want)
		}
	})
}

func TestClosingWritesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := linkedPair(t)
		for i := range 500 {
			if a.request(uint64(i), make([]byte, 4000)); i == 0 {
				synctest.Wait() // the data connection is up
			}
		}
		a.current().SendControl(wire.Leave{})
		a.Close(b.Identity.ID(), "enough")
		synctest.Wait()
		time.Sleep(3 * time.Second)
		if len(b.ctl) != 1 {
			t.Errorf("control frames: %v", b.ctl)
		}
		a.wantEvents("up", "down closed")
		b.wantEvents("up", "down closed by peer")
		inOrder(t, b.got(), 500)
	})
}

func TestMessagesThatEndInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.node(2, w.identity(), func(c *Config) { c.Joining = queue.NewBudget(1 << 20) })
		defer b.stop()
		id := w.identity()
		ctl := w.raw(id, b, session.PurposeLink)
		defer ctl.Close()
		link := w.say(ctl, wire.Hello{Role: wire.RoleControl}).Link
		data := w.raw(id, b, session.PurposeLink)
		defer data.Close()
		w.say(data, wire.Hello{Role: wire.RoleData, Link: link})
		send := func(message uint32, offset, total int) {
			f := wire.Frame{Type: wire.TypeRequest, Flags: wire.Named | wire.Fragment, Name: wire.Name{Kind: wire.Cluster}, Message: message, Offset: uint32(offset), Total: uint32(total)}
			n := min(wire.MaxBody, total-offset)
			data.Write(append(f.AppendHead(nil, n), make([]byte, n)...))
			synctest.Wait()
		}
		// What its sender gives up.
		send(1, 0, 100_000)
		var abort [13]byte
		f := wire.Frame{Type: wire.TypeAbort}
		data.Write(append(f.AppendHead(abort[:0], 5), 0, 0, 0, 1, 0))
		synctest.Wait()
		b.wantEvents("up", "dropped REQUEST")

		// What stops coming; the rest of it is passed over.
		send(2, 0, 100_000)
		time.Sleep(12 * time.Second)
		b.wantEvents("up", "dropped REQUEST", "dropped REQUEST")
		if b.Joining.Used() != 0 {
			t.Errorf("%d octets are charged", b.Joining.Used())
		}
		send(2, 32<<10, 100_000)

		// What there is no memory for.
		for at := 0; at < 2<<20; at += 32 << 10 {
			send(3, at, 2<<20)
		}
		b.wantEvents("up", "dropped REQUEST", "dropped REQUEST", "dropped REQUEST")
		send(4, 0, 40_000)
		send(4, 32<<10, 40_000)
		if got := b.got(); len(got) != 1 || len(got[0].body) != 40_000 {
			t.Errorf("%d messages arrived", len(got))
		}
		if s := &b.Stats; s.Aborted.Load() != 1 || s.Stalled.Load() != 1 || s.NoMemory.Load() != 1 {
			t.Errorf("aborted %d, stalled %d, no memory %d", s.Aborted.Load(), s.Stalled.Load(), s.NoMemory.Load())
		}

		// What is not what was announced ends the link.
		send(5, 32<<10, 100_000)
		time.Sleep(3 * time.Second)
		if got := b.heard(); got[len(got)-1] != "down protocol violation" {
			t.Errorf("heard %q", got)
		}
	})
}

func TestSeedThatClosesEveryLinkIsLeftAloneForLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.node(1, w.identity()), w.node(2, w.identity())
		defer a.stop()
		defer b.stop()
		b.onCtl = func(l *Link, _ wire.Message) error {
			b.Close(l.Peer(), "go away")
			return nil
		}
		a.onUp = func(l *Link) { l.SendControl(wire.Beat{}) }
		a.Seed(b.addr)
		time.Sleep(time.Minute)
		if n := count(a.heard(), "up"); n < 5 || n > 15 {
			t.Errorf("dialled %d times in a minute", n)
		}
	})
}

func TestSeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.node(1, w.identity()), w.node(2, w.identity())
		defer a.stop()
		a.Seed(a.addr) // its own
		a.Seed(b.addr)
		a.Seed(addr(3)) // nobody there yet
		synctest.Wait()
		a.wantEvents("up")
		a.wantRefused(session.KnockSelf)
		time.Sleep(time.Minute)
		if n := a.refused.Counts()[session.KnockSelf]; n > 2 {
			t.Errorf("it dialled itself %d times", n)
		}
		b.stop()
		synctest.Wait()
		time.Sleep(10 * time.Minute)
		if got := a.heard(); fmt.Sprint(got) != "[up down closed by peer]" {
			t.Errorf("heard %q", got)
		}
		if n := a.refused.Counts()[session.DialRefused]; n < 20 || n > 100 {
			t.Errorf("%d dials of two addresses in ten minutes", n)
		}
		c, d := w.node(2, w.identity()), w.node(3, w.identity())
		defer c.stop()
		defer d.stop()
		time.Sleep(time.Minute)
		if a.Link(c.Identity.ID()) == nil || a.Link(d.Identity.ID()) == nil {
			t.Error("seeds that came back are not linked")
		}
		ups := count(a.heard(), "up")
		time.Sleep(time.Hour)
		if n := count(a.heard(), "up"); n != ups {
			t.Errorf("up %d times, was %d", n, ups)
		}
	})
}
