package directory

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A halved ring has two owners: this node, of keys whose first bit is 0, and another.
type halved struct{ self, other ring.ID }

func (halved) State() wire.State { return wire.Active }
func (h halved) Owner(key ring.ID) ring.ID {
	if key.Hi>>63 == 0 {
		return h.self
	}
	return h.other
}
func (h halved) Replicas(key ring.ID) []ring.ID {
	return []ring.ID{{Hi: 1}, {Hi: 2}, {Hi: 3}, {Hi: 4}}
}
func (halved) Knows(ring.ID) bool        { return true }
func (halved) Addrs(ring.ID) []wire.Addr { return nil }

// crowded returns a directory with so many names of each sort: with members here, that
// others watch here, and that are watched elsewhere; and the other owner.
func crowded(names int) (*Directory, []wire.Name, ring.ID) {
	r := halved{ring.ID{Hi: 10}, ring.ID{Hi: 1 << 63}}
	d := New(start, r.self, 1, r)
	rng := rand.New(rand.NewPCG(1, 1))
	var out Output
	var theirs []wire.Name
	for range names {
		mine := wire.Name{Kind: wire.Topic, Key: ring.ID{Hi: rng.Uint64() >> 1, Lo: rng.Uint64()}}
		d.Receive(start, r.other, wire.Announce{Seq: 1, Names: []wire.Registration{{Name: mine, Members: 1, Workers: 1}}}, &out)
		d.Receive(start, r.other, wire.Resolve{Query: 1, Watch: true, Names: []wire.Held{{Name: mine}}}, &out)
		other := wire.Name{Kind: wire.Topic, Key: ring.ID{Hi: rng.Uint64() | 1<<63, Lo: rng.Uint64()}}
		theirs = append(theirs, other)
		d.SetLocal(start, other, 1, 1, &out)
		d.Watch(start, other, &out)
		for _, s := range out.Send {
			switch m := s.Msg.(type) {
			case wire.Announce:
				d.Receive(start, s.To, wire.Announced{Seq: m.Seq}, &out)
			case wire.Resolve:
				d.Receive(start, s.To, wire.Members{Query: m.Query, Name: other, Ver: wire.Ver{Epoch: 1, Count: 1}}, &out)
			}
		}
		out.Reset()
	}
	return d, theirs, r.other
}

// What happens with every message costs as little with many names as with few.
func BenchmarkAmongNames(b *testing.B) {
	for _, names := range []int{10, 10_000} {
		for _, c := range []struct {
			what string
			do   func(d *Directory, now time.Time, theirs []wire.Name, other ring.ID, i int, out *Output)
		}{
			{"next", func(d *Directory, now time.Time, theirs []wire.Name, other ring.ID, i int, out *Output) { d.Next() }},
			{"advance", func(d *Directory, now time.Time, theirs []wire.Name, other ring.ID, i int, out *Output) {
				d.Advance(now, out)
			}},
			{"publish", func(d *Directory, now time.Time, theirs []wire.Name, other ring.ID, i int, out *Output) {
				d.Published(now, theirs[i%len(theirs)], out)
				for _, s := range slices.Clone(out.Send) {
					if m, ok := s.Msg.(wire.Check); ok {
						d.Receive(now, other, wire.Checked{Check: m.Check}, out)
					}
				}
			}},
			{"check", func(d *Directory, now time.Time, theirs []wire.Name, other ring.ID, i int, out *Output) {
				mine := wire.Name{Kind: wire.Topic, Key: ring.ID{Lo: 1}}
				d.Receive(now, other, wire.Check{Check: 1, Names: []wire.Held{{Name: mine}}}, out)
			}},
			{"announce", func(d *Directory, now time.Time, theirs []wire.Name, other ring.ID, i int, out *Output) {
				mine := wire.Name{Kind: wire.Topic, Key: ring.ID{Lo: 1}}
				d.Receive(now, other, wire.Announce{Seq: uint64(i), Names: []wire.Registration{{Name: mine, Members: uint16(i % 2)}}}, out)
			}},
			{"told", func(d *Directory, now time.Time, theirs []wire.Name, other ring.ID, i int, out *Output) {
				name := theirs[i%len(theirs)]
				ver := d.watched[name].ver
				d.Receive(now, other, wire.Members{Name: name, From: ver, Ver: wire.Ver{Epoch: ver.Epoch, Count: ver.Count + 1}}, out)
			}},
		} {
			b.Run(fmt.Sprintf("%s/%d", c.what, names), func(b *testing.B) {
				d, theirs, other := crowded(names)
				var out Output
				now := start
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					now = now.Add(10 * time.Microsecond)
					c.do(d, now, theirs, other, i, &out)
					out.Reset()
				}
			})
		}
	}
}

// What happens seldom may look at all names.
func BenchmarkOfTenThousandNames(b *testing.B) {
	for _, c := range []struct {
		what string
		do   func(d *Directory, now time.Time, other ring.ID, out *Output)
	}{
		{"view", func(d *Directory, now time.Time, other ring.ID, out *Output) { d.ViewChanged(now, out) }},
		{"again", func(d *Directory, now time.Time, other ring.ID, out *Output) { d.Again(now, out, other) }},
		{"gone", func(d *Directory, now time.Time, other ring.ID, out *Output) { d.NodeGone(now, ring.ID{Hi: 77}, out) }},
		{"linked", func(d *Directory, now time.Time, other ring.ID, out *Output) { d.Linked(now, ring.ID{Hi: 77}, out) }},
		{"digest", func(d *Directory, now time.Time, other ring.ID, out *Output) {
			d.digestAt = now
			d.digest(now, out)
		}},
		{"compare", func(d *Directory, now time.Time, other ring.ID, out *Output) {
			d.Receive(now, ring.ID{Hi: 77}, wire.DigestDir{Role: wire.DigestMember}, out)
		}},
	} {
		b.Run(c.what, func(b *testing.B) {
			d, _, other := crowded(10_000)
			var out Output
			b.ReportAllocs()
			for b.Loop() {
				c.do(d, start, other, &out)
				out.Reset()
			}
		})
	}
}
