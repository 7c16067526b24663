package node

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"
)

// testKey is the key of the networks of tests.
var testKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// startNetwork starts n nodes of one network on loopback, each joined to the first.
func startNetwork(t testing.TB, n int) []*Node {
	t.Helper()
	var nodes []*Node
	var first string
	for i := range n {
		c := Config{Network: "test", Key: testKey, Listen: "127.0.0.1:0"}
		if testing.Verbose() {
			c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("n", i)
		}
		if i > 0 {
			c.Peers = []string{first}
		}
		nd := started(t, c)
		nodes = append(nodes, nd)
		if i == 0 {
			first = nd.network.listener.Addr().String()
		}
	}
	return nodes
}

// A member is a service that answers with its name and what it was asked, and
// remembers what else came.
type member struct {
	name  string
	mu    sync.Mutex
	heard []string
	wake  chan struct{}
}

func (m *member) HandleRequest(r *Request) { r.Reply(append([]byte(m.name+": "), r.Body...)) }

func (m *member) HandleBroadcast(msg []byte) { m.hear(string(msg)) }

func (m *member) HandleTunnel(t *Tunnel) {
	defer t.Close()
	// echoes until the other end closes
	for {
		msg, err := t.Recv(context.Background())
		if err != nil {
			return
		}
		if err := t.Send(context.Background(), msg); err != nil {
			return
		}
	}
}

func (m *member) hear(s string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard = append(m.heard, s)
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func TestThreeNodesAnswerEachOther(t *testing.T) {
	nodes := startNetwork(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	service, err := nodes[2].Connect("echo", &member{name: "c"})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	for i, n := range nodes {
		c, err := n.Connect("", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for k := range 3 {
			start := time.Now()
			got, err := c.Request(ctx, "echo", fmt.Append(nil, i, k), 5*time.Second)
			if err != nil || string(got) != fmt.Sprint("c: ", i, " ", k) {
				t.Errorf("node %d, request %d: %q, %v", i, k, got, err)
			}
			t.Log(i, k, time.Since(start))
		}
		tun, err := c.Tunnel(ctx, "echo")
		if err != nil {
			t.Fatal(err)
		}
		if err := tun.Send(ctx, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if got, err := tun.Recv(ctx); err != nil || string(got) != "hello" {
			t.Errorf("node %d: through the tunnel came %q, %v", i, got, err)
		}
		tun.Close()
	}
}
