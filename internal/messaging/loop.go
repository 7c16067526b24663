package messaging

import (
	"cmp"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// interestIdle is how long a name that no program uses is watched on.
const interestIdle = 60 * time.Second

// crowdedIdle is the same when there are so many that programs may soon be refused more.
const crowdedIdle = interestIdle / 4

// An interest is a name whose member nodes the data plane wants to know.
type interest struct {
	name  string
	nodes map[ring.ID]int // their workers
	last  time.Time       // when it was last seen in use
	fee   fee
}

// Asks is what the data plane wants of the control plane, in order. The caller
// reuses it.
type Asks struct {
	Watch, Unwatch []wire.Name // names whose member nodes are to be told, or no longer
	Published      []wire.Name // names that were published to since their last check
	Hurried        []wire.Name // of these, whose check is to leave soon
	Left           []Absence   // nodes that turned out to have no member of a name
	Unwanted       []Absence   // nodes that publish to a name in vain
	Wanted         []ring.ID   // nodes to which there should be a link
	Messages       []Message   // for control planes of others, in whatever way they get there
}

// A Message is for a node's control plane.
type Message struct {
	To  ring.ID
	Msg wire.Message
}

// Reset empties a for its next use.
func (a *Asks) Reset() {
	clear(a.Messages)
	*a = Asks{a.Watch[:0], a.Unwatch[:0], a.Published[:0], a.Hurried[:0], a.Left[:0], a.Unwanted[:0], a.Wanted[:0], a.Messages[:0]}
}

// An Absence is a node without members of a name.
type Absence struct {
	Name wire.Name
	Node ring.ID
}

// Key returns what stands for a name between nodes.
func (p *Plane) Key(k core.Kind, name string) wire.Name {
	return wire.Name{Kind: k, Key: ring.Key(p.network, byte(k), name, 0)}
}

// Register makes the connection known to the loop's side, before core's word
// about it is applied. Loop.
func (p *Plane) Register(c *Conn) { p.conns[c.ID] = c }

// Forget is the opposite of Register. Loop.
func (p *Plane) Forget(c *Conn) {
	p.gone.add(&c.Counts)
	delete(p.conns, c.ID)
}

// Join says that there are other nodes. From now on what is published is kept for
// them, also while none of them can be reached. Loop.
func (p *Plane) Join() { p.alone.Store(false) }

// Drain has attempts of other nodes refused from now on. Loop.
func (p *Plane) Drain() { p.draining.Store(true) }

// Draining reports whether Drain was called. Safe for concurrent use.
func (p *Plane) Draining() bool { return p.draining.Load() }

// Open returns how many requests and builds programs of this node have in hand. Loop.
func (p *Plane) Open() int {
	n := 0
	for _, c := range p.conns { //iris:unordered a sum
		n += c.Load()
	}
	return n
}

// Workers returns how many requests this node says that it can work on at once.
func (p *Plane) Workers() int { return p.workers }

// Apply makes the snapshot and the cells what core says of this node's programs.
// When it returns every reader finds what it was told to find, and a cluster's
// parked calls are with its new member. Loop.
func (p *Plane) Apply(now time.Time, b *queue.Batch, changes []core.Change) {
	for _, ch := range changes {
		c := p.conns[ch.Conn]
		switch {
		case ch.Kind == core.Topic && ch.Join:
			p.joinTopic(ch.Name, c)
		case ch.Kind == core.Topic:
			p.leaveTopic(ch.Name, c)
		case ch.Join:
			p.joinCluster(ch.Name, c)
		default:
			p.leaveCluster(ch.Name, c)
		}
	}
	p.publish()
	for _, ch := range changes {
		if ch.Kind == core.Cluster {
			p.unpark(now, b, ch.Name, true)
		}
	}
}

// publish makes the changed parts of the snapshot visible.
func (p *Plane) publish() {
	for _, i := range p.changed {
		p.shards[i].Store(p.next[i])
		p.next[i] = nil
	}
	p.changed = p.changed[:0]
}

// Attend hears what the data plane has to say, and asks what follows of the
// control plane. Loop.
func (p *Plane) Attend(now time.Time, b *queue.Batch, asks *Asks) {
	p.mu.Lock()
	notes := p.notes
	p.notes = nil
	p.adopt()
	p.publish() // with the lock held, or a reader would find them in neither place
	p.mu.Unlock()
	p.heed(now, asks)
	var names []string
	try := make(map[string]bool) // those whose calls are all to be tried
	add := func(name string, all bool) {
		if _, ok := try[name]; !ok {
			names = append(names, name)
		}
		try[name] = try[name] || all
	}
	told := make(map[Absence]bool)
	wanted := make(map[*interest]bool)
	for _, n := range notes {
		switch {
		case n.gone:
			p.giveUp(n.name)
		case n.used != nil:
			p.watch(now, core.Cluster, n.used.everyone.name, nil, asks)
		case n.pub != nil:
			p.watch(now, core.Kind(n.pub.key.Kind), n.pub.name, nil, asks)
			asks.Published = append(asks.Published, n.pub.key)
			if n.pub.hasty() {
				asks.Hurried = append(asks.Hurried, n.pub.key)
			}
		case n.roomy != nil:
			p.goOn(now, b, n.roomy)
		case n.msg != nil:
			asks.Messages = append(asks.Messages, Message{n.to, n.msg})
		case n.left != nil:
			p.drop(n.key, n.left)
			asks.Left = append(asks.Left, Absence{n.key, n.left.ID})
		case n.unwanted != nil:
			if a := (Absence{n.key, n.unwanted.ID}); !told[a] {
				told[a] = true
				asks.Unwanted = append(asks.Unwanted, a)
			}
		case n.ticket.conn == nil:
			add(n.name, true)
		default:
			if _, _, ok := n.ticket.parked(); !ok {
				continue // it gave up before it was heard of
			}
			i := p.watch(now, core.Cluster, n.name, n.ticket.conn.purse, asks)
			if i == nil && p.network != "" {
				n.ticket.answer(b, Refused, nil)
				continue
			}
			w := p.waiting[n.name]
			if w == nil {
				w = &waiting{}
				p.waiting[n.name] = w
			}
			t := parked{ticket: n.ticket}
			if n.busy > 0 {
				t.at = now.Add(n.busy)
				w.due(t.at)
			} else {
				add(n.name, false)
			}
			w.tickets = append(w.tickets, t)
			if i != nil && !wanted[i] {
				wanted[i] = true
				p.want(i, asks)
			}
		}
	}
	for _, name := range names {
		p.unpark(now, b, name, try[name])
	}
}

// adopt takes the cells that readers made into the snapshot, with p.mu held.
func (p *Plane) adopt() {
	for _, name := range slices.Sorted(maps.Keys(p.freshTopics)) {
		if s := p.shard(name); s.topics[name] == nil {
			p.addTopic(name, p.freshTopics[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.freshClusters)) {
		if s := p.shard(name); s.clusters[name] == nil {
			p.addCluster(name, p.freshClusters[name])
		}
	}
	clear(p.freshTopics)
	clear(p.freshClusters)
}

// freshCluster returns the cell of a cluster that has none in the snapshot. The
// loop takes it over. It returns nil if whoever pays for it cannot. Safe for concurrent
// use.
func (p *Plane) freshCluster(name []byte, payer *purse) *cluster {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cl := p.cluster(name); cl != nil && !cl.everyone.closed.Load() { // since we looked
		return cl
	}
	cl := p.freshClusters[string(name)]
	if cl == nil {
		paid, ok := p.charge(payer, len(name))
		if !ok {
			return nil
		}
		cl = &cluster{}
		cl.everyone.fee = paid
		p.title(&cl.everyone, core.Cluster, string(name))
		cl.rng = rand.New(rand.NewPCG(p.Self.Hi^p.Self.Lo, cl.everyone.key.Key.Lo)) // no two nodes choose alike
		p.freshClusters[string(name)] = cl
	}
	return cl
}

// freshTopic is the same for a topic.
func (p *Plane) freshTopic(name []byte, payer *purse) *publication {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.topic(name); t != nil && !t.closed.Load() {
		return t
	}
	t := p.freshTopics[string(name)]
	if t == nil {
		paid, ok := p.charge(payer, len(name))
		if !ok {
			return nil
		}
		t = &publication{topic: true, fee: paid}
		p.title(t, core.Topic, string(name))
		p.freshTopics[string(name)] = t
	}
	return t
}

// title prepares a new cell, with p.mu held.
func (p *Plane) title(t *publication, k core.Kind, name string) {
	t.name, t.title = name, []byte(name)
	t.kept.small.Budget = p.Budget
	if p.network == "" {
		return
	}
	t.key = p.Key(k, name)
	next, ok := p.numbers[t.key]
	if !ok {
		next = p.floor
	}
	delete(p.numbers, t.key)
	t.next, t.confirmed, t.kept.first = next, next, next
}

// close ends a cell: its stream goes on where it was if the name is used again. It
// reports false if other nodes are still to hear of something.
func (p *Plane) close(t *publication) bool {
	p.mu.Lock() // nobody makes another cell of the name before its number is known
	defer p.mu.Unlock()
	next, ok := t.close()
	if !ok {
		return false
	}
	p.refund(&t.fee)
	if t.topic {
		delete(p.freshTopics, t.name)
	} else {
		delete(p.freshClusters, t.name)
	}
	if p.network == "" || next == p.floor {
		return true
	}
	if len(p.numbers) >= maxNumbers {
		for _, n := range p.numbers { //iris:unordered a maximum
			p.floor = max(p.floor, n)
		}
		clear(p.numbers)
	}
	p.numbers[t.key] = next
	return true
}

// watch asks for the member nodes of a name that is in use. It returns nil if there are
// no other nodes, or whoever pays for it cannot.
func (p *Plane) watch(now time.Time, k core.Kind, name string, payer *purse, asks *Asks) *interest {
	if p.network == "" {
		return nil
	}
	key := p.Key(k, name)
	i := p.names[key]
	if i == nil {
		paid, ok := p.charge(payer, len(name))
		if !ok {
			return nil
		}
		i = &interest{name: name, nodes: make(map[ring.ID]int), fee: paid}
		p.names[key] = i
		if cl := p.shard(name).clusters[name]; k == core.Cluster && cl != nil {
			cl.watched.Store(true)
		}
		asks.Watch = append(asks.Watch, key)
	}
	i.last = now
	return i
}

// Member applies what the control plane says of another node's members of a name.
// The next publish shows it. Loop.
func (p *Plane) Member(b *queue.Batch, m directory.Change, asks *Asks) {
	i := p.names[m.Name]
	if i == nil {
		return
	}
	if m.Members > 0 {
		i.nodes[m.Node] = m.Workers
		p.joinNode(b, i, m)
		if peer := p.Peer(m.Node); peer.linked() == nil {
			peer.need()
			asks.Wanted = append(asks.Wanted, m.Node)
		}
	} else {
		p.drop(m.Name, p.Peer(m.Node))
	}
}

// drop takes a node out of those with members of a name.
func (p *Plane) drop(key wire.Name, peer *Peer) {
	i := p.names[key]
	if i == nil {
		return
	}
	if _, ok := i.nodes[peer.ID]; ok {
		delete(i.nodes, peer.ID)
		p.leaveNode(i, key, peer)
	}
}

// want asks for links to the nodes with members of a name that there are none to.
func (p *Plane) want(i *interest, asks *Asks) {
	for _, id := range slices.SortedFunc(maps.Keys(i.nodes), ring.ID.Compare) { //iris:unordered sorted here
		if p.Peer(id).linked() == nil {
			asks.Wanted = append(asks.Wanted, id)
		}
	}
}

// Found hands the calls that wait for a name to the nodes that have turned out to
// have members. Loop.
func (p *Plane) Found(now time.Time, b *queue.Batch, name wire.Name) {
	if i := p.names[name]; i != nil && name.Kind == wire.Cluster {
		p.unpark(now, b, i.name, true)
	}
}

func (p *Plane) joinNode(b *queue.Batch, i *interest, m directory.Change) {
	peer := p.Peer(m.Node)
	if m.Name.Kind == wire.Topic {
		t := p.shard(i.name).topics[i.name]
		if t == nil {
			return // nobody publishes to it any more
		}
		t.joinNode(b, peer)
		return
	}
	cl := p.shard(i.name).clusters[i.name]
	if cl == nil {
		cl = p.freshCluster([]byte(i.name), nil)
		p.addCluster(i.name, cl)
	}
	cl.watched.Store(true)
	cl.joinNode(peer, m.Workers)
	cl.everyone.joinNode(b, peer)
}

func (p *Plane) leaveNode(i *interest, key wire.Name, peer *Peer) {
	s := p.shard(i.name)
	if key.Kind == wire.Topic {
		if t := s.topics[i.name]; t != nil {
			t.leaveNode(peer)
		}
		return
	}
	if cl := s.clusters[i.name]; cl != nil {
		cl.leaveNode(peer)
		cl.everyone.leaveNode(peer)
	}
}

// Checked notes that a check of the name is on its way. Loop.
func (p *Plane) Checked(name wire.Name) {
	if k := p.cell(name); k.pub != nil {
		k.pub.check()
	}
}

// Confirmed notes that the check of the name was answered by a root that knows all
// there is to know, and that what it said has been applied. Loop.
func (p *Plane) Confirmed(name wire.Name, asks *Asks) {
	if k := p.cell(name); k.pub != nil && k.pub.confirm() {
		asks.Published = append(asks.Published, name)
	}
}

// Nack answers a peer that misses numbers of a stream. Loop.
func (p *Plane) Nack(b *queue.Batch, from ring.ID, m wire.Nack) {
	if k, peer := p.cell(m.Name), p.peer(from); k.pub != nil && peer != nil {
		k.pub.nack(b, peer, m.From, m.To)
	}
}

// Room says that a lane of the link to the peer has room again. Safe for
// concurrent use.
func (p *Peer) Room() { p.plane.post(note{roomy: p}) }

// mend sends a peer what it was not sent of the streams it takes part in. With lost
// set a link was lost, with what was written to it. It reports whether the peer may miss
// something. Loop.
func (p *Plane) mend(b *queue.Batch, peer *Peer, lost bool) (any bool) {
	for _, key := range p.with(peer) {
		if pub := p.cell(key).pub; pub != nil {
			any = pub.mend(b, peer, lost) || any
		}
	}
	return any
}

// reach has the clusters that the peer has members of know that the link to it has
// come or gone. Loop.
func (p *Plane) reach(peer *Peer) {
	for _, key := range p.with(peer) {
		if cl := p.cell(key).cluster; cl != nil {
			cl.reach(peer)
		}
	}
}

// with returns the names that the peer is known to have members of, in order. Loop.
func (p *Plane) with(peer *Peer) []wire.Name {
	var keys []wire.Name
	for key, i := range p.names { //iris:unordered sorted below
		if _, ok := i.nodes[peer.ID]; ok {
			keys = append(keys, key)
		}
	}
	sortNames(keys)
	return keys
}

// cell returns the cell of a name. Loop.
func (p *Plane) cell(key wire.Name) keyed {
	i := key.Key.Lo % shards
	if p.next[i] != nil {
		return p.next[i].keys[key]
	}
	return p.shards[i].Load().keys[key]
}

func sortNames(names []wire.Name) {
	slices.SortFunc(names, func(a, b wire.Name) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Key.Compare(b.Key))
	})
}

// Next returns when Advance is due, if it is. Loop.
func (p *Plane) Next(now time.Time) (time.Time, bool) {
	var at time.Time
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	for _, w := range p.waiting { //iris:unordered a minimum
		if !w.at.IsZero() {
			sooner(w.at)
		}
	}
	if p.lookAt.IsZero() && (p.holding.Load() > 0 || p.short.Load() || p.canceled.Load()) {
		p.lookAt = now.Add(streamSweep)
	}
	if !p.lookAt.IsZero() {
		sooner(p.lookAt)
	}
	if t := p.detourDue(); !t.IsZero() {
		sooner(t)
	}
	if p.network != "" && (len(p.names) > 0 || p.knows()) {
		sooner(p.swept.Add(interestIdle / 4))
	}
	return at, !at.IsZero()
}

// Advance does what has come due. Loop.
func (p *Plane) Advance(now time.Time, b *queue.Batch, asks *Asks) {
	var due []string
	for name, w := range p.waiting { //iris:unordered sorted below
		if !w.at.IsZero() && !now.Before(w.at) {
			w.at = time.Time{}
			due = append(due, name)
		}
	}
	slices.Sort(due)
	for _, name := range due {
		p.unpark(now, b, name, false)
	}
	if !p.lookAt.IsZero() && !now.Before(p.lookAt) {
		p.lookAt = time.Time{}
		p.short.Store(false)
		if p.canceled.Swap(false) {
			p.dropCanceled()
		}
		for _, peer := range p.sortedPeers() {
			peer.sweep(now, b)
			if peer.short.Swap(false) {
				p.goOn(now, b, peer)
			}
		}
	}
	p.lookAtDetours(now, b, asks)
	if p.network != "" && !now.Before(p.swept.Add(interestIdle/4)) {
		p.swept = now
		p.sweep(now, asks)
	}
}

// sweep lets go of what has not been used for long.
func (p *Plane) sweep(now time.Time, asks *Asks) {
	idle := interestIdle
	if p.uses.Used() > p.uses.Limit()/4 {
		idle = crowdedIdle
	}
	for _, key := range p.sortedNames() {
		i := p.names[key]
		s := p.shard(i.name)
		cl, t := s.clusters[i.name], s.topics[i.name]
		var pub *publication
		busy := false
		switch {
		case key.Kind == wire.Topic && t != nil:
			pub = t
		case key.Kind == wire.Cluster && cl != nil:
			pub = &cl.everyone
			busy = cl.used.Swap(false) || cl.load.Load() > 0
		}
		if pub != nil {
			busy = pub.used.Swap(false) || busy
		}
		if p.waiting[i.name] != nil && key.Kind == wire.Cluster {
			busy = true
		}
		if busy {
			i.last = now
			p.want(i, asks)
			continue
		}
		if now.Sub(i.last) < idle {
			continue
		}
		if pub != nil && pub.busy() {
			continue
		}
		for _, id := range slices.SortedFunc(maps.Keys(i.nodes), ring.ID.Compare) { //iris:unordered sorted here
			p.leaveNode(i, key, p.Peer(id))
		}
		delete(p.names, key)
		p.refund(&i.fee)
		kind := core.Kind(key.Kind)
		asks.Unwatch = append(asks.Unwatch, key)
		if kind == core.Cluster && cl != nil {
			cl.watched.Store(false)
			if cl.used.Load() { // by somebody who thought that it was watched
				p.post(note{used: cl})
			}
		}
		if pub != nil {
			pub.rest()
		}
		p.prune(kind, i.name)
	}
	p.publish()
	tick := p.Timers.Tick(now) // the word that nobody waits may have been lost with a link
	p.dropServed(func(g *grant) bool { return g.remains(tick) == 0 })
	p.sweepPeers(now, asks)
}

func (p *Plane) sortedNames() []wire.Name {
	names := make([]wire.Name, 0, len(p.names))
	for n := range p.names { //iris:unordered sorted below
		names = append(names, n)
	}
	sortNames(names)
	return names
}

// dropCanceled takes back attempts that other nodes say nobody waits for.
func (p *Plane) dropCanceled() {
	canceled := make(map[*Peer]map[uint64]bool)
	for _, peer := range p.sortedPeers() {
		peer.seen.Lock()
		if len(peer.seen.canceled) > 0 {
			canceled[peer] = peer.seen.canceled
			peer.seen.canceled = nil
		}
		peer.seen.Unlock()
	}
	p.dropServed(func(g *grant) bool { return canceled[g.origin][g.number] })
}

// dropServed takes back the attempts of other nodes that f picks.
func (p *Plane) dropServed(f func(g *grant) bool) {
	for _, c := range p.sortedConns() {
		for _, id := range c.served.matching(func(g *grant) bool { return g.origin != nil && f(g) }) {
			c.drop(id)
		}
	}
}

// tryAll hands what waits for any cluster to whoever will take it.
func (p *Plane) tryAll(now time.Time, b *queue.Batch) {
	for _, name := range slices.Sorted(maps.Keys(p.waiting)) {
		p.unpark(now, b, name, true)
	}
}

// unpark hands the calls that wait for the name to its members, in order, up to
// the first that they will not take: it and what follows wait on. So do those whose
// time has not come, unless all are to be tried.
func (p *Plane) unpark(now time.Time, b *queue.Batch, name string, all bool) {
	w := p.waiting[name]
	if w == nil {
		return
	}
	w.at = time.Time{}
	taken := true
	w.tickets = slices.DeleteFunc(w.tickets, func(t parked) bool {
		if taken && (all || !now.Before(t.at)) {
			body, given, ok := t.parked()
			if !ok {
				return true
			}
			if taken = p.place(now, b, t.ticket, []byte(name), body, given, choice{}, true); taken {
				return true
			}
		}
		if now.Before(t.at) {
			w.due(t.at)
		}
		return false
	})
	if len(w.tickets) == 0 {
		delete(p.waiting, name)
		return
	}
	if cl := p.cluster([]byte(name)); !taken && cl != nil && cl.elsewhere() {
		w.due(now.Add(firstPause)) // nobody will say when they have room
	}
}

// due has calls tried at a time, if that is not to happen before.
func (w *waiting) due(at time.Time) {
	if w.at.IsZero() || at.Before(w.at) {
		w.at = at
	}
}

// giveUp counts a call that no longer waits for the name.
func (p *Plane) giveUp(name string) {
	w := p.waiting[name]
	if w == nil {
		return
	}
	if w.gone++; w.gone*2 < len(w.tickets) {
		return
	}
	w.gone = 0
	w.tickets = slices.DeleteFunc(w.tickets, func(t parked) bool {
		_, _, waits := t.parked()
		return !waits
	})
	if len(w.tickets) == 0 {
		delete(p.waiting, name)
	}
}

func (p *Plane) joinCluster(name string, c *Conn) {
	cl := p.shard(name).clusters[name]
	if cl == nil {
		cl = p.freshCluster([]byte(name), nil)
		p.addCluster(name, cl)
		if i := p.names[cl.everyone.key]; i != nil {
			cl.watched.Store(true)
		}
	}
	c.home = cl
	cl.join(c)
	cl.everyone.join(c)
}

func (p *Plane) leaveCluster(name string, c *Conn) {
	cl := p.shard(name).clusters[name]
	left := cl.everyone.leave(c)
	cl.leave(c)
	if left == 0 {
		p.vacate(cl.everyone.key)
		p.prune(core.Cluster, name)
	}
}

func (p *Plane) joinTopic(name string, c *Conn) {
	c.names += NameCost(name)
	p.Budget.Force(NameCost(name))
	t := p.shard(name).topics[name]
	if t == nil {
		t = p.freshTopic([]byte(name), nil)
		p.addTopic(name, t)
	}
	t.join(c)
}

func (p *Plane) leaveTopic(name string, c *Conn) {
	c.names -= NameCost(name)
	p.Budget.Give(NameCost(name))
	t := p.shard(name).topics[name]
	if t.leave(c) == 0 {
		p.vacate(t.key)
		p.prune(core.Topic, name)
	}
}

// vacate has all streams to the name start anew when it has members again.
func (p *Plane) vacate(key wire.Name) {
	for _, peer := range p.sortedPeers() {
		peer.vacate(key)
	}
}

func (p *Plane) addCluster(name string, cl *cluster) {
	p.change(name).clusters[name] = cl
	if p.network != "" {
		p.changeAt(cl.everyone.key.Key.Lo % shards).keys[cl.everyone.key] = keyed{cl, &cl.everyone}
	}
}

func (p *Plane) addTopic(name string, t *publication) {
	p.change(name).topics[name] = t
	if p.network != "" {
		p.changeAt(t.key.Key.Lo % shards).keys[t.key] = keyed{nil, t}
	}
}

// prune removes the cell of a name that nobody here is a member of and nobody
// here uses.
func (p *Plane) prune(k core.Kind, name string) {
	var pub *publication
	if k == core.Topic {
		pub = p.shard(name).topics[name]
	} else if cl := p.shard(name).clusters[name]; cl != nil {
		pub = &cl.everyone
	}
	if pub == nil || p.names[pub.key] != nil || pub.members.Load() > 0 || !p.close(pub) {
		return
	}
	if k == core.Topic {
		delete(p.change(name).topics, name)
	} else {
		delete(p.change(name).clusters, name)
	}
	if p.network != "" {
		delete(p.changeAt(pub.key.Key.Lo%shards).keys, pub.key)
	}
}

// shard returns the part of the snapshot that holds the name, with the changes of
// this turn.
func (p *Plane) shard(name string) *shard {
	i := maphash.String(p.seed, name) % shards
	if p.next[i] != nil {
		return p.next[i]
	}
	return p.shards[i].Load()
}

// change returns the same to be changed: a copy, made once a turn and published
// at its end.
func (p *Plane) change(name string) *shard { return p.changeAt(maphash.String(p.seed, name) % shards) }

func (p *Plane) changeAt(i uint64) *shard {
	if p.next[i] == nil {
		s := p.shards[i].Load()
		n := &shard{
			make(map[string]*cluster, len(s.clusters)+1),
			make(map[string]*publication, len(s.topics)+1),
			make(map[wire.Name]keyed, len(s.keys)+1),
		}
		maps.Copy(n.clusters, s.clusters)
		maps.Copy(n.topics, s.topics)
		maps.Copy(n.keys, s.keys)
		p.next[i] = n
		p.changed = append(p.changed, i)
	}
	return p.next[i]
}
