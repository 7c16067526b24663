package hosts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-iris/iris"
)

// secret is part of all names and payloads in these tests, and of nothing else:
// none of them crosses the bridge in clear text if it does not.
const secret = "quokka"

const port = "14142" // where nodes listen for each other

// A network is nodes on hosts that are to form one.
type network struct {
	lan   *LAN
	key   string // file with its key
	told  bool   // every node is told of the one before, and finds no other itself
	nodes []*Node
}

// newNetwork makes hosts, and starts a node on each but for those spare at the
// end. Every node is told of the one before, by one of its addresses.
func newNetwork(t *testing.T, hosts, spare int) *network {
	t.Helper()
	n := &network{lan: newLAN(t, hosts+spare), told: true} // or skip
	n.startAll(t, hosts)
	return n
}

// newDiscovering does as newNetwork, but nobody is told of others.
func newDiscovering(t *testing.T, hosts, spare int) *network {
	t.Helper()
	n := &network{lan: newLAN(t, hosts+spare)}
	n.startAll(t, hosts)
	return n
}

func (n *network) startAll(t *testing.T, hosts int) {
	t.Helper()
	thePlace.need(t)
	n.key = newKey(t)
	for i := range hosts {
		n.start(t, i)
	}
}

func newKey(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "iris.key")
	if output, err := exec.Command(thePlace.iris(), "keygen", file).CombinedOutput(); err != nil {
		t.Fatalf("keygen: %v: %s", err, output)
	}
	return file
}

func (n *network) start(t *testing.T, i int, flags ...string) {
	t.Helper()
	flags = append(flags, "--net", secret+" network", "--key", n.key)
	if n.told {
		flags = append(flags, "--discover", "none")
	}
	if n.told && i > 0 {
		before := n.lan.Hosts[i-1]
		ip := []netip.Addr{before.IPv4, before.IPv6}[i%2]
		flags = append(flags, "--peer", net.JoinHostPort(ip.String(), port))
	}
	node := thePlace.start(t, n.lan.Hosts[i], flags...)
	n.nodes = append(n.nodes, node)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s wrote\n%s", node.Host.Name, node.Output())
		}
	})
}

// config attaches programs to the node of host i.
func (n *network) config(i int) iris.Config { return iris.Config{Address: n.nodes[i].Socket} }

