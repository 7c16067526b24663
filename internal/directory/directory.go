// Package directory knows which nodes have members of a name. What is known of a
// name is kept by its root, the node closest to the name's key, and a few replicas
// beside it; member nodes announce themselves to them, and whoever uses the name
// asks the root once and is told of changes (docs/messaging.md).
//
// It holds no names, only their keys, and decides nothing about who owns a key: the
// overlay does. Everything in it is pure.
package directory

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

const (
	tombstone    = 60 * time.Second       // how long it is remembered that a node has no members
	lease        = 60 * time.Second       // of a watcher
	renewal      = 20 * time.Second       // of a watch, well within the lease
	doubtful     = 3 * time.Second        // until a root that does not know all is asked again
	former       = 30 * time.Second       // how long a list is good that is no longer ours
	incomplete   = 10 * time.Second       // how long a new root may not know all
	patience     = 200 * time.Millisecond // until something unanswered is sent again; doubles
	mostPatience = 5 * time.Second
	redirectWait = 100 * time.Millisecond // after too many redirects
	maxRedirects = 4
	checkEvery   = 10 * time.Millisecond  // between checks of one root; doubles
	checkSeldom  = 160 * time.Millisecond // up to this, until there is nothing to check for as long
	maxWatchers  = 4096
	maxEntries   = 1024             // of one list that are told
	maxTold      = 16 * maxEntries  // in answer to one message: half of what a control lane holds
	perMessage   = 400              // names in one message
	digestEvery  = 30 * time.Second // a round of digests, but one a second at most
	stranger     = 3 * time.Second  // how long one that is not known may have members
	maxGone      = 64               // member nodes that may yet object to their death
	maxLists     = 100_000          // that are kept for others
	maxLeft      = 1 << 15          // names without members any more that are remembered
	maxNodes     = 8192             // in one list, tombstones included
	maxStrangers = 1024
)

// A Ring says who owns what; overlay.Overlay is one.
type Ring interface {
	State() wire.State
	Owner(key ring.ID) ring.ID
	Replicas(key ring.ID) []ring.ID
	Knows(id ring.ID) bool
	Addrs(id ring.ID) []wire.Addr
}

// Output is what is to be done after a call. Calls append to it; whoever carries it
// out resets it.
type Output struct {
	Send  []Send
	Steps []Step // to be applied in this order
}

// Reset empties out and keeps its memory.
func (out *Output) Reset() {
	clear(out.Send)
	*out = Output{out.Send[:0], out.Steps[:0]}
}

// A Step is what happened to a name that is watched, or published to.
type Step struct {
	What What
	Change
}

// What a Step is.
type What byte

const (
	Changed   What = iota // a node has members, or none any more
	Checked               // a check leaves that covers all that was published so far
	Confirmed             // it was answered by a root that knows all, and all it said has been a Step
)

func (out *Output) step(w What, c Change) { out.Steps = append(out.Steps, Step{w, c}) }

// A Send is a message for another node.
type Send struct {
	To  ring.ID
	Msg wire.Message
}

// A Change is what a watched name's root says of another node; 0 members: it has
// none any more.
type Change struct {
	Name             wire.Name
	Node             ring.ID
	Members, Workers int
}

// Stats counts what went another way than the straight one.
type Stats struct {
	Redirects, RedirectLimits, Incomplete, WatchersDropped, Unwanted, Mismatches uint64

	Full      uint64 // names, or nodes of one, that there was no room for
	Forgotten uint64 // names that this node has left, forgotten before their time
}

