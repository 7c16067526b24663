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
	due
	name      wire.Name
	root      ring.ID // who was asked; zero: nobody yet
	query     uint32  // the question under way, as it was last asked; 0: none
	first     uint32  // the same, as it was first asked of this root
	redirects int
	pause     time.Duration
	ver       wire.Ver // of what is known
	overtook  wire.Ver // of news that came before the answer they follow
	unsure    bool     // who said so did not know all: the whole list is asked for
	members   map[ring.ID]wire.Entry
	gone      []ring.ID // member nodes that are no more, unless they object
	wait      waiting
}

// Watch asks for the member nodes of a name, now and whenever they change, until
// Unwatch.
func (d *Directory) Watch(now time.Time, name wire.Name, out *Output) {
	if d.watched[name] == nil {
		w := &watch{name: name, members: make(map[ring.ID]wire.Entry)}
		d.watched[name] = w
		d.asking.set(w, now)
		d.ask(now, out)
	}
}

// Unwatch ends a Watch.
func (d *Directory) Unwatch(name wire.Name) {
	if w := d.watched[name]; w != nil {
		d.asking.set(w, time.Time{})
		delete(d.watched, name)
	}
}

// Gone says that a node turned out to have no member of a name.
func (d *Directory) Gone(now time.Time, name wire.Name, node ring.ID, out *Output) {
	if w := d.watched[name]; w != nil {
		w.drop(node, out)
		w.ver = wire.Ver{} // the root may know of a later announcement, and not of the end before it
		w.query = 0
		d.asking.set(w, now)
		d.ask(now, out)
	}
}

// unwanted is the same, told by the node itself.
func (d *Directory) unwanted(now time.Time, from ring.ID, m wire.Unwanted, out *Output) {
	if w := d.watched[m.Name]; w != nil {
		if e, ok := w.members[from]; ok && e.Seq <= m.Seq {
			d.Stats.Unwanted++
			d.Gone(now, m.Name, from, out)
		}
	}
}

// drop takes a node out of what is known.
func (w *watch) drop(id ring.ID, out *Output) {
	if w.has(id) {
		delete(w.members, id)
		out.step(Changed, Change{Name: w.name, Node: id})
	}
}

// ask sends the questions that are due, those to one root together.
func (d *Directory) ask(now time.Time, out *Output) {
	if at := d.asking.next(); at.IsZero() || now.Before(at) {
		return // as most often
	}
	due := make(map[ring.ID][]wire.Held)
	query := uint32(0)
	for w, ok := d.asking.pop(now); ok; w, ok = d.asking.pop(now) {
		to := w.root
		if w.redirects == 0 || w.query != 0 { // or it did not answer
			to, w.redirects = d.ring.Owner(w.name.Key), 0
		}
		if to.IsZero() { // ViewChanged tells when there is one
			d.asking.set(w, now.Add(time.Second))
			continue
		}
		if query == 0 {
			query = d.question()
		}
		if w.query == 0 || to != w.root {
			w.first = query
		}
		w.root, w.query = to, query
		w.pause = min(max(2*w.pause, patience), mostPatience)
		d.asking.set(w, now.Add(w.pause))
		held := wire.Held{Name: w.name, Ver: w.ver}
		if w.unsure {
			held.Ver = wire.Ver{}
		}
		due[to] = append(due[to], held)
	}
	for _, to := range sortedIDs(due) {
		for names := range slices.Chunk(due[to], perMessage) {
			d.send(now, to, wire.Resolve{Query: query, Watch: true, Names: names}, out)
		}
	}
}

// askNow has a name asked for at once, of whoever is its root now.
func (d *Directory) askNow(now time.Time, w *watch) {
	w.redirects, w.pause, w.query = 0, 0, 0
	d.asking.set(w, now)
}

// asked reports whether an answer is to the question under way, whichever time it was
// asked. Numbers begin anew at times.
func (w *watch) asked(query uint32) bool {
	return w.query != 0 && query-w.first <= w.query-w.first
}

// redirected takes the word that another node is root.
func (d *Directory) redirected(now time.Time, from ring.ID, m wire.Redirect, out *Output) {
	w := d.watched[m.Name]
	if w == nil || from != w.root || !w.asked(m.Query) || m.Owner.IsZero() {
		return
	}
	w.query, w.pause = 0, 0
	if w.redirects++; w.redirects > maxRedirects {
		d.Stats.RedirectLimits++
		w.redirects, w.root = 0, ring.ID{}
		d.asking.set(w, now.Add(redirectWait))
		return
	}
	w.root = m.Owner
	d.asking.set(w, now)
	d.ask(now, out)
}

