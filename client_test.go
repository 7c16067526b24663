package iris_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris"
	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/node"
)

var bg = context.Background()

// inBubble runs f in invented time, with the configuration of a program that
// attaches to a node on an in-memory network.
func inBubble(t *testing.T, f func(t *testing.T, config iris.Config, n *node.Node)) {
	synctest.Test(t, func(t *testing.T) {
		n, config := memoryNode(t)
		defer n.Close()
		f(t, config, n)
	})
}

func memoryNode(t *testing.T) (*node.Node, iris.Config) {
	l := memnet.Listen("relay")
	n, err := node.New(node.Config{Dev: true, Listeners: []net.Listener{l}, Memory: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return n, iris.Config{Dial: func(context.Context) (net.Conn, error) { return l.Dial() }}
}

func connect(t *testing.T, config iris.Config) *iris.Client {
	t.Helper()
	c, err := config.Connect(bg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func register(t *testing.T, config iris.Config, cluster string, h iris.Handler) *iris.Client {
	t.Helper()
	c, err := config.Register(bg, cluster, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// wants fails t unless err is target and says all the words.
func wants(t *testing.T, what string, err, target error, words ...string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: error %v, wanted one that is %v", what, err, target)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: error %q does not say %q", what, err, word)
		}
	}
}

// A fake is a node as a test plays it: it answers the handshake and then does as
// the test says.
type fake struct {
	net.Conn
	t  *testing.T
	in []byte
}

// withFake gives f the configuration of a program that attaches to a fake, which
// play plays.
func withFake(t *testing.T, play func(n *fake), f func(config iris.Config)) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("relay")
		defer l.Close()
		var work sync.WaitGroup
		f(iris.Config{Dial: func(context.Context) (net.Conn, error) {
			near, err := l.Dial()
			if err != nil {
				return nil, err
			}
			far, err := l.Accept()
			if err != nil {
				return nil, err
			}
			work.Go(func() {
				defer far.Close()
				play(&fake{Conn: far, t: t})
			})
			return near, nil
		}})
		work.Wait()
	})
}

// next returns the next message of the program; nil: there is none.
func (n *fake) next() *relaywire.Message {
	var m relaywire.Message
	for {
		size, err := relaywire.DefaultLimits.ParseToNode(n.in, &m)
		if len(n.in) > 0 && n.in[0] == byte(relaywire.Init) {
			size, err = relaywire.DefaultLimits.ParseInit(n.in, &m)
		}
		if err == nil {
			n.in = n.in[size:]
			return &m
		}
		if err != relaywire.ErrShort {
			n.t.Errorf("the program sent what is no message: %v", err)
			return nil
		}
		p := make([]byte, 4096)
		k, err := n.Read(p)
		if err != nil {
			return nil
		}
		n.in = append(n.in, p[:k]...)
	}
}

func (n *fake) send(ms ...relaywire.Message) {
	var b []byte
	for i := range ms {
		b = ms[i].AppendToClient(b)
	}
	n.Write(b)
}

func (n *fake) accept() {
	n.next()
	n.send(relaywire.Message{Op: relaywire.Accept, Magic: []byte(relaywire.NodeMagic), Version: []byte(relaywire.Version)})
}

