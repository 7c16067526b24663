package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A kind is one of fault.
type kind string

const (
	killNode    kind = "kill node"    // SIGKILL; it is started again
	killHost    kind = "kill host"    // the same with its programs
	killProgram kind = "kill program" // the service or the client of a host
	freezeNode  kind = "freeze node"  // SIGSTOP
	freezeHost  kind = "freeze host"  // the same with its programs
	cutHost     kind = "cut host"     // off the bridge; nobody is told
	unplugHost  kind = "unplug host"  // and it sees that
	cutOneWay   kind = "cut one way"  // what it sends to some others is lost
	splitLAN    kind = "split"        // into two groups
	drainNode   kind = "drain node"   // SIGTERM; it stays away until it is added
	addNode     kind = "add node"
)

var kinds = []kind{killNode, killHost, killProgram, freezeNode, freezeHost, cutHost, unplugHost, cutOneWay, splitLAN, drainNode, addNode}

// A disruption is a fault of the plan.
type disruption struct {
	Kind   kind          `json:"kind"`
	Hosts  []int         `json:"hosts"`            // whom it hits, from 0 on
	Others []int         `json:"others,omitempty"` // cut one way: whom it does not reach any more
	Client bool          `json:"client,omitempty"` // kill program: the client, else the service
	At     time.Duration `json:"at"`               // from the start of the round
	For    time.Duration `json:"for"`              // then it is mended; a drained node stays away
}

func (d disruption) String() string {
	hosts := func(of []int) string {
		names := make([]string, len(of))
		for i, h := range of {
			names[i] = hostName(h)
		}
		return strings.Join(names, " ")
	}
	s := fmt.Sprintf("%s %s", d.Kind, hosts(d.Hosts))
	if len(d.Others) > 0 {
		s += " from " + hosts(d.Others)
	}
	if d.Kind == killProgram {
		s += map[bool]string{false: " (service)", true: " (client)"}[d.Client]
	}
	return fmt.Sprintf("%-34s at %-6s for %s", s, seconds(d.At), seconds(d.For))
}

func hostName(i int) string { return fmt.Sprintf("host%d", i+1) }

const (
	seeds    = 2 // the first hosts, which every node is told of: they are never drained
	leastIn  = 4 // nodes
	fewest   = 2 // disruptions of a round
	most     = 5
	spread   = 6 * time.Second
	shortest = 2 * time.Second
	longest  = 10 * time.Second
	longWay  = 20 * time.Second // the longest cut one way: links give up before

	orderlyOneIn = 6 // rounds have nothing but nodes that leave and come
)

// A plan is what goes wrong, round by round. It depends on the seed and the number
// of hosts only.
type plan struct {
	rng   *rand.Rand
	kinds []kind // that there are
	in    []bool // hosts whose node is not drained
	deck  []kind // what is to come before anything comes again
}

// newPlan plans faults of some kinds for hosts of which all but the last spare have
// nodes.
func newPlan(seed uint64, hosts, spare int, kinds []kind) *plan {
	p := &plan{rng: rand.New(rand.NewPCG(seed, uint64(hosts))), kinds: kinds, in: make([]bool, hosts)}
	for i := range hosts - spare {
		p.in[i] = true
	}
	return p
}

// round plans the next round. Disruptions come in the order of their beginning, and
// a host is hit by one at a time, but for splits, which any other fault but that of
// a link may come on top of.
func (p *plan) round() []disruption {
	var round []disruption
	busy := make([]bool, len(p.in))
	if p.rng.IntN(orderlyOneIn) == 0 {
		for _, k := range []kind{drainNode, addNode} {
			if d := p.draw(k); slices.Contains(p.kinds, k) && p.aim(&d, busy, round) {
				round = append(round, d)
			}
		}
	}
	want := fewest + p.rng.IntN(most-fewest+1)
	if len(round) > 0 {
		want = 0
	}
	for len(round) < want {
		d, ok := p.next(busy, round)
		if !ok {
			break
		}
		round = append(round, d)
	}
	slices.SortStableFunc(round, func(a, b disruption) int { return int(a.At - b.At) })
	for _, d := range round {
		switch d.Kind {
		case drainNode:
			p.in[d.Hosts[0]] = false
		case addNode:
			p.in[d.Hosts[0]] = true
		}
	}
	return round
}

// next deals a kind and finds whom it can hit; those are busy from then on.
func (p *plan) next(busy []bool, round []disruption) (disruption, bool) {
	if len(p.deck) < len(p.kinds) {
		deck := slices.Clone(p.kinds)
		p.rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		p.deck = append(p.deck, deck...)
	}
	for i, k := range p.deck {
		if d := p.draw(k); p.aim(&d, busy, round) {
			p.deck = slices.Delete(p.deck, i, i+1)
			return d, true
		}
	}
	return disruption{}, false
}

// draw returns a disruption without whom it hits.
func (p *plan) draw(k kind) disruption {
	upTo := longest
	if k == cutOneWay {
		upTo = longWay
	}
	return disruption{Kind: k, At: p.span(0, spread), For: p.span(shortest, upTo), Client: p.rng.IntN(2) == 0}
}

// orderly tells whether nothing of a round may lose anything.
func orderly(round []disruption) bool {
	return !slices.ContainsFunc(round, func(d disruption) bool { return d.Kind != drainNode && d.Kind != addNode })
}

// span draws a time in tenths of a second.
func (p *plan) span(from, to time.Duration) time.Duration {
	const step = 100 * time.Millisecond
	return from + time.Duration(p.rng.Int64N(int64((to-from)/step)+1))*step
}

// aim chooses whom d hits, if anybody can be.
func (p *plan) aim(d *disruption, busy []bool, round []disruption) bool {
	link := isLink(d.Kind)
	if link && slices.ContainsFunc(round, func(o disruption) bool { return isLink(o.Kind) && (o.Kind == splitLAN || d.Kind == splitLAN) }) {
		return false
	}
	var can, in []int
	for i, is := range p.in {
		if is {
			in = append(in, i)
		}
		switch {
		case busy[i], is == (d.Kind == addNode), d.Kind == drainNode && i < seeds:
		default:
			can = append(can, i)
		}
	}
	draining := len(in) - leastIn
	for _, o := range round {
		if o.Kind == drainNode {
			draining--
		}
	}
	if len(can) == 0 || d.Kind == drainNode && draining <= 0 {
		return false
	}
	switch d.Kind {
	case splitLAN: // whoever is in, and whoever may come
		all := p.rng.Perm(len(p.in))
		d.Hosts = all[:1+p.rng.IntN(len(all)/2)]
		slices.Sort(d.Hosts)
		return true
	case cutOneWay:
		d.Hosts = []int{can[p.rng.IntN(len(can))]}
		for _, i := range p.rng.Perm(len(p.in))[:1+p.rng.IntN(len(p.in)-1)] {
			if i != d.Hosts[0] {
				d.Others = append(d.Others, i)
			}
		}
		slices.Sort(d.Others)
		if len(d.Others) == 0 {
			return false
		}
	default:
		d.Hosts = []int{can[p.rng.IntN(len(can))]}
	}
	busy[d.Hosts[0]] = true
	return true
}

func isLink(k kind) bool {
	return k == cutHost || k == unplugHost || k == cutOneWay || k == splitLAN
}
