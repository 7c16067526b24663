package core

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// keepers returns who keeps some keys, as a core sees it.
func keepers(c *Core) string {
	s := fmt.Sprint(c.State() == wire.Solo)
	for k := range 64 {
		key := ring.ID{Hi: uint64(k)<<58 | 1<<57}
		s += fmt.Sprint(c.overlay.Owner(key).Hi>>56, " of ", c.overlay.Replicas(key), " ")
	}
	return s
}

// A directory looks at who keeps its names only when it is told that this may have
// changed.
func TestWhoKeepsANameChangesOnlyWithNews(t *testing.T) {
	tells := []overlay.NewsKind{overlay.NodeGone, overlay.Mourned, overlay.NodeJoined, overlay.ViewChanged, overlay.StateChanged, overlay.NodeLeaving}
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 4))
		nodes := []int{10, 40, 70, 100, 130, 160, 190, 220}
		h := newHouse(t, nodes[:3]...)
		before := make(map[ring.ID]string)
		look := func(id ring.ID, c *Core, out *Output) {
			now := keepers(c)
			told := slices.ContainsFunc(out.News, func(n overlay.News) bool { return slices.Contains(tells, n.Kind) })
			if was, ok := before[id]; ok && was != now && !told {
				t.Fatalf("seed %d, %v: news are %v, but it was\n%s\nand is\n%s", seed, id.Short(), out.News, was, now)
			}
			before[id] = now
		}
		h.watch = look
		for _, n := range nodes[3:] {
			h.cores[place(n)] = New(h.now, Config{Limit: 10, Network: "test", Self: place(n), Seed: uint64(n), Workers: 4})
			h.link(place(n), place(nodes[r.IntN(3)]))
			h.pass(time.Duration(r.Int64N(int64(2 * time.Second))))
		}
		h.pass(2 * time.Second)
		for _, n := range nodes[3:5] {
			if r.IntN(2) == 0 {
				h.do(place(n), func(c *Core, out *Output) { c.Leave(h.now, out) })
				h.pass(time.Second)
				h.do(place(n), func(c *Core, out *Output) { c.Depart(h.now, out) })
				h.pass(50 * time.Millisecond)
			}
			delete(h.cores, place(n))
			for _, o := range nodes {
				if h.links[both(place(n), place(o))] {
					delete(h.links, both(place(n), place(o)))
					h.do(place(o), func(c *Core, out *Output) { c.Down(h.now, place(n), out) })
				}
			}
			h.pass(time.Duration(r.Int64N(int64(5 * time.Second))))
		}
		h.pass(5 * time.Second)
	}
}
