package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relaywire"
)

// handler is a Handler made of functions; what is not set is NopHandler's.
type handler struct {
	NopHandler
	broadcast func(msg []byte)
	request   func(r *Request)
	tunnel    func(t *Tunnel)
}

func (h *handler) HandleBroadcast(msg []byte) {
	if h.broadcast != nil {
		h.broadcast(msg)
	}
}

func (h *handler) HandleRequest(r *Request) {
	if h.request != nil {
		h.request(r)
	} else {
		h.NopHandler.HandleRequest(r)
	}
}

func (h *handler) HandleTunnel(t *Tunnel) {
	if h.tunnel != nil {
		h.tunnel(t)
	} else {
		h.NopHandler.HandleTunnel(t)
	}
}

func echo(r *Request) { r.Reply(r.Body) }

// withNode runs a test in invented time, with a node that is closed at its end
// and must have all its memory back then.
func withNode(t *testing.T, f func(t *testing.T, n *Node, l *memnet.Listener)) {
	synctest.Test(t, func(t *testing.T) {
		n, l := startMem(t)
		f(t, n, l)
		n.Close()
		synctest.Wait()
		if used := n.plane.Budget.Used(); used != 0 {
			t.Errorf("%d octets are charged after the end of the node", used)
		}
	})
}

func connect(t testing.TB, n *Node, cluster string, h Handler) *Client {
	t.Helper()
	c, err := n.Connect(cluster, h)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// within is a context that is done after d.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// receive takes n messages from a channel, or what comes within a second.
func receive(c chan string, n int) (got []string) {
	late := time.After(time.Second)
	for range n {
		select {
		case s := <-c:
			got = append(got, s)
		case <-late:
			return append(got, "nothing more")
		}
	}
	return got
}

func wantAll(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: came %q, wanted %q", what, got, want)
	}
}

func TestClientsUseAllPrimitives(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		heard := make(chan string, 10)
		service := connect(t, n, "echo", &handler{
			broadcast: func(msg []byte) { heard <- string(msg) },
			request: func(r *Request) {
				if len(r.Body) == 0 {
					r.Fail("nothing to say")
					return
				}
				r.Reply(fmt.Appendf(nil, "%s within %v", r.Body, r.Timeout))
			},
			tunnel: func(tun *Tunnel) {
				go func() {
					defer tun.Close()
					for {
						msg, err := tun.Recv(context.Background())
						if err != nil {
							if err != io.EOF {
								t.Errorf("the acceptor's Recv ended with %v", err)
							}
							return
						}
						if err := tun.Send(context.Background(), msg); err != nil {
							t.Errorf("the acceptor's Send: %v", err)
						}
					}
				}()
			},
		})
		client := connect(t, n, "", nil)
		ctx := t.Context()

		reply, err := client.Request(ctx, "echo", []byte("hello"), time.Second)
		if string(reply) != "hello within 1s" || err != nil {
			t.Errorf("Request: %q, %v", reply, err)
		}
		var fault *RemoteError
		if _, err := client.Request(ctx, "echo", nil, time.Second); !errors.As(err, &fault) || fault.Text != "nothing to say" {
			t.Errorf("Request answered with a fault: %v", err)
		}

		client.Broadcast("echo", []byte("one"))
		service.Broadcast("echo", nil)
		client.Broadcast("nobody", []byte("lost"))
		wantAll(t, "broadcasts", receive(heard, 2), "one", "")

		for _, c := range []*Client{client, service} {
			if err := c.Subscribe("news", func(event []byte) { heard <- string(event) }); err != nil {
				t.Error(err)
			}
		}
		client.Publish("news", []byte("event"))
		wantAll(t, "events", receive(heard, 2), "event", "event")

		tun, err := client.Tunnel(ctx, "echo")
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{1, relaywire.ChunkLimit, relaywire.ChunkLimit + 1, 10 << 20} {
			msg := bytes.Repeat([]byte{byte(size), 7}, size/2+1)[:size]
			if err := tun.Send(ctx, msg); err != nil {
				t.Fatalf("Send of %d octets: %v", size, err)
			}
			if got, err := tun.Recv(ctx); !bytes.Equal(got, msg) || err != nil {
				t.Fatalf("sent %d octets, came back %d, %v", size, len(got), err)
			}
		}
		if err := tun.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
	})
}

