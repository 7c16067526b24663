package node

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 30 * time.Second     // what is waited for comes, or the test has failed
	look     = 2 * time.Millisecond // between two looks at what nobody tells
)

// eventually waits until f says yes.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(look) {
		if time.Now().After(end) {
			t.Fatalf("%s: not after %v", what, patience)
		}
	}
}

// started makes a node and starts it. It is closed when the test ends.
func started(t testing.TB, c Config) *Node {
	t.Helper()
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

// loopSays asks a node's loop.
func loopSays(n *Node, f func() bool) (ok bool) {
	n.do(func(time.Time, *queue.Batch) { ok = f() })
	return ok
}

// settled waits until each of the nodes knows all of them and is linked to them.
func settled(t testing.TB, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, "every node knows every other", func() bool {
			return loopSays(n, func() bool {
				return n.loop.Core.State() == wire.Active && len(n.loop.Core.View()) == len(nodes) && len(n.network.linked) == len(nodes)-1
			})
		})
	}
}

// joined starts n nodes that know each other.
func joined(t testing.TB, n int) []*Node {
	t.Helper()
	nodes := startNetwork(t, n)
	settled(t, nodes...)
	return nodes
}

// attached connects a program that is closed at the end of the test.
func attached(t testing.TB, n *Node, cluster string, h Handler) *Client {
	t.Helper()
	c := connect(t, n, cluster, h)
	t.Cleanup(func() { c.Close() })
	return c
}

// inTime is a context that ends when something is too late.
func inTime(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
