package main

import (
	"slices"
	"testing"
)

func TestRoundsRotateSystemsOfALoad(t *testing.T) {
	a, b, c := measurement{"x", irisTCP}, measurement{"x", natsTCP}, measurement{"y", irisTCP}
	for i, want := range [][]measurement{{a, b, c}, {b, a, c}, {b, a, c}, {a, b, c}} {
		if got := rotated([]measurement{a, b, c}, i); !slices.Equal(got, want) {
			t.Errorf("round %d has the order %v, want %v", i, got, want)
		}
	}
}
