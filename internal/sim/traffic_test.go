package sim

import (
	"fmt"
	"testing"
)

// everyRuleHolds runs a part of what TestScenarios does with traffic, for every change.
// None of the figures may be 0.
func everyRuleHolds(t *testing.T, all []Scenario, figures ...string) {
	for _, s := range all {
		for _, size := range []int{3, 6} {
			t.Run(fmt.Sprintf("%s/%d", s.Name, size), func(t *testing.T) {
				t.Parallel()
				r := holds(t, find(t, s.Name, size), 1)
				for _, f := range figures {
					if r.Figure(f) == 0 {
						t.Errorf("%s: 0", f)
					}
				}
			})
		}
	}
}

func TestEveryRuleOfMessagesHolds(t *testing.T) {
	everyRuleHolds(t, DataScenarios(0), "requests", "delivered")
}

func TestEveryRuleOfTunnelsHolds(t *testing.T) {
	everyRuleHolds(t, TunnelScenarios(0), "tunnels built", "carried")
}

func TestTheSameSeedGivesTheSameTraffic(t *testing.T) { repeats(t, find(t, "data-all", 6)) }
func TestTheSameSeedGivesTheSameTunnels(t *testing.T) { repeats(t, find(t, "tunnels-all", 6)) }
