package hosts

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/project-iris/iris"
)

// The others go on without a host that is lost, and take it back.
func TestLostHostComesBack(t *testing.T) {
	t.Parallel()
	n := newDiscovering(t, 6, 0)
	towards := func(node *Node) []*Host { // all others
		return slices.DeleteFunc(slices.Clone(n.lan.Hosts), func(h *Host) bool { return h == node.Host })
	}
	for _, c := range []struct {
		name       string
		lose, back func(*Node) error
	}{
		{"Frozen", func(node *Node) error { return node.Freeze() }, func(node *Node) error { return node.Thaw() }},
		{"Cut", func(node *Node) error { return node.Host.Cut() }, func(node *Node) error { return node.Host.Mend() }},
		{"OneWay", func(node *Node) error { return node.Host.CutTo(towards(node)...) }, func(node *Node) error { return node.Host.MendTo(towards(node)...) }},
		{"Unplugged", func(node *Node) error { return node.Host.Unplug() }, func(node *Node) error { return node.Host.Mend() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			const member, lost = 2, 3 // hosts
			cluster := secret + " of two, " + t.Name()
			executed := newLedger()
			n.member(t, member, cluster, newService("stays", executed))
			n.member(t, lost, cluster, newService("is lost", executed))
			a := asker{client: n.client(t, 0), cluster: cluster}

			both := func(by map[string]int) bool { return by["is lost"] > 0 && by["stays"] > 0 }
			others := func(by map[string]int) bool { return by["stays"] == atOnce }

			if err := a.until(withLimit(t), both, 1); err != nil {
				t.Fatal(err)
			}
			if err := c.lose(n.nodes[lost]); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if err := a.until(withLimit(t), others, 20); err != nil {
				t.Errorf("without the host: %v", err)
			}
			t.Logf("the others go on after %v", time.Since(began).Round(time.Millisecond))
			if err := c.back(n.nodes[lost]); err != nil {
				t.Fatal(err)
			}
			began = time.Now()
			if err := a.until(withLimit(t), both, 1); err != nil {
				t.Errorf("with the host again: %v", err)
			}
			t.Logf("it is back after %v", time.Since(began).Round(time.Millisecond))
			for body, times := range executed.counts() {
				if times != 1 {
					t.Errorf("%q was carried out %d times", body, times)
				}
			}
		})
	}
}

// atOnce is how many requests an asker has under way: enough for all members.
const atOnce = 32

// An asker sends numbered requests to a cluster.
type asker struct {
	client  *iris.Client
	cluster string
	asked   int
}

// until asks until it was so many times in a row that those who answered were as
// wanted. A request that takes long is given up.
func (a *asker) until(ctx context.Context, wanted func(by map[string]int) bool, inARow int) error {
	for same := 0; same < inARow; {
		by := a.ask(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("the last %d requests were answered by %v: %w", atOnce, by, ctx.Err())
		}
		if wanted(by) {
			same++
		} else {
			same = 0
		}
	}
	return nil
}

// ask sends requests and returns how many were answered by whom.
func (a *asker) ask(ctx context.Context) map[string]int {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	answers := newLedger()
	var all sync.WaitGroup
	for range atOnce {
		a.asked++
		body := fmt.Appendf(nil, "%s %d", secret, a.asked)
		all.Go(func() {
			reply, err := a.client.Request(ctx, a.cluster, body)
			if err != nil {
				reply = []byte(err.Error())
			}
			answers.add(string(reply))
		})
	}
	all.Wait()
	return answers.counts()
}
