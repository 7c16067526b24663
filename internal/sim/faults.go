package sim

import (
	"math"
	"time"
)

// schedule plans a fault, and returns when the last of it is mended.
func (w *world) schedule(f Fault, from instant) (end instant) {
	for i := 0; i <= f.Repeat; i++ {
		at := from + f.At + instant(i)*f.For
		w.at(at, func() { w.strike(f) })
		end = at + f.For
	}
	if f.Kind == Stop {
		end += 2 * time.Second
	}
	return end
}

func (w *world) strike(f Fault) {
	n := f.Count + int(math.Round(f.Share*float64(len(w.alive))))
	switch f.Kind {
	case Kill, Crash:
		for _, v := range w.sample(min(n, len(w.alive)-1)) { // somebody is left to look at
			w.found.victim(w, v)
			v.kill(f.Kind == Crash)
		}
	case Stop:
		for _, v := range w.sample(n) {
			w.stop(v)
		}
	case Freeze:
		for _, v := range w.sample(n) {
			w.found.victim(w, v)
			w.found.faults++
			v.freeze(f.For)
		}
	case Split:
		for _, v := range w.sample(n) {
			v.group = 1
		}
		w.after(f.For, w.mend)
	case Thirds:
		for i, v := range w.sample(len(w.alive)) {
			v.group = i % 3
		}
		w.after(f.For, w.mend)
	case Deaf, OneWay:
		w.cutPairs(f)
		w.after(f.For, w.mend)
	case Reset:
		w.resetPipes(f.Share)
		for range f.Count + int(math.Ceil(f.Share*float64(len(w.links)))) {
			if len(w.links) > 0 {
				w.links[w.rng.IntN(len(w.links))].reset()
			}
		}
	}
}

// cutPairs cuts pairs of nodes off from each other, one pair at least.
func (w *world) cutPairs(f Fault) {
	if len(w.alive) < 3 {
		return // it would be a split
	}
	all := len(w.alive) * (len(w.alive) - 1) / 2
	for range max(1, f.Count+int(math.Round(f.Share*float64(all)))) {
		pair := w.sample2()
		w.found.faults++
		w.cut[[2]int{pair[0].index, pair[1].index}] = true
		if f.Kind == Deaf {
			w.cut[[2]int{pair[1].index, pair[0].index}] = true
		}
	}
}

func (w *world) sample2() [2]*node {
	i := w.rng.IntN(len(w.alive))
	j := (i + 1 + w.rng.IntN(len(w.alive)-1)) % len(w.alive)
	return [2]*node{w.alive[i], w.alive[j]}
}

// mend makes the network whole again.
func (w *world) mend() {
	for _, n := range w.nodes {
		n.group = 0
	}
	clear(w.cut)
	for _, l := range append([]*link(nil), w.links...) {
		l.resume()
	}
	for _, p := range w.pipes {
		p.resume()
	}
}

// churn has nodes come and go until a time: each node has the same chance to end
// at any moment.
func (w *world) churn(until instant) {
	mean := float64(w.Session) / float64(w.Size)
	w.after(time.Duration(w.rng.ExpFloat64()*mean), func() {
		if w.now >= until {
			return
		}
		v := w.alive[w.rng.IntN(len(w.alive))]
		if w.rng.IntN(2) == 0 {
			w.found.victim(w, v)
			v.kill(false)
		} else {
			w.stop(v)
		}
		if s := w.some(isActive); s != nil {
			w.start(s)
		}
		w.churn(until)
	})
}
