package sim

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

const (
	look           = 100 * time.Millisecond // between two looks at the whole
	lookupsPerLook = 100
	sampledKeys    = 64
	maxRedirects   = 4
	drain          = time.Second // of a node that is stopped
	askAgain       = time.Second // after a question that got nowhere
	longPause      = 3100 * time.Millisecond
)

// findings are what a run brought to light.
type findings struct {
	violations []Violation
	broken     int // all of them
	detours    int // hops that gained nothing, towards a node that is indirect

	keys [sampledKeys]struct {
		id    ring.ID
		since instant // since when it has two owners
	}
	overlap      time.Duration // of all keys
	worstOverlap time.Duration

	lookups    lookups
	stale      sample  // seconds until a node knew what had happened to another
	namesWrong instant // when a directory last was not what the members are
	toldOf     sample  // seconds until a watcher knew of a new member
	notIdeal   instant // when the ring last was not ideal
	lastActive instant // when the last node became Active

	faults  int // pauses, and pairs that were cut
	victims []*victim
	flaps   int // deaths of nodes that were not dead

	tunnelled uint64 // octets that came through tunnels
	delivered int    // messages that were published, to the first program of a node
}

// lookups count what became of questions for owners.
type lookups struct {
	all, lost, wrong, redirected int
	lostAgain                    int // of the lost, asked once more
	hops                         sample
}

// A victim is a node that a fault hit.
type victim struct {
	n    *node
	at   instant
	gone []instant // how long each of the others took to find out
}

func (f *findings) victim(w *world, n *node) {
	f.victims = append(f.victims, &victim{n: n, at: w.now})
}

// lastGone notes that n found another node gone.
func (f *findings) lastGone(w *world, n *node, id ring.ID) {
	gone := w.byID[id]
	i := len(f.victims) - 1
	for i >= 0 && f.victims[i].n != gone {
		i-- // the last fault that hit it
	}
	switch {
	case i >= 0:
		f.victims[i].gone = append(f.victims[i].gone, w.now-f.victims[i].at)
		f.stale.add((w.now - f.victims[i].at).Seconds())
	case gone.alive && gone.m.State() != wire.InLeaving:
		f.flaps++
	}
}

func (f *findings) activated(w *world, n *node) {
	if !isActive(n) {
		return
	}
	f.lastActive = w.now
	if n.active == 0 {
		n.active = w.now
	}
}

// changed notes how long it took n to hear that another node is there, or leaves.
// What was so before n itself was there is not news.
func (f *findings) changed(w *world, n *node, since instant) {
	if since > n.active && n.active > 0 && since > w.started {
		f.stale.add((w.now - since).Seconds())
	}
}

// counters count messages: those of the ring, of the view, and of the directory, and
// of these the digests.
type counters struct {
	since                      instant
	ring, view, names, digests traffic

	straight, routed int // requests and publications, once traffic has warmed up
}

type traffic struct{ messages, octets uint64 }

func (c *counters) message(t wire.Type, size int) {
	of := &c.ring
	switch {
	case t == wire.TypeViewEvent:
		of = &c.view
	case t >= wire.TypeAnnounce:
		of = &c.names
	}
	of.add(size)
	if t == wire.TypeDigestDir {
		c.digests.add(size)
	}
}

func (t *traffic) add(size int) {
	t.messages++
	t.octets += uint64(size)
}

// warmUp is after how much traffic requests and publications go straight.
const warmUp = 10 * time.Second

// sent counts a data frame.
func (c *counters) sent(f *wire.Frame, w *world) {
	if f.Type != wire.TypeRequest && f.Type != wire.TypePublish || w.now < w.begin+warmUp || w.now >= w.cease {
		return
	}
	if f.Flags&wire.Routed == 0 {
		c.straight++
	} else {
		c.routed++
	}
}

// A sample is figures of one kind.
type sample struct{ values []float64 }

func (s *sample) add(v float64) { s.values = append(s.values, v) }

func (s *sample) mean() (mean float64) {
	for _, v := range s.values {
		mean += v / float64(len(s.values))
	}
	return mean
}

// quantile returns the value below which a share of all lie.
func (s *sample) quantile(share float64) float64 {
	if len(s.values) == 0 {
		return 0
	}
	slices.Sort(s.values)
	return s.values[min(int(share*float64(len(s.values))), len(s.values)-1)]
}
