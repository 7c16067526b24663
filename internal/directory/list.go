package directory

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A role is what this node is to a list.
type role byte

const (
	none role = iota
	replica
	root
)

// A list is what this node knows of a name, as its root or a replica.
type list struct {
	name     wire.Name
	role     role
	since    time.Time // when it took the role
	complete bool      // all that is to be known is known
	ver      wire.Ver
	entries  map[ring.ID]*entry
	watchers map[ring.ID]time.Time // until when
	told     uint32                // the count up to which watchers were told
	pushAt   time.Time             // when they are told of the rest; zero: there is none
	used     time.Time
}

type entry struct {
	wire.Entry
	changed uint32    // the count with which it became what it is
	gone    time.Time // of a tombstone
}

// list finds or makes the list of a name.
func (d *Directory) list(now time.Time, name wire.Name) *list {
	l := d.lists[name]
	if l == nil {
		l = &list{
			name: name, since: now,
			ver:      wire.Ver{Epoch: d.rng.Uint32() | 1},
			entries:  make(map[ring.ID]*entry),
			watchers: make(map[ring.ID]time.Time),
		}
		d.lists[name] = l
		d.take(now, l)
	}
	l.used = now
	return l
}

// take gives the list the role that the ring says.
func (d *Directory) take(now time.Time, l *list) {
	is := none
	owner := d.ring.Owner(l.name.Key)
	switch {
	case owner == d.self:
		is = root
	case slices.Contains(d.ring.Replicas(l.name.Key), d.self):
		is = replica
	}
	if is == l.role {
		return
	}
	l.role, l.since = is, now
	l.complete = false
	if is == root {
		l.ver = wire.Ver{Epoch: d.rng.Uint32() | 1, Count: l.ver.Count}
	}
}

// settleList follows a change of the view. Whoever is root no longer hands over what
// it knows to who is, so that that one knows all.
func (d *Directory) settleList(now time.Time, name wire.Name, l *list, out *Output) {
	was, complete := l.role, l.role == root && d.knowsAll(now, l)
	d.take(now, l)
	if was != root || l.role == root {
		return
	}
	to := d.ring.Owner(name.Key)
	clear(l.watchers) // they see the change themselves, and ask there
	if to.IsZero() || to == d.self || !complete {
		return // what is not all would be taken for it
	}
	var m wire.Replicate
	for _, id := range sortedIDs(l.entries) {
		m.Entries = append(m.Entries, wire.Replica{Name: name, Ver: l.ver, Entry: l.entries[id].Entry})
	}
	if len(m.Entries) == 0 {
		m.Entries = []wire.Replica{{Name: name, Ver: l.ver}} // nobody, and that is all
	}
	for all := m.Entries; len(all) > 0; {
		n := min(len(all), perMessage)
		d.send(now, to, wire.Replicate{Entries: all[:n]}, out)
		all = all[n:]
	}
}

// knowsAll reports whether a root may say of its list that it is complete.
func (d *Directory) knowsAll(now time.Time, l *list) bool {
	if l.role != root {
		return false
	}
	if !l.complete && (d.ring.State() == wire.Solo || now.Sub(l.since) >= incomplete || len(d.ring.Replicas(l.name.Key)) == 0) {
		l.complete = true
	}
	return l.complete
}

// change gives a changed entry the next version.
func (l *list) change(e *entry) {
	l.ver.Count++
	e.changed = l.ver.Count
}

// set takes in what a node announced, unless more is known already. It reports
// whether that changed anything.
func (l *list) set(now time.Time, in wire.Entry) bool {
	e := l.entries[in.Node]
	switch {
	case e == nil && in.Members == 0:
		e = &entry{Entry: in, gone: now} // an older one may still be under way
		l.entries[in.Node] = e
		return false
	case e == nil:
		e = new(entry)
		l.entries[in.Node] = e
	case in.Seq <= e.Seq:
		return false
	case e.Members == in.Members && e.Workers == in.Workers:
		e.Seq = in.Seq
		return false
	}
	was := e.Members
	e.Entry = in
	if in.Members == 0 {
		e.gone = now
	}
	if was > 0 && in.Members > 0 && was != in.Members {
		return false // nobody needs to know how many exactly
	}
	l.change(e)
	return true
}

// present counts the nodes with members.
func (l *list) present() int {
	n := 0
	for _, e := range l.entries { //iris:unordered a count
		if e.Members > 0 {
			n++
		}
	}
	return n
}

// announced takes an announcement.
func (d *Directory) announced(now time.Time, from ring.ID, m wire.Announce, out *Output) {
	answer := wire.Announced{Seq: m.Seq}
	for i, r := range m.Names {
		if !d.keeps(r.Name) {
			answer.NotMine = append(answer.NotMine, uint16(i))
			continue
		}
		l := d.list(now, r.Name)
		empty := l.present() == 0
		if l.set(now, wire.Entry{Node: from, Members: r.Members, Workers: r.Workers, Seq: m.Seq}) {
			d.schedule(now, l, empty)
		}
	}
	if from != d.self {
		d.send(now, from, answer, out)
	}
	d.push(now, out)
}

// keeps reports whether this node is root or a replica of a name.
func (d *Directory) keeps(name wire.Name) bool {
	return slices.Contains(d.keepers(name), d.self)
}

// replicate takes what a former root knew.
func (d *Directory) replicate(now time.Time, from ring.ID, m wire.Replicate, out *Output) {
	for _, r := range m.Entries {
		if !d.keeps(r.Name) {
			continue
		}
		l := d.list(now, r.Name)
		empty := l.present() == 0
		e := r.Entry
		if !e.Node.IsZero() && (e.Members == 0 || d.ring.Knows(e.Node) || e.Node == d.self) && l.set(now, e) {
			d.schedule(now, l, empty)
		}
		if l.role == root {
			l.complete = true
		}
	}
	d.push(now, out)
}

