package overlay

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

const (
	graves    = 64
	graveLife = 24 * time.Hour
	knock     = 5 * time.Second // between two pings, as long as the dead are fresh
	lastKnock = time.Minute
)

// A graveyard keeps some of the nodes that were lost. Most are dead, but after a
// split of the network they are the way back to each other.
type graveyard []grave

type grave struct {
	id    ring.ID
	addrs []wire.Addr
	since time.Time
}

// bury adds a node of a network of n; if there is no room it takes the place of
// any other. In a large network only some do, drawn, so that not everybody calls
// on one who comes back.
func (g *graveyard) bury(now time.Time, e *entry, n int, rng *rand.Rand) {
	if len(e.addrs) == 0 || rng.IntN(max(n, graves)) >= graves {
		return
	}
	g.remove(e.id)
	if len(*g) == graves {
		i := rng.IntN(graves)
		*g = slices.Delete(*g, i, i+1)
	}
	*g = append(*g, grave{e.id, e.addrs, now})
}

func (g *graveyard) remove(id ring.ID) {
	*g = slices.DeleteFunc(*g, func(b grave) bool { return b.id == id })
}

// interval returns how long to wait between two pings: the longer the longer
// nobody was lost.
func (g graveyard) interval(now time.Time) time.Duration {
	if len(g) == 0 {
		return 0
	}
	newest := g[len(g)-1].since
	return min(max(now.Sub(newest)/8, knock), lastKnock)
}

// visit dials one of the lost nodes. If it answers, Up does the rest.
func (o *Overlay) visit(now time.Time, out *Output) {
	o.graves = slices.DeleteFunc(o.graves, func(b grave) bool { return now.Sub(b.since) > graveLife })
	if len(o.graves) == 0 {
		return
	}
	b := o.graves[o.rng.IntN(len(o.graves))]
	if o.peers.find(b.id) == nil {
		o.dial(now, b.id, out, b.addrs...)
	}
}
