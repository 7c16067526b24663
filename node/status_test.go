package node

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/link"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
)

// TestEveryCounterIsShown counts something else with each counter there is, and looks
// for all of it in what status and metrics are made of, for those of provedBy in their
// place.
func TestEveryCounterIsShown(t *testing.T) {
	n := startNetwork(t, 1)[0]
	r := n.glance()
	next := uint64(1 << 40)
	r.lost, r.forged = next+1, next+2
	next += 2
	counted := map[uint64]string{r.lost: "Lost", r.forged: "Forged"}
	fields := make(map[string][]uint64) // by name; some are in several
	for _, stats := range []any{&r.directory, &r.finder, &n.plane.Drops, &n.plane.Retries, &n.plane.Hops, r.linkStats, r.tunnelStats, &n.relay.Ends} {
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
			fields[v.Type().Field(i).Name] = append(fields[v.Type().Field(i).Name], next)
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

	for _, code := range session.Codes() {
		n.refused.Refuse(code, "192.0.2.1", ring.ID{}, nil)
	}
	r.refused = n.refused.Counts()
	for why := range link.Reasons {
		r.linkStats.Closed[why].Store(uint64(why) + 1)
	}
	of := map[session.Code]uint64{session.PacketSelf: 1, session.PacketReplay: 1} // which the LAN counts
	packets := map[discovery.Kind]uint64{discovery.Beacon: 1, discovery.Probe: 1, discovery.Answer: 1}
	r.lan = discovery.LANStats{Sent: packets, Heard: packets, Refused: of, Failed: 1, Paused: 1}
	all := rows(r)
	for row, by := range provedBy {
		want := fields[by[2]]
		if strings.HasPrefix(row, "refused") || strings.Contains(row, "{kind=") {
			want = nil // a table
		}
		switch {
		case all[full(row)] == 0:
			t.Errorf("%s does not show %s", full(row), by[2])
		case want != nil && !slices.Contains(want, all[full(row)]):
			t.Errorf("%s shows something else than %s", full(row), by[2])
		}
	}
}