func TestClientServesProgramOnSocket(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, l *memnet.Listener) {
		heard := make(chan string, 1)
		service := connect(t, n, "echo", &handler{
			broadcast: func(msg []byte) { heard <- string(msg) },
			request:   echo,
			tunnel: func(tun *Tunnel) {
				go func() {
					msg, err := tun.Recv(context.Background())
					if err != nil {
						t.Error(err)
					}
					tun.Send(context.Background(), append(msg, " yourself"...))
					tun.Close()
				}()
			},
		})
		service.Subscribe("news", func(event []byte) { heard <- string(event) })
		program := attach(t, dial(t, l), "")
		defer program.nc.Close()

		program.send(relaywire.Message{Op: relaywire.Request, ID: 5, Name: []byte("echo"), Body: []byte("hello"), Timeout: 500})
		if m := program.want(relaywire.Reply); m.ID != 5 || string(m.Body) != "hello" {
			t.Errorf("came reply %+v", m)
		}
		program.send(relaywire.Message{Op: relaywire.Broadcast, Name: []byte("echo"), Body: []byte("all")})
		wantAll(t, "broadcast", receive(heard, 1), "all")
		program.send(relaywire.Message{Op: relaywire.Publish, Name: []byte("news"), Body: []byte("event")})
		wantAll(t, "event", receive(heard, 1), "event")

		program.send(relaywire.Message{Op: relaywire.TunnelInit, ID: 3, Name: []byte("echo"), Timeout: 500})
		program.want(relaywire.TunnelResult)
		program.want(relaywire.TunnelAllow)
		program.send(relaywire.Message{Op: relaywire.TunnelAllow, ID: 3, Size: 1 << 20})
		program.send(relaywire.Message{Op: relaywire.TunnelTransfer, ID: 3, Size: 3, Body: []byte("abandoned")[:2]})
		program.send(relaywire.Message{Op: relaywire.TunnelTransfer, ID: 3, Size: 5, Body: []byte("hel")})
		program.send(relaywire.Message{Op: relaywire.TunnelTransfer, ID: 3, Body: []byte("lo")})
		if m := program.want(relaywire.TunnelTransfer); string(m.Body) != "hello yourself" {
			t.Errorf("came chunk %q", m.Body)
		}
		if m := program.want(relaywire.TunnelClose); len(m.Body) != 0 {
			t.Errorf("tunnel was closed for %q", m.Body)
		}
	})
}

func TestClientUsesProgramOnSocket(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, l *memnet.Listener) {
		program := attach(t, dial(t, l), "echo")
		defer program.nc.Close()
		program.send(relaywire.Message{Op: relaywire.Subscribe, Name: []byte("news")})
		time.Sleep(time.Millisecond)
		client := connect(t, n, "", nil)

		go func() {
			m := program.want(relaywire.Request)
			program.send(relaywire.Message{Op: relaywire.Reply, ID: m.ID, Fault: true, Body: []byte("no")})
		}()
		var fault *RemoteError
		if _, err := client.Request(t.Context(), "echo", []byte("hello"), time.Second); !errors.As(err, &fault) || fault.Text != "no" {
			t.Errorf("Request: %v", err)
		}
		client.Broadcast("echo", []byte("all"))
		if m := program.want(relaywire.Broadcast); string(m.Body) != "all" {
			t.Errorf("came broadcast %q", m.Body)
		}
		client.Publish("news", []byte("event"))
		if m := program.want(relaywire.Publish); string(m.Body) != "event" || string(m.Name) != "news" {
			t.Errorf("came event %q of %q", m.Body, m.Name)
		}

		go func() {
			m := program.want(relaywire.TunnelInit)
			program.send(relaywire.Message{Op: relaywire.TunnelConfirm, ID: m.ID, Tunnel: 9})
			program.send(relaywire.Message{Op: relaywire.TunnelAllow, ID: 9, Size: 1 << 20})
		}()
		tun, err := client.Tunnel(t.Context(), "echo")
		if err != nil {
			t.Fatal(err)
		}
		program.want(relaywire.TunnelAllow)
		if err := tun.Send(t.Context(), make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		first, second := program.want(relaywire.TunnelTransfer), program.want(relaywire.TunnelTransfer)
		if first.Size != 100_000 || len(first.Body) != 65_536 || second.Size != 0 || len(second.Body) != 34_464 {
			t.Errorf("came chunks (%d, %d) and (%d, %d)", first.Size, len(first.Body), second.Size, len(second.Body))
		}
		program.send(relaywire.Message{Op: relaywire.TunnelTransfer, ID: 9, Size: 4, Body: []byte("last")})
		program.nc.Close()
		if msg, err := tun.Recv(t.Context()); string(msg) != "last" || err != nil {
			t.Errorf("Recv of what was sent before the loss: %q, %v", msg, err)
		}
		if _, err := tun.Recv(t.Context()); err == nil || !strings.Contains(err.Error(), "peer disconnected") {
			t.Errorf("Recv after the loss: %v", err)
		}
		if err := tun.Send(t.Context(), []byte("more")); err == nil || !strings.Contains(err.Error(), "peer disconnected") {
			t.Errorf("Send after the loss: %v", err)
		}
	})
}

