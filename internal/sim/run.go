package sim

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Progress is how far a run has come.
type Progress struct {
	At, Total time.Duration // of invented time
	Nodes     int
	Active    int
	Links     int
	Events    uint64
	Broken    int // rules, so far
}

// A Report is what came of a run.
type Report struct {
	Scenario   string
	Size       int
	Seed       uint64
	Trace      uint64        // the same seed gives the same
	Took       time.Duration // of invented time
	Events     uint64
	Figures    []Figure
	Broken     int         // how many rules did not hold
	Violations []Violation // the first of them
}

// OK reports whether every rule held.
func (r Report) OK() bool { return r.Broken == 0 }

// A Figure is something that was measured.
type Figure struct {
	Name  string
	Value float64
	Unit  string
}

// Figure returns the figure of that name; 0 if there is none.
func (r Report) Figure(name string) float64 {
	for _, f := range r.Figures {
		if f.Name == name {
			return f.Value
		}
	}
	return 0
}

// Print writes the report for a person.
func (r Report) Print(out io.Writer) {
	verdict := "every rule held"
	if !r.OK() {
		verdict = fmt.Sprintf("%d rules did not hold; run it again with seed %d", r.Broken, r.Seed)
	}
	fmt.Fprintf(out, "%s, %d nodes, seed %d: %s\n", r.Scenario, r.Size, r.Seed, verdict)
	for _, v := range r.Violations {
		fmt.Fprintf(out, "  %v\n", v)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, f := range r.Figures {
		fmt.Fprintf(t, "\t%s\t%s\t %s\t\n", f.Name, number(f.Value), f.Unit)
	}
	t.Flush()
	fmt.Fprintf(out, "  %v of invented time, %d events, trace %016x\n", r.Took, r.Events, r.Trace)
}

func number(v float64) string {
	s := fmt.Sprintf("%.2f", v)
	if v != 0 && v < 0.1 {
		s = fmt.Sprintf("%.1e", v)
	}
	return strings.TrimSuffix(s, ".00")
}

// Run runs a scenario. progress, if there is one, is called after every second of
// invented time.
func Run(s Scenario, seed uint64, progress func(Progress)) Report {
	w := newWorld(s, seed)
	calm, end := w.planAll()
	for next := time.Duration(0); w.now < end; {
		w.runUntil(w.now + look)
		w.look()
		if progress != nil && w.now >= next {
			next += time.Second
			progress(Progress{w.now, end, len(w.alive), len(w.active()), len(w.links), w.events, w.found.broken})
		}
	}
	w.checkQuiet()
	w.checkFigures(calm)
	return w.report(seed, calm)
}

// planAll plans the starts and the faults, and returns when the last fault is
// mended and when the run is over.
func (w *world) planAll() (calm, end instant) {
	var first []*node
	for i := range w.Size {
		var at instant
		if w.Growth > 0 {
			at = instant(float64(i) / w.Growth * float64(time.Second))
		}
		w.at(at+w.jitter(10*time.Millisecond), func() {
			n := w.start(w.contacts(first)...)
			if len(first) < 3 {
				first = append(first, n)
			}
		})
		calm = at
	}
	from := calm + w.Settle
	calm = max(calm, from)
	for _, f := range w.Faults {
		calm = max(calm, w.schedule(f, from))
	}
	if w.Names > 0 && w.Moves > 0 {
		w.at(from, w.moveSome)
	}
	w.at(from, func() { // what was before does not count
		w.count, w.found.lookups = counters{}, lookups{}
		if w.Churn > 0 {
			w.churn(from + w.Churn)
		}
	})
	if w.Churn > 0 {
		calm = max(calm, from+w.Churn+2*drain)
	}
	w.quiet = calm
	return calm, calm + w.Calm
}

// contacts returns whom a node dials first: the first ones, and while nodes come
// one by one, somebody who is there.
func (w *world) contacts(first []*node) []*node {
	if w.Growth > 0 {
		if n := w.some(isActive); n != nil {
			return []*node{n}
		}
	}
	return first
}

func (w *world) checkFigures(calm instant) {
	if w.Recovery > 0 && w.found.notIdeal > calm+w.Recovery {
		w.violated(nil, "the ring is ideal only after %v, want %v", w.found.notIdeal-calm, w.Recovery)
	}
	if w.Gone > 0 {
		for _, v := range w.found.victims {
			if len(v.gone) < len(w.alive) || v.gone[len(v.gone)-1] > w.Gone {
				w.violated(v.n, "%d of %d nodes found it dead, the last after %v", len(v.gone), len(w.alive), v.gone)
			}
		}
	}
	l := &w.found.lookups
	if w.Size < 100 || l.all == 0 {
		return // too few to tell
	}
	if float64(l.wrong)/float64(l.all) > w.Wrong {
		w.violated(nil, "%d of %d lookups end at the wrong node", l.wrong, l.all)
	}
	if float64(l.lost)/float64(l.all) > w.Lost {
		w.violated(nil, "%d of %d lookups get nowhere", l.lost, l.all)
	}
}

func (w *world) report(seed uint64, calm instant) Report {
	r := Report{Scenario: w.Name, Size: w.Size, Seed: seed, Trace: w.trace.hash, Took: w.now,
		Events: w.events, Broken: w.found.broken, Violations: w.found.violations}
	add := func(name string, v float64, unit string) { r.Figures = append(r.Figures, Figure{name, v, unit}) }
	f := &w.found
	l := &f.lookups
	add("hops mean", l.hops.mean(), "")
	add("hops p99", l.hops.quantile(0.99), "")
	add("hops max", l.hops.quantile(1), "")
	if n := float64(l.all); n > 0 {
		add("lookups wrong", float64(l.wrong)/n, "of all")
		add("lookups lost", float64(l.lost)/n, "of all")
		add("lookups redirected", float64(l.redirected)/n, "of all")
	}
	var pinned, links sample
	for _, n := range w.alive {
		pinned.add(float64(n.m.Pinned()))
		links.add(float64(n.m.Links()))
	}
	add("links pinned p99", pinned.quantile(0.99), "")
	add("links mean", links.mean(), "")
	add("links p99", links.quantile(0.99), "")
	add("links max", links.quantile(1), "")
	nodeSeconds := (w.now - calm + w.Churn + w.faultTime()).Seconds() * float64(len(w.alive))
	add("control", float64(w.count.control)/nodeSeconds, "msg/s/node")
	add("control octets", float64(w.count.controlBytes)/nodeSeconds, "B/s/node")
	add("view events", float64(w.count.view)/nodeSeconds, "msg/s/node")
	add("view octets", float64(w.count.viewBytes)/nodeSeconds, "B/s/node")
	add("directory", float64(w.count.names)/nodeSeconds, "msg/s/node")
	add("directory octets", float64(w.count.namesBytes)/nodeSeconds, "B/s/node")
	add("member known p50", f.toldOf.quantile(0.5), "s")
	add("member known p99", f.toldOf.quantile(0.99), "s")
	add("overlap worst", f.worstOverlap.Seconds(), "s")
	add("overlap", f.overlap.Seconds()/sampledKeys, "s/key")
	add("last node active", f.lastActive.Seconds(), "s")
	add("ring ideal", max(0, (f.notIdeal-calm).Seconds()), "s after the last fault")
	var first, last, all sample
	for _, v := range f.victims {
		if len(v.gone) > 0 {
			first.add(v.gone[0].Seconds())
			last.add(v.gone[len(v.gone)-1].Seconds())
		}
		for _, g := range v.gone {
			all.add(g.Seconds())
		}
	}
	if len(all.values) > 0 {
		add("dead to the first p99", first.quantile(0.99), "s")
		add("dead to all p50", last.quantile(0.5), "s")
		add("dead to all max", last.quantile(1), "s")
	}
	add("found dead wrongly", float64(f.flaps)/float64(len(w.alive)), "by all")
	add("detours", float64(f.detours), "")
	return r
}

func (w *world) faultTime() (d time.Duration) {
	for _, f := range w.Faults {
		d = max(d, f.At+f.For*time.Duration(1+f.Repeat))
	}
	return d
}