// A Directory is one node's part of it. Not safe for concurrent use; times must not
// go backwards.
type Directory struct {
	Stats Stats

	self ring.ID
	ring Ring
	rng  *rand.Rand
	seq  uint64 // of announcements

	local   map[wire.Name]*local // what this node announces
	left    []leaving            // those of it without members any more, in order
	lists   map[wire.Name]*list  // what others announced to this node
	watched map[wire.Name]*watch // what this node wants to know
	checks  map[ring.ID]*check   // by root

	unacknowledged map[uint64]*pending // announcements, by seq

	repeating agenda[*pending]
	pushing   agenda[*list]
	asking    agenda[*watch]
	checking  agenda[*check]
	query     uint32

	swept    time.Time
	digestAt time.Time // when a keeper is next told the sum of what it should have
	digested int       // how many were

	alone     bool                  // as long as the ring says so
	doubts    map[ring.ID]uint64    // nodes whose sums did not match last time: the newest announcement by then
	strangers map[ring.ID]time.Time // nodes that announced and are not known: when that counts no more
	ended     map[ring.ID]time.Time // nodes with members that are dead, and since when
}

// New returns a directory that knows nothing. The seed is of its jitter, and of the
// epochs of the lists it becomes root of.
func New(now time.Time, self ring.ID, seed uint64, r Ring) *Directory {
	return &Directory{
		self: self, ring: r, rng: rand.New(rand.NewPCG(seed, self.Lo)),
		local:   make(map[wire.Name]*local),
		lists:   make(map[wire.Name]*list),
		watched: make(map[wire.Name]*watch),
		checks:  make(map[ring.ID]*check),

		unacknowledged: make(map[uint64]*pending),

		swept:    now,
		digestAt: now.Add(digestEvery),

		alone:     r.State() == wire.Solo,
		doubts:    make(map[ring.ID]uint64),
		strangers: make(map[ring.ID]time.Time),
		ended:     make(map[ring.ID]time.Time),
	}
}

func compareNames(a, b wire.Name) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Key.Compare(b.Key))
}

// those returns the names that something is true of, in order: to look at all is cheap,
// to sort them is not.
func those[V any](m map[wire.Name]V, is func(wire.Name, V) bool) []wire.Name {
	var names []wire.Name
	for name, v := range m { //iris:unordered sorted below
		if is(name, v) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, compareNames)
	return names
}

func sortedIDs[V any](m map[ring.ID]V) []ring.ID {
	return slices.SortedFunc(maps.Keys(m), ring.ID.Compare) //iris:unordered sorted here
}

// send sends a message; to this node itself it is received at once.
func (d *Directory) send(now time.Time, to ring.ID, m wire.Message, out *Output) {
	if to == d.self {
		d.Receive(now, d.self, m, out)
		return
	}
	out.Send = append(out.Send, Send{to, m})
}

// Receive takes a message of the directory's from a node. Others are ignored.
func (d *Directory) Receive(now time.Time, from ring.ID, m wire.Message, out *Output) {
	switch m := m.(type) {
	case wire.Announce:
		d.announced(now, from, m, out)
	case wire.Announced:
		d.acknowledged(now, from, m)
	case wire.Resolve:
		d.resolve(now, from, m, out)
	case wire.Members:
		d.members(now, from, m, out)
	case wire.Redirect:
		d.redirected(now, from, m, out)
	case wire.Check:
		d.check(now, from, m, out)
	case wire.Checked:
		d.checked(now, from, m, out)
	case wire.Replicate:
		d.replicate(now, from, m, out)
	case wire.DigestDir:
		d.compare(now, from, m, out)
	case wire.Unwanted:
		d.unwanted(now, from, m, out)
	}
}

// Advance does what is due.
func (d *Directory) Advance(now time.Time, out *Output) {
	d.repeat(now, out)
	d.endStrangers(now, out)
	d.push(now, out)
	d.sendChecks(now, out)
	d.ask(now, out)
	d.digest(now, out)
	d.sweep(now)
}