func TestErrorsTellWhatHappened(t *testing.T) {
	silent := &handler{request: func(*Request) {}}
	tests := []struct {
		name    string
		cluster string
		timeout time.Duration
		ctx     func(t *testing.T) context.Context
		want    error
		after   time.Duration
	}{
		{name: "silent member", cluster: "silent", timeout: time.Second, want: ErrTimeout, after: time.Second},
		{name: "no member", cluster: "nobody", timeout: time.Second, want: ErrNoMember, after: time.Second},
		{name: "timeout 0", cluster: "silent", want: ErrTimeout},
		{name: "part of a millisecond", cluster: "silent", timeout: time.Microsecond, want: ErrTimeout, after: time.Millisecond},
		{name: "deadline of the context", cluster: "silent", timeout: time.Hour, want: ErrTimeout, after: time.Second,
			ctx: func(t *testing.T) context.Context { return within(t, time.Second) }},
		{name: "deadline of the context, no member", cluster: "nobody", timeout: time.Hour, want: ErrNoMember, after: time.Second,
			ctx: func(t *testing.T) context.Context { return within(t, time.Second) }},
		{name: "cancelled", cluster: "silent", timeout: time.Hour, want: context.Canceled, after: time.Second,
			ctx: func(t *testing.T) context.Context {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				return ctx
			}},
		{name: "cancelled before", cluster: "silent", timeout: time.Hour, want: context.Canceled,
			ctx: func(t *testing.T) context.Context {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				return ctx
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
				connect(t, n, "silent", silent)
				client := connect(t, n, "", nil)
				ctx := t.Context()
				if tt.ctx != nil {
					ctx = tt.ctx(t)
				}
				began := time.Now()
				_, err := client.Request(ctx, tt.cluster, nil, tt.timeout)
				if !errors.Is(err, tt.want) {
					t.Errorf("came %v, wanted %v", err, tt.want)
				}
				if tt.want == ErrTimeout && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v is not context.DeadlineExceeded", err)
				}
				if took := time.Since(began); took < tt.after || took > tt.after+2*time.Millisecond {
					t.Errorf("took %v, wanted %v", took, tt.after)
				}
			})
		})
	}
}

func TestTunnelToNobodyFails(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		client := connect(t, n, "", nil)
		began := time.Now()
		if _, err := client.Tunnel(within(t, time.Second), "nobody"); err != ErrNoMember {
			t.Errorf("came %v, wanted ErrNoMember", err)
		}
		if took := time.Since(began); took > 1002*time.Millisecond {
			t.Errorf("took %v, wanted 1s", took)
		}
		if _, err := client.Tunnel(t.Context(), "nobody"); err != ErrNoMember {
			t.Errorf("without a deadline came %v, wanted ErrNoMember", err)
		}
	})
}

func TestLostMemberIsToldAtOnce(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, l *memnet.Listener) {
		for _, where := range []string{"in process", "on a socket"} {
			var member io.Closer
			if where == "in process" {
				member = connect(t, n, "doomed", &handler{request: func(*Request) {}})
			} else {
				member = attach(t, dial(t, l), "doomed").nc
			}
			client := connect(t, n, "", nil)
			time.AfterFunc(time.Second, func() { member.Close() })
			began := time.Now()
			if _, err := client.Request(t.Context(), "doomed", nil, time.Hour); err != ErrLost {
				t.Errorf("member %s: came %v, wanted ErrLost", where, err)
			}
			if took := time.Since(began); took != time.Second {
				t.Errorf("member %s: took %v, wanted 1s", where, took)
			}
		}
	})
}

func TestTooMuchPendingIsBusy(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		client := connect(t, n, "", nil)
		ctx, cancel := context.WithCancel(t.Context())
		var pending sync.WaitGroup
		for range 4096 {
			pending.Go(func() { client.Request(ctx, "nobody", nil, time.Minute) })
		}
		synctest.Wait()
		if _, err := client.Request(ctx, "nobody", nil, time.Minute); err != ErrBusy {
			t.Errorf("came %v, wanted ErrBusy", err)
		}
		cancel()
		pending.Wait()
	})
}

func TestLateAnswerIsDiscarded(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		kept := make(chan *Request, 2)
		connect(t, n, "slow", &handler{request: func(r *Request) { kept <- r }})
		client := connect(t, n, "", nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := client.Request(ctx, "slow", []byte("first"), time.Minute); err != context.Canceled {
			t.Errorf("came %v, wanted the cancellation", err)
		}
		go func() {
			first, second := <-kept, <-kept
			if err := first.Reply([]byte("late")); err != nil {
				t.Errorf("late reply: %v", err)
			}
			second.Reply([]byte("in time"))
			if err := second.Fail("twice"); err == nil {
				t.Error("a second answer was taken")
			}
		}()
		if reply, err := client.Request(t.Context(), "slow", nil, time.Minute); string(reply) != "in time" || err != nil {
			t.Errorf("came %q, %v", reply, err)
		}
	})
}

func TestAbandonedTunnelIsClosed(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, l *memnet.Listener) {
		acceptor := attach(t, dial(t, l), "slow")
		defer acceptor.nc.Close()
		client := connect(t, n, "", nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := client.Tunnel(ctx, "slow"); err != context.Canceled {
			t.Errorf("came %v, wanted the cancellation", err)
		}
		m := acceptor.want(relaywire.TunnelInit)
		acceptor.send(relaywire.Message{Op: relaywire.TunnelConfirm, ID: m.ID, Tunnel: 1})
		acceptor.want(relaywire.TunnelAllow)
		if m := acceptor.want(relaywire.TunnelClose); len(m.Body) > 0 {
			t.Errorf("closed for %q", m.Body)
		}
	})
}

