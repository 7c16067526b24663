package node

import (
	"fmt"
	"testing"
	"time"
)

// TestNetworkManyTopicsAtOnce has a program subscribe to as many topics as it may: its node
// stays reachable, and what is published elsewhere arrives.
func TestNetworkManyTopicsAtOnce(t *testing.T) {
	nodes := joined(t, 3)
	const n = 10_000
	c := attached(t, nodes[0], "", nil)
	heard := make(chan string, n)
	began := time.Now()
	for i := range n {
		if err := c.Subscribe(fmt.Sprint("topic ", i), func(event []byte) { heard <- string(event) }); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("subscribed to %d topics in %v", n, time.Since(began))
	p := attached(t, nodes[1], "", nil)
	began = time.Now()
	for i := range n {
		if err := p.Publish(fmt.Sprint("topic ", i), []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[string]bool)
	late := time.After(patience)
	for len(seen) < n {
		select {
		case s := <-heard:
			if seen[s] {
				t.Errorf("%s came twice", s)
			}
			seen[s] = true
		case <-late:
			for _, n := range nodes {
				s, err := n.Status()
				t.Logf("dropped %v, mended %v, %v", s.Dropped, s.Mended, err)
			}
			t.Fatalf("%d of %d events came", len(seen), n)
		}
	}
	t.Logf("published and heard in %v", time.Since(began))
}
