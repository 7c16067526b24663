package messaging

import (
	"sync"
	"sync/atomic"
	"time"
)

// LatencyBounds are the upper bounds of the classes of a Latency, all but the last.
var LatencyBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 5 * time.Second, 15 * time.Second, time.Minute,
}

// MostLatencies is how many clusters have a Latency of their own: the first that a
// program of this node had an answer of. The others have one together.
const MostLatencies = 100

// A Latency counts answers by how long they took. Safe for concurrent use.
type Latency struct {
	Classes [len(LatencyBounds) + 1]atomic.Uint64
	Sum     atomic.Int64 // nanoseconds
}

func (l *Latency) add(took time.Duration) {
	took = max(took, 0) // readers take the time before they read
	i := 0
	for i < len(LatencyBounds) && took > LatencyBounds[i] {
		i++
	}
	l.Classes[i].Add(1)
	l.Sum.Add(int64(took))
}

// latencies are those of a node. They outlive the cells of their clusters.
type latencies struct {
	mu     sync.Mutex
	of     map[string]*Latency
	others Latency
}

// find returns that of a cluster.
func (s *latencies) find(name string) *Latency {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.of[name]
	switch {
	case l != nil:
		return l
	case len(s.of) >= MostLatencies:
		return &s.others
	case s.of == nil:
		s.of = make(map[string]*Latency)
	}
	l = new(Latency)
	s.of[name] = l
	return l
}

// answered counts the answer to a request to the cluster that was taken in at a moment.
func (p *Plane) answered(now time.Time, cl *cluster, at int64) {
	l := cl.latency.Load()
	if l == nil {
		l = p.latencies.find(cl.everyone.name)
		cl.latency.Store(l)
	}
	l.add(time.Duration(p.nanos(now) - at))
}

// Latencies calls f with that of each cluster, in no order, and at last with what those
// without one of their own have together, under the empty name. Safe for concurrent use.
func (p *Plane) Latencies(f func(cluster string, l *Latency)) {
	p.latencies.mu.Lock()
	defer p.latencies.mu.Unlock()
	for name, l := range p.latencies.of { //iris:unordered a metric each
		f(name, l)
	}
	f("", &p.latencies.others)
}