func TestRequestWaitsForMember(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		client := connect(t, n, "", nil)
		time.AfterFunc(time.Second, func() { connect(t, n, "late", &handler{request: echo}) })
		if reply, err := client.Request(t.Context(), "late", []byte("hello"), time.Minute); string(reply) != "hello" || err != nil {
			t.Errorf("came %q, %v", reply, err)
		}
	})
}

// TestDeadlineIsTheRequesters has a request wait for its member, and another one for a
// handler until nobody waits for an answer: it is not served.
func TestDeadlineIsTheRequesters(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		client := connect(t, n, "", nil)
		served := make(chan string, 10)
		serve := func(r *Request) {
			served <- fmt.Sprintf("%s: %v of %v", r.Body, time.Until(r.Deadline()).Round(10*time.Millisecond), r.Timeout)
			time.Sleep(time.Second)
			r.Reply(nil)
		}
		time.AfterFunc(time.Second, func() { connect(t, n, "late", &handler{request: serve}) })
		go client.Request(t.Context(), "late", []byte("first"), time.Minute)
		time.Sleep(1100 * time.Millisecond)
		if _, err := client.Request(t.Context(), "late", []byte("second"), time.Second/2); err != ErrTimeout {
			t.Errorf("came %v", err)
		}
		time.Sleep(time.Second)
		client.Request(t.Context(), "late", []byte("third"), time.Minute)
		wantAll(t, "served", receive(served, 2), "first: 59s of 1m0s", "third: 1m0s of 1m0s")
		if got := n.plane.Drops.Expired.Load(); got != 1 {
			t.Errorf("%d expired are counted, want 1", got)
		}
	})
}

// gaps is a handler that writes everything down, and is told of gaps.
type gaps struct {
	NopHandler
	said chan string
}

func (g gaps) HandleBroadcast(msg []byte) { g.said <- string(msg) }
func (g gaps) HandleGap(gap Gap)          { g.said <- fmt.Sprintf("%+v", gap) }

func TestGapsAreToldBetweenMessages(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		h := gaps{said: make(chan string, 10)}
		c, deaf := connect(t, n, "news", h), connect(t, n, "news", &handler{})
		hear := func(event []byte) { h.said <- string(event) }
		if err := errors.Join(c.Subscribe("topic", hear), c.Subscribe("ended", hear)); err != nil {
			t.Fatal(err)
		}
		var b queue.Batch
		c.Broadcast("news", []byte("1"))
		sink{c}.Gap(&b, nil, 2)
		c.Broadcast("news", []byte("4"))
		c.Publish("topic", []byte("a"))
		sink{c}.Gap(&b, []byte("topic"), 0)
		sink{c}.Gap(&b, []byte("other"), 1)
		c.Publish("topic", []byte("b"))
		c.Unsubscribe("ended")
		sink{c}.Gap(&b, []byte("ended"), 1)
		sink{deaf}.Gap(&b, nil, 2)
		b.Flush()
		wantAll(t, "said", receive(h.said, 6), "1", "{Topic: Broadcast:true Lost:2}", "4", "a", "{Topic:topic Broadcast:false Lost:0}", "b")
	})
}

func TestWhatNoHandlerSawGoesToAnotherMember(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		free := make(chan bool)
		stuck := connect(t, n, "pair", &handler{request: func(*Request) { <-free }})
		client := connect(t, n, "", nil)
		answers := make(chan string, 3)
		for range 3 {
			go func() {
				reply, err := client.Request(t.Context(), "pair", nil, time.Minute)
				answers <- fmt.Sprintf("%s%v", reply, err)
			}()
			synctest.Wait()
		}
		connect(t, n, "pair", &handler{request: func(r *Request) { r.Reply([]byte("other ")) }})
		stuck.Close()
		got := receive(answers, 3)
		slices.Sort(got)
		wantAll(t, "answers", got, "other <nil>", "other <nil>", ErrLost.Error())
		close(free)
	})
}

// TestSlowHandlerHoldsUpNoTunnel blocks a service for longer than a node waits
// for the confirmation of a tunnel.
func TestSlowHandlerHoldsUpNoTunnel(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		accepted := make(chan *Tunnel, 1)
		connect(t, n, "slow", &handler{
			broadcast: func([]byte) { time.Sleep(10 * time.Second) },
			tunnel:    func(tun *Tunnel) { accepted <- tun },
		})
		client := connect(t, n, "", nil)
		client.Broadcast("slow", nil)
		tun, err := client.Tunnel(within(t, time.Second), "slow")
		if err != nil {
			t.Fatal(err)
		}
		if err := tun.Send(within(t, time.Second), []byte("hello")); err != nil {
			t.Fatal(err)
		}
		tun.Close()
		peer := <-accepted
		defer peer.Close()
		if msg, err := peer.Recv(t.Context()); string(msg) != "hello" || err != nil {
			t.Errorf("Recv: %q, %v", msg, err)
		}
		if _, err := peer.Recv(t.Context()); err != io.EOF {
			t.Errorf("Recv after the close: %v, wanted io.EOF", err)
		}
		if err := peer.Send(t.Context(), []byte("x")); err != io.EOF {
			t.Errorf("Send after the close: %v, wanted io.EOF", err)
		}
	})
}

