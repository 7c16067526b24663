package sim

import (
	"math"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/messaging"
)

// Work is what sources ask of the members of a cluster, which are on nodes of their
// own and work on one, two or four requests at a time.
type Work struct {
	Members, Sources int
	Load             float64 // of what the members can do
	Noisy            bool    // now this member is slow, now that
	Shape            Shape   // of how long requests take
	For, Timeout     time.Duration
}

// A Shape is how the time that requests take is spread.
type Shape byte

// The shapes, each with the same mean.
const (
	Exponential Shape = iota
	Lognormal
	Pareto
)

const (
	serviceTime = 10 * time.Millisecond // in the mean
	slowness    = 3.0                   // of a member that is slow
	slowFor     = 2 * time.Second
	slowShare   = 0.1  // of the members
	inFlight    = 1024 // requests that a member is handed
	workCluster = "work"
)

// work is what has become of it, and what would have with who knows everything: the
// oracle hands each request to the member that will be done first.
type work struct {
	members      []*worker
	asked        int
	took, oracle sample
	replied      int
}

// A worker is a member, and what the oracle believes that it has.
type worker struct {
	*program
	workers int
	running int
	waiting []request
	worked  time.Duration
	slow    bool
	free    []instant // when each of its workers is, for the oracle
}

// employ makes a node that starts a member or a source.
func (n *node) employ() {
	w := n.w
	if len(w.work.members) < w.Work.Members {
		k := &worker{workers: 1 << (len(w.work.members) % 3)}
		k.free = make([]instant, k.workers)
		w.work.members = append(w.work.members, k)
		k.program = n.connect(workCluster)
		k.program.worker = k
		return
	}
	p := n.connect("")
	w.at(max(w.now, w.begin), p.askOn)
}

// interval returns how long a source waits between two requests, in the mean.
func (w *world) interval() float64 {
	workers := 0
	for _, k := range w.work.members {
		workers += k.workers
	}
	rate := w.Work.Load * float64(workers) / serviceTime.Seconds()
	if w.Work.Noisy {
		rate *= 1 - slowShare + slowShare/slowness
	}
	return float64(w.Work.Sources) / rate
}

// askOn has a source ask for something now and then.
func (p *program) askOn() {
	w := p.n.w
	if w.now >= w.cease {
		return
	}
	p.n.turn(func(now time.Time, m *machine) {
		w.work.asked++
		p.askFor(now, m, workCluster, w.Work.Timeout)
		w.work.oracle.add((w.foretell() + 2*w.net.Near + w.net.Far).Seconds())
	})
	w.after(time.Duration(w.rng.ExpFloat64()*w.interval()*float64(time.Second)), p.askOn)
}

// service draws how long a request takes.
func (w *world) service() time.Duration {
	mean := float64(serviceTime)
	switch w.Work.Shape {
	case Lognormal:
		const sigma = 1.0
		return time.Duration(mean * math.Exp(sigma*w.rng.NormFloat64()-sigma*sigma/2))
	case Pareto:
		const alpha = 2.5
		return time.Duration(mean * (alpha - 1) / alpha * math.Pow(1-w.rng.Float64(), -1/alpha))
	}
	return time.Duration(w.rng.ExpFloat64() * mean)
}

// foretell returns how long a request would take if the oracle placed it.
func (w *world) foretell() time.Duration {
	var best *worker
	var first int // its worker that is free first
	least := time.Duration(math.MaxInt64)
	for _, k := range w.work.members {
		i := slices.Index(k.free, slices.Min(k.free))
		done := max(0, k.free[i]-w.now) + k.takes(serviceTime)
		if done < least {
			best, first, least = k, i, done
		}
	}
	took := best.takes(w.service())
	best.free[first] = max(best.free[first], w.now) + took
	return best.free[first] - w.now
}

// takes returns how long the worker is at work on what takes others so long.
func (k *worker) takes(d time.Duration) time.Duration {
	if k.slow {
		d = time.Duration(float64(d) * slowness)
	}
	return d
}

// changeSlow has other members be slow.
func (w *world) changeSlow() {
	if w.now >= w.cease {
		return
	}
	for _, k := range w.work.members {
		k.slow = false
	}
	for range max(1, int(math.Round(slowShare*float64(len(w.work.members))))) {
		w.work.members[w.rng.IntN(len(w.work.members))].slow = true
	}
	w.after(slowFor, w.changeSlow)
}

// take works on a request as soon as a worker is free.
func (k *worker) take(r request) {
	k.waiting = append(k.waiting, r)
	k.work()
}

func (k *worker) work() {
	w := k.n.w
	for k.running < k.workers && len(k.waiting) > 0 {
		r := k.waiting[0]
		k.waiting = k.waiting[1:]
		took := k.takes(w.service())
		k.running++
		w.after(took, func() {
			if w.now < w.cease {
				k.worked += took
			}
			k.running--
			k.reply(r)
			k.work()
		})
	}
}

// workAnswered notes what came of a request. What is answered after the end counts for how
// long it took, and not as done.
func (w *world) workAnswered(out messaging.Outcome, took time.Duration) {
	if out == messaging.Replied {
		w.work.took.add(took.Seconds())
		if w.now < w.cease {
			w.work.replied++
		}
	}
}

func (w *world) addWork(add func(name string, v float64, unit string)) {
	f := &w.work
	add("reply p50", f.took.quantile(0.5), "s")
	add("reply p99", f.took.quantile(0.99), "s")
	add("reply p99 by oracle", f.oracle.quantile(0.99), "s")
	add("reply p99 to oracle", f.took.quantile(0.99)/f.oracle.quantile(0.99), "")
	var most, sum, workers float64
	for _, k := range f.members {
		u := k.worked.Seconds() / w.Work.For.Seconds() / float64(k.workers)
		most = max(most, u)
		sum += u
		workers += float64(k.workers)
	}
	add("busiest member", most/(sum/float64(len(f.members))), "of the mean")
	capacity := workers / serviceTime.Seconds() * w.Work.For.Seconds()
	if w.Work.Load > 1 {
		add("goodput", float64(f.replied)/capacity, "of what could be")
	}
}
