package sim

import (
	"slices"
	"time"
)

// A Scenario is what happens in a run, and what is looked at.
type Scenario struct {
	Name string
	Text string // what it is about, in a line
	Size int    // nodes at the start

	// Names is how many clusters there are. Each node has a member of one, and
	// wants to know the member nodes of one; Moves members a second go to another
	// until the last fault is mended.
	Names int
	Moves float64

	// Traffic is what programs send each other, while faults come and go.
	Traffic Traffic
	Feed    Feed
	Work    Work

	// Late is how many programs subscribe a moment before something is published.
	Late int

	// Growth is how many nodes start in a second; 0: all at once. Warm: they start at
	// once, and know each other.
	Growth  float64
	Warm    bool
	Network Network
	Skew    time.Duration // of clocks, at most
	Budget  int           // links of a node, at most; 0: as many as of a real one

	// Apart is the share of the pairs of nodes that never hear each other, and Shut
	// that of those of which one cannot dial the other. Nobody is apart from whom it
	// starts with.
	Apart, Shut float64

	Settle time.Duration // from the last start to the first fault
	Faults []Fault
	// Session is how long a node lives in the mean, with churn: after that another
	// takes its place, as many of them killed as stopped.
	Session time.Duration
	Churn   time.Duration // how long that goes on
	Calm    time.Duration // from the last fault's end to the end of the run

	// Recovery is within what time after the last fault the ring must be ideal; 0:
	// within Calm.
	Recovery time.Duration
	// Gone is within what time every node must know of those that died; 0: not
	// looked at.
	Gone time.Duration
	// Lookups is how many there are in 100 ms; 0: a hundred.
	Lookups int
	// Wrong is what share of lookups may end at a node that is not the owner, and
	// Lost what share may get nowhere.
	Wrong, Lost float64
	// Overlap bounds how long a key may have two Active owners at a time; 0 says
	// that the scenario makes some for longer.
	Overlap time.Duration
}

// talks reports whether programs do, so that nodes need a data plane.
func (s *Scenario) talks() bool {
	return s.Traffic.For > 0 || s.Feed.For > 0 || s.Work.For > 0 || s.Late > 0
}

// A Fault is something that breaks.
type Fault struct {
	Kind   FaultKind
	At     time.Duration // after Settle
	For    time.Duration // until it is mended, where it can be
	Share  float64       // of the nodes, or of the pairs of nodes
	Count  int           // of nodes or links, besides Share
	Repeat int           // more times, For apart
}

// A FaultKind says what breaks.
type FaultKind byte

// The faults.
const (
	Kill   FaultKind = 1 + iota // processes die
	Crash                       // hosts die: nobody says so
	Stop                        // processes are told to end, and drain for a second
	Freeze                      // processes stand still
	Split                       // the network falls apart, in two: Share of the nodes here, the rest there
	Thirds                      // in three
	Deaf                        // pairs do not hear each other
	OneWay                      // of a pair one does not hear the other
	Reset                       // links break
)

var lan = Network{Near: 200 * time.Microsecond, Far: 800 * time.Microsecond}
var wan = Network{Near: time.Millisecond, Far: 60 * time.Millisecond}

const bound = 3 * time.Second // of overlaps, for each fault

// large is a network that starts warm, where that is not what is looked at.
const large = 200