func TestSlowClientIsDropped(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		free := make(chan bool)
		slow := connect(t, n, "", nil)
		slow.Subscribe("flood", func([]byte) { <-free })
		heard := 0
		brisk := connect(t, n, "", nil)
		brisk.Subscribe("flood", func([]byte) { heard++ })
		source := connect(t, n, "", nil)
		event := make([]byte, 1<<20)
		for range 100 {
			if err := source.Publish("flood", event); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		<-slow.Done()
		if err := slow.Err(); !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), reasonSlow) {
			t.Errorf("the slow client ended with %v", err)
		}
		if err := slow.Publish("flood", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("its next call came to %v", err)
		}
		if err := slow.Close(); !errors.Is(err, ErrClosed) {
			t.Errorf("its Close came to %v", err)
		}
		if heard != 100 {
			t.Errorf("the other client heard %d of 100 events", heard)
		}
		if s, err := n.Status(); err != nil || s.Ended["slow"] != 1 || s.Programs != 2 {
			t.Errorf("status: %+v, %v; wanted one slow program ended, two attached", s, err)
		}
		close(free)
	})
}

// TestSlowClientIsDroppedWhenMemoryIsShort does so long before its own bound.
func TestSlowClientIsDroppedWhenMemoryIsShort(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		others := int(n.plane.Budget.Limit()) - 8<<20
		free := make(chan bool)
		slow := connect(t, n, "slow", &handler{broadcast: func([]byte) { <-free }})
		client := connect(t, n, "", nil)
		n.plane.Budget.Force(others)
		defer n.plane.Budget.Give(others)
		for range 10 {
			client.Broadcast("slow", make([]byte, 1<<20))
		}
		<-slow.Done()
		if err := slow.Err(); !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), reasonMemory) {
			t.Errorf("the slow client ended with %v", err)
		}
		if err := client.Err(); err != nil {
			t.Errorf("the other client ended with %v", err)
		}
		close(free)
	})
}

func TestNopHandlerTurnsAway(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		connect(t, n, "nop", NopHandler{})
		client := connect(t, n, "", nil)
		client.Broadcast("nop", nil)
		var fault *RemoteError
		if _, err := client.Request(t.Context(), "nop", nil, time.Second); !errors.As(err, &fault) {
			t.Errorf("Request: %v, wanted a fault", err)
		}
		tun, err := client.Tunnel(t.Context(), "nop")
		if err != nil {
			t.Fatal(err)
		}
		defer tun.Close()
		if _, err := tun.Recv(t.Context()); err != io.EOF {
			t.Errorf("Recv: %v, wanted io.EOF", err)
		}
	})
}

func TestCloseEndsWhatIsPending(t *testing.T) {
	for _, how := range []string{"client", "node"} {
		t.Run(how, func(t *testing.T) {
			withNode(t, func(t *testing.T, n *Node, l *memnet.Listener) {
				acceptor := attach(t, dial(t, l), "peer")
				client := connect(t, n, "", nil)
				ctx := t.Context()
				go func() {
					m := acceptor.want(relaywire.TunnelInit)
					acceptor.send(relaywire.Message{Op: relaywire.TunnelConfirm, ID: m.ID, Tunnel: 1})
				}()
				tun, err := client.Tunnel(ctx, "peer")
				if err != nil {
					t.Fatal(err)
				}
				acceptor.want(relaywire.TunnelAllow)
				results := make(chan error)
				go func() { results <- second(client.Request(ctx, "peer", nil, time.Hour)) }()
				go func() { results <- second(client.Request(ctx, "nobody", nil, time.Hour)) }()
				go func() { results <- second(client.Tunnel(ctx, "nobody")) }()
				go func() { results <- second(tun.Recv(ctx)) }()
				go func() { results <- tun.Send(ctx, make([]byte, 10<<20)) }()
				synctest.Wait()
				go func() { results <- tun.Send(ctx, []byte("next in turn")) }()
				synctest.Wait()
				acceptor.want(relaywire.Request)

				began := time.Now()
				if how == "client" {
					if err := client.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
					if took := time.Since(began); took > 0 {
						t.Errorf("Close took %v", took)
					}
				} else {
					go n.Close() // it gives the socket's program time to read
				}
				for range 6 {
					err := <-results
					switch {
					case errors.Is(err, ErrClosed):
					case how == "node" && err != nil && (err == ErrLost || strings.Contains(err.Error(), Terminating)):
						// The program on the socket was closed first.
					default:
						t.Errorf("came %v, wanted ErrClosed", err)
					}
				}
				<-client.Done()
				if err := client.Broadcast("peer", nil); !errors.Is(err, ErrClosed) {
					t.Errorf("call after the end: %v", err)
				}
				if err := tun.Close(); err != nil {
					t.Errorf("Close of a tunnel after the end: %v", err)
				}
				if _, err := tun.Recv(ctx); err != io.ErrClosedPipe {
					t.Errorf("Recv after Close: %v", err)
				}
				acceptor.nc.Close()
				n.Close()
				if _, err := n.Connect("", nil); err != ErrClosed {
					t.Errorf("Connect after the end: %v", err)
				}
			})
		})
	}
}

