package main

import (
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
	r, err := compare(t.Context(), options{rounds: 1, time: 5 * time.Millisecond, only: regexp.MustCompile("")}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rounds) != 1 || len(r.Rounds[0]) != len(measurements) {
		t.Fatalf("measured %v, want one round of %d figures", r.Rounds, len(measurements))
	}
	for _, table := range tables {
		for _, row := range table.rows {
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