// schedule has watchers told of changes: at once if there was nobody before, else
// with what else changes in the next moment.
func (d *Directory) schedule(now time.Time, l *list, atOnce bool) {
	at := now
	if !atOnce {
		at = now.Add(time.Duration(d.rng.Int64N(int64(time.Millisecond) * int64(min(1+len(l.watchers)/10, 50)))))
	}
	if l.pushAt.IsZero() {
		d.pushes = append(d.pushes, l)
	}
	if l.pushAt.IsZero() || at.Before(l.pushAt) {
		l.pushAt = at
	}
}

// push tells watchers of changes that are due.
func (d *Directory) push(now time.Time, out *Output) {
	var due []*list
	d.pushes = slices.DeleteFunc(d.pushes, func(l *list) bool {
		if now.Before(l.pushAt) {
			return false
		}
		due = append(due, l)
		return true
	})
	for _, l := range due {
		l.pushAt = time.Time{}
		if l.role == root && l.told != l.ver.Count {
			m := d.delta(now, l, wire.Ver{Epoch: l.ver.Epoch, Count: l.told})
			for _, id := range sortedIDs(l.watchers) {
				if now.After(l.watchers[id]) {
					delete(l.watchers, id)
					continue
				}
				d.send(now, id, m, out)
			}
		}
		l.told = l.ver.Count
	}
}

// delta returns what is newer in a list than a version, or all of it if that is of
// another epoch.
func (d *Directory) delta(now time.Time, l *list, from wire.Ver) wire.Members {
	m := wire.Members{Name: l.name, Ver: l.ver, Incomplete: !d.knowsAll(now, l)}
	full := from.Epoch != l.ver.Epoch || from.Count > l.ver.Count
	if !full {
		m.From = from
		m.Entries = l.newer(from.Count)
	}
	if full || len(m.Entries) > maxEntries {
		m.From = wire.Ver{}
		m.Entries = l.current()
	}
	if len(m.Entries) > maxEntries {
		m.Partial = true
		d.rng.Shuffle(len(m.Entries), func(i, j int) { m.Entries[i], m.Entries[j] = m.Entries[j], m.Entries[i] })
		m.Entries = m.Entries[:maxEntries]
	}
	return m
}

// newer returns what has changed since a count, tombstones included.
func (l *list) newer(count uint32) (es []wire.Entry) {
	for _, id := range sortedIDs(l.entries) {
		if e := l.entries[id]; e.changed > count {
			es = append(es, e.Entry)
		}
	}
	return es
}

// current returns the nodes with members.
func (l *list) current() (es []wire.Entry) {
	for _, id := range sortedIDs(l.entries) {
		if e := l.entries[id]; e.Members > 0 {
			es = append(es, e.Entry)
		}
	}
	return es
}

// resolve answers who asks for the members of names.
func (d *Directory) resolve(now time.Time, from ring.ID, m wire.Resolve, out *Output) {
	for _, h := range m.Names {
		if !d.rules(now, from, m.Query, h.Name, out) {
			continue
		}
		l := d.list(now, h.Name)
		if m.Watch {
			d.watch(now, l, from)
		}
		answer := d.delta(now, l, h.Ver)
		answer.Query = m.Query
		d.send(now, from, answer, out)
	}
}

// rules reports whether this node is the root of a name, and tells the asker who is
// if it is not. A replica answers a name's members too, as far as it knows them: it
// is asked when the root does not know all.
func (d *Directory) rules(now time.Time, from ring.ID, query uint32, name wire.Name, out *Output) bool {
	owner := d.ring.Owner(name.Key)
	state := d.ring.State()
	if from == d.self || owner == d.self && state == wire.Active {
		return true
	}
	if state == wire.Active && query != 0 && d.lists[name] != nil && slices.Contains(d.ring.Replicas(name.Key), d.self) && query&replicaQuery != 0 {
		return true
	}
	if !owner.IsZero() && owner != d.self {
		d.Stats.Redirects++
		d.send(now, from, wire.Redirect{Query: query, Name: name, Owner: owner, Addrs: d.ring.Addrs(owner)}, out)
	}
	return false
}

func (d *Directory) watch(now time.Time, l *list, id ring.ID) {
	if _, ok := l.watchers[id]; !ok && len(l.watchers) >= maxWatchers {
		d.Stats.WatchersDropped++
		return
	}
	l.watchers[id] = now.Add(lease)
}

// check answers a publisher: whatever it does not know comes before the answer.
func (d *Directory) check(now time.Time, from ring.ID, m wire.Check, out *Output) {
	answer := wire.Checked{Check: m.Check}
	for i, h := range m.Names {
		c := wire.CheckedName{Index: uint16(i)}
		if d.ring.Owner(h.Name.Key) != d.self || d.ring.State() == wire.Joining || d.ring.State() == wire.InLeaving {
			c.State = wire.CheckNotMine
			answer.Names = append(answer.Names, c)
			continue
		}
		l := d.list(now, h.Name)
		d.watch(now, l, from)
		c.Ver = l.ver
		if h.Ver != l.ver {
			d.send(now, from, d.delta(now, l, h.Ver), out)
			c.State = wire.CheckNewer
		}
		if !d.knowsAll(now, l) {
			d.Stats.Incomplete++
			c.State = wire.CheckIncomplete
		}
		if h.Ver != l.ver || c.State == wire.CheckIncomplete {
			answer.Names = append(answer.Names, c)
		}
	}
	d.send(now, from, answer, out)
}
