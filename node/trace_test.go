package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

func (n *Node) id() ring.ID { return n.network.identity.ID() }

func (n *Node) addr() string { return n.network.listener.Addr().String() }

func TestPingTellsWhoAnsweredByWhichWay(t *testing.T) {
	t.Parallel()
	nodes := apart(t, 3, func(from, to int) bool { return from > 0 && to > 0 })
	known(t, nodes)
	ctx := inTime(t)
	router, a, b := nodes[0], nodes[1], nodes[2]
	eventually(t, "all are linked to the first", func() bool { return a.isLinked(router) && b.isLinked(router) })
	for host, to := range map[string]*Node{
		router.id().Short(): router, router.addr(): router, b.id().String(): b, b.addr(): b,
		strings.ToUpper(a.id().Short()): a, a.addr(): a,
	} {
		p := a.Ping(ctx, host)
		hops, via := 1, ""
		switch to {
		case a:
			hops = 0
		case b:
			hops, via = 2, router.id().String()
		}
		if !p.Answered || p.Node != to.id().String() || p.Hops != hops || p.Via != via || p.Self != (to == a) || p.Time > 1000 || (p.Time == 0) != p.Self {
			t.Errorf("ping %s: %+v, want %d hops, via %q", host, p, hops, via)
		}
	}
	if p := a.Ping(ctx, "127.0.0.1"); p.Answered || !strings.Contains(p.Error, "give a port") {
		t.Errorf("of an address that three nodes have came %+v", p)
	}
}

// A ping of an address that no known node has says how far it came.
func TestPingTellsHowFarADialCame(t *testing.T) {
	t.Parallel()
	start := func(c Config) *Node {
		c.Listen = "127.0.0.1:0"
		return started(t, c)
	}
	ctx := inTime(t)
	n := start(Config{Network: "test", Key: testKey})
	foreign := start(Config{Network: "another", Key: testKey})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, v := range []struct{ what, host, code string }{
		{"nobody listens", closed.Addr().String(), "dial_refused"},
		{"a node of another network", foreign.addr(), "dial_closed"},
	} {
		p := n.Ping(ctx, v.host)
		connected := v.code != "dial_refused"
		if p.Answered || p.Code != v.code || p.Error == "" || p.Hint == "" || (p.Dial.Connected > 0) != connected || p.Dial.Trusted > 0 {
			t.Errorf("%s: %+v %+v", v.what, p, p.Dial)
		}
	}
	other := start(Config{Network: "test", Key: testKey})
	p := n.Ping(ctx, other.addr())
	if !p.Answered || p.Node != other.id().String() || !(p.Dial.Connected > 0 && p.Dial.Connected < p.Dial.Trusted && p.Dial.Trusted < p.Dial.Welcomed) {
		t.Errorf("another node of the network: %+v %+v", p, p.Dial)
	}
	eventually(t, "it is linked", func() bool { return n.isLinked(other) })
	if p := n.Ping(ctx, other.addr()); !p.Answered || p.Dial != nil || p.Hops != 1 {
		t.Errorf("once it is known: %+v", p)
	}
	if p := n.Ping(ctx, "127.0.0.1:port"); p.Answered || !strings.Contains(p.Error, "give HOST:PORT") {
		t.Errorf("no port: %+v", p)
	}
}

func TestHostsAreRead(t *testing.T) {
	for host, want := range map[string]string{
		"192.0.2.1":        "192.0.2.1:0",
		"192.0.2.1:7":      "192.0.2.1:7",
		"2001:db8::1":      "[2001:db8::1]:0",
		"[2001:db8::1]":    "[2001:db8::1]:0",
		"[2001:db8::1]:7":  "[2001:db8::1]:7",
		"::ffff:192.0.2.1": "192.0.2.1:0",
		"192.0.2.1:0":      "",
		"192.0.2.1:70000":  "",
		"[2001:db8::1]:":   "",
	} {
		got, err := lookUp(t.Context(), host)
		if want == "" && err == nil || want != "" && (err != nil || got[0].String() != want) {
			t.Errorf("%s is %v, %v, want %s", host, got, err, want)
		}
	}
}

// rootOf returns which of the nodes is closest to the key of a cluster.
func rootOf(nodes []*Node, key string) *Node {
	k, _ := ring.Parse(key)
	return slices.MinFunc(nodes, func(a, b *Node) int {
		if ring.Closer(k, a.id(), b.id()) {
			return -1
		}
		return 1
	})
}

