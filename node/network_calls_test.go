package node

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// large is a body of so many octets that tells its own size.
func large(size int) []byte { return bytes.Repeat([]byte(fmt.Sprint(size, " ")), size/2)[:size] }

// TestNetworkFindsFreshRegistrations calls each service from another node as soon as
// it was accepted.
func TestNetworkFindsFreshRegistrations(t *testing.T) {
	nodes := joined(t, 2)
	client := attached(t, nodes[1], "", nil)
	ctx := inTime(t)
	took := make([]time.Duration, 1000)
	for i := range took {
		name := fmt.Sprint("fresh ", i)
		s := connect(t, nodes[0], name, &handler{request: echo})
		began := time.Now()
		if got, err := client.Request(ctx, name, []byte(name), patience); err != nil || string(got) != name {
			t.Errorf("request %d: %q, %v", i, got, err)
		}
		took[i] = time.Since(began)
		s.Close()
	}
	slices.Sort(took)
	t.Logf("first request to a fresh registration: p50 %v, p99 %v, most %v", took[500], took[990], took[999])
}

// TestNetworkBalances has clients of every node call members on every node: nobody
// is left out, and nobody does most of the work.
func TestNetworkBalances(t *testing.T) {
	nodes := joined(t, 3)
	var served [3]atomic.Int64
	for i, n := range nodes {
		attached(t, n, "work", &handler{request: func(r *Request) {
			served[i].Add(1)
			go func() {
				time.Sleep(2 * time.Millisecond) // the work
				r.Reply(nil)
			}()
		}})
	}
	ctx := inTime(t)
	const clients, calls = 8, 75 // a node
	var work sync.WaitGroup
	for _, n := range nodes {
		for range clients {
			c := attached(t, n, "", nil)
			work.Go(func() {
				for range calls {
					if _, err := c.Request(ctx, "work", nil, patience); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	work.Wait()
	var all int64
	for i := range served {
		all += served[i].Load()
	}
	if all != 3*clients*calls {
		t.Errorf("%d requests were served, %d were made", all, 3*clients*calls)
	}
	for i := range served {
		n := served[i].Load()
		t.Logf("node %d served %d of %d", i, n, all)
		if n < all/10 || n > all*6/10 {
			t.Errorf("node %d served %d of %d", i, n, all)
		}
	}
}

// TestNetworkCarriesLargeRequests sends large requests, and gets large replies.
func TestNetworkCarriesLargeRequests(t *testing.T) {
	nodes := joined(t, 2)
	attached(t, nodes[0], "large", &handler{request: func(r *Request) { go r.Reply(r.Body) }})
	c := attached(t, nodes[1], "", nil)
	ctx := inTime(t)
	for _, size := range []int{32<<10 - 1, 32 << 10, 32<<10 + 1, 1 << 20, 40 << 20} {
		body := large(size)
		got, err := c.Request(ctx, "large", body, patience)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("of %d octets came back %d, %v", size, len(got), err)
		}
	}
}

// TestNetworkRequestsWaitForMembers has a request wait on every node until a member
// appears on the last.
func TestNetworkRequestsWaitForMembers(t *testing.T) {
	nodes := joined(t, 3)
	ctx := inTime(t)
	answers := make(chan string, len(nodes))
	for _, n := range nodes {
		c := attached(t, n, "", nil)
		go func() {
			got, err := c.Request(ctx, "late", nil, patience)
			answers <- fmt.Sprint(string(got), err)
		}()
		eventually(t, "the request is made", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.calls) == 1
		})
	}
	attached(t, nodes[2], "late", &handler{request: func(r *Request) { r.Reply([]byte("here")) }})
	for range nodes {
		if got := <-answers; got != "here<nil>" {
			t.Error(got)
		}
	}
}

// load has clients of a node call a cluster until stop is closed, and counts.
type load struct {
	stop   chan struct{}
	work   sync.WaitGroup
	done   atomic.Int64
	failed atomic.Int64

	mu   sync.Mutex
	errs []string
}

func callFrom(t *testing.T, n *Node, cluster string, clients int) *load {
	l := &load{stop: make(chan struct{})}
	ctx := inTime(t)
	for i := range clients {
		c := attached(t, n, "", nil)
		l.work.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-l.stop:
					return
				default:
				}
				body := fmt.Sprint(i, " ", k)
				got, err := c.Request(ctx, cluster, []byte(body), 5*time.Second)
				if err == nil && !strings.HasSuffix(string(got), body) {
					err = fmt.Errorf("asked %s, was told %s", body, got)
				}
				if err != nil {
					l.failed.Add(1)
					l.mu.Lock()
					l.errs = append(l.errs, err.Error())
					l.mu.Unlock()
				}
				l.done.Add(1)
			}
		})
	}
	return l
}

