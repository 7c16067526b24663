package conform

import (
	"bytes"
	"strings"
	"testing"
)

func TestSoakCountsFailuresOfTimedCases(t *testing.T) {
	var ran, closed int
	env := Env{Start: func(testing.TB) *Node {
		return &Node{Close: func() { closed++ }}
	}}
	var out bytes.Buffer
	Soak(env, []Case{
		{Name: "not timed", Run: func(t testing.TB, n *Node) { t.Fatal("played") }},
		{Name: "fails at times", Timed: true, Run: func(t testing.TB, n *Node) {
			t.Cleanup(func() { ran++ })
			if ran%2 == 0 {
				t.Fatalf("failed in run %d", ran)
			}
		}},
		{Name: "is strict", Timed: true, Run: func(t testing.TB, n *Node) {
			if !Strict {
				t.Error("limits are not strict")
			}
		}},
	}, 4, &out)
	if ran != 4 || closed != 8 {
		t.Errorf("one case ended %d times, wanted 4; %d nodes closed, wanted 8", ran, closed)
	}
	if Strict {
		t.Error("limits are strict after the soak")
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"fails at times: failed in run 0",
		"fails at times: failed in run 2",
		"runs failures rate case",
		"4 2 50.0 % fails at times",
		"4 0 0.0 % is strict",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("Soak wrote\n%s\nwanted\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
