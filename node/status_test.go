package node

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/project-iris/iris/internal/directory"
)

// TestStatusShowsEveryCounter counts something else with each counter there is, and looks
// for all of it.
func TestStatusShowsEveryCounter(t *testing.T) {
	n := startNetwork(t, 1)[0]
	next := uint64(1 << 40)
	lost, forged := next+1, next+2
	next += 2
	counted := map[uint64]string{lost: "Lost", forged: "Forged"}
	var dir directory.Stats
	for _, stats := range []any{&dir, &n.plane.Drops, &n.network.links.Stats, &n.network.splice.Stats, &n.relay.Ends} {
		v := reflect.ValueOf(stats).Elem()
		for i := range v.NumField() {
			f := v.Field(i)
			next++
			switch c := f.Addr().Interface().(type) {
			case *uint64:
				*c = next
			case *atomic.Uint64:
				c.Store(next)
			default:
				continue // a table of counters
			}
			counted[next] = fmt.Sprintf("%T.%s", stats, v.Type().Field(i).Name)
		}
	}
	var s Status
	s.count(n)
	s.countNetwork(n.network, &dir, lost, forged)
	shown := []uint64{s.Retried}
	for _, of := range []map[string]uint64{s.Ended, s.Dropped, s.Mended, s.LinksEnded, s.TunnelsEnded, s.Refused} {
		shown = slices.AppendSeq(shown, maps.Values(of))
	}
	for c, name := range counted {
		if !slices.Contains(shown, c) {
			t.Errorf("%s is not shown", name)
		}
	}
}