func TestAttachingSaysWhatIsWrong(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().String()
	l.Close()
	_, err = iris.Config{Address: free}.Connect(bg)
	wants(t, "nobody listens", err, iris.ErrNoNode, free, "iris node --dev")
	_, err = iris.Config{Address: "/nowhere/x.sock"}.Connect(bg)
	wants(t, "no socket", err, iris.ErrNoNode, "/nowhere/x.sock", "iris node --dev")
	_, err = iris.Config{Address: "nonsense"}.Connect(bg)
	if err == nil || !strings.Contains(err.Error(), "HOST:PORT") {
		t.Errorf("address that is none: error %v", err)
	}
	_, err = iris.Config{}.Register(bg, "", echo)
	if err == nil || !strings.Contains(err.Error(), "no cluster") {
		t.Errorf("no cluster: error %v", err)
	}
	_, err = iris.Config{}.Register(bg, strings.Repeat("x", 1025), echo)
	wants(t, "long cluster", err, iris.ErrTooLarge, "1024")
	_, err = iris.Config{Requests: iris.Limits{Threads: -1}}.Connect(bg)
	if err == nil || !strings.Contains(err.Error(), "below 0") {
		t.Errorf("limits below 0: error %v", err)
	}
	for name, play := range map[string]func(n *fake){
		"hung up":        func(n *fake) {},
		"another server": func(n *fake) { n.next(); io.WriteString(n, "HTTP/1.1 400 Bad Request\r\n\r\n") },
		"silent":         func(n *fake) { n.next(); n.next() },
		"wrong magic":    func(n *fake) { n.next(); n.send(relaywire.Message{Op: relaywire.Accept}) },
	} {
		withFake(t, play, func(config iris.Config) {
			_, err := config.Connect(bg)
			wants(t, name, err, iris.ErrNotIris, "address")
		})
	}
	withFake(t, func(n *fake) {
		n.next()
		n.send(relaywire.Message{Op: relaywire.Deny, Magic: []byte(relaywire.NodeMagic), Body: []byte("Unsupported protocol.")})
	}, func(config iris.Config) {
		_, err := config.Connect(bg)
		var denied *iris.DeniedError
		if !errors.As(err, &denied) || denied.Reason != "Unsupported protocol." {
			t.Errorf("denied version: error %v", err)
		}
	})
	withFake(t, func(n *fake) { n.next(); n.next() }, func(config iris.Config) {
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		start := time.Now()
		_, err := config.Connect(ctx)
		wants(t, "context over while attaching", err, iris.ErrTimeout)
		if took := time.Since(start); took != time.Second {
			t.Errorf("attaching with a second's time took %v", took)
		}
	})
}

func TestWhatCannotBeSentIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		config.MaxMessage = 1000
		service := register(t, config, "echo", echo)
		big := make([]byte, 1001)
		_, err := service.Request(bg, "echo", big)
		wants(t, "large request", err, iris.ErrTooLarge, "1000", "1001")
		wants(t, "large event", service.Publish(bg, "t", big), iris.ErrTooLarge)
		wants(t, "large broadcast", service.Broadcast(bg, "echo", big), iris.ErrTooLarge)
		wants(t, "large topic", service.Publish(bg, strings.Repeat("x", 65537), nil), iris.ErrTooLarge)
		_, err = service.Request(bg, "", nil)
		if err == nil || !strings.Contains(err.Error(), "no cluster") {
			t.Errorf("request to no cluster: error %v", err)
		}

		expired, cancel := context.WithDeadline(bg, time.Now())
		defer cancel()
		_, err = service.Request(expired, "echo", nil)
		wants(t, "expired request", err, iris.ErrTimeout, "was done before")
		wants(t, "expired request", err, context.DeadlineExceeded)
		wants(t, "expired event", service.Publish(expired, "t", nil), iris.ErrTimeout)
		cancelled, cancel := context.WithCancel(bg)
		cancel()
		_, err = service.Request(cancelled, "echo", nil)
		wants(t, "cancelled request", err, context.Canceled)

		tunnel, err := service.Tunnel(bg, "echo")
		if err != nil {
			t.Fatal(err)
		}
		wants(t, "empty tunnel message", tunnel.Send(bg, nil), iris.ErrTooLarge)
		tunnel.Close()

		if reply, err := service.Request(bg, "echo", []byte("still here")); string(reply) != "still here" {
			t.Errorf("after all that the reply is %q, %v", reply, err)
		}
	})
}

func TestRequestTimesOut(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		client := connect(t, config)
		start := time.Now()
		_, err := client.Request(bg, "nobody", nil)
		wants(t, "request to nobody", err, iris.ErrTimeout)
		if took := time.Since(start); took != time.Minute {
			t.Errorf("a request without a deadline took %v, wanted a minute", took)
		}
		ctx, cancel := context.WithTimeout(bg, 10*time.Millisecond)
		defer cancel()
		start = time.Now()
		_, err = client.Tunnel(ctx, "nobody")
		wants(t, "tunnel to nobody", err, iris.ErrTimeout)
		if took := time.Since(start); took != 10*time.Millisecond {
			t.Errorf("a tunnel with 10 ms took %v", took)
		}
	})
}

func TestCancelledRequestReturnsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		release := make(chan struct{})
		service := register(t, config, "slow", iris.HandlerFunc(func(_ context.Context, body []byte) ([]byte, error) {
			<-release
			return body, nil
		}))
		ctx, cancel := context.WithCancel(bg)
		failed := make(chan error, 2)
		go func() {
			_, err := service.Request(ctx, "slow", []byte("1"))
			failed <- err
		}()
		if err := service.RequestAsync(ctx, "slow", []byte("2"), func(_ []byte, err error) { failed <- err }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		wants(t, "cancelled request", <-failed, context.Canceled)
		wants(t, "cancelled request", <-failed, context.Canceled)
		close(release)
		synctest.Wait() // the answers come and are for nobody
		if reply, err := service.Request(bg, "slow", []byte("next")); string(reply) != "next" {
			t.Errorf("the next request was answered %q, %v", reply, err)
		}
	})
}

func TestStuckNodeHoldsNobodyUp(t *testing.T) {
	withFake(t, func(n *fake) {
		n.accept()
		for n.next() != nil {
		}
	}, func(config iris.Config) {
		config.Timeout = time.Second
		client, err := config.Connect(bg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Request(bg, "echo", nil)
		wants(t, "request", err, iris.ErrTimeout, "stuck")
		async := make(chan error, 1)
		if err := client.RequestAsync(bg, "echo", nil, func(_ []byte, err error) { async <- err }); err != nil {
			t.Fatal(err)
		}
		wants(t, "asynchronous request", <-async, iris.ErrTimeout, "stuck")
		_, err = client.Tunnel(bg, "echo")
		wants(t, "tunnel", err, iris.ErrTimeout)
		_, err = client.Subscribe(bg, "topic", func(context.Context, []byte) {})
		wants(t, "subscription", err, iris.ErrTimeout, "stuck")
		start := time.Now()
		if err := client.Close(); err == nil || !strings.Contains(err.Error(), "did not confirm") {
			t.Errorf("close: error %v", err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("close took %v, wanted 5 s", took)
		}
		_, err = client.Request(bg, "echo", nil)
		wants(t, "request after close", err, iris.ErrClosed)
	})
}

func TestNodeThatDoesNotReadHoldsSendersUpForTheirTimeOnly(t *testing.T) {
	withFake(t, func(n *fake) {
		n.accept()
		time.Sleep(time.Hour)
	}, func(config iris.Config) {
		client, err := config.Connect(bg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		for err = nil; err == nil; {
			err = client.Publish(ctx, "topic", make([]byte, 64<<10))
		}
		wants(t, "event", err, iris.ErrTimeout)
		client.Close()
	})
}

func TestNodeThatBreaksTheProtocolLosesTheConnection(t *testing.T) {
	for name, m := range map[string]relaywire.Message{
		"reply to nothing":        {Op: relaywire.Reply, ID: 7},
		"broadcast to no member":  {Op: relaywire.Broadcast},
		"request to no member":    {Op: relaywire.Request},
		"tunnel to no member":     {Op: relaywire.TunnelInit, Size: 65536},
		"result of no tunnel":     {Op: relaywire.TunnelResult, ID: 1, Size: 65536},
		"chunk of no tunnel":      {Op: relaywire.TunnelTransfer, ID: 1, Size: 1, Body: []byte("x")},
		"accept once more":        {Op: relaywire.Accept},
		"farewell nobody asked":   {Op: relaywire.Close, Body: []byte("go away")},
		"farewell without reason": {Op: relaywire.Close},
	} {
		withFake(t, func(n *fake) { n.accept(); n.send(m) }, func(config iris.Config) {
			client, err := config.Connect(bg)
			if err != nil {
				t.Fatal(err)
			}
			<-client.Done()
			wants(t, name, client.Err(), iris.ErrLost, string(m.Body))
			if err := client.Close(); err != nil {
				t.Errorf("%s: close: error %v", name, err)
			}
		})
	}
}

func TestEndOfNodeIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, n *node.Node) {
		service := register(t, config, "never", iris.HandlerFunc(func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		client := connect(t, config)
		failed := make(chan error, 3)
		go func() {
			_, err := client.Request(bg, "never", nil)
			failed <- err
		}()
		client.RequestAsync(bg, "never", nil, func(_ []byte, err error) { failed <- err })
		synctest.Wait()
		go n.Close()
		wants(t, "request under way", <-failed, iris.ErrLost, node.Terminating)
		wants(t, "asynchronous request under way", <-failed, iris.ErrLost, node.Terminating)
		<-client.Done()
		wants(t, "Err", client.Err(), iris.ErrLost, node.Terminating)
		_, err := client.Request(bg, "never", nil)
		wants(t, "later request", err, iris.ErrLost, node.Terminating)
		wants(t, "later event", client.Publish(bg, "t", nil), iris.ErrLost)
		_, err = client.Subscribe(bg, "t", func(context.Context, []byte) {})
		wants(t, "later subscription", err, iris.ErrLost)
		_, err = client.Tunnel(bg, "never")
		wants(t, "later tunnel", err, iris.ErrLost)
		<-service.Done()
	})
}

func TestFaultArrivesAsItIs(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		service := register(t, config, "faults", iris.HandlerFunc(func(_ context.Context, body []byte) ([]byte, error) {
			return nil, errors.New(string(body))
		}))
		for _, text := range []string{"it broke", ""} {
			_, err := service.Request(bg, "faults", []byte(text))
			var remote *iris.RemoteError
			if !errors.As(err, &remote) || remote.Text != text {
				t.Errorf("fault %q came as %v", text, err)
			}
		}
		none := register(t, config, "nop", iris.NopHandler{})
		_, err := none.Request(bg, "nop", nil)
		if remote := (*iris.RemoteError)(nil); !errors.As(err, &remote) {
			t.Errorf("request to a NopHandler ended with %v, wanted a fault", err)
		}
	})
}