func second[T any](_ T, err error) error { return err }

func TestClosedClientLeavesNoTrace(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		client := connect(t, n, "", nil)
		for range 100 {
			service := connect(t, n, "name", &handler{request: echo})
			service.Subscribe("topic", func([]byte) {})
			if _, err := client.Request(t.Context(), "name", nil, time.Second); err != nil {
				t.Fatal(err)
			}
			if err := service.Close(); err != nil {
				t.Fatal(err)
			}
			if err := service.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
			if s, _ := n.Status(); len(s.Clusters)+len(s.Topics) > 0 || s.Programs != 1 {
				t.Fatalf("after Close: %+v", s)
			}
		}
	})
}

func TestHandlersMayCallAnything(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		connect(t, n, "echo", &handler{request: echo, tunnel: func(tun *Tunnel) { tun.Send(t.Context(), []byte("welcome")) }})
		heard := make(chan string, 10)
		var service *Client
		service = connect(t, n, "busy", &handler{request: func(r *Request) {
			ctx := t.Context()
			if _, err := service.Request(ctx, "echo", r.Body, time.Second); err != nil {
				t.Error(err)
			}
			if err := service.Subscribe("topic", func(event []byte) {
				heard <- string(event)
				service.Unsubscribe("topic")
			}); err != nil {
				t.Error(err)
			}
			service.Publish("topic", []byte("one"))
			service.Publish("topic", []byte("two"))
			tun, err := service.Tunnel(ctx, "echo")
			if err != nil {
				t.Fatal(err)
			}
			if msg, err := tun.Recv(ctx); string(msg) != "welcome" || err != nil {
				t.Errorf("Recv: %q, %v", msg, err)
			}
			tun.Close()
			r.Reply(nil)
		}})
		client := connect(t, n, "", nil)
		if reply, err := client.Request(t.Context(), "busy", nil, time.Second); len(reply) > 0 || err != nil {
			t.Errorf("Request: %q, %v", reply, err)
		}
		wantAll(t, "events until unsubscribed", receive(heard, 2), "one", "nothing more")

		ending := connect(t, n, "ending", &handler{})
		ending.Subscribe("end", func([]byte) { ending.Close() })
		client.Publish("end", nil)
		<-ending.Done()
		ending = connect(t, n, "ending", &handler{})
		ending.Subscribe("end", func([]byte) { n.Close() })
		client.Publish("end", nil)
		<-ending.Done()
	})
}

func TestSubscriptionIsSingle(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		client := connect(t, n, "", nil)
		heard := make(chan string, 10)
		hear := func(event []byte) { heard <- string(event) }
		if err := client.Unsubscribe("news"); err == nil {
			t.Error("Unsubscribe without a subscription succeeded")
		}
		if err := client.Subscribe("news", hear); err != nil {
			t.Error(err)
		}
		if err := client.Subscribe("news", hear); err == nil {
			t.Error("a second Subscribe succeeded")
		}
		client.Publish("news", []byte("once"))
		wantAll(t, "events", receive(heard, 2), "once", "nothing more")
		if err := client.Unsubscribe("news"); err != nil {
			t.Error(err)
		}
		client.Publish("news", []byte("unheard"))
		client.Subscribe("news", hear)
		client.Publish("news", make([]byte, 20<<10))
		if got := receive(heard, 1); len(got[0]) != 20<<10 {
			t.Errorf("came an event of %d octets: %.20q", len(got[0]), got[0])
		}
	})
}

// TestTunnelHoldsSenderBack sends to a peer that does not read for a minute.
func TestTunnelHoldsSenderBack(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		accepted := make(chan *Tunnel, 1)
		connect(t, n, "sink", &handler{tunnel: func(tun *Tunnel) { accepted <- tun }})
		client := connect(t, n, "", nil)
		tun, err := client.Tunnel(t.Context(), "sink")
		if err != nil {
			t.Fatal(err)
		}
		defer tun.Close()
		const size, count = 1 << 20, 200
		var sent atomic.Int64
		go func() {
			for i := range count {
				if err := tun.Send(t.Context(), bytes.Repeat([]byte{byte(i)}, size)); err != nil {
					t.Error(err)
				}
				sent.Add(1)
			}
		}()
		peer := <-accepted
		defer peer.Close()
		time.Sleep(time.Minute)
		if got := sent.Load(); got < 60 || got > 70 {
			t.Errorf("%d MiB were sent to a peer that reads nothing, wanted its window of 64 and 4", got)
		}
		for i := range count {
			msg, err := peer.Recv(t.Context())
			if err != nil || len(msg) != size || msg[0] != byte(i) || msg[size-1] != byte(i) {
				t.Fatalf("message %d: %d octets, %v", i, len(msg), err)
			}
		}
		synctest.Wait()
		if got := sent.Load(); got != count {
			t.Errorf("%d messages were sent, wanted %d", got, count)
		}
	})
}

