package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
)

// A round is what was measured in it, by the name of the measurement.
type round map[string]result

// A report is what was measured, and on which machine.
type report struct {
	Machine machine `json:"machine"`
	Missing string  `json:"missing,omitempty"` // what was not measured, and why
	Rounds  []round `json:"rounds"`
}

// write writes the report as Markdown.
func (r *report) write(w io.Writer) {
	r.Machine.write(w)
	for _, t := range tables {
		t.write(w, r.Rounds)
	}
	fmt.Fprintf(w, `
Figures are medians (least..most) of %d rounds. A ratio is that of the two figures of a round, and its median that of the rounds.
Bodies have %d octets, messages through a tunnel %d. Hub is the processor time that the process in the middle used for
one request, one event to one subscriber or one message, and all that of hub, service and client together. NATS has no Unix
sockets, so Iris is held against NATS over TCP on both. The publisher is up to %d events ahead of the slowest subscriber;
four subscribers are four connections of one process. Nothing was lost, came twice or came out of order.

%s
`, len(r.Rounds), bodySize, tunnelSize, eventWindow, cmp.Or(r.Missing, twoHosts))
}

const twoHosts = `Two hosts are network namespaces of this machine, on a bridge with a third. Each has a hub, and all three are the hub of the
table; the client is on one, the service with all subscribers on another. Hubs speak TLS 1.3 with each other.`

// A table compares two fabrics.
type table struct {
	title        string
	ours, theirs string
	rows         []row
}

// A row compares a figure of two systems under one load.
type row struct {
	title  string
	load   string
	figure figure
	target target
	ours   system
	theirs system
}

var tables = []table{
	{"Iris and NATS", "Iris", "NATS", slices.Concat(
		natsRows("TCP", targets{request: 0.7, requests: 3, events: 3, tunnel: 1.5}, irisTCP, natsTCP),
		natsRows("Unix socket", targets{request: 0.6, requests: 3, events: 3, tunnel: 1.5}, irisUnix, natsTCP),
	)},
	{"Iris and NATS, two hosts", "Iris", "NATS", slices.Concat(
		natsRows("TCP", apart, irisTCPApart, natsTCPApart),
		natsRows("Unix socket", apart, irisUnixApart, natsTCPApart),
	)},
	{"Iris and a relay that only copies bytes", "Iris", "copies", slices.Concat(
		requestRows("TCP", 1.15, irisTCP, floorTCP),
		requestRows("Unix socket", 1.15, irisUnix, floorUnix),
	)},
}

// targets are what ratios of Iris to NATS should be: the median of a request at
// most, others at least.
type targets struct{ request, requests, events, tunnel float64 }

// apart are the targets for two hosts.
var apart = targets{request: 0.75, requests: 3, events: 3, tunnel: 1.5}

// natsRows returns the rows of Iris over one transport.
func natsRows(over string, t targets, iris, nats system) []row {
	return append(requestRows(over, t.request, iris, nats),
		row{"256 requests, goroutines, " + over, goroutines, thousands, target{atLeast, t.requests}, iris, nats},
		row{"256 requests, callbacks, " + over, async, thousands, target{}, iris, nats},
		row{"publish 1 to 1, " + over, publish1, thousands, target{atLeast, t.events}, iris, nats},
		row{"publish 1 to 4, " + over, publish4, thousands, target{atLeast, t.events}, iris, nats},
		row{"tunnel, " + over, tunnel, megabytes, target{atLeast, t.tunnel}, iris, nats},
	)
}

func requestRows(over string, most float64, ours, theirs system) []row {
	return []row{
		{"1 request, median, " + over, oneRequest, p50, target{atMost, most}, ours, theirs},
		{"1 request, 99th percentile, " + over, oneRequest, p99, target{}, ours, theirs},
	}
}

// write writes the rows of which our side was measured.
func (t table) write(w io.Writer, rounds []round) {
	any := false
	for _, row := range t.rows {
		ours, theirs, ratio := row.spreads(rounds)
		if ours == (spread{}) {
			continue
		}
		if !any {
			any = true
			fmt.Fprintf(w, "\n## %s\n\n", t.title)
			fmt.Fprintf(w, "| | | %[1]s | %[2]s | %[1]s / %[2]s | target | hub, µs: %[1]s | %[2]s | all, µs: %[1]s | %[2]s |\n", t.ours, t.theirs)
			fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|")
		}
		fmt.Fprintf(w, "| %s | %s | %v | %v | %v | %s |", row.title, row.figure.unit, ours, theirs, ratio, row.target.verdict(ratio))
		for _, f := range []figure{hubTime, allTime} {
			row.figure = f
			ours, theirs, _ := row.spreads(rounds)
			fmt.Fprintf(w, " %s | %s |", ours.middle(), theirs.middle())
		}
		fmt.Fprintln(w)
	}
}

// spreads returns the figure of both systems over the rounds, and its ratio in
// those that have both.
func (r row) spreads(rounds []round) (ours, theirs, ratio spread) {
	var a, b, c []float64
	for _, round := range rounds {
		x, hasX := round[measurement{r.load, r.ours}.String()]
		y, hasY := round[measurement{r.load, r.theirs}.String()]
		if hasX {
			a = append(a, r.figure.of(x))
		}
		if hasY {
			b = append(b, r.figure.of(y))
		}
		if hasX && hasY {
			c = append(c, r.figure.of(x)/r.figure.of(y))
		}
	}
	return spreadOf(a), spreadOf(b), spreadOf(c)
}

// A figure is a way to look at a result.
type figure struct {
	unit string
	of   func(result) float64
}

var (
	p50       = figure{"µs", func(r result) float64 { return float64(r.P50) / 1e3 }}
	p99       = figure{"µs", func(r result) float64 { return float64(r.P99) / 1e3 }}
	thousands = figure{"k/s", func(r result) float64 { return float64(r.Ops) / r.Elapsed.Seconds() / 1e3 }}
	megabytes = figure{"MB/s", func(r result) float64 { return float64(r.Ops) * tunnelSize / r.Elapsed.Seconds() / 1e6 }}
	hubTime   = figure{"µs", func(r result) float64 { return float64(r.Hub) / float64(r.deliveries()) / 1e3 }}
	allTime   = figure{"µs", func(r result) float64 { return float64(r.All) / float64(r.deliveries()) / 1e3 }}
)

// A target is what a ratio of ours to theirs should be; the zero value is none.
type target struct {
	word  string
	bound float64
}

const (
	atMost  = "at most"
	atLeast = "at least"
)

// verdict tells whether the median of the ratios is as it should be.
func (t target) verdict(ratio spread) string {
	if t.word == "" {
		return "-"
	}
	text := fmt.Sprintf("%s %g", t.word, t.bound)
	switch {
	case ratio == spread{}:
		return text
	case t.word == atMost && ratio.median <= t.bound, t.word == atLeast && ratio.median >= t.bound:
		return text + ": met"
	}
	return text + ": missed"
}
