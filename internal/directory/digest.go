package directory

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// digest tells one keeper of this node's names the sum of what it should know of them,
// the next one the next time: a backstop for whatever was missed.
func (d *Directory) digest(now time.Time, out *Output) {
	if now.Before(d.digestAt) {
		return
	}
	sums := make(map[ring.ID]*wire.DigestDir)
	for name, l := range d.local { //iris:unordered sums
		if l.members == 0 {
			continue
		}
		for _, id := range l.keepers {
			if id == d.self {
				continue
			}
			m := sums[id]
			if m == nil {
				m = &wire.DigestDir{Role: wire.DigestMember}
				sums[id] = m
			}
			m.Count++
			m.Sum += mix(name)
		}
	}
	keepers := sortedIDs(sums)
	if len(keepers) == 0 {
		d.digestAt = now.Add(digestEvery)
		return
	}
	d.digested++
	d.digestAt = now.Add(max(digestEvery/time.Duration(len(keepers)), time.Second))
	to := keepers[d.digested%len(keepers)]
	if !d.announces(to) { // else it may not have it all yet
		d.send(now, to, *sums[to], out)
	}
}

// announces reports whether something that was announced to a node is not acknowledged.
func (d *Directory) announces(to ring.ID) bool {
	return slices.ContainsFunc(d.repeating.heap, func(p *pending) bool { return p.to == to })
}

// announceRest announces to a keeper all that is not being announced to it already.
func (d *Directory) announceRest(now time.Time, to ring.ID, out *Output) {
	underWay := make(map[wire.Name]bool)
	for _, p := range d.repeating.heap {
		if p.to != to {
			continue
		}
		for _, name := range p.names {
			underWay[name] = true
		}
	}
	for name, l := range d.local { //iris:unordered each by itself
		if !underWay[name] {
			l.keepers = slices.DeleteFunc(l.keepers, func(k ring.ID) bool { return k == to })
		}
	}
	d.announceAll(now, out)
}

// compare takes the sum of what this node should know of another one's names, or the
// word that a keeper wants to be told everything.
func (d *Directory) compare(now time.Time, from ring.ID, m wire.DigestDir, out *Output) {
	switch {
	case m.Role == wire.DigestAnswer && m.Wanted:
		d.announceRest(now, from, out)
	case m.Role == wire.DigestMember:
		d.compareSum(now, from, m, out)
	}
}

func (d *Directory) compareSum(now time.Time, from ring.ID, m wire.DigestDir, out *Output) {
	var count uint32
	var sum, newest uint64
	for name, l := range d.lists { //iris:unordered sums
		if l.has(from) && l.role != none {
			count++
			sum += mix(name)
			newest = max(newest, l.entries[from].Seq)
		}
	}
	last, again := d.doubts[from]
	delete(d.doubts, from)
	if count == m.Count && sum == m.Sum {
		return
	}
	d.Stats.Mismatches++
	if d.ring.Knows(from) { // else nobody would say when it is gone
		d.doubts[from] = newest
	}
	if again { // it has announced everything since, but not what is older
		for _, name := range those(d.lists, func(_ wire.Name, l *list) bool { return l.has(from) && l.entries[from].Seq <= last }) {
			d.end(now, d.lists[name], from)
		}
	}
	d.send(now, from, wire.DigestDir{Role: wire.DigestAnswer, Wanted: true}, out)
}

// mix spreads a name over 64 bits.
func mix(n wire.Name) uint64 {
	return (n.Key.Hi ^ n.Key.Lo*0x9e3779b97f4a7c15) + uint64(n.Kind)
}
