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
	due      // when watchers are told of what is new
	name     wire.Name
	role     role
	since    time.Time // when it took the role
	complete bool      // all that is to be known is known
	ver      wire.Ver
	entries  map[ring.ID]*entry
	swept    uint32                // the count of the newest change that is forgotten
	watchers map[ring.ID]time.Time // until when
	told     uint32                // the count up to which watchers were told
	used     time.Time
}

type entry struct {
	wire.Entry
	changed uint32    // the count with which it became what it is
	gone    time.Time // of a tombstone
}

// list finds or makes the list of a name. It returns nil if there are too many.
func (d *Directory) list(now time.Time, name wire.Name) *list {
	l := d.lists[name]
	if l == nil && len(d.lists) >= maxLists {
		d.Stats.Full++
		return nil
	}
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

// roleOf returns what the ring says that this node is to a name.
func (d *Directory) roleOf(name wire.Name) role {
	switch {
	case d.ring.Owner(name.Key) == d.self:
		return root
	case slices.Contains(d.ring.Replicas(name.Key), d.self):
		return replica
	}
	return none
}

// take gives the list the role that it has now.
func (d *Directory) take(now time.Time, l *list) {
	is := d.roleOf(l.name)
	if is == l.role {
		return
	}
	if l.role == none && now.Sub(l.since) >= former { // who left meanwhile may not remember it any more
		clear(l.entries)
	}
	l.role, l.since = is, now
	l.complete = false
	if is != root {
		return
	}
	l.ver = wire.Ver{Epoch: d.rng.Uint32() | 1, Count: l.ver.Count + 1}
	l.told = l.ver.Count
	if len(l.watchers) > 0 { // of a time before, who may not have seen that it is another one
		l.told--
		d.schedule(now, l, false)
	}
}

// settleList follows a change of the view. It returns what a node that is root no
// longer has to hand over.
func (d *Directory) settleList(now time.Time, l *list) []wire.Replica {
	was, complete := l.role, l.complete || now.Sub(l.since) >= incomplete
	d.take(now, l)
	if was != root || l.role == root || !complete { // what is not all would be taken for it
		return nil
	}
	var all []wire.Replica
	for _, id := range sortedIDs(l.entries) {
		all = append(all, wire.Replica{Name: l.name, Ver: l.ver, Entry: l.entries[id].Entry})
	}
	return append(all, wire.Replica{Name: l.name, Ver: l.ver}) // nobody: that is all
}

// settleLists has all lists follow a change of the view. Whoever is root no longer
// hands over what it knows to who is, so that that one knows all. What is known to
// a node that was alone is not all.
func (d *Directory) settleLists(now time.Time, out *Output) {
	alone := d.alone
	d.alone = d.ring.State() == wire.Solo
	if alone && !d.alone {
		for _, l := range d.lists { //iris:unordered each by itself
			l.complete, l.since = false, now
		}
	}
	over := make(map[ring.ID][][]wire.Replica) // list by list
	for _, name := range those(d.lists, func(n wire.Name, l *list) bool { return l.role != d.roleOf(n) }) {
		all := d.settleList(now, d.lists[name])
		if to := d.ring.Owner(name.Key); !to.IsZero() && to != d.self {
			over[to] = append(over[to], all)
		}
	}
	for _, to := range sortedIDs(over) {
		d.handOver(now, to, over[to], out)
	}
}

// handOver sends lists to who is root now. What says that a list is all comes with all
// of it in one message, or not at all: of two one may be lost.
func (d *Directory) handOver(now time.Time, to ring.ID, lists [][]wire.Replica, out *Output) {
	var m []wire.Replica
	for _, l := range lists {
		if len(l) > perMessage {
			for part := range slices.Chunk(l[:len(l)-1], perMessage) {
				d.send(now, to, wire.Replicate{Entries: part}, out)
			}
			continue
		}
		if len(m)+len(l) > perMessage {
			d.send(now, to, wire.Replicate{Entries: m}, out)
			m = nil
		}
		m = append(m, l...)
	}
	if len(m) > 0 {
		d.send(now, to, wire.Replicate{Entries: m}, out)
	}
}

// knowsAll reports whether a root may say of its list that it is complete.
func (d *Directory) knowsAll(now time.Time, l *list) bool {
	switch {
	case l.role != root:
		return false
	case l.complete || d.ring.State() == wire.Solo:
		return true
	case now.Sub(l.since) >= incomplete || len(d.ring.Replicas(l.name.Key)) == 0:
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
// whether that is for watchers to know; how many members exactly is not.
func (l *list) set(now time.Time, in wire.Entry) bool {
	e := l.entries[in.Node]
	switch {
	case e == nil: // a tombstone too: what is older may still be under way
		e = new(entry)
		l.entries[in.Node] = e
	case in.Seq <= e.Seq:
		return false
	}
	was := e.Entry
	e.Entry = in
	if in.Members == 0 {
		e.gone = now
	}
	if in.Members == 0 && was.Members == 0 || in.Members > 0 && was.Members > 0 && in.Workers == was.Workers {
		return false
	}
	l.change(e)
	return true
}

func (l *list) has(id ring.ID) bool { return l.entries[id] != nil && l.entries[id].Members > 0 }

// end has a node have no members any more, though it did not say so itself.
func (d *Directory) end(now time.Time, l *list, id ring.ID) {
	if e := l.entries[id]; l.has(id) {
		e.Members, e.gone = 0, now
		d.ended[id] = now
		l.change(e)
		d.schedule(now, l, false)
	}
}

// askRevived asks those that were not dead after all to announce everything once more:
// they have, but that may have come before the news of their death.
func (d *Directory) askRevived(now time.Time, out *Output) {
	if len(d.ended) == 0 {
		return
	}
	for _, id := range sortedIDs(d.ended) {
		if d.ring.Knows(id) {
			delete(d.ended, id)
			d.send(now, id, wire.DigestDir{Role: wire.DigestAnswer, Wanted: true}, out)
		}
	}
}

// empty reports that no node has members.
func (l *list) empty() bool {
	for _, e := range l.entries { //iris:unordered is there one
		if e.Members > 0 {
			return false
		}
	}
	return true
}

// announced takes an announcement. One that there is no room for is not acknowledged,
// and so comes again.
func (d *Directory) announced(now time.Time, from ring.ID, m wire.Announce, out *Output) {
	if !d.admits(now, from) {
		d.Stats.Full++
		return
	}
	answer, all := wire.Announced{Seq: m.Seq}, true
	for i, r := range m.Names {
		if !d.keeps(r.Name) {
			answer.NotMine = append(answer.NotMine, uint16(i))
			continue
		}
		all = d.include(now, r.Name, wire.Entry{Node: from, Members: r.Members, Workers: r.Workers, Seq: m.Seq}) && all
	}
	if all {
		d.send(now, from, answer, out)
	}
	d.push(now, out)
}

// admits reports whether a node may announce. One that is not known may for a while.
func (d *Directory) admits(now time.Time, id ring.ID) bool {
	if id == d.self || d.ring.Knows(id) || !d.strangers[id].IsZero() {
		return true
	}
	if len(d.strangers) >= maxStrangers {
		return false
	}
	d.strangers[id] = now.Add(stranger)
	return true
}

// include takes an entry into the list of a name. It reports whether there was room.
func (d *Directory) include(now time.Time, name wire.Name, e wire.Entry) bool {
	l := d.list(now, name)
	if l == nil {
		return false
	}
	if l.entries[e.Node] == nil && len(l.entries) >= maxNodes {
		d.Stats.Full++
		return false
	}
	empty := l.empty()
	if l.set(now, e) {
		d.schedule(now, l, empty)
	}
	return true
}

// keeps reports whether this node is root or a replica of a name.
func (d *Directory) keeps(name wire.Name) bool { return d.roleOf(name) != none }

// replicate takes what a former root knew.
func (d *Directory) replicate(now time.Time, from ring.ID, m wire.Replicate, out *Output) {
	for _, r := range m.Entries {
		if !d.keeps(r.Name) {
			continue
		}
		switch e := r.Entry; {
		case e.Node.IsZero():
			if l := d.list(now, r.Name); l != nil {
				l.complete = l.role == root
			}
		case e.Node == d.self: // this node knows that better
		case e.Members == 0 || d.ring.Knows(e.Node):
			d.include(now, r.Name, e)
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
	if l.at.IsZero() || at.Before(l.at) {
		d.pushing.set(l, at)
	}
}

// push tells watchers of changes that are due.
func (d *Directory) push(now time.Time, out *Output) {
	for l, ok := d.pushing.pop(now); ok; l, ok = d.pushing.pop(now) {
		if l.role == root && l.told != l.ver.Count && len(l.watchers) > 0 {
			m := d.delta(now, l, wire.Ver{Epoch: l.ver.Epoch, Count: l.told})
			for _, id := range sortedIDs(l.watchers) {
				if now.After(l.watchers[id]) || id != d.self && d.ring.State() != wire.Active {
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
	full := from.Epoch != l.ver.Epoch || from.Count > l.ver.Count || from.Count < l.swept
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
func (l *list) newer(count uint32) []wire.Entry {
	return l.those(func(e *entry) bool { return e.changed > count })
}

// current returns the nodes with members.
func (l *list) current() []wire.Entry {
	return l.those(func(e *entry) bool { return e.Members > 0 })
}

func (l *list) those(are func(*entry) bool) (es []wire.Entry) {
	for _, e := range l.entries { //iris:unordered sorted below
		if are(e) {
			es = append(es, e.Entry)
		}
	}
	slices.SortFunc(es, func(a, b wire.Entry) int { return a.Node.Compare(b.Node) })
	return es
}

// resolve answers who asks for the members of names.
func (d *Directory) resolve(now time.Time, from ring.ID, m wire.Resolve, out *Output) {
	told := 0
	for _, h := range m.Names {
		if told++; told > maxTold {
			return // the rest is asked again
		}
		if !d.rules(now, from, m.Query, h.Name, out) {
			continue
		}
		l := d.list(now, h.Name)
		if l == nil {
			continue // it asks again
		}
		if m.Watch {
			d.watch(now, l, from)
		}
		answer := d.delta(now, l, h.Ver)
		answer.Query = m.Query
		told += len(answer.Entries)
		d.send(now, from, answer, out)
	}
}

// rules reports whether this node is the root of a name, and tells the asker who is
// if it is not. A replica answers a name's members too, as far as it knows them: it
// is asked when the root does not know all.
func (d *Directory) rules(now time.Time, from ring.ID, query uint32, name wire.Name, out *Output) bool {
	if d.answers(from, name) {
		return true
	}
	if d.ring.State() == wire.Active && query&replicaQuery != 0 && d.lists[name] != nil && slices.Contains(d.ring.Replicas(name.Key), d.self) {
		return true
	}
	owner := d.ring.Owner(name.Key)
	if !owner.IsZero() && owner != d.self {
		d.Stats.Redirects++
		d.send(now, from, wire.Redirect{Query: query, Name: name, Owner: owner, Addrs: d.ring.Addrs(owner)}, out)
	}
	return false
}

// answers reports whether this node is the root of a name, to a node.
func (d *Directory) answers(from ring.ID, name wire.Name) bool {
	return from == d.self || d.ring.State() == wire.Active && d.ring.Owner(name.Key) == d.self
}

func (d *Directory) watch(now time.Time, l *list, id ring.ID) {
	if _, ok := l.watchers[id]; !ok && len(l.watchers) >= maxWatchers {
		d.Stats.WatchersDropped++
		return
	}
	l.watchers[id] = now.Add(lease)
}

// check answers a publisher: whatever it does not know comes before the answer. If that
// is too much, it has to ask for it.
func (d *Directory) check(now time.Time, from ring.ID, m wire.Check, out *Output) {
	answer, told := wire.Checked{Check: m.Check}, 0
	for i, h := range m.Names {
		c := wire.CheckedName{Index: uint16(i)}
		if !d.answers(from, h.Name) {
			c.State = wire.CheckNotMine
			answer.Names = append(answer.Names, c)
			continue
		}
		l := d.list(now, h.Name)
		if l == nil {
			c.State = wire.CheckIncomplete
			answer.Names = append(answer.Names, c)
			continue
		}
		d.watch(now, l, from)
		c.Ver = l.ver
		if h.Ver != l.ver {
			if told <= maxTold {
				news := d.delta(now, l, h.Ver)
				told += 1 + len(news.Entries)
				d.send(now, from, news, out)
			}
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
