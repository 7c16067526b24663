package messaging

import (
	"testing"
	"time"
)

func TestChoicesAreKeptForAMinute(t *testing.T) {
	cl := &cluster{choices: &choices{until: start.Add(keptFor)}}
	for i := range keptChoices + 4 {
		cl.choose(start.Add(time.Duration(i)*time.Second), choice{}, false)
	}
	got := cl.choices.newest()
	if len(got) != keptChoices {
		t.Fatalf("%d are kept, want %d", len(got), keptChoices)
	}
	for i, c := range got {
		if want := start.Add(time.Duration(keptChoices+3-i) * time.Second); !c.At.Equal(want) || !c.Node.IsZero() {
			t.Errorf("choice %d: %+v, want one of %v of nobody", i, c, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { cl.choose(start, choice{}, false) }); n != 0 {
		t.Errorf("keeping a choice allocates %v times", n)
	}
	cl.choose(start.Add(keptFor+1), choice{}, false)
	if cl.choices != nil {
		t.Error("choices are kept for longer than a minute")
	}
}
