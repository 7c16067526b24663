package node

import (
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
)

// TestEveryCounterIsShown counts something else with each counter there is, and looks
// for all of it in what status and metrics are made of.
func TestEveryCounterIsShown(t *testing.T) {
	n := startNetwork(t, 1)[0]
	r := n.glance()
	next := uint64(1 << 40)
	r.lost, r.forged = next+1, next+2
	next += 2
	counted := map[uint64]string{r.lost: "Lost", r.forged: "Forged"}
	for _, stats := range []any{&r.directory, &n.plane.Drops, &n.plane.Retries, &n.plane.Hops, r.linkStats, r.tunnelStats, &n.relay.Ends} {
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
				continue // a table of counters, or no count
			}
			counted[next] = fmt.Sprintf("%T.%s", stats, v.Type().Field(i).Name)
		}
	}
	var shown []uint64
	for _, f := range r.counters() {
		for _, c := range f.of {
			shown = append(shown, c.count)
		}
	}
	for c, name := range counted {
		if !slices.Contains(shown, c) {
			t.Errorf("%s is not shown", name)
		}
	}
}
