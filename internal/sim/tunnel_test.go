package sim

import (
	"bytes"
	"fmt"
	"testing"
)

// A part of what TestGates runs of the scenarios with tunnels, for every change.
func TestEveryRuleOfTunnelsHolds(t *testing.T) {
	for _, s := range TunnelScenarios(0) {
		for _, size := range []int{3, 6} {
			s := s
			s.Size = size
			t.Run(fmt.Sprintf("%s/%d", s.Name, size), func(t *testing.T) {
				t.Parallel()
				r := Run(s, 1, nil)
				if !r.OK() {
					var b bytes.Buffer
					r.Print(&b)
					t.Error(b.String())
				}
				if r.Figure("tunnels built") == 0 || r.Figure("carried") == 0 {
					t.Error("nothing went through tunnels")
				}
			})
		}
	}
}

func TestTheSameSeedGivesTheSameTunnels(t *testing.T) {
	s := find(t, "tunnels-all", 6)
	a, b := Run(s, 1, nil), Run(s, 1, nil)
	if a.Trace != b.Trace || a.Events != b.Events {
		t.Errorf("traces %x of %d events and %x of %d", a.Trace, a.Events, b.Trace, b.Events)
	}
}