// more waits until so many further requests are done.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	to := l.done.Load() + n
	eventually(t, "requests are answered", func() bool { return l.done.Load() >= to })
}

func (l *load) end() {
	close(l.stop)
	l.work.Wait()
}

// TestNetworkClosedNodeLosesNothing closes a node with a member under load.
func TestNetworkClosedNodeLosesNothing(t *testing.T) {
	nodes := joined(t, 3)
	attached(t, nodes[0], "work", &handler{request: func(r *Request) { go r.Reply(r.Body) }})
	var served atomic.Int64
	attached(t, nodes[2], "work", &handler{request: func(r *Request) {
		served.Add(1)
		go func() {
			runtime.Gosched()
			r.Reply(r.Body)
		}()
	}})
	l := callFrom(t, nodes[1], "work", 8)
	eventually(t, "the node that is closed has had its share", func() bool { return served.Load() > 100 })
	nodes[2].Close()
	l.more(t, 200)
	l.end()
	if l.failed.Load() > 0 {
		t.Errorf("%d of %d requests failed: %q", l.failed.Load(), l.done.Load(), l.errs)
	}
	t.Logf("%d requests, %d by the closed node; tried again: %d", l.done.Load(), served.Load(), nodes[1].plane.Retries.Total())
}

// TestNetworkKilledNodeLosesWhatItHad breaks a node with a member off under load.
func TestNetworkKilledNodeLosesWhatItHad(t *testing.T) {
	nodes := joined(t, 3)
	attached(t, nodes[0], "work", &handler{request: func(r *Request) { go r.Reply(r.Body) }})
	var had, served atomic.Int64
	attached(t, nodes[2], "work", &handler{request: func(r *Request) {
		had.Add(1)
		go func() {
			r.Reply(r.Body)
			served.Add(1)
		}()
	}})
	const clients = 8
	l := callFrom(t, nodes[1], "work", clients)
	eventually(t, "the node that is killed has had its share", func() bool { return had.Load() > 100 })
	nodes[2].Kill()
	eventually(t, "its death is noticed", func() bool {
		return loopSays(nodes[1], func() bool { return len(nodes[1].loop.Core.View()) == 2 })
	})
	l.more(t, 200)
	l.end()
	if l.failed.Load() > clients {
		t.Errorf("%d of %d requests failed, at most %d were in flight: %q", l.failed.Load(), l.done.Load(), clients, l.errs)
	}
	for _, e := range l.errs {
		if e != ErrLost.Error() && e != ErrTimeout.Error() {
			t.Errorf("a request was lost with %q", e)
		}
	}
	t.Logf("%d requests, %d failed: %q", l.done.Load(), l.failed.Load(), l.errs)
}

// TestNetworkMembersComeAndGo has members of another node come and go, and take with
// them what they had in hand: nothing else is lost, and nothing is served twice.
func TestNetworkMembersComeAndGo(t *testing.T) {
	nodes := joined(t, 2)
	var mu sync.Mutex
	seen := make(map[string]int)
	serve := &handler{request: func(r *Request) {
		mu.Lock()
		seen[string(r.Body)]++
		mu.Unlock()
		go r.Reply(r.Body)
	}}
	attached(t, nodes[0], "work", serve)
	const clients, times = 4, 50
	l := callFrom(t, nodes[1], "work", clients)
	for range times {
		l.more(t, 5)
		c := connect(t, nodes[0], "work", serve)
		l.more(t, 5)
		c.Close()
	}
	l.end()
	if l.failed.Load() > clients*times {
		t.Errorf("%d requests failed, at most %d were in hand", l.failed.Load(), clients*times)
	}
	for _, e := range l.errs {
		if e != ErrLost.Error() {
			t.Errorf("a request failed with %q", e)
		}
	}
	mu.Lock() // a member that has left may still be at work
	defer mu.Unlock()
	for body, n := range seen {
		if n > 1 {
			t.Errorf("request %q was served %d times", body, n)
		}
	}
	t.Logf("%d requests, %d were lost with a member", l.done.Load(), l.failed.Load())
}

// TestNetworkTellsOfALostMember ends a member of another node in the midst of a
// request: the caller hears at once.
func TestNetworkTellsOfALostMember(t *testing.T) {
	nodes := joined(t, 2)
	got := make(chan struct{})
	s := attached(t, nodes[0], "work", &handler{request: func(*Request) { close(got) }})
	c := attached(t, nodes[1], "", nil)
	ctx := inTime(t)
	answer := make(chan error, 1)
	go func() {
		_, err := c.Request(ctx, "work", nil, patience)
		answer <- err
	}()
	<-got
	s.Close()
	if err := <-answer; !errors.Is(err, ErrLost) {
		t.Errorf("came %v", err)
	}
}