func TestDeadlineTravels(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		type seen struct {
			left time.Duration
			err  error
		}
		got := make(chan seen, 1)
		service := register(t, config, "late", iris.HandlerFunc(func(ctx context.Context, _ []byte) ([]byte, error) {
			deadline, _ := ctx.Deadline()
			left := time.Until(deadline)
			<-ctx.Done()
			got <- seen{left, ctx.Err()}
			return nil, ctx.Err()
		}))
		ctx, cancel := context.WithTimeout(bg, 3*time.Second)
		defer cancel()
		_, err := service.Request(ctx, "late", nil)
		wants(t, "request", err, iris.ErrTimeout)
		if s := <-got; s.left != 3*time.Second || s.err != context.DeadlineExceeded {
			t.Errorf("the handler had %v left and ended with %v", s.left, s.err)
		}
	})
}

// A reply does not wait for the next handler, even if one goroutine runs both.
func TestReplyOvertakesBlockedHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		release := make(chan struct{})
		defer close(release)
		serving := config
		serving.Requests.Threads = 1
		register(t, serving, "mixed", iris.HandlerFunc(func(_ context.Context, body []byte) ([]byte, error) {
			if string(body) == "block" {
				<-release
			}
			return body, nil
		}))
		client := connect(t, config)
		answered := make(chan string, 2)
		for _, body := range []string{"quick", "block"} {
			client.RequestAsync(bg, "mixed", []byte(body), func(reply []byte, _ error) { answered <- string(reply) })
		}
		if got := <-answered; got != "quick" {
			t.Errorf("got %q first", got)
		}
	})
}

func TestHandlersRunWithinTheirLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		var running, most atomic.Int32
		serving := config
		serving.Requests.Threads = 5
		register(t, serving, "busy", iris.HandlerFunc(func(context.Context, []byte) ([]byte, error) {
			now := running.Add(1)
			defer running.Add(-1)
			for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
			}
			time.Sleep(time.Second)
			return nil, nil
		}))
		client := connect(t, config)
		start := time.Now()
		var work sync.WaitGroup
		for range 20 {
			work.Go(func() {
				if _, err := client.Request(bg, "busy", nil); err != nil {
					t.Error(err)
				}
			})
		}
		work.Wait()
		if most.Load() != 5 || time.Since(start) != 4*time.Second {
			t.Errorf("%d handlers at most ran at once, for %v; wanted 5, for 4 s", most.Load(), time.Since(start))
		}
	})
}

func TestEventsComeInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		const events = 5000
		client := connect(t, config)
		done := make(chan struct{})
		next := 0
		if _, err := client.Subscribe(bg, "numbers", func(_ context.Context, event []byte) {
			if string(event) != fmt.Sprint(next) {
				t.Errorf("event %q came where %d was due", event, next)
			}
			if next++; next == events {
				close(done)
			}
		}); err != nil {
			t.Fatal(err)
		}
		for i := range events {
			if err := client.Publish(bg, "numbers", fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		<-done
		if s := client.Stats(); s.Events.Handled+1 < events || s.Events.Dropped != 0 {
			t.Errorf("counted %+v", s.Events)
		}
	})
}

func TestDropsAreCountedAndLogged(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		var log bytes.Buffer
		config.Log = slog.New(slog.NewTextHandler(&log, nil))
		client := connect(t, config)
		release := make(chan struct{})
		s, err := client.SubscribeWith(bg, "flood", iris.Limits{Memory: 10}, func(context.Context, []byte) { <-release })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Subscribe(bg, "flood", func(context.Context, []byte) {}); !errors.Is(err, iris.ErrSubscribed) {
			t.Errorf("second subscription: error %v", err)
		}
		client.Publish(bg, "flood", []byte("taken"))
		synctest.Wait()
		for range 5 {
			client.Publish(bg, "flood", []byte("1234"))
		}
		synctest.Wait()
		if s.Dropped() != 3 || client.Stats().Events.Dropped != 3 {
			t.Errorf("dropped %d of the subscription, %d of all; wanted 3", s.Dropped(), client.Stats().Events.Dropped)
		}
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "events of flood") {
			t.Errorf("the log says:\n%s", text)
		}
		close(release)
		synctest.Wait()
		if err := s.Unsubscribe(bg); err != nil {
			t.Error(err)
		}
		client.Publish(bg, "flood", []byte("late"))
		synctest.Wait()
		if got := client.Stats().Events; got.Handled != 3 {
			t.Errorf("counted %+v, wanted 3 handled", got)
		}
	})
}

func TestDrainFinishesWhatRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		serving := config
		serving.Requests.Threads = 2
		service := register(t, serving, "work", iris.HandlerFunc(func(context.Context, []byte) ([]byte, error) {
			time.Sleep(time.Second)
			return []byte("done"), nil
		}))
		client := connect(t, config)
		var done, timedOut atomic.Int32
		var work sync.WaitGroup
		for range 5 {
			work.Go(func() {
				ctx, cancel := context.WithTimeout(bg, 5*time.Second)
				defer cancel()
				switch reply, err := client.Request(ctx, "work", nil); {
				case string(reply) == "done":
					done.Add(1)
				case errors.Is(err, iris.ErrTimeout):
					timedOut.Add(1)
				default:
					t.Errorf("reply %q, %v", reply, err)
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		if err := service.Drain(bg); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("draining took %v, wanted a second", took)
		}
		work.Wait()
		if done.Load() != 2 || timedOut.Load() != 3 {
			t.Errorf("%d requests were answered and %d timed out, wanted 2 and 3", done.Load(), timedOut.Load())
		}
		if got := service.Stats().Requests; got.Handled != 2 || got.Dropped != 3 {
			t.Errorf("counted %+v, wanted 2 handled and 3 dropped", got)
		}
		wants(t, "Err", service.Err(), iris.ErrClosed)
	})
}

func TestDrainEndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		release := make(chan struct{})
		defer close(release)
		service := register(t, config, "work", iris.HandlerFunc(func(context.Context, []byte) ([]byte, error) {
			<-release
			return nil, nil
		}))
		client := connect(t, config)
		client.RequestAsync(bg, "work", nil, func([]byte, error) {})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		wants(t, "drain", service.Drain(ctx), iris.ErrTimeout, "still running")
		wants(t, "Err", service.Err(), iris.ErrClosed)
	})
}

func TestHandlerMayClose(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		var service *iris.Client
		service = register(t, config, "last", iris.HandlerFunc(func(context.Context, []byte) ([]byte, error) {
			return nil, service.Close()
		}))
		client := connect(t, config)
		client.RequestAsync(bg, "last", nil, func([]byte, error) {})
		<-service.Done()
	})
}

func TestClientReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, inside := memoryNode(t)
		var current atomic.Pointer[iris.Config]
		current.Store(&inside)
		config := iris.Config{Reconnect: true, Dial: func(ctx context.Context) (net.Conn, error) { return current.Load().Dial(ctx) }}
		service := register(t, config, "echo", deafEcho{echo})
		client := connect(t, config)
		events := make(chan string, 1)
		if _, err := client.Subscribe(bg, "news", func(_ context.Context, event []byte) { events <- string(event) }); err != nil {
			t.Fatal(err)
		}
		tunnel, err := client.Tunnel(bg, "echo")
		if err != nil {
			t.Fatal(err)
		}
		first.Close()
		synctest.Wait()
		if err := tunnel.Send(bg, []byte("x")); !errors.Is(err, iris.ErrBroken) && !errors.Is(err, iris.ErrLost) {
			t.Errorf("Send in a tunnel of the lost connection: error %v", err) // which of the two depends on what came first
		}
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		_, err = client.Request(ctx, "echo", nil)
		wants(t, "request without a node", err, iris.ErrTimeout)
		wants(t, "asynchronous request without a node", client.RequestAsync(bg, "echo", nil, func([]byte, error) {}), iris.ErrLost)

		second, outside := memoryNode(t)
		defer second.Close()
		current.Store(&outside)
		reply, err := client.Request(bg, "echo", []byte("again")) // waits for both to attach
		if string(reply) != "again" {
			t.Errorf("reply %q, %v", reply, err)
		}
		if err := service.Publish(bg, "news", []byte("here")); err != nil {
			t.Error(err)
		}
		if got := <-events; got != "here" {
			t.Errorf("got event %q", got)
		}
		if n := client.Stats().Reconnects; n != 1 {
			t.Errorf("%d reconnections are counted", n)
		}
		service.Close()
		client.Close()
	})
}

func TestCloseEndsReconnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, config := memoryNode(t)
		config.Reconnect = true
		client := connect(t, config)
		waiting := make(chan error, 1)
		n.Close()
		synctest.Wait()
		go func() { waiting <- client.Publish(bg, "t", nil) }()
		time.Sleep(time.Minute)
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		wants(t, "event that waited", <-waiting, iris.ErrClosed)
	})
}

// streamer echoes tunnels as streams.
type streamer struct{ iris.NopHandler }

func (streamer) HandleTunnel(_ context.Context, t *iris.Tunnel) { io.Copy(t, t) }

func TestTunnelIsAStream(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		register(t, config, "stream", streamer{})
		client := connect(t, config)
		tunnel, err := client.Tunnel(bg, "stream")
		if err != nil {
			t.Fatal(err)
		}
		sent := bytes.Repeat([]byte("0123456789abcdef"), 3<<16)
		go func() {
			if n, err := tunnel.Write(sent); n != len(sent) || err != nil {
				t.Errorf("wrote %d of %d octets: %v", n, len(sent), err)
			}
		}()
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(tunnel, got); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("what came back is not what was sent: %v", err)
		}
		if err := tunnel.Close(); err != nil {
			t.Error(err)
		}
		_, err = tunnel.Read(got)
		wants(t, "Read after Close", err, iris.ErrClosed)
		wants(t, "Send after Close", tunnel.Send(bg, []byte("x")), iris.ErrClosed)
	})
}

