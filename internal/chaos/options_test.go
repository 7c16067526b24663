package main

import (
	"io"
	"strings"
	"testing"
)

func TestUnknownFaultsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"--plant", "twise"}, {"--faults", "split,earthquake"}} {
		if _, _, err := parseOptions(args, io.Discard); err == nil || !strings.Contains(err.Error(), "there is no fault") {
			t.Errorf("%q: %v", args, err)
		}
	}
	if o, _, err := parseOptions([]string{"--plant", plantDeaf, "--faults", "split"}, io.Discard); err != nil || o.Plant != plantDeaf {
		t.Errorf("%+v, %v", o, err)
	}
}