func TestTraceTellsTheWay(t *testing.T) {
	t.Parallel()
	nodes := apart(t, 3, func(from, to int) bool { return from > 0 && to > 0 })
	known(t, nodes)
	ctx := inTime(t)
	router, a, b := nodes[0], nodes[1], nodes[2]
	served := make([]int, 3)
	for i, n := range nodes {
		attached(t, n, fmt.Sprint("on ", i), &handler{request: func(r *Request) {
			served[i]++
			r.Reply(append(r.Body, '!'))
		}})
	}
	for i, v := range []struct {
		at   *Node
		hops int
		via  string
	}{{router, 1, ""}, {a, 0, ""}, {b, 2, router.id().String()}} {
		cluster, id := fmt.Sprint("on ", i), v.at.id().String()
		var tr *TraceStatus
		eventually(t, "the member is found", func() (ok bool) {
			var err error
			if tr, err = a.Trace(ctx, cluster, false, nil); err != nil {
				t.Fatal(err)
			}
			return tr.Next != nil && tr.Next.Ping.Answered
		})
		if tr.Next.Node != id || tr.Next.Hops != v.hops || tr.Next.Via != v.via || tr.Sent != nil || served[i] > 0 {
			t.Errorf("%s: the way is %+v, served %d, want %d hops to %s via %q", cluster, tr.Next, served[i], v.hops, id, v.via)
		}
		if d := tr.Why.Directory; d.Root != rootOf(nodes, d.Key).id().String() || !d.Answered || !tr.Root.Answered {
			t.Errorf("%s: the directory: %+v, its root: %+v", cluster, d, tr.Root)
		}
		tr, err := a.Trace(ctx, cluster, true, []byte("body"))
		if err != nil {
			t.Fatal(err)
		}
		s := tr.Sent
		if s.Node != id || s.Hops != v.hops || s.Octets != len("body!") || s.Error != "" || served[i] != 1 {
			t.Errorf("%s: sent %+v, served %d", cluster, s, served[i])
		}
		if n := len(s.Steps); n != 2 || s.Steps[0].What != "given to" || s.Steps[0].Node != id || s.Steps[0].Via != v.via ||
			s.Steps[1].What != "answered by" || s.Steps[1].At < s.Steps[0].At || s.Total < s.Steps[1].At {
			t.Errorf("%s: steps %+v of %v ms", cluster, s.Steps, s.Total)
		}
	}
	tr, err := a.Trace(ctx, "nowhere", false, nil)
	if err != nil || tr.Next != nil || len(tr.Why.Candidates) > 0 || !tr.Why.Directory.Answered {
		t.Errorf("without a member: %+v, %v", tr, err)
	}
}

// candidate returns what a node says of another as a candidate.
func candidate(t *testing.T, n, of *Node, cluster string) CandidateStatus {
	t.Helper()
	w, err := n.Why(cluster, true)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(w.Candidates, func(c CandidateStatus) bool { return c.Node == of.id().String() })
	if i < 0 {
		t.Fatalf("%s is no candidate of %+v", of.id(), w.Candidates)
	}
	return w.Candidates[i]
}

func TestWhyTellsTrueLoads(t *testing.T) {
	t.Parallel()
	nodes := joined(t, 3)
	ctx := inTime(t)
	origin := nodes[0]
	const members = 6
	type held struct{ at, member int }
	came := make(chan held, 100)
	release := make(chan struct{})
	var clients [3][members]*Client
	for at := 1; at < 3; at++ {
		for i := range members {
			clients[at][i] = attached(t, nodes[at], "work", &handler{request: func(r *Request) {
				came <- held{at, i}
				go func() {
					<-release
					r.Reply(nil)
				}()
			}})
		}
	}
	eventually(t, "both are candidates", func() bool {
		w, err := origin.Why("work", true)
		return err == nil && len(w.Candidates) == 2 && w.Candidates[0].Linked && w.Candidates[1].Linked
	})
	c := attached(t, origin, "", nil)
	answers := make(chan error, 100)
	inHand := map[int]map[int]bool{1: {}, 2: {}}
	for len(inHand[1]) < 5 || len(inHand[2]) < 1 { // at random, as nothing is known of either
		go func() {
			_, err := c.Request(ctx, "work", nil, patience)
			answers <- err
		}()
		h := <-came
		inHand[h.at][h.member] = true
		got := [2]int{candidate(t, origin, nodes[1], "work").InFlight, candidate(t, origin, nodes[2], "work").InFlight}
		if load := [2]int{loadAt(nodes[1]), loadAt(nodes[2])}; got != load {
			t.Fatalf("in flight: said %v, true %v", got, load)
		}
	}

	// Five members of one node die at work: it is passed over.
	for i := range 5 {
		for m := range inHand[1] {
			clients[1][m].Close()
			delete(inHand[1], m)
			break
		}
		if i < 4 {
			eventually(t, "the failure is noticed", func() bool { return candidate(t, origin, nodes[1], "work").Failures >= i+1 })
		}
	}
	eventually(t, "the node is ejected", func() bool { return candidate(t, origin, nodes[1], "work").Ejected > 4000 })
	one, two := candidate(t, origin, nodes[1], "work"), candidate(t, origin, nodes[2], "work")
	ejected := func() bool { return candidate(t, origin, nodes[1], "work").Ejected > 0 } // for 5 s
	if ejected() && (one.Chance != 0 || two.Chance != 1 || two.Ejected > 0) {
		t.Errorf("the node that failed: %+v, the other: %+v", one, two)
	}
	close(release)
	for range 20 {
		if _, err := c.Request(ctx, "work", nil, patience); err != nil {
			t.Error(err)
		}
		if h := <-came; h.at != 2 && ejected() {
			t.Errorf("node %d is chosen, which is ejected", h.at)
		}
	}
	w, err := origin.Why("work", true)
	if err != nil || !w.Kept || len(w.Choices) != 16 {
		t.Fatalf("%d choices are kept, %v", len(w.Choices), err)
	}
	for _, ch := range w.Choices {
		if ch.Node != nodes[2].id().String() && ejected() {
			t.Errorf("said that %+v was chosen", ch)
		}
	}
	if got := candidate(t, origin, nodes[2], "work").Chosen; got < 20 && ejected() {
		t.Errorf("chosen %d times", got)
	}
}

