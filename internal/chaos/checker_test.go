package main

import (
	"fmt"
	"strings"
	"testing"
)

const (
	client  = "host1.client.1.1"
	service = "host2.service.1.1"
	other   = "host3.service.1.1"
)

// A story is what programs wrote and nodes counted, with two services and a client
// that are attached.
type story struct {
	*checker
	at int64
}

func newStory() *story {
	s := &story{checker: newChecker()}
	for i, name := range []string{client, service, other} {
		s.tell(name, record{What: attaching, Node: fmt.Sprintf("host%d.node.1", i+1)}, record{What: ready})
	}
	return s
}

// tell has the program of a session write records, each a nanosecond later.
func (s *story) tell(session string, records ...record) {
	for _, r := range records {
		s.at++
		r.At, r.Session = s.at, session
		s.take(&r)
	}
}

// want checks which promises are found broken, in order.
func (s *story) want(t *testing.T, promises ...string) {
	t.Helper()
	s.finish()
	var got []string
	for _, b := range s.Broken {
		got = append(got, b.Promise+": "+b.What)
	}
	if len(got) != len(promises) {
		t.Fatalf("%d promises are found broken, want %d:\n%s", len(got), len(promises), strings.Join(got, "\n"))
	}
	for i, p := range promises {
		if s.Broken[i].Promise != p {
			t.Errorf("found broken: %s; want: %s", got[i], p)
		}
	}
}

func TestRequests(t *testing.T) {
	ask := record{What: asked, ID: "1", To: allMembers}
	run := record{What: executed, ID: "1", To: allMembers}
	reply := record{What: answered, ID: "1", Why: replied, From: service}
	timeout := record{What: answered, ID: "1", Why: timedOut}
	wait := func(s *story) *story { s.at += int64(requestTime); return s }
	for _, c := range []struct {
		name string
		tell func(*story)
		want []string
	}{
		{"replied", func(s *story) { s.tell(client, ask); s.tell(service, run); s.tell(client, reply) }, nil},
		{"the reply is read before the execution", func(s *story) { s.tell(client, ask, reply); s.tell(service, run) }, nil},
		{"timeout, not executed", func(s *story) { s.tell(client, ask); wait(s).tell(client, timeout) }, nil},
		{"timeout, executed", func(s *story) { s.tell(client, ask); wait(s).tell(client, timeout); s.tell(service, run) }, nil},
		{"executed twice by one", func(s *story) { s.tell(client, ask); s.tell(service, run, run); s.tell(client, reply) }, []string{onceExecuted}},
		{"executed twice by two", func(s *story) {
			s.tell(client, ask)
			s.tell(service, run)
			s.tell(other, run)
			wait(s).tell(client, timeout)
		},
			[]string{onceExecuted}},
		{"executed again after the timeout", func(s *story) {
			s.tell(client, ask)
			s.tell(service, run)
			wait(s).tell(client, timeout)
			s.tell(other, run)
		},
			[]string{onceExecuted}},
		{"timeout before its time", func(s *story) { s.tell(client, ask, timeout) }, []string{notEarly}},
		{"answered twice", func(s *story) {
			s.tell(client, ask)
			s.tell(service, run)
			s.tell(client, reply)
			wait(s).tell(client, timeout)
		}, []string{onceAnswered}},
		{"never answered", func(s *story) { s.tell(client, ask) }, []string{onceAnswered}},
		{"never answered, and the session ended", func(s *story) { s.tell(client, ask, record{What: detached}) }, nil},
		{"never answered, and the client was killed", func(s *story) { s.tell(client, ask); s.killed(programOf(client)) }, nil},
		{"replied and not executed", func(s *story) { s.tell(client, ask, reply) }, []string{trueReply}},
		{"replied by another", func(s *story) { s.tell(client, ask); s.tell(other, run); s.tell(client, reply) }, []string{trueReply}},
		{"executed and not asked", func(s *story) { s.tell(service, run) }, []string{trueReply}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory()
			c.tell(s)
			s.want(t, c.want...)
		})
	}
}