// TestTunnelLivesWithLittleMemory leaves the node less memory than a tunnel's
// window: the sender waits, and nothing is lost.
func TestTunnelLivesWithLittleMemory(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		others := int(n.plane.Budget.Limit()) - 32<<20
		n.plane.Budget.Force(others)
		defer n.plane.Budget.Give(others)
		accepted := make(chan *Tunnel, 1)
		connect(t, n, "sink", &handler{tunnel: func(tun *Tunnel) { accepted <- tun }})
		client := connect(t, n, "", nil)
		if _, err := client.Tunnel(t.Context(), "sink"); err != ErrBusy {
			t.Errorf("Tunnel with little memory: %v, wanted ErrBusy", err)
		}
		n.plane.Budget.Give(others)
		tun, err := client.Tunnel(t.Context(), "sink")
		if err != nil {
			t.Fatal(err)
		}
		defer tun.Close()
		n.plane.Budget.Force(others)
		go func() {
			for i := range 100 {
				if err := tun.Send(t.Context(), bytes.Repeat([]byte{byte(i)}, 1<<20)); err != nil {
					t.Error(err)
				}
			}
			// More than half of what there is cannot be put together. What
			// the sender hears of that depends on how far it has got.
			tun.Send(t.Context(), make([]byte, 30<<20))
		}()
		peer := <-accepted
		defer peer.Close()
		time.Sleep(time.Minute)
		for i := range 100 {
			msg, err := peer.Recv(t.Context())
			if err != nil || len(msg) != 1<<20 || msg[0] != byte(i) {
				t.Fatalf("message %d: %d octets, %v", i, len(msg), err)
			}
		}
		if _, err := peer.Recv(t.Context()); err == nil || !strings.Contains(err.Error(), "memory") {
			t.Errorf("Recv of a huge message: %v", err)
		}
		synctest.Wait() // for the sender
	})
}

func TestCancelledSendLeavesTunnelUsable(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, l *memnet.Listener) {
		acceptor := attach(t, dial(t, l), "sink")
		defer acceptor.nc.Close()
		client := connect(t, n, "", nil)
		go func() {
			m := acceptor.want(relaywire.TunnelInit)
			acceptor.send(relaywire.Message{Op: relaywire.TunnelConfirm, ID: m.ID, Tunnel: 1})
			acceptor.send(relaywire.Message{Op: relaywire.TunnelAllow, ID: 1, Size: relaywire.ChunkLimit})
		}()
		tun, err := client.Tunnel(t.Context(), "sink")
		if err != nil {
			t.Fatal(err)
		}
		defer tun.Close()
		acceptor.want(relaywire.TunnelAllow)
		if err := tun.Send(t.Context(), make([]byte, relaywire.ChunkLimit)); err != nil {
			t.Fatal(err)
		}
		if err := tun.Send(within(t, time.Second), make([]byte, 10<<20)); err != context.DeadlineExceeded {
			t.Errorf("Send: %v, wanted the deadline", err)
		}
		if _, err := tun.Recv(within(t, time.Second)); err != context.DeadlineExceeded {
			t.Errorf("Recv: %v, wanted the deadline", err)
		}
		done := make(chan error)
		go func() { done <- tun.Send(t.Context(), []byte("next")) }()
		acceptor.send(relaywire.Message{Op: relaywire.TunnelAllow, ID: 1, Size: 64 << 20})
		for m := acceptor.want(relaywire.TunnelTransfer); string(m.Body) != "next"; {
			m = acceptor.want(relaywire.TunnelTransfer)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestLimitsAreTold(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		ctx := t.Context()
		var held *Request
		connect(t, n, "held", &handler{request: func(r *Request) { held = r }})
		c := connect(t, n, "", nil)
		go c.Request(ctx, "held", nil, time.Second)
		synctest.Wait()
		long, large := strings.Repeat("x", 64<<10+1), make([]byte, 64<<20+1)
		tun := &Tunnel{}
		for what, err := range map[string]error{
			"Connect, long name":       second(n.Connect(long[:1025], &handler{})),
			"Connect, no handler":      second(n.Connect("x", nil)),
			"Request, no name":         second(c.Request(ctx, "", nil, 1)),
			"Request, long name":       second(c.Request(ctx, long, nil, 1)),
			"Request, large body":      second(c.Request(ctx, "x", large, 1)),
			"Request, negative":        second(c.Request(ctx, "x", nil, -1)),
			"Reply, large body":        held.Reply(large),
			"Fail, long text":          held.Fail(long),
			"Broadcast, no name":       c.Broadcast("", nil),
			"Broadcast, long name":     c.Broadcast(long, nil),
			"Broadcast, large message": c.Broadcast("x", large),
			"Publish, long name":       c.Publish(long, nil),
			"Publish, large event":     c.Publish("x", large),
			"Subscribe, long name":     c.Subscribe(long, func([]byte) {}),
			"Subscribe, no function":   c.Subscribe("x", nil),
			"Tunnel, long name":        second(c.Tunnel(ctx, long)),
			"Send, empty":              tun.Send(ctx, nil),
			"Subscribe, many topics":   subscribeAll(c, 10_001),
		} {
			if err == nil || errors.Is(err, ErrClosed) {
				t.Errorf("%s: %v, wanted an error that says so", what, err)
			}
		}
		if err := held.Reply(nil); err != nil {
			t.Errorf("Reply after one that was too large: %v", err)
		}
		if err := c.Publish("", make([]byte, 64<<20)); err != nil {
			t.Errorf("the largest event: %v", err)
		}
	})
}

