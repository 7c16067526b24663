package directory

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A local is what this node announces of a name.
type local struct {
	members, workers int
	keepers          []ring.ID // root and replicas that were told
	gone             time.Time // since when there are no members
}

// A leaving is a name that this node had the last member of at a time.
type leaving struct {
	name wire.Name
	at   time.Time
}

// A pending is an announcement that was not acknowledged.
type pending struct {
	due   // when it is sent again
	to    ring.ID
	seq   uint64
	names []wire.Name
	pause time.Duration
}

// SetLocal says how many members this node has of a name, and how many requests it
// can work on at once. It announces the first member and the last one.
func (d *Directory) SetLocal(now time.Time, name wire.Name, members, workers int, out *Output) {
	members, workers = min(members, 1<<16-1), min(workers, 1<<16-1)
	l := d.local[name]
	switch {
	case l == nil && members == 0:
		return
	case l == nil:
		l = new(local)
		d.local[name] = l
	}
	told := l.members
	l.members, l.workers = members, workers
	if (told == 0) != (members == 0) {
		l.keepers = d.keepers(name)
		for _, to := range l.keepers {
			d.announce(now, to, []wire.Name{name}, out)
		}
	}
	if members == 0 {
		d.leave(now, name, l)
	}
}

// leave remembers for a while that there are no members of a name any more: who becomes
// a keeper later must hear of that too. If there are too many such names the oldest are
// forgotten; a digest makes up for what a keeper then does not hear.
func (d *Directory) leave(now time.Time, name wire.Name, l *local) {
	l.gone = now
	d.left = append(d.left, leaving{name, now})
	for len(d.left) > maxLeft {
		if d.forgetLeft() {
			d.Stats.Forgotten++
		}
	}
}

// forgetLeft forgets the oldest name that was left, unless it has members again or was
// left again later. It reports whether it did.
func (d *Directory) forgetLeft() bool {
	name, at := d.left[0].name, d.left[0].at
	d.left = d.left[1:]
	l := d.local[name]
	if l == nil || l.members > 0 || !l.gone.Equal(at) {
		return false
	}
	delete(d.local, name)
	return true
}

// Again announces everything once more to nodes that may have lost what they were
// told, as ViewChanged would if they were new; to all if none is named.
func (d *Directory) Again(now time.Time, out *Output, ids ...ring.ID) {
	for _, l := range d.local { //iris:unordered each by itself
		l.keepers = slices.DeleteFunc(l.keepers, func(k ring.ID) bool { return len(ids) == 0 || slices.Contains(ids, k) })
	}
	d.announceAll(now, out)
}

// Withdraw announces that this node has no members of any name any more.
func (d *Directory) Withdraw(now time.Time, out *Output) {
	for _, name := range those(d.local, func(_ wire.Name, l *local) bool { return l.members > 0 }) {
		l := d.local[name]
		*l = local{}
		d.leave(now, name, l)
	}
	d.announceAll(now, out)
}

// Settled reports that every announcement was acknowledged.
func (d *Directory) Settled() bool { return len(d.unacknowledged) == 0 }

// keepers returns who keeps the list of a name: its root, and the replicas.
func (d *Directory) keepers(name wire.Name) []ring.ID {
	owner := d.ring.Owner(name.Key)
	if owner.IsZero() {
		return nil
	}
	return append([]ring.ID{owner}, d.ring.Replicas(name.Key)...)
}

// announceAll tells those who have become keepers of a name since it was announced.
func (d *Directory) announceAll(now time.Time, out *Output) {
	news := make(map[ring.ID][]wire.Name)
	for name, l := range d.local { //iris:unordered sorted below
		was := l.keepers
		l.keepers = d.keepers(name)
		for _, to := range l.keepers {
			if !slices.Contains(was, to) {
				news[to] = append(news[to], name)
			}
		}
	}
	for _, to := range sortedIDs(news) {
		slices.SortFunc(news[to], compareNames)
		for names := range slices.Chunk(news[to], perMessage) {
			d.announce(now, to, names, out)
		}
	}
	d.forget(func(p *pending) bool {
		return !slices.ContainsFunc(p.names, func(n wire.Name) bool { return slices.Contains(d.keepers(n), p.to) })
	})
}

// forget ends announcements that need no acknowledgement any more.
func (d *Directory) forget(those func(*pending) bool) {
	for _, p := range slices.Clone(d.repeating.heap) {
		if those(p) {
			d.done(p)
		}
	}
}

func (d *Directory) done(p *pending) {
	d.repeating.set(p, time.Time{})
	delete(d.unacknowledged, p.seq)
}

// announce sends the present state of names, until it is acknowledged.
func (d *Directory) announce(now time.Time, to ring.ID, names []wire.Name, out *Output) {
	d.transmit(now, &pending{to: to, names: names, pause: patience}, out)
}

func (d *Directory) transmit(now time.Time, p *pending, out *Output) {
	delete(d.unacknowledged, p.seq)
	d.seq++
	p.seq = d.seq
	d.unacknowledged[p.seq] = p
	d.repeating.set(p, now.Add(p.pause))
	m := wire.Announce{Seq: d.seq}
	for _, name := range p.names {
		r := wire.Registration{Name: name}
		if l := d.local[name]; l != nil {
			r.Members, r.Workers = uint16(l.members), uint16(l.workers)
		}
		m.Names = append(m.Names, r)
	}
	d.send(now, p.to, m, out)
}

// acknowledged takes the word that an announcement arrived.
func (d *Directory) acknowledged(now time.Time, from ring.ID, m wire.Announced) {
	p := d.unacknowledged[m.Seq]
	if p == nil || p.to != from {
		return
	}
	var again []wire.Name
	for _, n := range m.NotMine {
		if int(n) < len(p.names) && slices.Contains(d.keepers(p.names[n]), from) {
			again = append(again, p.names[n]) // one of us will soon see it as the other does
		}
	}
	if len(again) == 0 {
		d.done(p)
		return
	}
	p.names = again
	d.repeating.set(p, now.Add(redirectWait))
}

// repeat sends again what was not acknowledged.
func (d *Directory) repeat(now time.Time, out *Output) {
	for p, ok := d.repeating.pop(now); ok; p, ok = d.repeating.pop(now) {
		if p.names = slices.DeleteFunc(p.names, func(n wire.Name) bool { return d.local[n] == nil }); len(p.names) == 0 {
			d.done(p) // nobody remembers any more
			continue
		}
		p.pause = min(2*p.pause, mostPatience)
		d.transmit(now, p, out)
	}
}

// Refuse tells a node that publishes to a name in vain that this one has no member
// of it.
func (d *Directory) Refuse(now time.Time, name wire.Name, to ring.ID, out *Output) {
	if l := d.local[name]; l == nil || l.members == 0 {
		d.send(now, to, wire.Unwanted{Name: name, Seq: d.seq}, out)
	}
}
