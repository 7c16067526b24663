package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// relayOf attaches a program on a socket.
func relayOf(t *testing.T, n *Node, cluster string) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", n.addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return attach(t, nc, cluster)
}

// tunnelled opens a tunnel between programs on sockets, with the id 3 at the one that
// asked and 9 at the other.
func tunnelled(t *testing.T, from, to *Node, cluster string) (initiator, acceptor *raw) {
	t.Helper()
	acceptor = relayOf(t, to, cluster)
	initiator = relayOf(t, from, "")
	initiator.send(relaywire.Message{Op: relaywire.TunnelInit, ID: 3, Name: []byte(cluster), Timeout: 20_000})
	m := acceptor.want(relaywire.TunnelInit)
	acceptor.send(relaywire.Message{Op: relaywire.TunnelConfirm, ID: m.ID, Tunnel: 9})
	acceptor.want(relaywire.TunnelAllow)
	initiator.want(relaywire.TunnelResult)
	initiator.want(relaywire.TunnelAllow)
	return initiator, acceptor
}

// TestNetworkTunnelsCarryMuch sends 64 MiB each way at once.
func TestNetworkTunnelsCarryMuch(t *testing.T) {
	nodes := joined(t, 2)
	ctx := inTime(t)
	const messages, size = 64, 1 << 20
	var work sync.WaitGroup
	flow := func(who string, seed uint64, tun *Tunnel) {
		send, recv := sha256.New(), sha256.New()
		work.Add(2)
		go func() {
			defer work.Done()
			rng := rand.NewChaCha8([32]byte{byte(seed)})
			buf := make([]byte, size)
			for i := range messages {
				msg := buf[:size-i] // of uneven lengths
				rng.Read(msg)
				send.Write(msg)
				if err := tun.Send(ctx, msg); err != nil {
					t.Errorf("%s: message %d: %v", who, i, err)
					return
				}
			}
			if err := tun.Send(ctx, send.Sum(nil)); err != nil {
				t.Errorf("%s: %v", who, err)
			}
		}()
		go func() {
			defer work.Done()
			for i := range messages {
				msg, err := tun.Recv(ctx)
				if err != nil || len(msg) != size-i {
					t.Errorf("%s: message %d of %d octets: %v", who, i, len(msg), err)
					return
				}
				recv.Write(msg)
			}
			if sum, err := tun.Recv(ctx); err != nil || !bytes.Equal(sum, recv.Sum(nil)) {
				t.Errorf("%s: what came is not what was sent: %v", who, err)
			}
		}()
	}
	accepted := make(chan *Tunnel, 1)
	attached(t, nodes[0], "tunnels", &handler{tunnel: func(tun *Tunnel) { accepted <- tun }})
	tun, err := attached(t, nodes[1], "", nil).Tunnel(ctx, "tunnels")
	if err != nil {
		t.Fatal(err)
	}
	other := <-accepted
	began := time.Now()
	flow("initiator", 1, tun)
	flow("acceptor", 2, other)
	work.Wait()
	t.Logf("64 MiB each way took %v", time.Since(began))
	if err := tun.Close(); err != nil {
		t.Error(err)
	}
	if _, err := other.Recv(ctx); err != io.EOF {
		t.Errorf("after the close came %v", err)
	}
	other.Close()
}

// TestNetworkTunnelsCarryReasons has either end close a tunnel for a reason.
func TestNetworkTunnelsCarryReasons(t *testing.T) {
	nodes := joined(t, 2)
	a, b := tunnelled(t, nodes[0], nodes[1], "first")
	a.send(relaywire.Message{Op: relaywire.TunnelClose, ID: 3})
	if m := b.want(relaywire.TunnelClose); m.ID != 9 || len(m.Body) != 0 {
		t.Errorf("an orderly close came as %q", m.Body)
	}
	b.send(relaywire.Message{Op: relaywire.TunnelClose, ID: 9})
	if m := a.want(relaywire.TunnelClose); m.ID != 3 || len(m.Body) != 0 {
		t.Errorf("an orderly close was answered with %q", m.Body)
	}
	b.nc.Close()
	a, b = tunnelled(t, nodes[0], nodes[1], "second")
	b.nc.Close()
	if m := a.want(relaywire.TunnelClose); m.ID != 3 || len(m.Body) == 0 {
		t.Errorf("the end of the acceptor came as %q", m.Body)
	} else {
		t.Logf("a lost acceptor: %q", m.Body)
	}
	a, b = tunnelled(t, nodes[0], nodes[1], "third")
	a.nc.Close()
	if m := b.want(relaywire.TunnelClose); m.ID != 9 || len(m.Body) == 0 {
		t.Errorf("the end of the initiator came as %q", m.Body)
	} else {
		t.Logf("a lost initiator: %q", m.Body)
	}
}

// TestNetworkTunnelsToAKilledNode breaks the node at the other end off.
func TestNetworkTunnelsToAKilledNode(t *testing.T) {
	nodes := joined(t, 3)
	a, _ := tunnelled(t, nodes[0], nodes[1], "one")
	_, b := tunnelled(t, nodes[1], nodes[2], "two")
	nodes[1].Kill()
	for _, r := range []*raw{a, b} {
		if m := r.want(relaywire.TunnelClose); len(m.Body) == 0 {
			t.Error("the tunnel of a killed node was closed without a reason")
		} else {
			t.Logf("%q", m.Body)
		}
	}
}

// TestNetworkTunnelsOfAClosedNode closes a node with tunnels in use, of programs on
// sockets and in its own process.
func TestNetworkTunnelsOfAClosedNode(t *testing.T) {
	nodes := joined(t, 2)
	ctx := inTime(t)
	a, _ := tunnelled(t, nodes[0], nodes[1], "one")
	attached(t, nodes[1], "busy", &handler{tunnel: func(tun *Tunnel) {
		go func() {
			defer tun.Close()
			for {
				if _, err := tun.Recv(context.Background()); err != nil {
					return
				}
			}
		}()
	}})
	c := attached(t, nodes[0], "", nil)
	ended := make(chan error, 4)
	var sending sync.WaitGroup
	for range cap(ended) {
		tun, err := c.Tunnel(ctx, "busy")
		if err != nil {
			t.Fatal(err)
		}
		sending.Add(1)
		var once sync.Once
		go func() {
			defer tun.Close()
			msg := make([]byte, 100<<10)
			for {
				err := tun.Send(ctx, msg)
				once.Do(sending.Done)
				if err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	sending.Wait()
	began := time.Now()
	nodes[1].Close()
	t.Logf("closed in %v", time.Since(began))
	for range cap(ended) {
		if err := <-ended; errors.Is(err, context.DeadlineExceeded) {
			t.Error("a tunnel to a closed node did not end")
		}
	}
	if m := a.want(relaywire.TunnelClose); len(m.Body) == 0 {
		t.Error("the tunnel of a closed node was closed without a reason")
	} else {
		t.Logf("%q", m.Body)
	}
	t.Logf("over after %v", time.Since(began))
	eventually(t, "nothing is left of the tunnels", func() bool { return nodes[0].tunnels.Open.Load() == 0 })
}
