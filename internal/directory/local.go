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

// A pending is an announcement that was not acknowledged.
type pending struct {
	to    ring.ID
	seq   uint64
	names []wire.Name
	at    time.Time // when it is sent again
	pause time.Duration
}

// SetLocal says how many members this node has of a name, and how many requests it
// can work on at once. It announces the first member and the last one, and what
// changes by much.
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
	if l.gone = (time.Time{}); members == 0 {
		l.gone = now // who becomes a keeper later must hear of that too
	}
}

// Again announces everything once more to a node, which may have lost what it was
// told; to all if it is nobody's id.
func (d *Directory) Again(now time.Time, id ring.ID, out *Output) {
	for _, name := range sorted(d.local) {
		l := d.local[name]
		l.keepers = slices.DeleteFunc(l.keepers, func(k ring.ID) bool { return id.IsZero() || k == id })
	}
	d.announceAll(now, out)
}

// Withdraw announces that this node has no members of any name any more.
func (d *Directory) Withdraw(now time.Time, out *Output) {
	for _, name := range sorted(d.local) {
		d.SetLocal(now, name, 0, 0, out)
	}
}

// Settled reports that every announcement was acknowledged.
func (d *Directory) Settled() bool { return len(d.pending) == 0 }

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
	var order []ring.ID
	names := make(map[ring.ID][]wire.Name)
	for _, name := range sorted(d.local) {
		l := d.local[name]
		keepers := d.keepers(name)
		for _, to := range keepers {
			if !slices.Contains(l.keepers, to) {
				if names[to] == nil {
					order = append(order, to)
				}
				names[to] = append(names[to], name)
			}
		}
		l.keepers = keepers
	}
	for _, to := range order {
		for all := names[to]; len(all) > 0; {
			n := min(len(all), perMessage)
			d.announce(now, to, all[:n], out)
			all = all[n:]
		}
	}
	d.pending = slices.DeleteFunc(d.pending, func(p *pending) bool {
		return !slices.ContainsFunc(p.names, func(n wire.Name) bool { return slices.Contains(d.keepers(n), p.to) })
	})
}

// announce sends the present state of names, until it is acknowledged.
func (d *Directory) announce(now time.Time, to ring.ID, names []wire.Name, out *Output) {
	p := &pending{to: to, names: names, pause: patience, at: now.Add(patience)}
	if to != d.self {
		d.pending = append(d.pending, p)
	}
	d.transmit(now, p, out)
}

func (d *Directory) transmit(now time.Time, p *pending, out *Output) {
	d.seq++
	p.seq = d.seq
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
	for i, p := range d.pending {
		if p.to != from || p.seq != m.Seq {
			continue
		}
		var again []wire.Name
		for _, n := range m.NotMine {
			if int(n) < len(p.names) && slices.Contains(d.keepers(p.names[n]), from) {
				again = append(again, p.names[n]) // one of us will soon see it as the other does
			}
		}
		if len(again) == 0 {
			d.pending = slices.Delete(d.pending, i, i+1)
			return
		}
		p.names, p.at = again, now.Add(redirectWait)
		return
	}
}

// repeat sends again what was not acknowledged.
func (d *Directory) repeat(now time.Time, out *Output) {
	for _, p := range d.pending {
		if !now.Before(p.at) {
			p.pause = min(2*p.pause, mostPatience)
			p.at = now.Add(p.pause)
			d.transmit(now, p, out)
		}
	}
}

// Refuse tells a node that publishes to a name in vain that this one has no member
// of it.
func (d *Directory) Refuse(now time.Time, name wire.Name, to ring.ID, out *Output) {
	if l := d.local[name]; l == nil || l.members == 0 {
		d.send(now, to, wire.Unwanted{Name: name, Seq: d.seq}, out)
	}
}
