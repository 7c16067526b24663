package sim

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

func find(t *testing.T, name string, size int) Scenario {
	t.Helper()
	s, ok := Find(name, size)
	if !ok {
		t.Fatalf("there is no scenario %q", name)
	}
	return s
}

// holds runs a scenario, and tells of rules that did not hold.
func holds(t *testing.T, s Scenario, seed uint64) Report {
	t.Helper()
	r := Run(s, seed, nil)
	tell(t, r)
	return r
}

func tell(t *testing.T, r Report) {
	t.Helper()
	if !r.OK() {
		var b bytes.Buffer
		r.Print(&b)
		t.Error(b.String())
	}
}

// repeats runs a scenario twice with one seed, which must be the same.
func repeats(t *testing.T, s Scenario) Report {
	t.Helper()
	a, b := Run(s, 1, nil), Run(s, 1, nil)
	if a.Trace != b.Trace || a.Events != b.Events {
		t.Errorf("traces %x of %d events and %x of %d", a.Trace, a.Events, b.Trace, b.Events)
	}
	return a
}

// A part of what TestScenarios runs, for every change.
func TestEveryRuleHolds(t *testing.T) {
	for name, sizes := range map[string][]int{
		"static":      {3, 60},
		"wan":         {20},
		"join":        {100},
		"at-once":     {2, 40},
		"kill-50":     {3, 40},
		"kill-90":     {40},
		"crash-50":    {40},
		"wan-kill-50": {40},
		"kill-1":      {2, 3},
		"crash-1":     {2, 3, 4, 20},
		"freeze":      {2, 3, 10},
		"split":       {4, 20},
		"split-1":     {5},
		"thirds":      {12},
		"split-hour":  {6},
		"deaf-pairs":  {3, 20},
		"one-way":     {3, 20},
		"resets":      {3, 20},
		"churn-5m":    {30},
		"churn-1m":    {20},
	} {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				t.Parallel()
				holds(t, find(t, name, size), 1)
			})
		}
	}
}

func TestTheSameSeedGivesTheSameTrace(t *testing.T) {
	s := find(t, "churn-1m", 20)
	s.Churn = 30 * time.Second
	if repeats(t, s).Trace == Run(s, 2, nil).Trace {
		t.Error("another seed gave the same trace")
	}
}

func TestABrokenRuleIsReportedWithItsSeed(t *testing.T) {
	s := find(t, "split", 4)
	s.Overlap = time.Second // two halves have two owners for longer
	r := Run(s, 3, nil)
	if r.OK() || len(r.Violations) == 0 || len(r.Violations) > maxViolations {
		t.Fatalf("%d rules broken, %d listed", r.Broken, len(r.Violations))
	}
	var b bytes.Buffer
	r.Print(&b)
	for _, want := range []string{"split, 4 nodes, seed 3", "overlap: key", "run it again with seed 3", "hops mean"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, b.String())
		}
	}
}

func TestProgressIsToldEverySecond(t *testing.T) {
	var all []Progress
	r := Run(find(t, "static", 3), 1, func(p Progress) { all = append(all, p) })
	if n := int(r.Took / time.Second); len(all) < n || len(all) > n+1 {
		t.Errorf("told %d times in %v", len(all), r.Took)
	}
	last := all[len(all)-1]
	if last.Nodes != 3 || last.Active != 3 || last.Links != 3 || last.Events == 0 || last.At > last.Total {
		t.Errorf("in the end: %+v", last)
	}
}

// TestScenarios runs more than every change can wait for. IRIS_SIM names scenarios, or
// all, data for those with traffic, or tunnels, a size, and how many seeds:
//
//	IRIS_SIM=kill-50,split:1000:3 go test ./internal/sim -run '^TestScenarios$' -v -timeout 0
func TestScenarios(t *testing.T) {
	fields := strings.Split(os.Getenv("IRIS_SIM"), ":")
	if len(fields) != 3 {
		t.Skip("IRIS_SIM is not set")
	}
	size, _ := strconv.Atoi(fields[1])
	seeds, _ := strconv.Atoi(fields[2])
	for _, s := range All(size) {
		whole := "all"
		switch {
		case s.Traffic.Tunnels > 0:
			whole = "tunnels"
		case s.Traffic.For > 0:
			whole = "data"
		}
		if fields[0] != whole && !strings.Contains(","+fields[0]+",", ","+s.Name+",") {
			continue
		}
		s = find(t, s.Name, size)
		for seed := range uint64(seeds) {
			began := time.Now()
			r := Run(s, seed+1, nil)
			var b bytes.Buffer
			r.Print(&b)
			if !r.OK() {
				t.Error(b.String())
			} else if seeds == 1 {
				t.Log(b.String())
			}
			t.Logf("%s, %d nodes, seed %d: %v", s.Name, size, seed+1, time.Since(began).Round(time.Millisecond))
		}
	}
}
