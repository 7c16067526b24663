package sim

import "time"

// Progress is how far a run has come.
type Progress struct {
	At, Total time.Duration // of invented time
	Nodes     int
	Active    int
	Links     int
	Events    uint64
	Broken    int // rules, so far
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
	w.checkTraffic()
	w.checkFeed()
	w.checkTunnels()
	return w.report(seed, calm)
}

// planAll plans the starts and the faults, and returns when the last fault is
// mended and when the run is over.
func (w *world) planAll() (calm, end instant) {
	w.started = w.planStarts()
	from := w.started + w.Settle
	calm = from
	for _, f := range w.Faults {
		calm = max(calm, w.schedule(f, from))
	}
	if w.Churn > 0 {
		w.at(from, func() { w.churn(from + w.Churn) })
		calm = max(calm, from+w.Churn+2*drain)
	}
	if w.Names > 0 && w.Moves > 0 {
		w.at(from, w.moveSome)
	}
	if w.Feed.For > 0 {
		w.begin, w.cease = from, from+w.Feed.For
		calm = max(calm, w.cease+repaired)
		w.at(from+w.Feed.For/2, w.stick)
	}
	if w.Work.For > 0 {
		w.begin, w.cease = from, from+w.Work.For
		calm = max(calm, w.cease+w.Work.Timeout)
		if w.Work.Noisy {
			w.at(from, w.changeSlow)
		}
	}
	for i := range w.Late {
		calm = max(calm, w.planLate(i, from))
	}
	if w.Traffic.For > 0 {
		w.begin, w.cease = from, from+w.Traffic.For
		if w.Traffic.Early {
			w.begin = 0
		}
		calm = max(calm, w.cease)
		w.at(calm+w.Calm/3, w.speakLast)
	}
	w.at(from, func() { // what was before does not count
		w.count, w.found.lookups = counters{since: from}, lookups{}
	})
	w.quiet = calm
	return calm, calm + w.Calm
}

// planStarts plans the starts of the nodes, and returns when the last one is.
func (w *world) planStarts() (last instant) {
	var first []*node
	if w.Warm {
		w.at(10*time.Millisecond, w.warm)
	}
	for i := range w.Size {
		if w.Growth > 0 && !w.Warm {
			last = instant(float64(i) / w.Growth * float64(time.Second))
		}
		w.at(last+w.jitter(10*time.Millisecond), func() {
			if w.Warm {
				w.start()
				return
			}
			n := w.start(w.contacts(first)...)
			if len(first) < 3 {
				first = append(first, n)
			}
		})
	}
	return last
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
