//go:build !race

package iris_test

import (
	"context"
	"testing"

	"github.com/project-iris/iris"
	"github.com/project-iris/iris/node"
)

// What a message costs in memory, in the whole process: node, client and service.
// A reply is the caller's own, and so allocated. The race detector empties pools at
// random, so this is not for it.
func TestAllocations(t *testing.T) {
	n, err := node.New(node.Config{Dev: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	s, err := n.Status()
	if err != nil {
		t.Fatal(err)
	}
	config := iris.Config{Address: s.Relay[0]}
	service := register(t, config, "echo", echo)
	defer service.Close() // before the node
	client := connect(t, config)
	defer client.Close()

	const many = 100 // at once, so that what a batch allocates is shared
	body := make([]byte, 128)
	done := make(chan struct{}, many)
	if _, err := client.Subscribe(bg, "topic", func(context.Context, []byte) { done <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	answered := func(_ []byte, err error) {
		if err != nil {
			t.Error(err)
		}
		done <- struct{}{}
	}
	for _, c := range []struct {
		name string
		most float64 // a message
		send func() error
	}{
		{"event", 0.1, func() error { return client.Publish(bg, "topic", body) }},
		{"request with a callback", 0.5, func() error { return client.RequestAsync(bg, "echo", body, answered) }},
	} {
		got := testing.AllocsPerRun(100, func() {
			for range many {
				if err := c.send(); err != nil {
					t.Fatal(err)
				}
			}
			for range many {
				<-done
			}
		}) / many
		if got > c.most {
			t.Errorf("%s: %v allocations, wanted %v at most", c.name, got, c.most)
		}
		t.Logf("%s: %v allocations", c.name, got)
	}
}
