package balance

import (
	"cmp"
	"math"
	"testing"
	"time"
)

// A state of a pool, made anew for each choice, and what is to be said of it.
var explained = []struct {
	what   string
	make   func(p *Pool[int])
	chance []float64
}{
	{"of one", func(p *Pool[int]) { p.Add(0, 1, 0) }, []float64{1}},
	{"all known", func(p *Pool[int]) {
		for i := range 3 {
			p.Add(i, 1, 0).Signal(start, 3-i, 2, time.Millisecond)
		}
	}, []float64{0, 0, 1}},
	{"nobody known: by workers", func(p *Pool[int]) {
		p.Add(0, 1, 0)
		p.Add(1, 3, 0)
	}, []float64{0.25, 0.75}},
	{"known once: by speed", func(p *Pool[int]) {
		for i, ms := range []time.Duration{1, 3} {
			p.Add(i, 1, 0).Signal(start.Add(-2*freshFor), 9, 1, ms*time.Millisecond)
		}
	}, []float64{0.75, 0.25}},
	{"one known, the others explored", func(p *Pool[int]) {
		p.Add(0, 1, 0).Signal(start, 0, 1, time.Millisecond)
		p.Add(1, 1, 0)
		p.Add(2, 1, 0)
	}, []float64{15. / 16, 1. / 32, 1. / 32}},
	{"the other owes an answer", func(p *Pool[int]) {
		p.Add(0, 1, 0).Signal(start, 0, 1, time.Millisecond)
		p.Add(1, 1, 0).asked = p.instant(start)
	}, []float64{1, 0}},
	{"one ejected, one full", func(p *Pool[int]) {
		m := p.Add(0, 1, 0)
		for range ejectAfter {
			m.Failed(start)
		}
		p.Add(1, 1, 0).Full(start)
		p.Add(2, 1, 0)
	}, []float64{0, 0, 1}},
	{"all ejected: none is", func(p *Pool[int]) {
		for i := range 2 {
			m := p.Add(i, 1, 0)
			for range ejectAfter {
				m.Failed(start)
			}
		}
	}, []float64{0.5, 0.5}},
	{"all full", func(p *Pool[int]) { p.Add(0, 1, 0).Full(start) }, []float64{0}},
}

func TestChancesAreThoseOfChoices(t *testing.T) {
	const trials = 8000
	r := random(7)
	for _, v := range explained {
		got := make([]float64, len(v.chance))
		var says []Candidate[int]
		for range trials {
			var p Pool[int]
			v.make(&p)
			says = p.Explain(start, cmp.Compare[int])
			if m := p.Choose(start, r, nil); m != nil {
				got[m.Value] += 1. / trials
			}
		}
		for i, want := range v.chance {
			if math.Abs(says[i].Chance-want) > 1e-9 {
				t.Errorf("%s: member %d has a chance of %v, want %v", v.what, i, says[i].Chance, want)
			}
			if math.Abs(got[i]-want) > 0.03 {
				t.Errorf("%s: member %d is chosen in %v of the choices, its chance is %v", v.what, i, got[i], want)
			}
		}
	}
}

// What is said of a member is what the choice is made of: handler time x max(1,
// (in flight + 1) / workers) + round trip.
func TestExplainedScoreIsTheFormula(t *testing.T) {
	const ms = time.Millisecond
	var p Pool[int]
	p.Add(0, 7, 2*ms).Signal(start.Add(-50*ms), 5, 3, 30*ms)
	p.Add(1, 7, ms).Signal(start, 1, 4, 8*ms)
	failing := p.Add(2, 7, 0)
	for range ejectAfter {
		failing.Failed(start)
	}
	p.members[0], p.members[2] = p.members[2], p.members[0] // they are in no order
	got := p.Explain(start.Add(ms), cmp.Compare[int])
	for i, want := range []Candidate[int]{
		{Value: 0, InFlight: 5, Workers: 3, Handler: 30 * ms, RTT: 2 * ms, Expected: 62 * ms, Age: 51 * ms, Fresh: true},
		{Value: 1, InFlight: 1, Workers: 4, Handler: 8 * ms, RTT: ms, Expected: 9 * ms, Age: ms, Fresh: true, Chance: 1},
		{Value: 2, Failures: ejectAfter, Ejected: ejectFirst - ms},
	} {
		if got[i] != want {
			t.Errorf("said %+v, want %+v", got[i], want)
		}
	}
	m := p.Choose(start.Add(ms), usual(t), nil)
	if m.Value != 1 || p.How() != Lowest || m.Promised() != 9*ms {
		t.Errorf("member %d is chosen, %v, for %v", m.Value, p.How(), m.Promised())
	}
	if got := p.Explain(start.Add(ms), cmp.Compare[int])[1]; got.Chosen != 1 || got.InFlight != 2 {
		t.Errorf("after a choice: %+v", got)
	}
}

// Among many, only some are compared: nobody can say which.
func TestChancesAmongManyAreNotKnown(t *testing.T) {
	p, _ := benchPool(mostDrawn + 1)
	for _, c := range p.Explain(start, cmp.Compare[int]) {
		if c.Chance >= 0 {
			t.Errorf("member %d has a chance of %v", c.Value, c.Chance)
		}
	}
}
