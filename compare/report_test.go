package main

import (
	"strings"
	"testing"
	"time"
)

// A host that is twice as slow in one round changes figures, but no ratio.
func TestRatiosAreTakenWithinRounds(t *testing.T) {
	var rounds []round
	for _, slow := range []time.Duration{1, 2, 1} {
		at := func(us time.Duration) result { return result{tally: tally{P50: us * slow * time.Microsecond}} }
		rounds = append(rounds, round{"request/iris/tcp": at(100), "request/nats/tcp": at(200)})
	}
	r := row{load: oneRequest, figure: p50, ours: irisTCP, theirs: natsTCP}
	ours, theirs, ratio := r.spreads(rounds)
	if want := (spread{100, 100, 200}); ours != want {
		t.Errorf("our figure is %+v, want %+v", ours, want)
	}
	if want := (spread{200, 200, 400}); theirs != want {
		t.Errorf("their figure is %+v, want %+v", theirs, want)
	}
	if want := (spread{0.5, 0.5, 0.5}); ratio != want {
		t.Errorf("the ratio is %+v, want %+v", ratio, want)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		target target
		ratio  float64
		want   string
	}{
		{target{}, 0.7, "-"},
		{target{atMost, 0.5}, 0.5, "at most 0.5: met"},
		{target{atMost, 0.5}, 0.51, "at most 0.5: missed"},
		{target{atLeast, 1.5}, 1.5, "at least 1.5: met"},
		{target{atLeast, 1.5}, 1.49, "at least 1.5: missed"},
		{target{atLeast, 1}, 0, "at least 1"},
	} {
		if got := c.target.verdict(spread{c.ratio, c.ratio, c.ratio}); got != c.want {
			t.Errorf("%v at a ratio of %g is %q, want %q", c.target, c.ratio, got, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	r := report{
		Machine: machine{Cores: 2, CPU: "Abacus", Kernel: "Linux 1", Go: "go1", NATSServer: "2", NATSClient: "1"},
		Rounds: []round{{
			"tunnel/iris/tcp": {tally: tally{Ops: 1000}, Elapsed: time.Second, Hub: 20 * time.Millisecond, All: 50 * time.Millisecond},
			"tunnel/nats/tcp": {tally: tally{Ops: 500}, Elapsed: time.Second, Hub: 20 * time.Millisecond, All: 50 * time.Millisecond},
			"async/iris/tcp":  {tally: tally{Ops: 3000}, Elapsed: time.Second, Hub: 3 * time.Millisecond, All: 9 * time.Millisecond},
		}},
	}
	var b strings.Builder
	r.write(&b)
	got, _, _ := strings.Cut(b.String(), "\nFigures are")
	want := `2 cores, Abacus; Linux 1; go1; NATS server 2, client 1

## Iris and NATS

| | | Iris | NATS | Iris / NATS | target | hub, µs: Iris | NATS | all, µs: Iris | NATS |
|---|---|---|---|---|---|---|---|---|---|
| 256 requests, callbacks, TCP | k/s | 3.00 (3.00..3.00) | - | - | - | 1.00 | - | 3.00 | - |
| tunnel, TCP | MB/s | 65.5 (65.5..65.5) | 32.8 (32.8..32.8) | 2.00 (2.00..2.00) | at least 1.5: met | 20.0 | 40.0 | 50.0 | 100 |
`
	if got != want {
		t.Errorf("the report is\n%s\nwant\n%s", got, want)
	}
}

// A row without a measurement would be left out of every report.
func TestEveryRowIsMeasured(t *testing.T) {
	measured := make(map[string]bool)
	for _, m := range measurements {
		measured[m.String()] = true
	}
	for _, table := range tables {
		for _, row := range table.rows {
			for _, s := range []system{row.ours, row.theirs} {
				if m := (measurement{row.load, s}); !measured[m.String()] {
					t.Errorf("%q needs %v, which is not measured", row.title, m)
				}
			}
		}
	}
}