// Scenarios are those that there are, each for any size.
func Scenarios(size int) []Scenario {
	base := Scenario{
		Size: size, Names: 8, Moves: 1, Growth: 100, Warm: size >= large,
		Network: lan, Settle: 20 * time.Second, Calm: 15 * time.Second, Overlap: bound,
	}
	with := func(name, text string, change func(*Scenario)) Scenario {
		s := base
		s.Name, s.Text = name, text
		change(&s)
		return s
	}
	faults := func(f ...Fault) func(*Scenario) { // some questions meet the dead
		return func(s *Scenario) { s.Faults, s.Wrong, s.Lost = f, 1e-3, 1 }
	}
	part := func(f ...Fault) func(*Scenario) { // two owners are a matter of course
		return func(s *Scenario) { s.Faults, s.Overlap, s.Wrong, s.Lost = f, 0, 1, 1 }
	}
	return []Scenario{
		with("static", "nothing breaks", func(s *Scenario) {}),
		with("idle", "nothing breaks, and nobody has anything to say", func(s *Scenario) {
			s.Moves, s.Settle = 0, idleFor
		}),
		with("wan", "nothing breaks, at 60 ms", func(s *Scenario) { s.Network = wan }),
		with("join", "nodes join, 100 a second", func(s *Scenario) { s.Warm, s.Settle = false, 10*time.Second }),
		with("at-once", "all nodes start at once", func(s *Scenario) { s.Warm, s.Growth, s.Settle = false, 0, 30*time.Second }),
		with("kill-50", "half of the processes die at once", func(s *Scenario) {
			faults(Fault{Kind: Kill, Share: 0.5})(s)
			s.Recovery = 6 * time.Second
		}),
		with("kill-80", "four of five processes die at once", func(s *Scenario) {
			faults(Fault{Kind: Kill, Share: 0.8})(s)
			s.Recovery = 10 * time.Second
		}),
		with("kill-90", "nine of ten processes die at once", func(s *Scenario) {
			faults(Fault{Kind: Kill, Share: 0.9})(s)
			s.Recovery, s.Wrong = 15*time.Second, 1.4e-2
		}),
		with("crash-50", "half of the hosts die at once, and nobody says so", func(s *Scenario) {
			faults(Fault{Kind: Crash, Share: 0.5})(s)
			s.Recovery = 15 * time.Second
		}),
		with("wan-kill-50", "half of the processes die at once, at 60 ms", func(s *Scenario) {
			faults(Fault{Kind: Kill, Share: 0.5})(s)
			s.Network, s.Recovery = wan, 6*time.Second
		}),
		with("kill-1", "one process dies", func(s *Scenario) {
			faults(Fault{Kind: Kill, Count: 1})(s)
			s.Gone = 3 * time.Second
		}),
		with("crash-1", "one host dies, and nobody says so", func(s *Scenario) {
			faults(Fault{Kind: Crash, Count: 1})(s)
			s.Gone = 3 * time.Second
		}),
		with("freeze-1", "one process stands still for 8 s", func(s *Scenario) {
			faults(Fault{Kind: Freeze, Count: 1, For: 8 * time.Second})(s)
			s.Gone = 3 * time.Second
		}),
		with("freeze", "some processes stand still for 2 to 10 s", faults(
			Fault{Kind: Freeze, Count: 1, For: 2 * time.Second},
			Fault{Kind: Freeze, Count: 1, At: 5 * time.Second, For: 5 * time.Second},
			Fault{Kind: Freeze, Count: 1, At: 15 * time.Second, For: 10 * time.Second})),
		with("split", "the network falls in two halves for 60 s", part(Fault{Kind: Split, Share: 0.5, For: time.Minute})),
		with("split-1", "one node is cut off for 60 s", part(Fault{Kind: Split, Count: 1, For: time.Minute})),
		with("thirds", "the network falls in three parts for 60 s", part(Fault{Kind: Thirds, For: time.Minute})),
		with("split-hour", "two halves for an hour", func(s *Scenario) {
			part(Fault{Kind: Split, Share: 0.5, For: time.Hour})(s)
			s.Calm, s.Recovery = 90*time.Second, time.Minute
		}),
		with("deaf-pairs", "2 % of the pairs do not hear each other", faults(Fault{Kind: Deaf, Share: 0.02, For: time.Minute})),
		with("one-way", "of 1 % of the pairs one does not hear the other", faults(Fault{Kind: OneWay, Share: 0.01, For: time.Minute})),
		with("resets", "links break", faults(Fault{Kind: Reset, Share: 0.05, For: 500 * time.Millisecond, Repeat: 20})),
		with("churn-1h", "nodes live for an hour in the mean", churn(time.Hour, 1e-5, 2e-4)),
		with("churn-5m", "nodes live for five minutes in the mean", churn(5*time.Minute, 1e-4, 1e-3)),
		with("churn-1m", "nodes live for a minute in the mean", churn(time.Minute, 1, 4e-3)),
	}
}

