package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/project-iris/iris/node"
)

// A topView is what iris top has seen of a node.
type topView struct {
	first  *node.Status // when the node began or top did, whichever came later
	now    *node.Status
	rates  *statusRates // from the look before to now; nil: there was none
	looked time.Time    // when now was
	hint   string       // what is said under the figures

	silent string    // why the node does not answer; empty: it does
	since  time.Time // when it first did not
}

// look takes what the node answered at some time.
func (v *topView) look(s *node.Status, at time.Time) {
	before, took := v.now, at.Sub(v.looked).Seconds()
	v.now, v.looked, v.rates, v.silent = s, at, nil, ""
	switch {
	case before == nil || !before.Started.Equal(s.Started):
		v.first = s
	case took > 0:
		v.rates = ratesOf(before, s, took)
	}
}

// miss notes that the node did not answer.
func (v *topView) miss(err error, at time.Time) {
	if v.silent == "" {
		v.since = at
	}
	v.silent = errorText(err)
}

// A look is how a line of a frame is shown.
type look int

const (
	plain look = iota
	title
	alarm
)

// A topLine is a line of a frame.
type topLine struct {
	text string
	look look
}

// frame returns what is shown on a screen of that size at a time; height 0: all there is.
func (v *topView) frame(width, height int, at time.Time) []topLine {
	lines := v.header(at)
	sections := v.sections(width)
	left := height - len(lines)
	if height == 0 {
		left = 1 << 30
	}
	for i, rows := range share(sections, left) {
		if rows == 0 {
			continue
		}
		all := sections[i]
		lines = append(lines, topLine{}, topLine{all[0], title})
		hidden := len(all) - 1 - rows
		if hidden > 0 {
			rows-- // for the word that there are more
			hidden++
		}
		for _, l := range all[1 : 1+rows] {
			lines = append(lines, topLine{l, plain})
		}
		if hidden > 0 {
			lines = append(lines, topLine{fmt.Sprintf("... %d more", hidden), plain})
		}
	}
	if height > 0 {
		lines = lines[:min(height, len(lines))]
	}
	for i := range lines {
		if width > 0 {
			lines[i].text = head(lines[i].text, width)
		}
	}
	return lines
}

// header returns the lines about the node.
func (v *topView) header(at time.Time) []topLine {
	s := v.now
	who := "network " + networkName(s)
	if !s.Dev {
		who += fmt.Sprintf("  node %s, %s", short(s.Node), s.State)
	}
	who += fmt.Sprintf("  up %s  programs %d  tunnels %d", at.Sub(s.Started).Truncate(time.Second), s.Programs, s.Tunnels)
	sent := "sent each second: looking"
	if r := v.rates; r != nil {
		sent = fmt.Sprintf("sent each second: requests %s  replies %s  broadcasts %s  events %s  tunnels %s",
			rateText(r.Requests), rateText(r.Replies), rateText(r.Broadcasts), rateText(r.Events), rateText(r.Tunnels))
	}
	last := topLine{v.hint, plain}
	if v.silent != "" {
		last = topLine{fmt.Sprintf("NO ANSWER for %s, trying on: %s", at.Sub(v.since).Truncate(time.Second), v.silent), alarm}
	}
	return []topLine{
		{who, title},
		{fmt.Sprintf("memory %s %s of %s hold payload", bar(s.Memory.Used, s.Memory.Limit), octets(s.Memory.Used), octets(s.Memory.Limit)), plain},
		{sent, plain},
		last,
	}
}

// bar draws a share.
func bar(used, limit int64) string {
	const long = 20
	full := 0
	if limit > 0 {
		full = int(min(long, (max(0, used)*long+limit/2)/limit))
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", long-full) + "]"
}