func (n *network) client(t *testing.T, i int) *iris.Client {
	t.Helper()
	c, err := n.config(i).Connect(withLimit(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (n *network) member(t *testing.T, i int, cluster string, h iris.Handler) *iris.Client {
	t.Helper()
	c, err := n.config(i).Register(withLimit(t), cluster, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// clients returns a client on each host.
func (n *network) clients(t *testing.T) []*iris.Client {
	t.Helper()
	all := make([]*iris.Client, len(n.nodes))
	for i := range all {
		all[i] = n.client(t, i)
	}
	return all
}

// A ledger is what came somewhere, in order.
type ledger struct {
	mu      sync.Mutex
	entries []string
	changed chan struct{} // closed with the next entry
}

func newLedger() *ledger { return &ledger{changed: make(chan struct{})} }

func (l *ledger) add(entry string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, entry)
	close(l.changed)
	l.changed = make(chan struct{})
}

// await waits until an entry is there, and tells whether it came.
func (l *ledger) await(ctx context.Context, entry string) bool {
	for seen := 0; ; {
		l.mu.Lock()
		entries, changed := l.entries, l.changed
		l.mu.Unlock()
		if slices.Contains(entries[seen:], entry) {
			return true
		}
		seen = len(entries)
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// with returns the entries that start so.
func (l *ledger) with(prefix string) (some []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if strings.HasPrefix(e, prefix) {
			some = append(some, e)
		}
	}
	return some
}

// counts returns how many times each entry is there.
func (l *ledger) counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := make(map[string]int)
	for _, e := range l.entries {
		counts[e]++
	}
	return counts
}

// A service keeps what it carries out and hears. It answers with its name, and
// tunnels send back what they get.
type service struct {
	name       string
	requests   *ledger // shared by the members of a cluster
	broadcasts *ledger
}

func newService(name string, requests *ledger) service {
	return service{name, requests, newLedger()}
}

func (s service) HandleRequest(_ context.Context, body []byte) ([]byte, error) {
	s.requests.add(string(body))
	return []byte(s.name), nil
}

func (s service) HandleBroadcast(_ context.Context, msg []byte) { s.broadcasts.add(string(msg)) }

func (s service) HandleTunnel(ctx context.Context, t *iris.Tunnel) {
	for {
		msg, err := t.Recv(ctx)
		if err != nil || t.Send(ctx, msg) != nil {
			return
		}
	}
}

func TestSixHosts(t *testing.T) {
	t.Parallel()
	t.Run("Discovering", func(t *testing.T) { sixHosts(t, newDiscovering) })
	t.Run("TheirPeersAreNamed", func(t *testing.T) { sixHosts(t, newNetwork) })
}

func sixHosts(t *testing.T, make func(t *testing.T, hosts, spare int) *network) {
	n := make(t, 6, 1)
	capture, err := n.lan.Capture(512 << 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("EveryHostIsAskedByEveryOther", n.requests)
	t.Run("BroadcastsComeOnceAndInOrder", n.broadcasts)
	t.Run("EventsComeOnceAndInOrder", n.events)
	t.Run("SubscriptionHoldsInAMoment", n.freshSubscriptions)
	t.Run("TunnelsJoinEveryTwoHosts", n.tunnels)
	t.Run("MembersGetFairShares", n.shares)
	t.Run("StrangersAreKeptOut", n.strangers)
	t.Run("KilledHostLosesWhatItHad", func(t *testing.T) {
		n.leave(t, func(node *Node) error {
			node.Kill()
			return nil
		}, true)
	})
	t.Run("StoppedHostLosesNothing", func(t *testing.T) {
		n.leave(t, func(node *Node) error { return node.Stop(withLimit(t)) }, false)
	})
	t.Run("NothingIsReadableOnTheWire", func(t *testing.T) { n.readable(t, capture) })
}

// requests has every host ask every host.
func (n *network) requests(t *testing.T) {
	const each = 20
	executed := newLedger()
	at := func(i int) string { return fmt.Sprintf("%s at %d", secret, i) }
	for i := range n.nodes {
		n.member(t, i, at(i), newService(at(i), executed))
	}
	var all sync.WaitGroup
	for from, c := range n.clients(t) {
		for to := range n.nodes {
			all.Go(func() {
				ctx := withLimit(t)
				for k := range each {
					body := fmt.Sprintf("%s %d to %d, number %d", secret, from, to, k)
					reply, err := c.Request(ctx, at(to), []byte(body))
					if err != nil || string(reply) != at(to) {
						t.Errorf("the reply to %q is %q, %v", body, reply, err)
						return
					}
				}
			})
		}
	}
	all.Wait()
	checkOnce(t, executed, len(n.nodes)*len(n.nodes)*each)
}

// checkOnce checks that so many requests were carried out, each once.
func checkOnce(t *testing.T, executed *ledger, want int) {
	t.Helper()
	counts := executed.counts()
	if len(counts) != want {
		t.Errorf("%d requests were carried out, want %d", len(counts), want)
	}
	for body, times := range counts {
		if times != 1 {
			t.Errorf("%q was carried out %d times", body, times)
		}
	}
}

func (n *network) broadcasts(t *testing.T) {
	const cluster = secret + " cluster"
	heard := make([]*ledger, len(n.nodes))
	for i := range n.nodes {
		s := newService("", newLedger())
		heard[i] = s.broadcasts
		n.member(t, i, cluster, s)
	}
	n.spread(t, heard, func(ctx context.Context, c *iris.Client, msg []byte) error { return c.Broadcast(ctx, cluster, msg) })
}

func (n *network) events(t *testing.T) {
	const topic = secret + " topic"
	heard := make([]*ledger, len(n.nodes))
	for i, c := range n.clients(t) {
		heard[i] = newLedger()
		subscribe(t, c, topic, heard[i])
	}
	n.spread(t, heard, func(ctx context.Context, c *iris.Client, msg []byte) error { return c.Publish(ctx, topic, msg) })
}

func subscribe(t *testing.T, c *iris.Client, topic string, heard *ledger) {
	t.Helper()
	if _, err := c.Subscribe(withLimit(t), topic, func(_ context.Context, event []byte) { heard.add(string(event)) }); err != nil {
		t.Fatal(err)
	}
}

// spread has every host send messages that are to come to every ledger.
func (n *network) spread(t *testing.T, heard []*ledger, send func(context.Context, *iris.Client, []byte) error) {
	const each = 300
	clients := n.clients(t)
	var all sync.WaitGroup
	for from, c := range clients {
		prefix := fmt.Sprintf("%s from %d, ", secret, from)
		messages := make([]string, each)
		for k := range messages {
			messages[k] = fmt.Sprintf("%snumber %d", prefix, k)
		}
		all.Go(func() {
			ctx := withLimit(t)
			if err := settle(ctx, c, heard, fmt.Sprintf("%s greets, %d", secret, from), send); err != nil {
				t.Error(err)
				return
			}
			for _, msg := range messages {
				if err := send(ctx, c, []byte(msg)); err != nil {
					t.Errorf("send %q: %v", msg, err)
				}
			}
			for to, l := range heard {
				l.await(ctx, messages[each-1])
				if got := l.with(prefix); !slices.Equal(got, messages) {
					t.Errorf("host %d heard %d messages of host %d, not the %d in order: %q", to, len(got), from, each, excerpt(got))
				}
			}
		})
	}
	all.Wait()
}

// excerpt returns the first of many.
func excerpt(all []string) []string { return all[:min(len(all), 20)] }

// settle sends greetings until each ledger has one. A receiver that is new to its
// own host may be unknown elsewhere for a moment.
func settle(ctx context.Context, c *iris.Client, heard []*ledger, greeting string, send func(context.Context, *iris.Client, []byte) error) error {
	for to, l := range heard {
		for {
			if err := send(ctx, c, []byte(greeting)); err != nil {
				return err
			}
			moment, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			came := l.await(moment, greeting)
			cancel()
			if came {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("nothing comes to host %d of %q", to, greeting)
			}
		}
	}
	return nil
}

// freshSubscriptions has hosts publish to others 100 ms after those subscribed,
// which is what is promised: docs/messaging.md.
func (n *network) freshSubscriptions(t *testing.T) {
	clients := n.clients(t)
	var all sync.WaitGroup
	for from, publisher := range clients {
		for to, subscriber := range clients {
			if to == from {
				continue
			}
			topic, event := fmt.Sprintf("%s topic of %d for %d", secret, to, from), secret+" event"
			heard := newLedger()
			subscribe(t, subscriber, topic, heard)
			promised := time.After(100 * time.Millisecond)
			all.Go(func() {
				<-promised
				ctx := withLimit(t)
				if err := publisher.Publish(ctx, topic, []byte(event)); err != nil {
					t.Error(err)
				}
				if !heard.await(ctx, event) {
					t.Errorf("host %d did not hear what host %d published 100 ms after it had subscribed", to, from)
				}
			})
		}
	}
	all.Wait()
}

// tunnels has every host send messages through a tunnel to every host, which sends
// them back.
func (n *network) tunnels(t *testing.T) {
	const each = 50
	through := func(i int) string { return fmt.Sprintf("%s through %d", secret, i) }
	for i := range n.nodes {
		n.member(t, i, through(i), newService("", newLedger()))
	}
	var all sync.WaitGroup
	for from, c := range n.clients(t) {
		for to := range n.nodes {
			all.Go(func() {
				if err := useTunnel(withLimit(t), c, through(to), each); err != nil {
					t.Errorf("tunnel from %d to %d: %v", from, to, err)
				}
			})
		}
	}
	all.Wait()
}

// useTunnel has a tunnel send back messages of all sizes.
func useTunnel(ctx context.Context, c *iris.Client, cluster string, messages int) error {
	tunnel, err := c.Tunnel(ctx, cluster)
	if err != nil {
		return err
	}
	defer tunnel.Close()
	text := func(k int) string { return fmt.Sprintf("%d %s", k, strings.Repeat(secret, k*k)) }
	sent := make(chan error, 1)
	go func() {
		for k := range messages {
			if err := tunnel.Send(ctx, []byte(text(k))); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for k := range messages {
		msg, err := tunnel.Recv(ctx)
		if err != nil {
			return fmt.Errorf("message %d: %w", k, err)
		}
		if string(msg) != text(k) {
			return fmt.Errorf("message %d came back as %.32q with %d octets", k, msg, len(msg))
		}
	}
	return <-sent
}

// shares has one host ask a cluster with four members on three others.
func (n *network) shares(t *testing.T) {
	const (
		cluster  = secret + " pool"
		requests = 4000
		at       = 64 // a time
	)
	members := []int{1, 1, 3, 5} // by host
	names := make([]string, len(members))
	executed := newLedger()
	for k, host := range members {
		names[k] = fmt.Sprintf("%s %d on %d", secret, k, host)
		n.member(t, host, cluster, newService(names[k], executed))
	}
	c := n.client(t, 0)
	ctx := withLimit(t)
	ask := func(what string) string {
		reply, err := c.Request(ctx, cluster, []byte(what))
		if err != nil {
			t.Errorf("%q: %v", what, err)
		}
		return string(reply)
	}
	known := map[string]bool{} // those that c's node knows of
	for k := 0; len(known) < len(members) && ctx.Err() == nil; k++ {
		known[ask(fmt.Sprintf("%s settles %d", secret, k))] = true
	}
	settled := len(executed.counts())

	answers := newLedger()
	var all sync.WaitGroup
	for w := range at {
		all.Go(func() {
			for k := range requests / at {
				answers.add(ask(fmt.Sprintf("%s %d of %d", secret, k, w)))
			}
		})
	}
	all.Wait()
	checkOnce(t, executed, settled+requests/at*at)
	shares := answers.counts()
	t.Logf("shares of %d requests: %v", requests/at*at, shares)
	for _, name := range names {
		if fair := requests / len(names); shares[name] < fair/2 || shares[name] > fair*2 {
			t.Errorf("%s answered %d of %d requests, the fair share is %d", name, shares[name], requests, fair)
		}
	}
}

// strangers has the spare host try what it can.
func (n *network) strangers(t *testing.T) {
	host, victim := n.lan.Hosts[len(n.nodes)], n.lan.Hosts[0]
	address := victim.IPv4.String() + ":" + port

	t.Run("Nodes", func(t *testing.T) { n.strangeNodes(t, host, address) })

	t.Run("Octets", func(t *testing.T) {
		var all sync.WaitGroup
		for what, send := range map[string]func(io.ReadWriter) error{
			"nothing": func(io.ReadWriter) error { return nil },
			"zeros":   func(nc io.ReadWriter) error { return write(nc, string(make([]byte, 64))) },
			"garbage": func(nc io.ReadWriter) error { return write(nc, strings.Repeat("garbage ", 1000)) },
			"HTTP":    func(nc io.ReadWriter) error { return write(nc, "GET / HTTP/1.1\r\nHost: iris\r\n\r\n") },
		} {
			all.Go(func() {
				nc := dial(t, host, address)
				if err := send(nc); err != nil {
					t.Logf("%s: %v", what, err) // closed while it was sent
				}
				got, err := io.ReadAll(nc)
				if len(got) > 0 {
					t.Errorf("%s was answered %q", what, got)
				}
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: the connection stays open", what)
				}
			})
		}
		all.Go(func() {
			nc := tls.Client(dial(t, host, address), &tls.Config{InsecureSkipVerify: true})
			if err := nc.Handshake(); err == nil || len(nc.ConnectionState().PeerCertificates) > 0 {
				t.Errorf("TLS without a knock: %v", err)
			}
		})
		all.Wait()
	})

	t.Run("RelayPort", func(t *testing.T) {
		for _, ip := range []netip.Addr{victim.IPv4, victim.IPv6} {
			if nc, err := host.Dial(withLimit(t), "tcp", net.JoinHostPort(ip.String(), "55555")); err == nil {
				nc.Close()
				t.Errorf("another host may attach at %v", ip)
			}
		}
	})

	t.Run("NetworkGoesOn", n.requests)
}

func write(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

// strangeNodes starts nodes that lack the key or the name of the network. They are
// refused, and their programs reach nobody.
func (n *network) strangeNodes(t *testing.T, host *Host, address string) {
	const cluster, topic = secret + " cluster", secret + " topic"
	executed, heard := newLedger(), newLedger()
	s := newService("", executed)
	subscribe(t, n.member(t, 0, cluster, s), topic, heard)

	for _, c := range []struct{ name, network, key string }{
		{"other key", secret + " network", newKey(t)},
		{"other name", secret + " network too", n.key},
	} {
		node := thePlace.start(t, host, "--net", c.network, "--key", c.key, "--discover", "none", "--peer", address)
		if _, err := node.Line(withLimit(t), "the other side closed before TLS"); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		program, err := iris.Config{Address: node.Socket}.Connect(withLimit(t))
		if err != nil {
			t.Fatal(err)
		}
		moment, cancel := context.WithTimeout(t.Context(), time.Second)
		if reply, err := program.Request(moment, cluster, []byte(secret)); !errors.Is(err, iris.ErrTimeout) {
			t.Errorf("%s: a request was answered %q, %v", c.name, reply, err)
		}
		cancel()
		for _, err := range []error{
			program.Broadcast(t.Context(), cluster, []byte(secret)),
			program.Publish(t.Context(), topic, []byte(secret)),
			program.Close(),
			node.Stop(withLimit(t)),
		} {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
	for what, l := range map[string]*ledger{"request": executed, "broadcast": s.broadcasts, "event": heard} {
		if counts := l.counts(); len(counts) > 0 {
			t.Errorf("a stranger's %s came: %v", what, counts)
		}
	}
}

// leave has the last host, which has one of three members, leave while requests
// are under way from another. If it may lose some, then those that were under way
// when it left, and no more.
func (n *network) leave(t *testing.T, end func(*Node) error, mayLose bool) {
	const (
		workers = 32
		before  = 200 // requests of each, until it leaves
		after   = 100
	)
	cluster := secret + " of three, " + t.Name()
	executed := newLedger()
	last := len(n.nodes) - 1
	for _, host := range []int{last - 2, last - 1, last} {
		n.member(t, host, cluster, newService(fmt.Sprint(host), executed))
	}
	c := n.client(t, 0)
	ctx := withLimit(t)
	for known := map[string]bool{}; len(known) < 3 && ctx.Err() == nil; {
		reply, err := c.Request(ctx, cluster, []byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		known[string(reply)] = true
	}

	var (
		all, warm sync.WaitGroup
		left      = make(chan struct{})
		mu        sync.Mutex
		lost      []time.Time // when those were sent that got no reply
		sent      int
	)
	warm.Add(workers)
	for w := range workers {
		all.Go(func() {
			rest := after
			for k := 0; rest > 0; k++ {
				if k == before {
					warm.Done()
				}
				select {
				case <-left:
					rest--
				default:
				}
				body := fmt.Sprintf("%s %d of %d", secret, k, w)
				began := time.Now()
				ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
				_, err := c.Request(ctx, cluster, []byte(body))
				cancel()
				mu.Lock()
				sent++
				if err != nil {
					lost = append(lost, began)
				}
				mu.Unlock()
				if k < before && err != nil {
					t.Errorf("%q before the host left: %v", body, err)
				}
			}
		})
	}
	warm.Wait()
	if err := end(n.nodes[last]); err != nil {
		t.Error(err)
	}
	gone := time.Now()
	close(left)
	n.nodes = n.nodes[:last]
	all.Wait()

	t.Logf("%d of %d requests lost", len(lost), sent)
	if !mayLose {
		if len(lost) > 0 {
			t.Errorf("%d requests of %d were lost", len(lost), sent)
		}
		counts := executed.counts()
		delete(counts, secret)
		if len(counts) != sent {
			t.Errorf("%d requests were carried out, want %d", len(counts), sent)
		}
	}
	if len(lost) > workers {
		t.Errorf("%d requests were lost, of %d under way", len(lost), workers)
	}
	// The kernel of a killed host tells at once; it takes the other a moment to
	// hear of it.
	late := 0
	for _, began := range lost {
		if began.After(gone.Add(100 * time.Millisecond)) {
			late++
		}
	}
	if late > 0 {
		t.Errorf("%d requests that were sent when the host was long gone were lost", late)
	}
	for body, times := range executed.counts() {
		if body != secret && times != 1 {
			t.Errorf("%q was carried out %d times", body, times)
		}
	}
}

// readable looks for what is secret in all that crossed the bridge, after something
// that is not.
func (n *network) readable(t *testing.T, c *Capture) {
	const public = "not a marsupial"
	from, to := n.lan.Hosts[0], n.lan.Hosts[1]
	if err := exchange(dial(t, from, echo(t, to, to.IPv4.String()+":0").Addr().String()), public); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	t.Logf("captured %d KiB", c.Octets()>>10)
	if c.Contains(secret) {
		t.Errorf("a name or payload with %q can be read", secret)
	}
	if !c.Contains(public) {
		t.Error("not even clear text can be read: the capture does not work")
	}
	// Tunnels alone carry this much between hosts, there and back.
	if c.Octets() < 4<<20 {
		t.Errorf("only %d octets were sent: the hosts did not use the bridge", c.Octets())
	}
}