func churn(session time.Duration, wrong, lost float64) func(*Scenario) {
	return func(s *Scenario) {
		s.Session, s.Churn, s.Wrong, s.Lost, s.Skew = session, time.Minute, wrong, lost, time.Minute
		if s.Size >= large {
			s.Lookups = 1500 // a million in all
		}
	}
}

// DataScenarios are those in which programs send each other something.
func DataScenarios(size int) []Scenario {
	base := Scenario{
		Size: size, Growth: 100, Warm: size >= large, Network: lan, Settle: 10 * time.Second, Calm: 15 * time.Second,
		Traffic: Traffic{
			For: 24 * time.Second, Rate: 10, Turnover: 3 * time.Second,
			Slow: 0.05, Handler: 10 * time.Millisecond, Timeout: 2 * time.Second,
		},
	}
	with := func(name, text string, f ...Fault) Scenario {
		s := base
		s.Name, s.Text, s.Faults = "data-"+name, "programs talk, and "+text, f
		for i := range f { // it has begun to flow by then
			s.Faults[i].At += 2 * time.Second
			s.Lost = 1 // some questions meet a link that breaks
			if f[i].Kind == Split {
				s.Wrong = 1 // two owners are a matter of course
			}
		}
		return s
	}
	complete := func(s Scenario) Scenario {
		s.Traffic.Complete = true
		return s
	}
	lossless := func(s Scenario) Scenario {
		s = complete(s)
		s.Traffic.Slow, s.Traffic.Turnover, s.Traffic.Timeout, s.Traffic.Lossless = 0, 0, 5*time.Second, true
		return s
	}
	severed := func(s Scenario) Scenario {
		s.Traffic.Sever = 0.02
		return s
	}
	early := func(s Scenario) Scenario {
		s.Growth, s.Settle, s.Calm, s.Warm = 7, time.Second, 40*time.Second, false
		s.Traffic.For, s.Traffic.Rate, s.Traffic.Early, s.Traffic.Complete = 2*time.Second, 20, true, false
		return s
	}
	apart := func(s Scenario) Scenario {
		s.Apart = max(0.02, min(0.3, 3/float64(size)))
		s.Shut = s.Apart
		return s
	}
	far := func(s Scenario) Scenario {
		s.Name, s.Network = s.Name+"-wan", wan
		return s
	}
	resets := Fault{Kind: Reset, Share: 0.1, For: 200 * time.Millisecond, Repeat: 90}
	end := with("churn", "nodes live for 30 s in the mean")
	end.Session, end.Churn = 30*time.Second, 20*time.Second
	long := with("long", "what they publish is longer than is kept, the network falls apart, and links break", resets,
		Fault{Kind: Split, Share: 0.5, For: 12 * time.Second},
		Fault{Kind: OneWay, Share: 0.2, At: 16 * time.Second, For: 4 * time.Second})
	long.Traffic.Body = 60_000
	return []Scenario{
		long,
		lossless(with("static", "nothing breaks")),
		far(lossless(with("static", "nothing breaks, at 60 ms"))),
		early(lossless(with("join", "nodes ask as soon as they are started, one after another"))),
		far(early(lossless(with("join", "nodes ask as soon as they are started, one after another, at 60 ms")))),
		lossless(with("drain", "nodes are stopped", Fault{Kind: Stop, Count: 1, Share: 0.05, For: 6 * time.Second, Repeat: 1})),
		complete(with("turnover", "they come and go")),
		apart(lossless(with("apart", "some pairs of nodes never hear each other"))),
		far(apart(severed(with("apart-resets", "some pairs never hear each other, and links break, at 60 ms", resets)))),
		severed(complete(with("resets", "links break", resets))),
		far(severed(complete(with("resets", "links break, at 60 ms", resets)))),
		with("one-way", "pairs do not hear each other one way", Fault{Kind: OneWay, Share: 0.1, For: 5 * time.Second, Repeat: 2}),
		with("deaf", "pairs do not hear each other", Fault{Kind: Deaf, Share: 0.1, For: 5 * time.Second, Repeat: 2}),
		with("freeze", "processes stand still", Fault{Kind: Freeze, Count: 1, For: 3 * time.Second, Repeat: 4}),
		with("kill", "processes die", Fault{Kind: Kill, Count: 1, For: 5 * time.Second, Repeat: 1}),
		with("crash", "hosts die", Fault{Kind: Crash, Count: 1, For: 5 * time.Second, Repeat: 1}),
		with("split", "the network falls in two for 20 s", Fault{Kind: Split, Share: 0.5, For: 20 * time.Second}),
		severed(with("all", "everything breaks", resets,
			Fault{Kind: OneWay, Share: 0.1, For: 3 * time.Second, Repeat: 4},
			Fault{Kind: Freeze, Count: 1, At: time.Second, For: 2 * time.Second, Repeat: 6},
			Fault{Kind: Crash, Count: 1, At: 10 * time.Second})),
		end,
	}
}