// taker counts the octets that come out of tunnels.
type taker struct {
	iris.NopHandler
	octets *atomic.Int64
}

func (h taker) HandleTunnel(ctx context.Context, t *iris.Tunnel) {
	for {
		msg, err := t.Recv(ctx)
		if err != nil {
			return
		}
		h.octets.Add(int64(len(msg)))
	}
}

func TestTunnelCarriesManyTimesItsWindow(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		const messages, size = 160, 1 << 19 // five windows
		var octets atomic.Int64
		register(t, config, "take", taker{octets: &octets})
		client := connect(t, config)
		tunnel, err := client.Tunnel(bg, "take")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		for i := range messages {
			if err := tunnel.Send(ctx, make([]byte, size)); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
		}
		tunnel.Close()
		synctest.Wait()
		if got := octets.Load(); got != messages*size {
			t.Errorf("%d octets came of %d", got, messages*size)
		}
	})
}

// giver sends a message in every tunnel and closes it.
type giver struct{ iris.NopHandler }

func (giver) HandleTunnel(ctx context.Context, t *iris.Tunnel) { t.Send(ctx, []byte("gift")) }

func TestTunnelGivesAllBeforeTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		service := register(t, config, "give", giver{})
		client := connect(t, config)
		tunnel, err := client.Tunnel(bg, "give")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if msg, err := tunnel.Recv(bg); string(msg) != "gift" {
			t.Errorf("got %q, %v", msg, err)
		}
		if _, err := tunnel.Recv(bg); err != io.EOF {
			t.Errorf("after the end: error %v, wanted EOF", err)
		}
		if err := tunnel.Close(); err != nil {
			t.Error(err)
		}
		if got := service.Stats().Tunnels.Handled; got != 1 {
			t.Errorf("%d tunnels are counted", got)
		}
	})
}

func TestTunnelSendWaitsForItsPeer(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		register(t, config, "deaf", deaf{})
		client := connect(t, config)
		tunnel, err := client.Tunnel(bg, "deaf")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		sent := 0
		for err = nil; err == nil; sent++ {
			err = tunnel.Send(ctx, make([]byte, 1<<20))
		}
		wants(t, "send", err, iris.ErrTimeout)
		if sent > 64 {
			t.Errorf("%d MiB went to a program that takes none", sent)
		}
		blocked := make(chan error, 1)
		go func() { blocked <- tunnel.Send(bg, make([]byte, 1<<20)) }()
		synctest.Wait()
		tunnel.Close()
		wants(t, "send when the tunnel is closed", <-blocked, iris.ErrClosed)
	})
}

type deaf struct{ iris.NopHandler }

// deafEcho answers requests and does nothing with tunnels.
type deafEcho struct{ iris.HandlerFunc }

func (deafEcho) HandleTunnel(ctx context.Context, t *iris.Tunnel) { <-ctx.Done() }

func (deaf) HandleTunnel(ctx context.Context, t *iris.Tunnel) { <-ctx.Done() }

func TestMoreRequestsThanTheNodeKeepsWait(t *testing.T) {
	inBubble(t, func(t *testing.T, config iris.Config, _ *node.Node) {
		release := make(chan struct{})
		serving := config
		serving.Requests.Threads = 100
		register(t, serving, "slow", iris.HandlerFunc(func(_ context.Context, body []byte) ([]byte, error) {
			<-release
			return body, nil
		}))
		client := connect(t, config)
		var answered atomic.Int32
		for range 4096 {
			if err := client.RequestAsync(bg, "slow", nil, func(_ []byte, err error) {
				if err == nil {
					answered.Add(1)
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		wants(t, "one more", client.RequestAsync(bg, "slow", nil, func([]byte, error) {}), iris.ErrBusy)
		waited := make(chan error, 1)
		go func() {
			_, err := client.Request(bg, "slow", nil)
			waited <- err
		}()
		synctest.Wait()
		close(release)
		if err := <-waited; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if answered.Load() != 4096 {
			t.Errorf("%d of 4096 requests were answered", answered.Load())
		}
	})
}
