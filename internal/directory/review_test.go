package directory

import (
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// otherOwns is a ring in which another node is the root of everything.
type otherOwns struct{ root ring.ID }

func (otherOwns) State() wire.State          { return wire.Active }
func (r otherOwns) Owner(ring.ID) ring.ID    { return r.root }
func (otherOwns) Replicas(ring.ID) []ring.ID { return nil }
func (otherOwns) Knows(ring.ID) bool         { return true }
func (otherOwns) Addrs(ring.ID) []wire.Addr  { return nil }

// A check that is under way confirms nothing before it is answered, also when what an
// earlier answer promised is applied meanwhile.
func TestEarlierAnswerDoesNotConfirmALaterCheck(t *testing.T) {
	now := time.Unix(0, 0)
	root, b := ring.ID{Hi: 2}, ring.ID{Hi: 3}
	d := New(now, ring.ID{Hi: 1}, 1, otherOwns{root})
	name := wire.Name{Kind: wire.Topic, Key: ring.ID{Hi: 9}}
	var out Output
	last := func(typ wire.Type) wire.Message {
		t.Helper()
		for i := len(out.Send) - 1; i >= 0; i-- {
			if out.Send[i].Msg.Type() == typ {
				return out.Send[i].Msg
			}
		}
		t.Fatalf("no message of type %v", typ)
		return nil
	}
	query := func() uint32 { t.Helper(); return last(wire.TypeResolve).(wire.Resolve).Query }
	entries := []wire.Entry{{Node: b, Seq: 1, Members: 1, Workers: 1}}
	d.Watch(now, name, &out)
	d.Receive(now, root, wire.Members{Query: query(), Name: name, Ver: wire.Ver{Epoch: 1, Count: 5}, Entries: entries}, &out)
	d.Published(now, name, &out)
	first := last(wire.TypeCheck).(wire.Check).Check
	d.Gone(now, name, b, &out) // what is known is asked for anew
	d.Receive(now, root, wire.Checked{Check: first, Names: []wire.CheckedName{{State: wire.CheckNewer, Ver: wire.Ver{Epoch: 1, Count: 6}}}}, &out)

	out.Reset()
	d.Published(now, name, &out)
	now = now.Add(checkEvery)
	d.Advance(now, &out)
	second := last(wire.TypeCheck).(wire.Check).Check
	if second == first {
		t.Fatal("there was no second check")
	}
	out.Steps = nil
	now = now.Add(patience)
	d.ask(now, &out)
	d.Receive(now, root, wire.Members{Query: d.watched[name].query, Name: name, Ver: wire.Ver{Epoch: 1, Count: 6}, Entries: entries}, &out)
	for _, s := range out.Steps {
		if s.What == Confirmed {
			t.Error("the second check was confirmed before its answer")
		}
	}
}