// members takes a list, or what is new in it.
func (d *Directory) members(now time.Time, from ring.ID, m wire.Members, out *Output) {
	w := d.watched[m.Name]
	switch {
	case w == nil:
		return
	case m.Query&replicaQuery != 0:
		if w.unsure { // else it would bring back who has left
			w.add(m, d.self, out)
		}
		return
	case from != w.root:
		return // it was root before
	}
	answer := w.asked(m.Query)
	if !w.follows(m, answer) {
		if w.query == 0 || m.Query == w.query {
			d.asking.set(w, now)
			d.ask(now, out)
		} else if o := w.overtook; m.Ver.Epoch != o.Epoch || m.Ver.Count > o.Count {
			w.overtook = m.Ver // the answer has it, or was sent before
		}
		return
	}
	sure := !w.unsure
	if w.news(m, answer) {
		d.apply(w, m, out)
	}
	if answer {
		w.query, w.redirects, w.pause = 0, 0, 0
		d.asking.set(w, now.Add(renewal))
	}
	if w.unsure && w.query == 0 {
		d.asking.set(w, now.Add(doubtful))
	}
	if o := w.overtook; answer && o != (wire.Ver{}) {
		w.overtook = wire.Ver{}
		if o.Epoch == w.ver.Epoch && o.Count > w.ver.Count {
			d.asking.set(w, now)
			d.ask(now, out)
		}
	}
	if w.unsure && sure && len(w.members) == 0 {
		d.askReplicas(w, out)
	}
	d.confirm(w, out)
}

// follows reports whether a list can be put in the place of what is known, or added to
// it: nothing in between is missing. A late answer may be of an epoch before: which of
// two is the later one only the order of the questions tells.
func (w *watch) follows(m wire.Members, answer bool) bool {
	switch {
	case m.Ver.Epoch == w.ver.Epoch:
		return m.From == wire.Ver{} || m.From.Count <= w.ver.Count
	case m.From != wire.Ver{}:
		return false
	}
	return answer || m.Query == 0 || w.ver == wire.Ver{}
}

// news reports whether a list that follows says more than is known.
func (w *watch) news(m wire.Members, answer bool) bool {
	switch {
	case m.Ver.Epoch != w.ver.Epoch || m.Ver.Count > w.ver.Count:
		return true
	case m.Query != 0 && !answer: // a later answer may have said that this is all
		return false
	}
	return m.Ver.Count == w.ver.Count
}

// apply makes what is known what was told.
func (d *Directory) apply(w *watch, m wire.Members, out *Output) {
	if m.From == (wire.Ver{}) {
		w.unsure = m.Incomplete
		if !m.Incomplete {
			w.gone = nil
		}
		if !m.Incomplete && !m.Partial { // what is not in a full list is gone
			in := make(map[ring.ID]bool, len(m.Entries))
			for _, e := range m.Entries {
				in[e.Node] = true
			}
			for _, id := range sortedIDs(w.members) {
				if !in[id] {
					w.drop(id, out)
				}
			}
		}
	}
	w.add(m, d.self, out)
	w.ver = m.Ver
}

// askReplicas asks those who may know more than a root that does not know all, and
// knows of nobody.
func (d *Directory) askReplicas(w *watch, out *Output) {
	d.Stats.Incomplete++
	for _, id := range d.ring.Replicas(w.name.Key) {
		if id != d.self {
			out.Send = append(out.Send, Send{id, wire.Resolve{Query: replicaQuery, Names: []wire.Held{{Name: w.name}}}})
		}
	}
}

// add takes entries in. The numbers of a node's announcements to root and replicas
// differ, so where they say other things a root that knows all is believed.
func (w *watch) add(m wire.Members, self ring.ID, out *Output) {
	for _, e := range m.Entries {
		old, had := w.members[e.Node]
		switch {
		case e.Node == self, e.Node.IsZero(), m.Incomplete && had && e.Seq < old.Seq:
		case e.Members == 0:
			w.drop(e.Node, out)
		case !had || old.Workers != e.Workers:
			w.members[e.Node] = e
			out.step(Changed, Change{w.name, e.Node, int(e.Members), int(e.Workers)})
		default:
			w.members[e.Node] = e
		}
	}
}

func (w *watch) has(id ring.ID) bool {
	_, ok := w.members[id]
	return ok
}

// lost follows the end of a member node.
func (w *watch) lost(id ring.ID, out *Output) {
	w.drop(id, out)
	if w.gone = append(w.gone, id); len(w.gone) > maxGone {
		w.gone = w.gone[1:]
	}
}

// misled reports that a change of the view may have made what is known of a name wrong:
// it has another root now, or one that may not have held a member node for dead.
func (d *Directory) misled(name wire.Name, w *watch) bool {
	return w.root != d.ring.Owner(name.Key) || slices.ContainsFunc(w.gone, d.ring.Knows)
}

func (d *Directory) reroot(now time.Time, w *watch) {
	if slices.ContainsFunc(w.gone, d.ring.Knows) {
		w.gone, w.ver = nil, wire.Ver{}
	}
	w.root = ring.ID{}
	d.askNow(now, w)
}
