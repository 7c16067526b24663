package node

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestKilledNodeSaysNothing kills a node that serves a request, has a tunnel open and
// links to two others: they find its links lost, not closed.
func TestKilledNodeSaysNothing(t *testing.T) {
	nodes := joined(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	asked := make(chan struct{})
	if _, err := nodes[2].Connect("slow", &holder{asked: asked}); err != nil {
		t.Fatal(err)
	}
	c, err := nodes[0].Connect("", nil)
	if err != nil {
		t.Fatal(err)
	}
	tun, err := c.Tunnel(ctx, "slow")
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := c.Request(ctx, "slow", []byte("wait"), 8*time.Second)
		answered <- err
	}()
	<-asked
	nodes[2].Kill()
	if _, err := tun.Recv(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the tunnel to the killed node gave %v", err)
	}
	if err := <-answered; !errors.Is(err, ErrLost) {
		t.Errorf("the request at the killed node ended with %v, want %v", err, ErrLost)
	}
	for i, n := range nodes[:2] {
		var ended map[string]uint64
		eventually(t, "the link to the killed node has ended", func() bool {
			s, err := n.Status()
			if err != nil {
				t.Fatal(err)
			}
			ended = s.LinksEnded
			return ended["lost"]+ended["closed by peer"] > 0
		})
		if ended["closed by peer"] > 0 {
			t.Errorf("node %d was told of the end: links ended: %v", i, ended)
		}
	}
	s, err := nodes[0].Status()
	if err != nil || s.TunnelsEnded["lost"] != 1 || s.Dropped["requests lost with their member"] != 1 {
		t.Errorf("tunnels ended: %v, dropped: %v, %v", s.TunnelsEnded, s.Dropped, err)
	}
	if _, err := nodes[2].Status(); err != ErrClosed {
		t.Errorf("the killed node says %v", err)
	}
}

// A holder keeps what it is given until its node ends.
type holder struct {
	member
	asked chan struct{}
}

func (h *holder) HandleRequest(*Request) { close(h.asked) }

func (h *holder) HandleTunnel(t *Tunnel) { go h.member.HandleTunnel(t) }
