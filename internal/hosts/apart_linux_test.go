package hosts

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris"
)

// Two hosts that everybody reaches, but that do not reach each other, use a third.
// Their nodes are no neighbours on the ring: those watch each other, and find out in
// a moment; these have to find out that what they send is not taken.
func TestHostsThatDoNotReachEachOtherUseAThird(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 5, 0)
	ids := make([]string, len(n.nodes))
	for i := range n.nodes {
		ids[i] = n.status(t, i).Node
	}
	ring := slices.Sorted(slices.Values(ids))
	a, b := slices.Index(ids, ring[0]), slices.Index(ids, ring[2])

	const cluster = secret + " beyond"
	n.member(t, b, cluster, newService("", newLedger()))
	c := n.client(t, a)
	if _, err := c.Request(withLimit(t), cluster, nil); err != nil {
		t.Fatal(err)
	}
	for _, way := range [][2]int{{a, b}, {b, a}} {
		if err := n.lan.Hosts[way[0]].CutTo(n.lan.Hosts[way[1]]); err != nil {
			t.Fatal(err)
		}
	}
	cut := time.Now()
	for ctx := withLimit(t); !reaches(ctx, c, cluster); {
		if ctx.Err() != nil {
			t.Fatalf("host %d still does not reach host %d", a, b)
		}
	}
	t.Logf("they use a third after %v", time.Since(cut).Round(time.Millisecond))
}

// reaches tells whether a cluster answers at once.
func reaches(ctx context.Context, c *iris.Client, cluster string) bool {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err := c.Request(ctx, cluster, nil)
	return err == nil
}