// loadAt returns how many requests the members on a node have in hand.
func loadAt(n *Node) int {
	s, err := n.Status()
	if err != nil {
		return -1
	}
	return s.Clusters[0].Load
}

// Of two member nodes of known speed the one with the lower score is chosen.
func TestWhyAgreesWithTheChoices(t *testing.T) {
	t.Parallel()
	nodes := joined(t, 3)
	ctx := inTime(t)
	origin, slow, fast := nodes[0], nodes[1], nodes[2]
	const pause = 150 * time.Millisecond
	attached(t, slow, "work", &handler{request: func(r *Request) { time.AfterFunc(pause, func() { r.Reply(nil) }) }})
	attached(t, fast, "work", &handler{request: func(r *Request) { r.Reply(nil) }})
	c := attached(t, origin, "", nil)
	eventually(t, "both have said how fast they are", func() bool {
		if _, err := c.Request(ctx, "work", nil, patience); err != nil {
			t.Fatal(err)
		}
		w, err := origin.Why("work", true)
		return err == nil && len(w.Candidates) == 2 && w.Candidates[0].Handler > 0 && w.Candidates[1].Handler > 0
	})
	if s, f := candidate(t, origin, slow, "work"), candidate(t, origin, fast, "work"); s.Handler < 149 || s.Expected <= f.Expected {
		t.Errorf("the slow one: %+v, the fast one: %+v", s, f)
	}
	for range 16 {
		if _, err := c.Request(ctx, "work", nil, patience); err != nil {
			t.Fatal(err)
		}
	}
	w, err := origin.Why("work", true)
	if err != nil || len(w.Choices) != 16 {
		t.Fatalf("choices %+v, %v", w, err)
	}
	for _, ch := range w.Choices {
		if ch.How == "earliest answer" && ch.Node != fast.id().String() {
			t.Errorf("chosen: %+v", ch)
		}
	}
}

func TestWhyOfANodeByItself(t *testing.T) {
	t.Parallel()
	n := started(t, Config{Dev: true, Listeners: []net.Listener{}})
	tr, err := n.Trace(t.Context(), "work", false, nil)
	if err != nil || tr.Next != nil {
		t.Errorf("without a member: %+v, %v", tr.Next, err)
	}
	attached(t, n, "work", &handler{request: func(r *Request) { r.Fail("no") }})
	if tr, err = n.Trace(t.Context(), "work", true, nil); err != nil || tr.Next == nil || tr.Next.Hops != 0 || tr.Sent.Fault != "no" {
		t.Errorf("with one: %+v, %v", tr, err)
	}
	if w, err := n.Why("work", true); err != nil || w.Members != 1 || len(w.Candidates) != 1 || w.Candidates[0].Chance != 1 {
		t.Errorf("why: %+v, %v", w, err)
	}
	if _, err := n.Why("", true); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("an empty name: %v", err)
	}
	if p := n.Ping(t.Context(), "192.0.2.1"); p.Answered || p.Hint == "" {
		t.Errorf("ping: %+v", p)
	}
}
