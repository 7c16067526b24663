package hosts

import (
	"fmt"
	"testing"
	"time"

	"github.com/project-iris/iris/node"
)

// Two hosts that a third reaches and that do not reach each other ask each other all
// the same, from the start or since they lost each other.
func TestHostsThatDoNotReachEachOther(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 2, 1)
	a, b := n.lan.Hosts[0], n.lan.Hosts[2]
	part := func() {
		t.Helper()
		if err := a.CutTo(b); err != nil {
			t.Fatal(err)
		}
		if err := b.CutTo(a); err != nil {
			t.Fatal(err)
		}
	}
	part()
	n.start(t, 2) // it is told of the one in the middle
	executed := newLedger()
	there, back := secret+" there", secret+" back"
	n.member(t, 2, there, newService(there, executed))
	n.member(t, 0, back, newService(back, executed))
	heard := newLedger()
	subscribe(t, n.client(t, 2), secret+" news", heard)
	asks := map[string]*asker{there: {client: n.client(t, 0), cluster: there}, back: {client: n.client(t, 2), cluster: back, asked: 1 << 20}}
	all := func(what string) {
		t.Helper()
		began := time.Now()
		for name, a := range asks {
			if err := a.until(withLimit(t), func(by map[string]int) bool { return by[name] == atOnce }, 10); err != nil {
				t.Errorf("%s: %q: %v", what, name, err)
			}
		}
		t.Logf("%s: requests were answered %v later", what, time.Since(began).Round(time.Millisecond))
	}
	events := 0
	publish := func(what string) {
		t.Helper()
		c := n.client(t, 0)
		for range 10 {
			events++
			if err := c.Publish(withLimit(t), secret+" news", fmt.Appendf(nil, "%s %d", secret, events)); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		if !heard.await(withLimit(t), fmt.Sprintf("%s %d", secret, events)) {
			t.Errorf("%s: the last event did not come", what)
		}
		t.Logf("%s: events came %v later", what, time.Since(began).Round(time.Millisecond))
	}
	all("apart from the start")
	publish("apart from the start")
	for _, e := range []error{a.MendTo(b), b.MendTo(a)} {
		if e != nil {
			t.Fatal(e)
		}
	}
	all("mended")
	publish("mended")
	began := time.Now()
	n.await(t, 0, "it is linked to both", func(s *node.Status) bool { return len(s.Links) >= 2 })
	t.Logf("they were linked %v later", time.Since(began).Round(time.Millisecond))
	part()
	all("apart again")
	publish("apart again")
	if got := len(heard.with(secret)); got != events {
		t.Errorf("%d events were heard, of %d", got, events)
	}
	for body, times := range executed.counts() {
		if times != 1 {
			t.Errorf("%q was carried out %d times", body, times)
		}
	}
}
