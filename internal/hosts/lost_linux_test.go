//go:build manyhosts

package hosts

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/project-iris/iris"
)

// The others go on without a host that is lost, and take it back.
func TestLostHostComesBack(t *testing.T) {
	n := newNetwork(t, 4, 0)
	for _, c := range []struct {
		name       string
		lose, back func(*Node) error
	}{
		{"Frozen", func(node *Node) error { return node.Freeze() }, func(node *Node) error { return node.Thaw() }},
		{"Cut", func(node *Node) error { return node.Host.Cut() }, func(node *Node) error { return node.Host.Mend() }},
		{"Unplugged", func(node *Node) error { return node.Host.Unplug() }, func(node *Node) error { return node.Host.Mend() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			const member, lost = 2, 3 // hosts
			cluster := secret + " of two, " + t.Name()
			executed := newLedger()
			n.member(t, member, cluster, newService("stays", executed))
			n.member(t, lost, cluster, newService("is lost", executed))
			a := asker{client: n.client(t, 0), cluster: cluster}

			if err := a.until(withLimit(t), "is lost", 1); err != nil {
				t.Fatal(err)
			}
			if err := c.lose(n.nodes[lost]); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if err := a.until(withLimit(t), "stays", 50); err != nil {
				t.Error(err)
			}
			t.Logf("the others go on after %v", time.Since(began).Round(time.Millisecond))
			if err := c.back(n.nodes[lost]); err != nil {
				t.Fatal(err)
			}
			began = time.Now()
			if err := a.until(withLimit(t), "is lost", 1); err != nil {
				t.Error(err)
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

// An asker sends numbered requests to a cluster, one at a time.
type asker struct {
	client  *iris.Client
	cluster string
	asked   int
}

// until asks until so many requests in a row were answered by the member called
// name. One that takes long is given up.
func (a *asker) until(ctx context.Context, name string, inARow int) error {
	for same := 0; same < inARow; {
		a.asked++
		short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		reply, err := a.client.Request(short, a.cluster, fmt.Appendf(nil, "%s %d", secret, a.asked))
		cancel()
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("no %d requests in a row were answered by the one that %s: %w", inARow, name, ctx.Err())
		case err == nil && string(reply) == name:
			same++
		case err == nil || errors.Is(err, iris.ErrTimeout):
			same = 0
		default:
			return err
		}
	}
	return nil
}