// share returns how many rows of each section are shown in so many lines: rows are
// given to each in turn, and the first row costs an empty line and the title too.
func share(sections [][]string, lines int) []int {
	rows := make([]int, len(sections))
	for given := true; given; {
		given = false
		for i, s := range sections {
			cost := 1
			if rows[i] == 0 {
				cost = 3
			}
			if rows[i] < len(s)-1 && cost <= lines {
				rows[i]++
				lines -= cost
				given = true
			}
		}
	}
	return rows
}

// sections returns the tables, without those that are empty.
func (v *topView) sections(width int) (sections [][]string) {
	rates := v.rates
	if rates == nil {
		rates = &statusRates{}
	}
	for _, g := range []*grid{v.drops(), topClusters(v.now, rates), topTopics(v.now, rates), topLinks(v.now, rates)} {
		if len(g.rows) > 0 {
			sections = append(sections, g.lines(width))
		}
	}
	return sections
}

// busiest returns names by what passed each second, then by load, then in order.
func busiest(names []node.NameStatus, rates map[string]nameRate) []node.NameStatus {
	return slices.SortedStableFunc(slices.Values(names), func(a, b node.NameStatus) int {
		return cmp.Or(cmp.Compare(rates[b.Name].all(), rates[a.Name].all()), cmp.Compare(b.Load, a.Load))
	})
}

func topClusters(s *node.Status, rates *statusRates) *grid {
	g := &grid{columns: []column{{"CLUSTER", 0, true}, {"TAKEN/S", 0, false}, {"LOAD", 0, false}, {"MEMBERS", 0, false}, {"BROADCASTS/S", 2, false}}}
	if !s.Dev {
		g.columns = append(g.columns, column{"PASSED ON/S", 1, false}, column{"OTHER NODES", 3, false})
	}
	for _, n := range busiest(s.Clusters, rates.Clusters) {
		r := rates.Clusters[n.Name]
		g.row(printable(n.Name), rateText(r.Taken), n.Load, n.Members, rateText(r.Sent))
		if !s.Dev {
			g.add(rateText(r.Passed), elsewhere(n))
		}
	}
	return g
}

func topTopics(s *node.Status, rates *statusRates) *grid {
	g := &grid{columns: []column{{"TOPIC", 0, true}, {"PUBLISHED/S", 0, false}, {"SUBSCRIBERS", 1, false}}}
	if !s.Dev {
		g.columns = append(g.columns, column{"ARRIVED/S", 0, false}, column{"OTHER NODES", 2, false})
	}
	for _, n := range busiest(s.Topics, rates.Topics) {
		r := rates.Topics[n.Name]
		g.row(printable(n.Name), rateText(r.Sent), n.Members)
		if !s.Dev {
			g.add(rateText(r.Arrived), elsewhere(n))
		}
	}
	return g
}

func topLinks(s *node.Status, rates *statusRates) *grid {
	g := &grid{columns: []column{{"LINK TO", 0, false}, {"RECEIVED/S", 0, false}, {"SENT/S", 0, false}, {"WAITING", 0, false}, {"ROUND TRIP", 1, false}, {"ADDRESS", 2, true}}}
	all := func(l node.LinkStatus) float64 { r := rates.Links[l.Node]; return r.Received + r.Sent }
	for _, l := range slices.SortedStableFunc(slices.Values(s.Links), func(a, b node.LinkStatus) int { return cmp.Compare(all(b), all(a)) }) {
		r := rates.Links[l.Node]
		g.row(short(l.Node), octets(int64(r.Received)), octets(int64(r.Sent)), octets(waits(l.Waiting)), fmt.Sprintf("%.2f ms", l.RTT), l.Address)
	}
	return g
}

// drops shows what was dropped since the first look.
func (v *topView) drops() *grid {
	g := &grid{columns: []column{{"DROPPED", 0, true}, {"SINCE TOP BEGAN", 0, false}}}
	for _, name := range slices.Sorted(maps.Keys(v.now.Dropped)) {
		if n := v.now.Dropped[name]; n > v.first.Dropped[name] {
			g.row(printable(name), n-v.first.Dropped[name])
		}
	}
	return g
}
