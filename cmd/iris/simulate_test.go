package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/sim"
)

func TestBrokenRuleIsAFailureThatCanBeRunAgain(t *testing.T) {
	static, _ := sim.Find("static", 2)
	split, _ := sim.Find("split", 4)
	split.Overlap = time.Second // two halves have two owners for longer
	for _, asJSON := range []bool{false, true} {
		o := &simulateFlags{seed: 3, json: asJSON}
		var out strings.Builder
		err := o.runAll(&out, io.Discard, []sim.Scenario{static, split})
		const again = "iris simulate split --size 4 --seed 3"
		if err == nil || exitStatus(err) != statusFailure || !strings.HasSuffix(err.Error(), ": "+again) {
			t.Errorf("the error is %v, want a failure that ends with %q", err, again)
		}
		for _, want := range []string{"overlap: key", "static"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the output has no %q:\n%s", want, &out)
			}
		}
	}
}
