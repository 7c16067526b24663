package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// A report is what is told of a run: text for people as it goes, and a line of JSON
// for each thing that happens. docs/chaos.md describes both.
type report struct {
	options options
	out     io.Writer
	lines   *json.Encoder
	began   time.Time
	shown   int // broken promises
	rounds  int
	faults  map[kind]int
	healing []time.Duration
	longest time.Duration // that there was no processor
	Held    bool          // every promise did
}

// A line is one of JSON. Only the fields of its kind are there.
type line struct {
	Line    string       `json:"line"` // run, round, calm, broken, end
	Seconds float64      `json:"seconds"`
	Options *options     `json:"options,omitempty"`
	Round   *int         `json:"round,omitempty"`
	Faults  []disruption `json:"faults,omitempty"`
	Healed  *bool        `json:"healed,omitempty"`
	Healing float64      `json:"healing,omitempty"` // seconds
	Last    string       `json:"last,omitempty"`    // what was ill to the last
	Nodes   []usage      `json:"nodes,omitempty"`
	Broken  *broken      `json:"broken,omitempty"`
	Figures *figures     `json:"figures,omitempty"`
}

// Figures are those of a whole run.
type figures struct {
	Broken     int            `json:"broken"`
	Rounds     int            `json:"rounds"`
	Faults     map[kind]int   `json:"faults"`
	Healing    []float64      `json:"healing"` // seconds, of each calm, sorted
	Requests   int            `json:"requests"`
	Answers    map[string]int `json:"answers"`
	Executions int            `json:"executions"`
	Events     uint64         `json:"events"`
	Broadcasts uint64         `json:"broadcasts"`
	Heard      uint64         `json:"heard"`
	Missed     uint64         `json:"missed"` // in the middle of streams
	Declared   uint64         `json:"declared"`
	Tunnels    int            `json:"tunnels"`
	Ends       map[string]int `json:"ends"` // of tunnels, as their openers saw them
	Octets     uint64         `json:"octets"`
	Starved    float64        `json:"starved"` // seconds, the longest that there was no processor; 0: less than one
}

// slow is a healing that is explained.
const slow = 5 * time.Second

func newReport(o options, out, lines io.Writer) *report {
	r := &report{options: o, out: out, lines: json.NewEncoder(lines), began: time.Now(), faults: make(map[kind]int)}
	fmt.Fprintf(out, "%d hosts, %d of them spare, for %v: seed %d\n", o.Hosts, o.Spare, o.Duration, o.Seed)
	r.line(line{Line: "run", Options: &o})
	return r
}

func (r *report) line(l line) {
	l.Seconds = time.Since(r.began).Seconds()
	r.lines.Encode(l) // a report that cannot be written is no broken promise
}

// starved tells that this process had no processor for a while.
func (r *report) starved(took time.Duration) {
	r.longest = max(r.longest, took)
	fmt.Fprintf(r.out, "%7.1f  the machine is too busy: a step took %s\n", time.Since(r.began).Seconds(), seconds(took))
}

func (r *report) round(n int, faults []disruption) {
	r.rounds = n
	for _, d := range faults {
		r.faults[d.Kind]++
		fmt.Fprintf(r.out, "%7.1f  round %d: %v\n", time.Since(r.began).Seconds(), n, d)
	}
	r.line(line{Line: "round", Round: &n, Faults: faults})
}

func (r *report) calm(round int, healed bool, took time.Duration, last string, nodes []usage) {
	if healed {
		r.healing = append(r.healing, took)
		why := ""
		if took > slow {
			why = ", the last was " + last
		}
		fmt.Fprintf(r.out, "%7.1f  healed after %s%s\n", time.Since(r.began).Seconds(), seconds(took), why)
	}
	r.line(line{Line: "calm", Round: &round, Healed: &healed, Healing: took.Seconds(), Last: last, Nodes: nodes})
}

// told tells of promises that were broken since it was last called.
func (r *report) told(c *checker) {
	for ; r.shown < len(c.Broken); r.shown++ {
		b := &c.Broken[r.shown]
		fmt.Fprintf(r.out, "%7.1f  BROKEN: %s: %s\n", time.Since(r.began).Seconds(), b.Promise, b.What)
		r.line(line{Line: "broken", Broken: b})
	}
}

func (r *report) end(c *checker, us *usages) {
	r.told(c)
	r.Held = c.Count == 0
	slices.Sort(r.healing)
	f := figures{
		Broken: c.Count, Rounds: r.rounds, Faults: r.faults,
		Requests: len(c.requests.all), Answers: c.requests.answers, Executions: c.requests.runs,
		Events: c.streams.events, Broadcasts: c.streams.broadcasts, Heard: c.streams.heardAll, Missed: c.streams.missed,
		Tunnels: c.tunnels.opened, Ends: c.tunnels.ends, Octets: c.tunnels.octets,
		Starved: r.longest.Seconds(),
	}
	for _, h := range r.healing {
		f.Healing = append(f.Healing, h.Seconds())
	}
	for _, d := range c.streams.nodes {
		f.Declared += d.gaps
	}
	r.line(line{Line: "end", Figures: &f})
	r.summary(&f, us)
}

func (r *report) summary(f *figures, us *usages) {
	verdict := "every promise held"
	if !r.Held {
		verdict = fmt.Sprintf("%d BROKEN PROMISES; what programs and nodes wrote is in %s", f.Broken, r.options.History)
	}
	faults := 0
	for _, n := range f.Faults {
		faults += n
	}
	p := func(name, format string, args ...any) {
		fmt.Fprintf(r.out, "  %-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(r.out, "\nseed %d, %v: %s\n", r.options.Seed, time.Since(r.began).Round(time.Second), verdict)
	p("faults", "%d in %d rounds: %s", faults, f.Rounds, counts(f.Faults))
	p("requests", "%d: %s; executed %d", f.Requests, counts(f.Answers), f.Executions)
	p("streams", "%d events and %d broadcasts, heard %d times; %d missed in the middle, %d declared lost", f.Events, f.Broadcasts, f.Heard, f.Missed, f.Declared)
	p("tunnels", "%d: %s; %d MiB came out", f.Tunnels, counts(f.Ends), f.Octets>>20)
	if n := len(r.healing); n > 0 {
		p("healing", "half of %d rounds within %s, all within %s", n, seconds(r.healing[n/2]), seconds(r.healing[n-1]))
	}
	for _, b := range us.last {
		a := us.first[b.Node]
		p("node", "%-14s in %-8s memory %3d to %3d MiB, goroutines %3d to %3d, descriptors %3d to %3d", b.Node,
			seconds(time.Duration(b.At-a.At)), a.Resident>>20, b.Resident>>20, a.Goroutines, b.Goroutines, a.Files, b.Files)
	}
}

// counts lists numbers by what they count.
func counts[K ~string](of map[K]int) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(of)) {
		all = append(all, fmt.Sprintf("%d %s", of[k], k))
	}
	return strings.Join(all, ", ")
}
