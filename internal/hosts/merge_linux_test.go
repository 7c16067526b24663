package hosts

import (
	"fmt"
	"testing"
	"time"
)

// Two halves that are apart for a while go on by themselves, and are soon one network
// when they join again. Nothing is carried out twice.
func TestHalvesBecomeOneNetworkAgain(t *testing.T) {
	t.Parallel()
	const hosts, apart, most = 6, 10 * time.Second, 10 * time.Second
	n := newDiscovering(t, hosts, 0)
	executed := newLedger()
	cluster := secret + " of all"
	name := func(i int) string { return fmt.Sprintf("host %d", i) }
	for i := range hosts {
		n.member(t, i, cluster, newService(name(i), executed))
	}
	askers := []*asker{{client: n.client(t, 0), cluster: cluster}, {client: n.client(t, hosts-1), cluster: cluster, asked: 1 << 20}}
	all := func(by map[string]int) bool {
		for i := range hosts {
			if by[name(i)] == 0 {
				return false
			}
		}
		return true
	}
	answered := func(from, to int) func(by map[string]int) bool { // by these hosts alone
		return func(by map[string]int) bool {
			sum := 0
			for i := from; i < to; i++ {
				sum += by[name(i)]
			}
			return sum == atOnce
		}
	}
	for _, a := range askers {
		if err := a.until(withLimit(t), all, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.lan.Split(n.lan.Hosts[hosts/2:]); err != nil {
		t.Fatal(err)
	}
	split := time.Now()
	for half, a := range askers {
		if err := a.until(withLimit(t), answered(half*hosts/2, (half+1)*hosts/2), 5); err != nil {
			t.Errorf("half %d by itself: %v", half, err)
		}
		t.Logf("half %d goes on by itself after %v at most", half, time.Since(split).Round(time.Millisecond))
	}
	time.Sleep(apart - time.Since(split)) // how long they are apart is what this is about
	for _, h := range n.lan.Hosts[hosts/2:] {
		if err := h.Mend(); err != nil {
			t.Fatal(err)
		}
	}
	joined := time.Now()
	for half, a := range askers {
		if err := a.until(withLimit(t), all, 1); err != nil {
			t.Errorf("half %d in the whole: %v", half, err)
		}
	}
	if took := time.Since(joined); took > most {
		t.Errorf("they are one network after %v, want %v at most", took, most)
	} else {
		t.Logf("they are one network after %v", took.Round(time.Millisecond))
	}
	for body, times := range executed.counts() {
		if times != 1 {
			t.Errorf("%q was carried out %d times", body, times)
		}
	}
}
