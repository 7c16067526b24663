package sim

import (
	"fmt"
	"testing"
)

// The gates as every change can wait for them: "iris simulate gates" runs those that
// count.
func TestReducedGatesPass(t *testing.T) {
	for _, g := range Gates(true) {
		for _, trial := range g.Trials {
			t.Run(fmt.Sprintf("%s/%s/%d", g.Name, trial.Scenario, trial.Size), func(t *testing.T) {
				t.Parallel()
				r := trial.Run(1, nil)
				for _, l := range trial.Limits {
					if !r.Has(l.Figure) || !l.Holds(r.Figure(l.Figure)) {
						t.Errorf("%s is %s, want %v", l.Figure, Number(r.Figure(l.Figure)), l)
					}
				}
				tell(t, r)
			})
		}
	}
}

func TestGatesNameScenariosThatExist(t *testing.T) {
	for _, g := range Gates(false) {
		for _, trial := range g.Trials {
			if s := trial.scenario(); s.Size != trial.Size || trial.Seeds == 0 {
				t.Errorf("gate %s: %+v", g.Name, trial)
			}
		}
	}
}
