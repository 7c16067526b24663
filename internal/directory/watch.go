package directory

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// replicaQuery marks the numbers of questions that go to replicas.
const replicaQuery = 1 << 31

// A watch is a name whose member nodes this node wants to know.
type watch struct {
	root      ring.ID // who was asked; zero: nobody yet
	query     uint32  // the question under way; 0: none
	redirects int
	pause     time.Duration
	at        time.Time // when it is asked again
	ver       wire.Ver  // of what is known
	unsure    bool      // who said so did not know all: the whole list is asked for
	members   map[ring.ID]wire.Entry
	gone      []ring.ID // member nodes that are no more, unless they object
}

// Watch asks for the member nodes of a name, now and whenever they change, until
// Unwatch.
func (d *Directory) Watch(now time.Time, name wire.Name, out *Output) {
	if d.watched[name] == nil {
		d.watched[name] = &watch{at: now, members: make(map[ring.ID]wire.Entry)}
		d.ask(now, out)
	}
}

// Unwatch ends a Watch.
func (d *Directory) Unwatch(name wire.Name) { delete(d.watched, name) }

// Gone says that a node turned out to have no member of a name.
func (d *Directory) Gone(now time.Time, name wire.Name, node ring.ID, out *Output) {
	if w := d.watched[name]; w != nil {
		w.drop(name, node, out)
		w.ver, w.at = wire.Ver{}, now // the root may know of a later announcement
		d.ask(now, out)
	}
}

// unwanted is the same, told by the node itself.
func (d *Directory) unwanted(now time.Time, from ring.ID, m wire.Unwanted, out *Output) {
	if w := d.watched[m.Name]; w != nil {
		if e, ok := w.members[from]; ok && e.Seq <= m.Seq {
			d.Stats.Unwanted++
			w.drop(m.Name, from, out)
		}
	}
}

// drop takes a node out of what is known.
func (w *watch) drop(name wire.Name, id ring.ID, out *Output) {
	if _, ok := w.members[id]; ok {
		delete(w.members, id)
		out.step(Changed, Change{Name: name, Node: id})
	}
}

// ask sends the questions that are due.
func (d *Directory) ask(now time.Time, out *Output) {
	for _, name := range sorted(d.watched) {
		w := d.watched[name]
		if w == nil || now.Before(w.at) {
			continue
		}
		to := w.root
		if w.redirects == 0 || to.IsZero() {
			to = d.ring.Owner(name.Key)
		}
		if to.IsZero() {
			w.at = now.Add(checkEvery)
			continue
		}
		d.query = d.query%(replicaQuery-1) + 1
		w.root, w.query = to, d.query
		w.pause = min(max(2*w.pause, patience), time.Second)
		w.at = now.Add(w.pause)
		held := wire.Held{Name: name, Ver: w.ver}
		if w.unsure {
			held.Ver = wire.Ver{}
		}
		d.send(now, to, wire.Resolve{Query: w.query, Watch: true, Names: []wire.Held{held}}, out)
	}
}

// redirected takes the word that another node is root.
func (d *Directory) redirected(now time.Time, from ring.ID, m wire.Redirect, out *Output) {
	w := d.watched[m.Name]
	if w == nil || from != w.root || m.Owner.IsZero() {
		return
	}
	if w.redirects++; w.redirects > maxRedirects {
		d.Stats.RedirectLimits++
		w.redirects, w.root, w.at = 0, ring.ID{}, now.Add(redirectWait)
		return
	}
	w.root, w.at = m.Owner, now
	d.ask(now, out)
}

// members takes a list, or what is new in it.
func (d *Directory) members(now time.Time, from ring.ID, m wire.Members, out *Output) {
	w := d.watched[m.Name]
	if w == nil {
		return
	}
	fromReplica := m.Query&replicaQuery != 0
	if m.Query != 0 && !fromReplica && m.Query != w.query {
		return // of an earlier question
	}
	if fromReplica {
		w.add(m, d.self, out)
		return
	}
	if m.From != (wire.Ver{}) && m.From != w.ver && !(m.From.Epoch == w.ver.Epoch && m.From.Count <= w.ver.Count) {
		w.pause, w.at = 0, now // something in between is missing
		d.ask(now, out)
		return
	}
	if m.From == (wire.Ver{}) && !m.Partial && !m.Incomplete { // what is not in a full list is gone
		w.gone = nil
		for _, id := range sortedIDs(w.members) {
			if !slices.ContainsFunc(m.Entries, func(e wire.Entry) bool { return e.Node == id }) {
				w.drop(m.Name, id, out)
			}
		}
	}
	w.add(m, d.self, out)
	if w.ver.Epoch != m.Ver.Epoch || m.Ver.Count > w.ver.Count {
		w.ver = m.Ver
	}
	if m.Query != 0 {
		w.query, w.redirects, w.pause = 0, 0, 0
		w.unsure = m.Incomplete
		w.at = now.Add(renewal)
		if m.Incomplete {
			w.at = now.Add(time.Second)
			if len(w.members) == 0 { // that it knows of none says nothing yet
				d.Stats.Incomplete++
				w.at = now.Add(redirectWait)
				for _, id := range d.ring.Replicas(m.Name.Key) {
					if id != d.self {
						out.Send = append(out.Send, Send{id, wire.Resolve{Query: w.query | replicaQuery, Names: []wire.Held{{Name: m.Name}}}})
					}
				}
			}
		}
	}
	d.confirmAll(now, m.Name, out)
}

// add takes entries in.
func (w *watch) add(m wire.Members, self ring.ID, out *Output) {
	for _, e := range m.Entries {
		old, had := w.members[e.Node]
		switch {
		case e.Node == self, had && e.Seq < old.Seq:
		case e.Members == 0:
			w.drop(m.Name, e.Node, out)
		case !had || old.Workers != e.Workers:
			w.members[e.Node] = e
			out.step(Changed, Change{m.Name, e.Node, int(e.Members), int(e.Workers)})
		default:
			w.members[e.Node] = e
		}
	}
}
