package overlay

import (
	"math/rand/v2"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

const (
	exchangeEvery = 5 * time.Second  // leaf sets, with one leaf after the other
	compareEvery  = 10 * time.Second // views, with a node at random
	ringEvery     = 15 * time.Second
	spreadEvery   = time.Second // long links are looked at
	tick          = time.Second // no two calls are further apart, so that a pause shows
)

// An agenda is when the things are due that are done again and again.
type agenda struct {
	exchange, compare, ring, spread, grave time.Time
	turn                                   int     // of the exchange
	differed                               ring.ID // whose view differed
}

func (a *agenda) start(now time.Time, rng *rand.Rand) {
	// The first time is drawn, lest nodes that start together stay in step.
	some := func(d time.Duration) time.Time { return now.Add(time.Duration(rng.Int64N(int64(d)))) }
	a.exchange, a.compare, a.ring = some(exchangeEvery), some(compareEvery), some(ringEvery)
	a.spread, a.grave = some(spreadEvery), some(knock)
}

// soon has a node that has just become Active compare its view before long.
func (a *agenda) soon(now time.Time, rng *rand.Rand) {
	a.bringForward(&a.compare, now.Add(soon/2+time.Duration(rng.Int64N(int64(soon)))))
}

func (a *agenda) bringForward(t *time.Time, to time.Time) {
	if to.Before(*t) {
		*t = to
	}
}

// consultAgenda does what is due.
func (o *Overlay) consultAgenda(now time.Time, out *Output) {
	a := &o.agenda
	due := func(t *time.Time, every time.Duration) bool {
		if now.Before(*t) {
			return false
		}
		*t = now.Add(every - every/8 + o.jitter(every/4))
		return true
	}
	if o.state == wire.Solo && !o.join.found.IsZero() && !now.Before(o.join.found) {
		o.considerFounding(now, out)
	}
	if due(&a.grave, max(o.graves.interval(now), knock)) {
		o.visit(now, out)
	}
	if due(&a.spread, spreadEvery) {
		o.spread(now, out)
		o.trim(now, out)
	}
	if o.state != wire.Active {
		return
	}
	if due(&a.exchange, exchangeEvery) {
		o.exchange(out)
	}
	if due(&a.compare, compareEvery) {
		o.view.forget(now)
		o.compare(now, out)
	}
	if due(&a.ring, ringEvery) {
		o.checkRing(out)
	}
}

// exchange exchanges leaf sets with the next leaf.
func (o *Overlay) exchange(out *Output) {
	l := append(o.leaves[0][:len(o.leaves[0]):len(o.leaves[0])], o.leaves[1]...)
	if len(l) == 0 {
		return
	}
	o.agenda.turn++
	if p := o.peers.find(l[o.agenda.turn%len(l)]); p != nil {
		o.ask(p, out)
	}
}

// nextDue returns when Advance has something to do.
func (o *Overlay) nextDue(now time.Time) time.Time {
	due := now.Add(tick)
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(due) {
			due = t
		}
	}
	// What settle does is done when its time has come; what Advance does may wait
	// for it.
	later := func(t time.Time) {
		if t.After(now) {
			earlier(t)
		}
	}
	earlier(o.agenda.spread)
	earlier(o.agenda.grave)
	switch o.state {
	case wire.Solo:
		earlier(o.join.found)
	case wire.Joining:
		later(o.join.began.Add(patience))
		later(o.join.asked.Add(patience))
	case wire.Active:
		earlier(o.agenda.exchange)
		earlier(o.agenda.compare)
		earlier(o.agenda.ring)
	}
	if len(o.fresh) > 0 {
		earlier(o.passed.Add(batching))
	}
	for _, d := range o.doubts {
		earlier(d.until)
	}
	for _, p := range o.watched {
		earlier(p.watchDue(o.self))
		switch {
		case !p.leaf:
		case p.path == broken || p.path == indirect:
			later(p.retry)
		case p.path == dialling:
			later(p.since.Add(slowDial))
		}
	}
	if due.Before(now) {
		due = now
	}
	return due
}