func TestStreams(t *testing.T) {
	publish := func(s *story, to string, count uint64) {
		for n := range count {
			s.tell(client, record{What: published, To: to, N: n + 1})
		}
	}
	hear := func(s *story, by string, to string, numbers ...uint64) {
		for _, n := range numbers {
			s.tell(by, record{What: heard, From: client, To: to, N: n})
		}
	}
	for _, c := range []struct {
		name string
		tell func(*story)
		want []string
	}{
		{"all", func(s *story) { hear(s, service, "sun", 1, 2, 3); hear(s, other, "sun", 1, 2, 3) }, nil},
		{"not from the start, nor to the end", func(s *story) { hear(s, service, "sun", 3, 4) }, nil},
		{"two names", func(s *story) {
			hear(s, service, "sun", 1)
			hear(s, service, allMembers, 3, 4)
			hear(s, service, "sun", 2)
		}, nil},
		{"again in a new session", func(s *story) {
			hear(s, service, "sun", 1, 2)
			s.tell("host2.service.2.1", record{What: attaching, Node: "host2.node.1"})
			hear(s, "host2.service.2.1", "sun", 2, 3)
		}, nil},
		{"twice", func(s *story) { hear(s, service, "sun", 1, 2, 2, 3) }, []string{inOrder}},
		{"out of order", func(s *story) { hear(s, service, "sun", 1, 3, 2); s.counted("host2.node.1", s.at, 1) }, []string{inOrder}},
		{"missed and not declared", func(s *story) { hear(s, service, "sun", 1, 4) }, []string{noHoles}},
		{"missed and declared", func(s *story) { hear(s, service, "sun", 1, 4); s.counted("host2.node.1", s.at, 2) }, nil},
		{"missed more than was declared", func(s *story) { hear(s, service, "sun", 1, 4); s.counted("host2.node.1", s.at, 1) }, []string{noHoles}},
		{"missed, and declared by another node", func(s *story) { hear(s, service, "sun", 1, 4); s.counted("host3.node.1", s.at, 2) }, []string{noHoles}},
		{"missed after the node was last asked", func(s *story) {
			s.counted("host2.node.1", s.at, 0)
			hear(s, service, "sun", 1, 4)
			s.counted("host2.node.1", s.at, 2)
		}, nil},
		{"missed since the node was killed", func(s *story) { s.counted("host2.node.1", s.at, 0); hear(s, service, "sun", 1, 4) }, nil},
		{"never published", func(s *story) { hear(s, service, "sun", 5, 6) }, []string{noGhost}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory()
			publish(s, "sun", 5)
			publish(s, allMembers, 5)
			c.tell(s)
			if !strings.Contains(c.name, "the node") { // it is asked in the end
				for _, node := range []string{"host2.node.1", "host3.node.1"} {
					s.counted(node, s.at, s.streams.node(node).gaps)
				}
			}
			s.want(t, c.want...)
		})
	}
}

func TestTunnels(t *testing.T) {
	const id = "host1.client.1.1/tunnel1"
	open := func(side side) record { return record{What: opened, ID: id, Side: side} }
	closes := func(octets uint64) record { return record{What: closing, ID: id, Side: opener, Out: octets} }
	end := func(side side, octets uint64, why string) record {
		return record{What: ended, ID: id, Side: side, In: octets, Sum: newFlow(id).sum(octets), Why: why}
	}
	corrupt := end(acceptor, 1000, endEOF)
	corrupt.Sum ^= 1
	for _, c := range []struct {
		name              string
		opener, acceptors []record
		want              []string
	}{
		{"whole", []record{open(opener), closes(1000), end(opener, 1000, endClosed)}, []record{open(acceptor), end(acceptor, 1000, endEOF)}, nil},
		{"broken off", []record{open(opener), end(opener, 10, endBroken)}, []record{open(acceptor), end(acceptor, 500, endBroken)}, nil},
		{"corrupt", []record{open(opener), closes(1000), end(opener, 1000, endClosed)}, []record{open(acceptor), corrupt}, []string{intact}},
		{"short", []record{open(opener), closes(1000), end(opener, 1000, endClosed)}, []record{open(acceptor), end(acceptor, 999, endEOF)}, []string{complete}},
		{"an orderly end that nobody made", []record{open(opener), end(opener, 10, endBroken)}, []record{open(acceptor), end(acceptor, 10, endEOF)},
			[]string{complete}},
		{"the opener hangs", []record{open(opener)}, []record{open(acceptor), end(acceptor, 10, endBroken)}, []string{noticed}},
		{"the acceptor hangs", []record{open(opener), end(opener, 10, endBroken)}, []record{open(acceptor)}, []string{noticed}},
		{"the acceptor is gone", []record{open(opener), end(opener, 10, endBroken)}, []record{open(acceptor), {What: detached}}, nil},
		{"never opened", []record{{What: unopened, ID: id, Side: opener}}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory()
			s.tell(client, c.opener...)
			s.tell(service, c.acceptors...)
			s.want(t, c.want...)
		})
	}
}

func TestFlowIsTheSameInAllPieces(t *testing.T) {
	whole := make([]byte, 100_000)
	newFlow("x").next(whole)
	f := newFlow("x")
	for at, size := 0, 1; at < len(whole); at, size = at+size, size*3 {
		piece := make([]byte, min(size, len(whole)-at))
		if f.next(piece); string(piece) != string(whole[at:at+len(piece)]) {
			t.Fatalf("octets from %d on differ in a piece of %d", at, len(piece))
		}
	}
	if newFlow("x").sum(100) == newFlow("y").sum(100) {
		t.Error("two tunnels have the same flow")
	}
}

func TestLeak(t *testing.T) {
	calm := usage{Node: "host1.node.1", Resident: 30 << 20, Files: 30, Goroutines: 45, Payload: 1 << 20}
	for _, c := range []struct {
		name string
		grow func(*usage)
		want []string
	}{
		{"as before", func(*usage) {}, nil},
		{"a little more", func(u *usage) { u.Resident += 10 << 20; u.Files += 10; u.Goroutines += 20 }, nil},
		{"less", func(u *usage) { *u = usage{Node: u.Node} }, nil},
		{"memory", func(u *usage) { u.Resident += moreResident + 1 }, []string{noLeak}},
		{"descriptors", func(u *usage) { u.Files += moreFiles + 1 }, []string{noLeak}},
		{"goroutines", func(u *usage) { u.Goroutines += moreGoroutines + 1 }, []string{noLeak}},
		{"payload", func(u *usage) { u.Payload += morePayload + 1 }, []string{noLeak}},
		{"a new start of the node", func(u *usage) { u.Node = "host1.node.2"; u.Goroutines += 1000 }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, us := newStory(), newUsages()
			us.take(s.checker, calm)
			later := calm
			c.grow(&later)
			us.take(s.checker, later)
			s.want(t, c.want...)
		})
	}
}