// FeedScenarios are those in which programs subscribe and publish, and it is measured
// what comes of that.
func FeedScenarios(size int) []Scenario {
	base := Scenario{
		Size: size, Growth: 100, Warm: size >= large, Network: lan, Settle: 5 * time.Second, Calm: 15 * time.Second,
		Wrong: 1, Lost: 1,
	}
	with := func(name, text string, change func(*Scenario)) Scenario {
		s := base
		s.Name, s.Text = name, text
		change(&s)
		return s
	}
	return []Scenario{
		with("star", "four nodes publish to all others", func(s *Scenario) {
			s.Feed = Feed{Members: size, Publishers: 4, Rate: 2, For: 20 * time.Second}
		}),
		with("star-churn", "four nodes publish to all others, and nodes live for five minutes", func(s *Scenario) {
			s.Feed = Feed{Members: size, Publishers: 4, Rate: 2, For: time.Minute}
			s.Session, s.Churn, s.Skew = 5*time.Minute, time.Minute, time.Minute
		}),
		with("star-150", "ten nodes publish to 150 others", func(s *Scenario) {
			s.Feed = Feed{Members: min(150, size), Publishers: 10, Rate: 5, For: 20 * time.Second}
		}),
		with("hot", "all but a few nodes publish to those a thousand times a second", func(s *Scenario) {
			members := min(3, max(1, size/4))
			s.Feed = Feed{Members: members, Publishers: min(100, size-members-1), Rate: 1000, For: 3 * time.Second}
			s.Settle = 12 * time.Second // by then the root is sure of its list, and checks are confirmed
		}),
		with("stuck", "one of sixteen members reads nothing any more", func(s *Scenario) {
			s.Feed = Feed{Members: min(16, size/2), Publishers: min(4, size/2), Rate: 100, For: 20 * time.Second, Stuck: 1}
		}),
		with("balance", "members are nine tenths busy, and now this one is slow, now that", balance(Exponential, 0.9, true)),
		with("balance-lognormal", "the same, where some requests take long", balance(Lognormal, 0.9, true)),
		with("balance-pareto", "the same, where few take very long", balance(Pareto, 0.9, true)),
		with("balance-over", "members are asked a tenth more than they can do", balance(Exponential, 1.1, false)),
		with("late", "something is published 100 ms after a program has subscribed", func(s *Scenario) {
			s.Late = 40
		}),
	}
}

// balance has up to sixteen nodes of a network be members, and the others sources.
func balance(shape Shape, load float64, noisy bool) func(*Scenario) {
	return func(s *Scenario) {
		members := min(16, s.Size/2)
		s.Work = Work{Members: members, Sources: s.Size - members, Load: load, Noisy: noisy, Shape: shape, For: 20 * time.Second, Timeout: 5 * time.Second}
		if load > 1 {
			s.Work.Timeout = time.Second
		}
	}
}

// All are all scenarios that there are.
func All(size int) []Scenario {
	return slices.Concat(Scenarios(size), DataScenarios(size), FeedScenarios(size), TunnelScenarios(size))
}

// Find returns the scenario of that name.
func Find(name string, size int) (Scenario, bool) {
	for _, s := range All(size) {
		if s.Name == name {
			return s, true
		}
	}
	return Scenario{}, false
}
