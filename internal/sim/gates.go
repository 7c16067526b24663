package sim

import "time"

// A Gate is an experiment, and what must come of it.
type Gate struct {
	Name   string // its number in docs/overlay.md
	Text   string // what it is about, in a line
	Trials []Trial
}

// A Trial is a scenario of a gate: it is run with each of the seeds from 1 on, and no
// rule may be broken, and no limit passed, with any of them.
type Trial struct {
	Scenario string
	Size     int
	Seeds    int
	Limits   []Limit
}

// A Limit is what a figure may be: Bound at most, or at least.
type Limit struct {
	Figure string
	Bound  float64
	Least  bool
}

// Holds reports whether a figure is within the limit.
func (l Limit) Holds(v float64) bool {
	if l.Least {
		return v >= l.Bound
	}
	return v <= l.Bound
}

func (l Limit) String() string {
	if l.Least {
		return ">= " + Number(l.Bound)
	}
	return "<= " + Number(l.Bound)
}

func most(figure string, bound float64) Limit { return Limit{Figure: figure, Bound: bound} }

func least(figure string, bound float64) Limit { return Limit{figure, bound, true} }

// Gates returns the gates, those that say most first. The reduced ones are small
// enough for every change: they find what is broken, and no figure of theirs says
// anything about a large network.
func Gates(reduced bool) []Gate {
	// trials returns one trial for each of the sizes; of the reduced ones there is
	// one, with one seed.
	trials := func(scenario string, small, seeds int, sizes []int, limits ...Limit) (all []Trial) {
		if reduced {
			return []Trial{{scenario, small, 1, limits}}
		}
		for _, size := range sizes {
			all = append(all, Trial{scenario, size, seeds, limits})
		}
		return all
	}
	// breaking returns the trials of a scenario in which links and nodes break: many
	// seeds of a small network, few of a large one.
	breaking := func(scenario string) (all []Trial) {
		if reduced {
			return []Trial{{scenario, 4, 1, nil}}
		}
		return []Trial{{scenario, 3, 100, nil}, {scenario, 10, 20, nil}, {scenario, 100, 1, nil}}
	}
	tail := 2.0
	if reduced {
		tail = 4 // six members, one of them slow, are few to choose from
	}
	k, few := []int{1000}, []int{3, 10, 100, 1000}
	gate := func(name, text string, all ...[]Trial) Gate {
		g := Gate{Name: name, Text: text}
		for _, t := range all {
			g.Trials = append(g.Trials, t...)
		}
		return g
	}
	return []Gate{
		gate("1", "lookups in a network in which nothing happens",
			trials("idle", 30, 3, []int{100}, most("hops mean", 1.7), most("hops p99", 2), most("lookups wrong", 0), most("lookups lost", 0)),
			trials("idle", 60, 3, k, most("hops mean", 2.4), most("hops p99", 3), most("lookups wrong", 0), most("lookups lost", 0))),
		gate("2", "how many links a node keeps",
			trials("idle", 60, 3, k, most("links p99", 105))),
		gate("8", "nodes that join together",
			trials("join", 60, 3, k, most("last node active", 10), most("overlap worst", 3)),
			trials("at-once", 40, 3, k, most("last node active", 30), most("overlap worst", 3))),
		gate("9", "half, four fifths, nine tenths die at once",
			trials("kill-50", 40, 10, k, most("ring ideal", 6)),
			trials("kill-80", 40, 10, k, most("ring ideal", 10)),
			trials("kill-90", 40, 10, k, most("ring ideal", 15))),
		gate("9b", "one node dies, or stands still, and nothing tells the others",
			trials("kill-1", 10, 10, few, most("dead to the first p99", 2), most("dead to all max", 3)),
			trials("crash-1", 10, 10, few, most("dead to the first p99", 2), most("dead to all max", 3)),
			trials("freeze-1", 10, 10, few, most("dead to the first p99", 2), most("dead to all max", 3))),
		gate("10", "the network falls apart, and is whole again",
			trials("split", 20, 3, k, most("ring ideal", 5), most("directories right", 10)),
			trials("split-1", 20, 3, k, most("ring ideal", 5), most("directories right", 10)),
			trials("thirds", 20, 3, k, most("ring ideal", 5), most("directories right", 10)),
			trials("split-hour", 6, 1, k, most("ring ideal", 60), most("directories right", 65))),
		gate("11", "pairs that do not hear each other, and nodes that stand still",
			trials("deaf-pairs", 20, 3, k, most("lookups wrong", 1e-3), most("found dead wrongly per fault", 1)),
			trials("one-way", 20, 3, k, most("lookups wrong", 1e-3), most("found dead wrongly per fault", 1)),
			trials("freeze", 20, 3, k, most("lookups wrong", 1e-3), most("found dead wrongly per fault", 1))),
		gate("4", "what it costs to keep the ring and the view",
			trials("churn-1h", 20, 3, k, most("control", 3), most("control octets", 1000), most("view events octets", 400), most("digests", 1)),
			trials("churn-5m", 20, 3, k, most("control", 6), most("view events octets", 4000), most("digests", 1))),
		gate("17", "how old the view is",
			trials("churn-5m", 20, 3, k, most("news known p99", 3), most("lookups redirected", 1e-2), most("view events octets", 8000))),
		gate("5", "lookups while nodes live for an hour",
			trials("churn-1h", 20, 3, k, most("lookups wrong", 1e-5), most("lookups lost", 2e-4))),
		gate("6", "lookups while nodes live for five minutes",
			trials("churn-5m", 20, 3, k, most("lookups wrong", 1e-4), most("lookups lost", 1e-3), most("lookups lost twice", 1e-5))),
		gate("7", "lookups while nodes live for a minute",
			trials("churn-1m", 20, 3, k, most("lookups lost", 4e-3))),
		gate("19", "a request is begun once at most, whatever breaks",
			breaking("data-resets"), breaking("data-one-way"), breaking("data-freeze"), breaking("data-split"), breaking("data-all")),
		gate("20", "what is published 100 ms after a program has subscribed arrives",
			trials("late", 6, 3, []int{3, 30, 1000}, most("missed", 0))),
		gate("21", "nodes that end lose nothing",
			trials("data-drain", 6, 20, []int{3, 10, 30})),
		gate("12", "a topic with many members, while nodes live for five minutes",
			trials("star-churn", 20, 3, []int{64, 1000},
				least("delivered at first", 0.985), least("delivered", 0.99999), most("copies", 1.05))),
		gate("16", "one member of sixteen reads nothing any more",
			trials("stuck", 12, 5, []int{40}, most("delivery p99 beside a stuck one", 1.1), most("memory", 1))),
		gate("15", "a hundred nodes publish a thousand messages a second each to one name",
			trials("hot", 10, 3, []int{120}, most("checks", 100), most("load of the root", 1.5))),
		gate("14", "work is shared out among sixteen members",
			trials("balance", 12, 3, []int{36, 216}, most("reply p99 to oracle", tail), most("busiest member", 1.2)),
			trials("balance-lognormal", 12, 3, []int{36}, most("reply p99 to oracle", tail), most("busiest member", 1.2)),
			trials("balance-pareto", 12, 3, []int{36}, most("reply p99 to oracle", tail), most("busiest member", 1.2)),
			trials("balance-over", 12, 3, []int{36}, least("goodput", 0.95))),
		gate("3", "requests and publications go straight to where they are for",
			trials("data-static", 6, 3, []int{3, 10, 30, 100}, least("one hop", 0.999)),
			trials("star-150", 20, 3, k, least("one hop", 0.999))),
	}
}

// scenario returns the trial's scenario.
func (t Trial) scenario() Scenario {
	s, ok := Find(t.Scenario, t.Size)
	if !ok {
		panic("there is no scenario " + t.Scenario)
	}
	return s
}

// Run runs the trial with one seed.
func (t Trial) Run(seed uint64, progress func(Progress)) Report {
	return Run(t.scenario(), seed, progress)
}

// idleFor is until links that nobody needs are closed.
const idleFor = 130 * time.Second
