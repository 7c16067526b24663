package link

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

func TestKeyLimitCountsWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 100 << 10
		worn := func(c *Config) { c.KeyOctets = limit }
		w := newWorld(t)
		a, b := w.node(1, w.identity(), worn), w.node(2, w.identity(), worn)
		defer a.stop()
		defer b.stop()
		a.join(b)
		synctest.Wait()
		sent := 0
		for i := range 1700 {
			a.request(uint64(i), []byte{1})
			sent += wire.HeaderSize + 18 + 17 + 1
			synctest.Wait() // each frame has a record of its own
			if i%300 == 299 {
				time.Sleep(11 * time.Second)
			}
		}
		time.Sleep(11 * time.Second)
		if sent > limit {
			t.Fatalf("%d octets of frames do not show what is counted", sent)
		}
		if n := a.Stats.Renewed.Load(); n == 0 {
			t.Errorf("%+v were written, and no connection was replaced", a.current().Counters())
		}
		a.wantEvents("up")
		b.wantEvents("up")
		inOrder(t, b.got(), 1700)
		a.wantRefused(session.KeyLimit)
		b.wantRefused(session.KeyLimit)

		// Where it cannot be dialled any more the link is closed before its keys wear
		// out.
		w.mu.Lock()
		delete(w.listeners, b.addr)
		w.mu.Unlock()
		for i := range 8000 {
			a.request(uint64(i), []byte{1})
			synctest.Wait()
			if i%200 == 199 {
				time.Sleep(time.Second)
			}
			if len(a.heard()) > 1 {
				break
			}
		}
		time.Sleep(time.Second)
		if count(a.heard(), "down key limit")+count(b.heard(), "down key limit") == 0 { // one tells the other
			t.Errorf("with their keys worn out and nobody to dial they heard %q and %q", a.heard(), b.heard())
		}
	})
}

// inOrder checks that requests with the numbers up to n arrived in order.
func inOrder(t *testing.T, got []received, n int) {
	t.Helper()
	for i, r := range got {
		h, _, err := wire.ParseRequestHead(r.body)
		if err != nil || h.Number != uint64(i) {
			t.Fatalf("message %d has number %d, %v", i, h.Number, err)
		}
	}
	if len(got) != n {
		t.Fatalf("%d of %d messages arrived", len(got), n)
	}
}

func TestReplacementUnderTrafficLosesNothing(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			young := func(c *Config) { c.KeyAge = 20 * time.Second }
			w := newWorld(t)
			a, b := w.node(1, w.identity(), young), w.node(2, w.identity(), young)
			defer a.stop()
			defer b.stop()
			a.join(b)
			synctest.Wait()
			numbers := [2]int{}
			controls := [2]int{}
			for range 400 {
				for i, n := range []*node{a, b} {
					for range r.IntN(10) {
						size := r.IntN(300)
						if r.IntN(30) == 0 {
							size = r.IntN(100 << 10)
						}
						if _, err := n.publish(1, uint64(numbers[i]), make([]byte, size)); err != nil {
							t.Fatal(err)
						}
						numbers[i]++
					}
					n.current().SendControl(wire.Beat{Nonce: uint64(controls[i])})
					controls[i]++
				}
				time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
			}
			time.Sleep(time.Second)
			a.wantEvents("up")
			b.wantEvents("up")
			if n := a.Stats.Renewed.Load(); n < 4 || n != b.Stats.Renewed.Load() {
				t.Errorf("the link was renewed %d times", n)
			}
			if n := len(a.current().conns); n != 2 {
				t.Errorf("%d connections are left", n)
			}
			for i, n := range []*node{b, a} {
				got := n.got()
				for j, r := range got {
					h, _, err := wire.ParsePublishHead(r.body)
					if err != nil || h.Number != uint64(j) {
						t.Fatalf("message %d has number %d, %v", j, h.Number, err)
					}
				}
				for j, m := range n.ctl {
					if m.(wire.Beat).Nonce != uint64(j) {
						t.Fatalf("control frame %d is %v", j, m)
					}
				}
				if len(got) != numbers[i] || len(n.ctl) != controls[i] {
					t.Fatalf("%d of %d messages, %d of %d control frames", len(got), numbers[i], len(n.ctl), controls[i])
				}
			}
		})
	}
}

func TestReplacementOfAForgottenLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.node(2, w.identity())
		defer b.stop()
		c := w.raw(w.identity(), b, session.PurposeLink)
		if welcome := w.say(c, wire.Hello{Role: wire.RoleControl, Replace: true, Link: 5}); welcome.Result != wire.ResultUnknownLink {
			t.Errorf("WELCOME %+v", welcome)
		}
		for _, role := range []byte{wire.RoleData, wire.RoleData} {
			c := w.raw(w.identity(), b, session.PurposeLink)
			if welcome := w.say(c, wire.Hello{Role: role, Link: 5}); welcome.Result != wire.ResultUnknownLink || welcome.Link != 0 {
				t.Errorf("WELCOME %+v", welcome)
			}
		}
		b.wantRefused(session.LinkUnknown)
		b.serves()
	})
}

func TestUnwrittenIsToldTruly(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t)
			a, b := w.node(1, w.identity()), w.node(2, w.identity())
			defer a.stop()
			defer b.stop()
			a.join(b)
			synctest.Wait()
			arrived := make(map[string]bool)
			hold := make(chan struct{})
			b.mu.Lock()
			b.onData = func(l *Link, _ *queue.Batch, f *wire.Frame) error {
				if l != b.link {
					return nil
				}
				h, _, _ := wire.ParseRequestHead(f.Body)
				b.mu.Lock()
				arrived[fmt.Sprint(f.Type, h.Number)] = true
				b.mu.Unlock()
				if h.Number == 20 {
					<-hold
				}
				return nil
			}
			b.mu.Unlock()
			type sent struct {
				lane Lane
				pos  uint64
			}
			all := make(map[string]sent)
			l := a.current()
			for i := range 300 {
				size := r.IntN(3000)
				if r.IntN(4) == 0 {
					size = r.IntN(100 << 10)
				}
				var batch queue.Batch
				f := wire.Frame{Type: wire.TypeRequest, Flags: wire.Named, Name: wire.Name{Kind: wire.Cluster}}
				lane := Lane(r.IntN(2))
				pos, err := l.Send(&batch, lane, &f, wire.RequestHead{Number: uint64(i)}.AppendBody(nil), queue.Payload{Data: make([]byte, size)})
				if err != nil {
					t.Fatal(err)
				}
				batch.Flush()
				all[fmt.Sprint(f.Type, i)] = sent{lane, pos}
				if r.IntN(10) == 0 {
					synctest.Wait()
				}
			}
			time.Sleep(time.Second)
			l.fail(Lost, "test")
			close(hold)
			synctest.Wait()
			unwritten := 0
			for name, s := range all {
				if l.Unwritten(s.lane, s.pos) {
					unwritten++
					if arrived[name] {
						t.Errorf("%s arrived", name)
					}
				}
			}
			if unwritten == 0 || unwritten == len(all) {
				t.Errorf("%d of %d are unwritten", unwritten, len(all))
			}
		})
	}
}