// Next returns when Advance is due.
func (d *Directory) Next() time.Time {
	at := d.swept.Add(tombstone)
	for _, t := range [...]time.Time{d.digestAt, d.repeating.next(), d.pushing.next(), d.asking.next(), d.checking.next()} {
		if !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	for _, t := range d.strangers { //iris:unordered a minimum
		if t.Before(at) {
			at = t
		}
	}
	return at
}

// ViewChanged tells that owners may be others than before.
func (d *Directory) ViewChanged(now time.Time, out *Output) {
	d.settleLists(now, out)
	d.askRevived(now, out)
	d.announceAll(now, out)
	for _, name := range those(d.watched, d.misled) {
		d.reroot(now, d.watched[name])
	}
	d.moveChecks(now, out)
	d.push(now, out)
	d.ask(now, out)
}

// Linked tells that there is a new link to a node: what was sent over the last one
// may be lost.
func (d *Directory) Linked(now time.Time, id ring.ID, out *Output) {
	for _, p := range slices.Clone(d.repeating.heap) {
		if p.to == id {
			d.repeating.set(p, now)
		}
	}
	for _, name := range those(d.watched, func(n wire.Name, w *watch) bool { return w.root == id || d.ring.Owner(n.Key) == id }) {
		d.askNow(now, d.watched[name])
	}
	if c := d.checks[id]; c != nil {
		c.lost()
		d.plan(c)
	}
	d.Advance(now, out)
}

// NodeGone tells that a node is no more: its leases end.
func (d *Directory) NodeGone(now time.Time, id ring.ID, out *Output) {
	delete(d.doubts, id)
	delete(d.strangers, id)
	for _, name := range those(d.lists, func(_ wire.Name, l *list) bool { return l.has(id) }) {
		d.end(now, d.lists[name], id)
	}
	for _, l := range d.lists { //iris:unordered each by itself
		delete(l.watchers, id)
	}
	for _, name := range those(d.watched, func(_ wire.Name, w *watch) bool { return w.has(id) }) {
		d.watched[name].lost(id, out)
	}
	d.forget(func(p *pending) bool { return p.to == id })
	d.push(now, out)
}

// endStrangers ends what nodes announced that nobody knows: what they said came after
// the news of their end.
func (d *Directory) endStrangers(now time.Time, out *Output) {
	if len(d.strangers) == 0 {
		return
	}
	for _, id := range sortedIDs(d.strangers) {
		switch {
		case d.ring.Knows(id):
			delete(d.strangers, id)
		case !now.Before(d.strangers[id]):
			d.NodeGone(now, id, out)
		}
	}
}

// Mourned tells that others held this node for dead: what it announced and whom it
// watches they have forgotten.
func (d *Directory) Mourned(now time.Time, out *Output) {
	for _, name := range those(d.watched, func(wire.Name, *watch) bool { return true }) {
		d.askNow(now, d.watched[name])
	}
	d.Again(now, out)
	d.ask(now, out)
}

// sweep forgets what is of no use any more.
func (d *Directory) sweep(now time.Time) {
	for len(d.left) > 0 && now.Sub(d.left[0].at) >= tombstone {
		d.forgetLeft()
	}
	if now.Sub(d.swept) < tombstone {
		return
	}
	d.swept = now
	for id, at := range d.ended { //iris:unordered each by itself
		if now.Sub(at) >= tombstone {
			delete(d.ended, id)
		}
	}
	for name, l := range d.lists { //iris:unordered each by itself
		for id, e := range l.entries { //iris:unordered each by itself
			if e.Members == 0 && now.Sub(e.gone) >= tombstone {
				l.swept = max(l.swept, e.changed)
				delete(l.entries, id)
			}
		}
		for id, until := range l.watchers { //iris:unordered each by itself
			if now.After(until) {
				delete(l.watchers, id)
			}
		}
		switch {
		case l.role == none && now.Sub(l.since) >= former,
			len(l.entries) == 0 && len(l.watchers) == 0 && now.Sub(l.used) >= former:
			d.pushing.set(l, time.Time{})
			delete(d.lists, name)
		}
	}
}