// subscribeAll subscribes to n topics, and returns what the last came to.
func subscribeAll(c *Client, n int) (err error) {
	for i := range n {
		err = c.Subscribe(fmt.Sprint(i), func([]byte) {})
		if err != nil && i < n-1 {
			return nil // too early
		}
	}
	return err
}

func TestConnectNeedsRunningNode(t *testing.T) {
	n, err := New(Config{Dev: true, MaxPrograms: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Connect("", nil); err == nil {
		t.Error("Connect before Start succeeded")
	}
	n.config.Listeners = []net.Listener{memnet.Listen("relay")}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	connect(t, n, "", nil)
	if _, err := n.Connect("", nil); err == nil {
		t.Error("Connect to a full node succeeded")
	}
}

// TestClientsUnderStress lets everything happen at once.
func TestClientsUnderStress(t *testing.T) {
	withNode(t, func(t *testing.T, n *Node, _ *memnet.Listener) {
		ctx := t.Context()
		h := &handler{
			request: func(r *Request) { go r.Reply(r.Body) },
			tunnel: func(tun *Tunnel) {
				go func() {
					defer tun.Close()
					for {
						msg, err := tun.Recv(ctx)
						if err != nil || tun.Send(ctx, msg) != nil {
							return
						}
					}
				}()
			},
		}
		connect(t, n, "work", h)
		shared := connect(t, n, "", nil)
		var running sync.WaitGroup
		for w := range 8 {
			running.Go(func() {
				r := rand.New(rand.NewPCG(1, uint64(w)))
				own := connect(t, n, "work", h)
				topic := fmt.Sprint("topic", w%3)
				for i := range 300 {
					c := own
					if r.IntN(2) == 0 {
						c = shared
					}
					switch r.IntN(10) {
					case 0:
						own.Close()
						own = connect(t, n, "work", h)
					case 1:
						c.Broadcast("work", make([]byte, r.IntN(40<<10)))
					case 2:
						c.Subscribe(topic, func([]byte) {})
					case 3:
						c.Unsubscribe(topic)
					case 4:
						c.Publish(topic, make([]byte, r.IntN(40<<10)))
					case 5:
						ctx, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(1000))*time.Microsecond)
						c.Request(ctx, "work", nil, time.Second)
						cancel()
					case 6:
						tun, err := c.Tunnel(ctx, "work")
						if err != nil {
							t.Errorf("Tunnel: %v", err)
							continue
						}
						msg := bytes.Repeat([]byte{byte(i)}, 1+r.IntN(200<<10))
						if err := tun.Send(ctx, msg); err == nil {
							// The other end may be closed meanwhile.
							if got, err := tun.Recv(ctx); err == nil && !bytes.Equal(got, msg) {
								t.Error("another message came back through the tunnel")
							}
						}
						tun.Close()
					default:
						msg := fmt.Append(nil, w, i)
						got, err := c.Request(ctx, "work", msg, time.Minute)
						if err == nil && !bytes.Equal(got, msg) || err != nil && err != ErrLost {
							t.Errorf("Request: %q, %v", got, err)
						}
					}
				}
			})
		}
		running.Wait()
	})
}

func BenchmarkClientRequest(b *testing.B) {
	n := benchNode(b)
	connect(b, n, "echo", &handler{request: echo})
	client := connect(b, n, "", nil)
	body := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Request(context.Background(), "echo", body, time.Minute); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClientRequestParallel(b *testing.B) {
	n := benchNode(b)
	connect(b, n, "echo", &handler{request: echo})
	client := connect(b, n, "", nil)
	body := make([]byte, 128)
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := client.Request(context.Background(), "echo", body, time.Minute); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkClientPublish(b *testing.B) {
	n := benchNode(b)
	client := connect(b, n, "", nil)
	heard := make(chan bool, 1)
	got := 0
	client.Subscribe("news", func([]byte) {
		if got++; got%1000 == 0 {
			heard <- true
		}
	})
	event := make([]byte, 128)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		client.Publish("news", event)
		if i%1000 == 999 {
			<-heard
		}
	}
}

// BenchmarkClientTunnel moves 64 KiB messages one way.
func BenchmarkClientTunnel(b *testing.B) {
	n := benchNode(b)
	ctx := context.Background()
	connect(b, n, "sink", &handler{tunnel: func(t *Tunnel) {
		go func() {
			defer t.Close()
			for {
				if _, err := t.Recv(ctx); err != nil {
					return
				}
			}
		}()
	}})
	client := connect(b, n, "", nil)
	t, err := client.Tunnel(ctx, "sink")
	if err != nil {
		b.Fatal(err)
	}
	msg := make([]byte, relaywire.ChunkLimit)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if err := t.Send(ctx, msg); err != nil {
			b.Fatal(err)
		}
	}
}
