package main

import (
	"slices"
	"testing"
)

func TestSystemIsKnownByItsName(t *testing.T) {
	for _, s := range []system{irisTCP, irisUnix, natsTCP, irisTCPApart, natsTCPApart, {Fabric: "floor"}} {
		if got, ok := parseSystem(s.String()); got != s || !ok {
			t.Errorf("%q is system %+v, %v, want %+v", s, got, ok, s)
		}
	}
	for _, text := range []string{"", "iris", "iris/tcp/", "iris/tcp/near"} {
		if got, ok := parseSystem(text); ok {
			t.Errorf("%q is system %+v", text, got)
		}
	}
}

func TestRoundsRotateSystemsOfALoad(t *testing.T) {
	a, b, c := measurement{"x", irisTCP}, measurement{"x", natsTCP}, measurement{"y", irisTCP}
	for i, want := range [][]measurement{{a, b, c}, {b, a, c}, {b, a, c}, {a, b, c}} {
		if got := rotated([]measurement{a, b, c}, i); !slices.Equal(got, want) {
			t.Errorf("round %d has the order %v, want %v", i, got, want)
		}
	}
}
