package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"testing"
	"time"
)

// The tests start processes of this program, which is the test's own.
func TestMain(m *testing.M) {
	if role, ok := roleOf(os.Args); ok {
		if err := role.play(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Loads fail when a message is lost, so that a figure there is for everything
// tells that nothing was.
func TestShortRoundMeasuresEverything(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells the processor time of other processes")
	}
	t.Run("one host", func(t *testing.T) { measureAll(t, "(tcp|unix)$") })
	t.Run("two hosts", func(t *testing.T) { measureAll(t, "apart$") })
}

// measureAll measures what matches only, for a moment. Hosts are skipped where
// they cannot be made unless IRIS_HOSTS is set.
func measureAll(t *testing.T, only string) {
	o := options{rounds: 1, time: 5 * time.Millisecond, only: regexp.MustCompile(only)}
	r, err := compare(t.Context(), o, t.Output())
	if errors.Is(err, errUnable) && os.Getenv("IRIS_HOSTS") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rounds) != 1 {
		t.Fatalf("measured %d rounds, want 1", len(r.Rounds))
	}
	for _, m := range measurements {
		if _, measured := r.Rounds[0][m.String()]; measured != o.only.MatchString(m.String()) {
			t.Errorf("whether %v was measured: %v", m, measured)
		}
	}
	for _, table := range tables {
		for _, row := range table.rows {
			if !o.only.MatchString(row.ours.String()) {
				continue
			}
			for _, f := range []figure{row.figure, hubTime, allTime} {
				row.figure = f
				if ours, theirs, ratio := row.spreads(r.Rounds); ours.least <= 0 || theirs.least <= 0 || ratio.least <= 0 {
					t.Errorf("%s: %v and %v %s, ratio %v: want positive figures", row.title, ours, theirs, f.unit, ratio)
				}
			}
		}
	}
	if t.Failed() {
		r.write(t.Output())
	}
}
