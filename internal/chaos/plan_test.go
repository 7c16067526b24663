package main

import (
	"fmt"
	"slices"
	"testing"
)

func rounds(seed uint64, n int) (all [][]disruption) {
	p := newPlan(seed, 8, 2, kinds)
	for range n {
		all = append(all, p.round())
	}
	return all
}

func TestSameSeedIsTheSamePlan(t *testing.T) {
	if a, b := fmt.Sprint(rounds(7, 50)), fmt.Sprint(rounds(7, 50)); a != b {
		t.Errorf("seed 7 gives\n%s\nand then\n%s", a, b)
	}
	if fmt.Sprint(rounds(7, 50)) == fmt.Sprint(rounds(8, 50)) {
		t.Error("seeds 7 and 8 give the same plan")
	}
}

// Whoever carries out a plan relies on this.
func TestPlansCanBeCarriedOut(t *testing.T) {
	for seed := range uint64(200) {
		p := newPlan(seed, 8, 2, kinds)
		for k := range 20 {
			in := slices.Clone(p.in)
			busy, links, split := make([]bool, 8), 0, 0
			for _, d := range p.round() {
				if isLink(d.Kind) {
					links++
				}
				if d.Kind == splitLAN {
					split++
					continue
				}
				h := d.Hosts[0]
				if busy[h] || len(d.Hosts) != 1 {
					t.Fatalf("seed %d, round %d: %v hits a host that is hit already", seed, k, d)
				}
				busy[h] = true
				if in[h] == (d.Kind == addNode) {
					t.Fatalf("seed %d, round %d: %v of a host that has a node: %v", seed, k, d, in[h])
				}
				if slices.Contains(d.Others, h) {
					t.Fatalf("seed %d, round %d: %v from itself", seed, k, d)
				}
			}
			if split > 0 && links > 1 {
				t.Fatalf("seed %d, round %d: a split and another fault of links", seed, k)
			}
			if n := len(slices.DeleteFunc(slices.Clone(p.in), func(in bool) bool { return !in })); n < leastIn || !p.in[0] || !p.in[1] {
				t.Fatalf("seed %d, round %d leaves nodes on %v", seed, k, p.in)
			}
		}
	}
}

func TestEveryKindOfFaultComesSoon(t *testing.T) {
	const enough = 12 // rounds
	for seed := range uint64(100) {
		seen := make(map[kind]bool)
		for _, round := range rounds(seed, enough) {
			for _, d := range round {
				seen[d.Kind] = true
			}
		}
		for _, k := range kinds {
			if !seen[k] {
				t.Errorf("seed %d: %d rounds without %q", seed, enough, k)
			}
		}
	}
}
