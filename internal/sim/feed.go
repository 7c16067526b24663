package sim

import (
	"encoding/binary"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A Feed is one topic that some nodes publish to and some are members of. Who takes
// the place of a node that dies takes its part too.
type Feed struct {
	Members, Publishers int // nodes, which may be the same
	Rate                float64
	For                 time.Duration // from settling on

	// Stuck is how many of the members read nothing, in the second half.
	Stuck int
}

const (
	feedTopic = "feed"
	feedSize  = 64              // octets of a message
	settled   = time.Second     // after it has subscribed, in a network, a member must get all
	repaired  = 8 * time.Second // after a message every member has it, or a gap
)

// A feed is what has become of it.
type feed struct {
	members, publishers int
	readers             []*reader
	pairs               int    // messages and members they were for
	early, late, missed int    // of the pairs
	before, during      sample // seconds until members had it that were never stuck
	checks              int
	sent                int // frames
	got                 int // frames of others that came to a member
}

// A reader is a program that is subscribed to the feed.
type reader struct {
	*program
	since instant
	last  map[uint64]uint64 // numbers, by publisher
	got   map[[2]uint64]instant
}

// A part is what a node has to do with the feed.
type part struct {
	publishes bool
	reads     *reader
	stuck     bool   // it reads nothing of what publishers send
	frames    uint64 // sent and received
	control   uint64 // of these
}

// takePart gives a node that starts what part of the feed is free.
func (n *node) takePart() {
	w := n.w
	f := &w.feed
	publishes := f.publishers < w.Feed.Publishers
	if publishes {
		f.publishers++
		n.publishes = true
		p := n.connect("")
		w.at(max(w.now, w.begin), p.publishOnceActive)
	}
	if f.members == w.Feed.Members || publishes && w.Feed.Members < w.Size {
		return
	}
	f.members++
	r := &reader{program: n.connect("", feedTopic), since: w.now, last: map[uint64]uint64{}, got: map[[2]uint64]instant{}}
	r.hear = r.take
	f.readers = append(f.readers, r)
	n.reads = r
}

// leavePart has others take the part of a node that ends.
func (n *node) leavePart() {
	f := &n.w.feed
	if n.publishes {
		f.publishers--
		n.publishes = false
	}
	if n.reads != nil {
		f.members--
		n.reads = nil
	}
}

// publishOnceActive publishes as soon as its node is in the network: what is said to
// one that is alone goes to nobody else.
func (p *program) publishOnceActive() {
	if isActive(p.n) {
		p.publishOn(0)
	} else if p.n.alive {
		p.n.w.after(look, p.publishOnceActive)
	}
}

// publishOn publishes one message after another, as long as the feed goes on.
func (p *program) publishOn(number uint64) {
	n := p.n
	w := n.w
	if w.now >= w.cease || !n.alive || !n.publishes {
		return
	}
	number++
	n.turn(func(now time.Time, m *machine) {
		body := make([]byte, feedSize)
		binary.BigEndian.PutUint64(body, uint64(n.index))
		binary.BigEndian.PutUint64(body[8:], number)
		binary.BigEndian.PutUint64(body[16:], uint64(w.now))
		p.conn.Publish(now, &m.batch, []byte(feedTopic), body)
		w.expect(n, [2]uint64{uint64(n.index), number})
	})
	pause := time.Duration(w.rng.ExpFloat64() / w.Feed.Rate * float64(time.Second))
	w.after(pause, func() { p.publishOn(number) })
}

// expect looks later which of the members there are now have got a message. Those
// that end meanwhile do not count, nor a publisher that does.
func (w *world) expect(from *node, message [2]uint64) {
	var to []*reader
	for _, r := range w.feed.readers {
		if r.n.reads == r && !r.n.stuck && r.n.active > 0 && w.now-max(r.since, r.n.active) >= settled {
			to = append(to, r)
		}
	}
	at := w.now
	w.after(repaired, func() {
		f := &w.feed
		for _, r := range to {
			got, ok := r.got[message]
			delete(r.got, message)
			if r.n.reads != r || !from.publishes {
				continue
			}
			f.pairs++
			switch {
			case !ok:
				f.missed++
			case got-at <= 2*(w.net.Near+w.net.Far)+time.Millisecond:
				f.early++
			default:
				f.late++
			}
			if when := &f.before; ok && from != r.n {
				if w.Feed.Stuck > 0 && at > w.begin+w.Feed.For/2 {
					when = &f.during
				}
				when.add((got - at).Seconds())
			}
		}
	})
}

// take notes a message that was delivered.
func (r *reader) take(body []byte) error {
	w := r.n.w
	from, number := binary.BigEndian.Uint64(body), binary.BigEndian.Uint64(body[8:])
	if number <= r.last[from] {
		w.violated(r.n, "M5: of node %d number %d came after %d", from, number, r.last[from])
	}
	r.last[from] = number
	r.got[[2]uint64{from, number}] = w.now
	w.found.delivered++
	if from != uint64(r.n.index) {
		w.feed.got++
	}
	if r.sealed {
		return queue.ErrSealed
	}
	return nil
}

// stick has some members read nothing any more.
func (w *world) stick() {
	left := w.Feed.Stuck
	for _, r := range w.feed.readers {
		if left > 0 && r.n.reads == r && !r.n.publishes {
			r.n.stuck = true
			left--
		}
	}
}

// feedRoot returns the node that keeps the directory of the topic.
func (w *world) feedRoot() *node {
	return ownerAmong(w.active(), ring.Key(network, byte(core.Topic), feedTopic, 0))
}

// count counts a frame by the nodes that have to do with it.
func (f *feed) count(from, to *node, t wire.Type) {
	from.frames++
	to.frames++
	if t < wire.TypeRequest {
		from.control++
		to.control++
	}
	switch t {
	case wire.TypePublish:
		f.sent++
	case wire.TypeCheck:
		f.checks++
	}
}

// checkFeed looks in the end whether what was missed has been declared.
func (w *world) checkFeed() {
	var gaps uint64
	for _, n := range w.nodes {
		if n.m.Plane != nil {
			gaps += n.m.Plane.Drops.Gaps()
		}
	}
	if uint64(w.feed.missed) > gaps {
		w.violated(nil, "M5, M6: %d messages were missed, %d declared lost", w.feed.missed, gaps)
	}
}

func (w *world) addFeed(add func(name string, v float64, unit string)) {
	f := &w.feed
	all := float64(max(1, f.pairs))
	add("messages to members", all, "")
	add("delivered at first", float64(f.early)/all, "of all")
	add("delivered", float64(f.early+f.late)/all, "of all")
	add("copies", float64(f.sent)/float64(max(1, f.got)), "per delivery")
	add("delivery p50", f.before.quantile(0.5), "s")
	add("delivery p99", f.before.quantile(0.99), "s")
	if w.Feed.Stuck > 0 {
		add("delivery p99 beside a stuck one", f.during.quantile(0.99)/f.before.quantile(0.99), "of before")
		var most int64
		for _, n := range w.alive {
			most = max(most, n.m.Plane.Budget.Used())
		}
		add("memory", float64(most)/memory, "of the budget")
	}
	seconds := w.Feed.For.Seconds()
	add("checks", float64(f.checks)/seconds/float64(max(1, w.Feed.Publishers)), "/s/publisher")
	var frames, control float64
	for _, n := range w.alive {
		frames += float64(n.frames) / float64(len(w.alive))
		control += float64(n.control) / float64(len(w.alive))
	}
	// What it is the root for, besides what it has to do with the feed as others have.
	if len(w.active()) > 0 { // else there is none, and that broke a rule
		add("load of the root", 1+(float64(w.feedRoot().control)-control)/frames, "of the mean")
	}
}
