package overlay

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// Whatever peers say and links do, an Overlay keeps its own rules.
func FuzzNothingBreaksTheRules(f *testing.F) {
	f.Add(uint64(1), uint16(2000))
	f.Add(uint64(2), uint16(2000))
	f.Add(uint64(3), uint16(500))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16) {
		r := rand.New(rand.NewPCG(seed, 5))
		o := New(start, Config{Self: id(100), Addrs: addrOf(id(100)), Seed: seed})
		ids := []ring.ID{o.self, {}}
		for range 2 + r.IntN(60) {
			ids = append(ids, drawn(r))
		}
		now := start
		var out Output
		for range steps {
			now = now.Add(time.Duration(r.Int64N(int64(200 * time.Millisecond))))
			if r.IntN(200) == 0 {
				now = now.Add(5 * time.Second)
			}
			out.Reset()
			anything(r, o, ids, now, &out)
			checkRules(t, o, now, &out)
		}
	})
}

func anything(r *rand.Rand, o *Overlay, ids []ring.ID, now time.Time, out *Output) {
	some := func() ring.ID { return ids[r.IntN(len(ids))] }
	contacts := func() (c []wire.Contact) {
		for range r.IntN(20) {
			c = append(c, wire.Contact{Node: some(), State: wire.State(r.IntN(4)), Addrs: addrOf(some())})
		}
		return c
	}
	events := func() (e []wire.Event) {
		for range r.IntN(20) {
			e = append(e, wire.Event{Node: some(), Kind: wire.EventKind(1 + r.IntN(4)), Seq: uint64(r.IntN(6)), Addrs: addrOf(some())})
		}
		return e
	}
	nonce := o.nonce - uint64(r.IntN(4))
	switch r.IntN(16) {
	case 0, 1:
		o.Up(now, Peer{some(), wire.State(r.IntN(4)), addrOf(some()), r.IntN(2) == 0}, out)
	case 2:
		o.Down(now, some(), out)
	case 3:
		o.DialFailed(now, some(), out)
	case 4:
		o.Want(now, some(), out)
	case 5:
		o.Receive(now, some(), wire.Beat{Nonce: nonce, Ack: r.IntN(2) == 0}, out)
	case 6:
		o.Receive(now, some(), wire.ProbeFor{Nonce: nonce, Subject: some()}, out)
	case 7:
		o.Receive(now, some(), wire.Leaves{State: wire.State(r.IntN(4)), Contacts: contacts()}, out)
	case 8, 9:
		o.Receive(now, some(), wire.ViewEvent{Events: events()}, out)
	case 10:
		o.Receive(now, some(), wire.ViewHash{}, out)
	case 11:
		o.Receive(now, some(), wire.ViewGet{Buckets: everything}, out)
	case 12:
		o.Receive(now, some(), wire.Lookup{Key: some(), Exclude: true}, out)
	case 13:
		o.Receive(now, some(), wire.Found{Nonce: nonce, Owner: some()}, out)
	case 14:
		if r.IntN(300) == 0 {
			o.Leave(now, out)
		}
	default:
		o.Advance(now, out)
		o.Advance(now, out)
		if o.Next().Equal(now) {
			panic("nothing is left to do, but it wants to be called at once")
		}
	}
}

func checkRules(t *testing.T, o *Overlay, now time.Time, out *Output) {
	t.Helper()
	if next := o.Next(); next.IsZero() || next.Sub(now) > tick {
		t.Fatalf("the next call is due at %v, now is %v", next, now)
	}
	if !slices.IsSortedFunc(o.peers, func(a, b *peer) int { return a.id.Compare(b.id) }) {
		t.Fatal("peers are not sorted")
	}
	for i, s := range sides {
		var last ring.ID
		if len(o.leaves[i]) > halfSet {
			t.Fatalf("%d leaves on a side", len(o.leaves[i]))
		}
		for _, id := range o.leaves[i] {
			d := s.distance(o.self, id)
			if p := o.peers.find(id); !last.Less(d) || p == nil || !p.reachable() {
				t.Fatalf("leaf %v is out of order or not reached: %+v", id, p)
			}
			last = d
		}
	}
	if _, in := locate(o.view.live, o.self); in != (o.state == wire.Active) && o.state != wire.InLeaving {
		t.Fatalf("%v, but in its own view: %t", o.state, in)
	}
	var sums [256]uint64
	for i := range o.view.live {
		sums[bucket(o.view.live[i].id)] ^= digest(&o.view.live[i])
	}
	if sums != o.view.sums {
		t.Fatal("sums are wrong")
	}
	for _, d := range out.Dial {
		if d.ID == o.self {
			t.Fatal("it dials itself")
		}
	}
	for _, s := range out.Send {
		if s.To == o.self {
			t.Fatalf("it sends %v to itself", s.Msg.Type())
		}
		if len(wire.Append(nil, s.Msg)) > wire.MaxBody+wire.HeaderSize {
			t.Fatalf("a %v is too long", s.Msg.Type())
		}
	}
}
