package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/hosts"
)

// The programs of a run are this test's.
func TestMain(m *testing.M) {
	if p, ok := programFrom(os.Args); ok {
		fmt.Fprintln(os.Stderr, p.run())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// play makes a run, which is skipped where that cannot be unless IRIS_HOSTS is set.
func play(t *testing.T, o options) (*report, string) {
	t.Helper()
	o.History, o.Discover, o.Faults = t.TempDir(), "none", kinds
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r, err := chaos(ctx, o, io.MultiWriter(&out, t.Output()), io.Discard)
	if errors.Is(err, hosts.ErrUnable) && os.Getenv("IRIS_HOSTS") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r, out.String()
}

// A minute of it. "make chaos" takes as long as it is told, IRIS_CHAOS_SEED is for
// running another plan.
func TestPromisesHoldInChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than a minute")
	}
	o := options{Seed: 1, Duration: 50 * time.Second, Hosts: 7, Spare: 1, Calm: 3 * time.Second}
	if text := os.Getenv("IRIS_CHAOS_SEED"); text != "" {
		var err error
		if o.Seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if r, out := play(t, o); !r.OK {
		t.Errorf("a promise was broken:\n%s", out)
	}
}

// What a run would not find, it would not tell.
func TestPlantedFaultIsFound(t *testing.T) {
	o := options{Seed: 1, Duration: time.Second, Hosts: 4, Calm: 2 * time.Second, Plant: plantTwice}
	r, out := play(t, o)
	if r.OK {
		t.Errorf("services that execute requests twice were not found out:\n%s", out)
	}
	if found := r.found; !slices.Contains(found, onceExecuted) || len(slices.Compact(slices.Sorted(slices.Values(found)))) > 1 {
		t.Errorf("found: %q; want only: %s", found, onceExecuted)
	}
}
