package node

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"
)

// A node whose relay port is taken says so, in a network too.
func TestStartInANetworkSaysThatThePortIsInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, err := New(Config{Network: "test", Key: testKey, Listen: "127.0.0.1:0", Port: l.Addr().(*net.TCPAddr).Port})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go func() { started <- n.Start() }()
	select {
	case err := <-started:
		if err == nil {
			n.Close()
			t.Error("it started")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Start does not return")
	}
}

// A slow service keeps each request until it is let go.
type slow struct {
	NopHandler
	free chan struct{}
}

func (s slow) HandleRequest(r *Request) {
	<-s.free
	r.Reply([]byte("slow"))
}

// What a service of a node that closes has not begun goes to another node.
func TestRequestsNotBegunOutliveTheirNode(t *testing.T) {
	nodes := startNetwork(t, 3)
	nodes[2].config.Drain = 10 * time.Millisecond
	free := make(chan struct{})
	if _, err := nodes[2].Connect("echo", slow{free: free}); err != nil {
		t.Fatal(err)
	}
	c, err := nodes[0].Connect("", nil)
	if err != nil {
		t.Fatal(err)
	}
	const n = 5
	answers := make(chan string, n)
	for range n {
		go func() {
			got, err := c.Request(context.Background(), "echo", nil, 10*time.Second)
			answers <- fmt.Sprint(string(got), err)
		}()
	}
	eventually(t, "all requests are with the service", func() bool {
		return loopSays(nodes[2], func() bool { return nodes[2].plane.Open() == n })
	})
	if _, err := nodes[1].Connect("echo", &member{name: "other"}); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() { nodes[2].Close(); close(closed) }()
	others := 0
	for range n {
		if a := <-answers; a == "other: <nil>" {
			others++
		} else {
			t.Log(a)
		}
	}
	close(free)
	<-closed
	if others < n-1 {
		t.Errorf("%d of %d requests were answered by another node", others, n)
	}
}
