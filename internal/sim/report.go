package sim

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/project-iris/iris/internal/messaging"
)

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

// Has reports whether there is a figure of that name.
func (r Report) Has(name string) bool { return r.index(name) >= 0 }

// Figure returns the figure of that name; 0 if there is none.
func (r Report) Figure(name string) float64 {
	if i := r.index(name); i >= 0 {
		return r.Figures[i].Value
	}
	return 0
}

func (r Report) index(name string) int {
	return slices.IndexFunc(r.Figures, func(f Figure) bool { return f.Name == name })
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
		fmt.Fprintf(t, "\t%s\t%s\t %s\t\n", f.Name, Number(f.Value), f.Unit)
	}
	t.Flush()
	fmt.Fprintf(out, "  %v of invented time, %d events, trace %016x\n", r.Took, r.Events, r.Trace)
}

// Number returns a figure's value for people.
func Number(v float64) string {
	s := fmt.Sprintf("%.2f", v)
	if v != 0 && v < 0.1 {
		s = fmt.Sprintf("%.1e", v)
	}
	return strings.TrimSuffix(s, ".00")
}

func (w *world) checkFigures(calm instant) {
	if w.Recovery > 0 && w.found.notIdeal > calm+w.Recovery {
		w.violated(nil, "the ring is ideal only after %v, want %v", w.found.notIdeal-calm, w.Recovery)
	}
	if w.Gone > 0 {
		for _, v := range w.found.victims {
			others := len(w.alive)
			if v.n.alive {
				others--
			}
			if len(v.gone) < others || v.gone[len(v.gone)-1] > w.Gone {
				w.violated(v.n, "%d of %d nodes found it dead, the last after %v", len(v.gone), others, v.gone)
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
		add("lookups lost twice", float64(l.lostAgain)/n, "of all")
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
	nodeSeconds := (w.now - w.count.since).Seconds() * float64(len(w.alive))
	for _, c := range [...]struct {
		name string
		traffic
	}{{"control", w.count.ring}, {"view events", w.count.view}, {"directory", w.count.names}} {
		add(c.name, float64(c.messages)/nodeSeconds, "msg/s/node")
		add(c.name+" octets", float64(c.octets)/nodeSeconds, "B/s/node")
	}
	add("digests", float64(w.count.digests.messages)/nodeSeconds, "msg/s/node")
	add("member known p50", f.toldOf.quantile(0.5), "s")
	add("member known p99", f.toldOf.quantile(0.99), "s")
	add("overlap worst", f.worstOverlap.Seconds(), "s")
	add("overlap", f.overlap.Seconds()/sampledKeys, "s/key")
	add("last node active", (f.lastActive - w.started).Seconds(), "s after its start")
	add("ring ideal", max(0, (f.notIdeal-calm).Seconds()), "s after the last fault")
	if w.Names > 0 {
		add("directories right", max(0, (f.namesWrong-calm).Seconds()), "s after the last fault")
	}
	if len(f.stale.values) > 0 {
		add("news known p50", f.stale.quantile(0.5), "s")
		add("news known p99", f.stale.quantile(0.99), "s")
	}
	var first, last sample
	for _, v := range f.victims {
		if len(v.gone) > 0 {
			first.add(v.gone[0].Seconds())
			last.add(v.gone[len(v.gone)-1].Seconds())
		}
	}
	if len(last.values) > 0 {
		add("dead to the first p99", first.quantile(0.99), "s")
		add("dead to all p50", last.quantile(0.5), "s")
		add("dead to all max", last.quantile(1), "s")
	}
	if len(w.calls) > 0 {
		w.addTraffic(add)
	}
	if n := w.count.straight + w.count.routed; n > 0 {
		add("one hop", float64(w.count.straight)/float64(n), "of requests and publications")
	}
	if w.Feed.For > 0 {
		w.addFeed(add)
	}
	if w.Work.For > 0 {
		w.addWork(add)
	}
	if w.Late > 0 {
		w.addLate(add)
	}
	wrongly := float64(f.flaps) / float64(len(w.alive))
	add("found dead wrongly", wrongly, "by all")
	if f.faults > 0 {
		add("found dead wrongly per fault", wrongly/float64(f.faults), "by all")
	}
	add("detours", float64(f.detours), "")
	return r
}

func (w *world) addTraffic(add func(name string, v float64, unit string)) {
	replied := 0
	for _, c := range w.calls {
		if c.answered && c.out == messaging.Replied {
			replied++
		}
	}
	var gaps, skipped, retried, repeated, unwritten, nacks, routed, returned uint64
	for _, n := range w.alive {
		d := &n.m.Plane.Drops
		gaps += d.Gaps()
		skipped += n.skipped
		retried += n.m.Plane.Retries.Total()
		repeated += d.Repeated.Load()
		unwritten += d.Unwritten.Load()
		nacks += d.Nacks.Load()
		routed += n.m.Plane.Hops.Sent.Load()
		returned += n.m.Plane.Hops.Returned.Load()
	}
	if len(w.mouths) > 0 {
		w.addTunnels(add)
	}
	add("requests", float64(len(w.calls)), "")
	add("replied", float64(replied)/float64(len(w.calls)), "of all")
	add("handed on", float64(retried), "requests")
	add("never left", float64(unwritten), "attempts")
	add("came again", float64(repeated), "attempts")
	add("routed", float64(routed), "frames")
	add("not handed on", float64(returned), "of them")
	add("delivered", float64(w.found.delivered), "messages")
	add("asked for again", float64(nacks), "times")
	add("skipped", float64(skipped), "messages")
	add("declared lost", float64(gaps), "messages")
}

func (w *world) addTunnels(add func(name string, v float64, unit string)) {
	var built, opened, lost float64
	for _, t := range w.mouths {
		switch {
		case t.builds && t.out == messaging.Replied && t.answered:
			opened++
			fallthrough
		case t.builds:
			built++
		}
		if t.reason == reasonLost {
			lost++
		}
	}
	add("tunnels built", built, "")
	add("opened", opened/built, "of all")
	add("lost", lost/2, "tunnels")
	add("carried", float64(w.found.tunnelled)/1e6, "MB")
}
