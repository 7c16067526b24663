package discovery_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/discovery/discoverytest"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// findLimit bounds each wait for etcd.
const findLimit = 30 * time.Second

// An etcd is a real one, on loopback.
type etcd struct {
	t          *testing.T
	dir        string
	ports      [2]string
	url        string
	stop       func()
	client     *clientv3.Client
	clientOnce sync.Once
}

func newEtcd(t *testing.T) *etcd {
	e := &etcd{t: t, dir: t.TempDir()}
	for i := range e.ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, e.ports[i], _ = net.SplitHostPort(l.Addr().String())
	}
	_, e.url = discoverytest.Etcd(t, e.dir, "127.0.0.1", e.ports[0], e.ports[1])
	return e
}

// start runs it until stop is called.
func (e *etcd) start() {
	e.t.Helper()
	cmd, _ := discoverytest.Etcd(e.t, e.dir, "127.0.0.1", e.ports[0], e.ports[1])
	output, err := cmd.StderrPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.stop = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	e.t.Cleanup(e.stop)
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if strings.Contains(lines.Text(), discoverytest.EtcdServes) {
			go func() {
				for lines.Scan() {
				}
			}()
			return
		}
	}
	e.t.Fatal("etcd ends before it serves")
}

// do has f ask it.
func (e *etcd) do(f func(ctx context.Context, c *clientv3.Client) error) {
	e.t.Helper()
	e.clientOnce.Do(func() {
		var err error
		if e.client, err = clientv3.New(clientv3.Config{Endpoints: []string{e.url}, Logger: zap.NewNop()}); err != nil {
			e.t.Fatal(err)
		}
		e.t.Cleanup(func() { e.client.Close() })
	})
	ctx, cancel := context.WithTimeout(e.t.Context(), findLimit)
	defer cancel()
	if err := f(ctx, e.client); err != nil {
		e.t.Fatal(err)
	}
}

func (e *etcd) put(key, value string) {
	e.t.Helper()
	e.do(func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Put(ctx, key, value)
		return err
	})
}

func (e *etcd) delete(key string) {
	e.t.Helper()
	e.do(func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Delete(ctx, key)
		return err
	})
}

// entries returns all keys and values.
func (e *etcd) entries() (all map[string]string) {
	e.t.Helper()
	all = make(map[string]string)
	e.do(func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Get(ctx, "", clientv3.WithFromKey())
		if err != nil {
			return err
		}
		for _, kv := range r.Kvs {
			all[string(kv.Key)] = string(kv.Value)
		}
		return nil
	})
	return all
}

// await waits until it has as many entries.
func (e *etcd) await(n int) map[string]string {
	e.t.Helper()
	for end := time.Now().Add(findLimit); ; time.Sleep(20 * time.Millisecond) {
		all := e.entries()
		if len(all) == n {
			return all
		}
		if time.Now().After(end) {
			e.t.Fatalf("etcd has %d entries, want %d", len(all), n)
		}
	}
}

// A lister is a node as far as etcd goes.
type lister struct {
	*discovery.Etcd
	id   *session.Identity
	stop func()

	mu    sync.Mutex
	addrs []wire.Addr
	found []discovery.Found
	alone bool
	log   lockedText
}

type lockedText struct {
	mu sync.Mutex
	strings.Builder
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(b)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.String()
}

func at(addrs string) (all []wire.Addr) {
	for _, a := range strings.Fields(addrs) {
		all = append(all, wire.Addr{AddrPort: netip.MustParseAddrPort(a)})
	}
	return all
}

// newLister returns a member of a network with a key, who accepts others.
func newLister(t *testing.T, key byte, url string, addrs string, also ...byte) *lister {
	t.Helper()
	l := &lister{id: discovery.IdentityOf(t, time.Now(), key, "net", also...), addrs: at(addrs)}
	l.Etcd = discovery.NewEtcd(discovery.EtcdConfig{
		Config: discovery.Config{Self: l.id.ID(), Seal: l.id.SealPacket, Open: l.id.OpenPacket, Knows: func(ring.ID) bool { return false }},
		URLs:   []string{url},
		Tags:   l.id.PublicTags,
		Port:   14142,
		Log:    slog.New(slog.NewTextHandler(&l.log, nil)),
		State: func() discovery.State {
			l.mu.Lock()
			defer l.mu.Unlock()
			return discovery.State{Addrs: l.addrs, Nodes: 1, Alone: l.alone}
		},
	})
	return l
}

func (l *lister) run(t *testing.T) *lister {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := l.Run(ctx, l.take); err != nil {
			t.Error(err)
		}
	}()
	l.stop = func() { cancel(); <-ended }
	t.Cleanup(l.stop)
	return l
}

func (l *lister) take(f discovery.Found) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found = append(l.found, f)
}

// await waits until a node was found at an address; without a node: whoever is there.
func (l *lister) await(t *testing.T, id ring.ID, addr string) {
	t.Helper()
	wait(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return slices.ContainsFunc(l.found, func(f discovery.Found) bool {
			return f.Node == id && slices.Contains(f.Addrs, netip.MustParseAddrPort(addr))
		})
	}, func() string { return addr + " is not found; the log is " + l.log.String() })
}

func (l *lister) says(t *testing.T, text string) {
	t.Helper()
	wait(t, func() bool { return strings.Contains(l.log.String(), text) }, func() string {
		return "the log has no " + text + ": " + l.log.String()
	})
}

// has waits until the trouble is as it says; nothing: until there is none.
func (l *lister) has(t *testing.T, text string) {
	t.Helper()
	wait(t, func() bool {
		_, err := l.Trouble()
		return err == nil && text == "" || err != nil && text != "" && strings.Contains(err.Error(), text)
	}, func() string {
		_, err := l.Trouble()
		return fmt.Sprintf("the trouble is %v, want %q", err, text)
	})
}

func wait(t *testing.T, there func() bool, or func() string) {
	t.Helper()
	for end := time.Now().Add(findLimit); !there(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(or())
		}
	}
}

func TestEtcdConforms(t *testing.T) {
	e := newEtcd(t)
	e.start()
	other := newLister(t, 1, e.url, "192.0.2.1:14142 [2001:db8::1]:7").run(t)
	entries := e.await(1)
	other.stop()
	for key, value := range entries { // stays, and nothing of the other runs
		e.put(key, value)
	}
	discoverytest.Conform(t, func(t *testing.T) discovery.Source {
		return newLister(t, 1, e.url, "192.0.2.2:14142")
	}, netip.MustParseAddrPort("192.0.2.1:14142"), netip.MustParseAddrPort("[2001:db8::1]:7"))
	e.await(1) // what ended took its entries away
}

func TestNodesFindEachOtherInEtcd(t *testing.T) {
	t.Parallel()
	e := newEtcd(t)
	e.start()
	a := newLister(t, 1, e.url, "192.0.2.1:14142").run(t)
	b := newLister(t, 1, e.url, "192.0.2.2:14142").run(t)
	foreign := newLister(t, 2, e.url, "192.0.2.3:14142").run(t)
	a.await(t, b.id.ID(), "192.0.2.2:14142")
	b.await(t, a.id.ID(), "192.0.2.1:14142")

	// Nothing that is there says which network it is, or where a node is.
	for key, value := range e.await(3) {
		parts := strings.Split(key, "/")
		if len(parts) != 4 || len(parts[2]) != 32 || len(value) != discovery.PacketSize || strings.Contains(value, "\xc0\x00\x02") {
			t.Errorf("etcd has %q: %q", key, value)
		}
	}
	if len(foreign.found) > 0 {
		t.Errorf("a node of another network found %v", foreign.found)
	}

	a.mu.Lock()
	a.addrs = at("192.0.2.9:14142")
	a.mu.Unlock()
	a.Changed()
	b.await(t, a.id.ID(), "192.0.2.9:14142")
	a.stop()
	e.await(2)
}

// While a network's key is changed, nodes with the old one and with the new one find
// each other.
func TestEtcdServesWhileAKeyIsChanged(t *testing.T) {
	t.Parallel()
	e := newEtcd(t)
	e.start()
	older := newLister(t, 1, e.url, "192.0.2.1:14142", 2).run(t)
	newer := newLister(t, 2, e.url, "192.0.2.2:14142", 1).run(t)
	older.await(t, newer.id.ID(), "192.0.2.2:14142")
	newer.await(t, older.id.ID(), "192.0.2.1:14142")
}

// The entry of a node that ends without a word goes with its lease.
func TestEntryOfAKilledNodeGoes(t *testing.T) {
	t.Parallel()
	e := newEtcd(t)
	e.start()
	dead := newLister(t, 1, e.url, "192.0.2.1:14142")
	dead.Outlive(2 * time.Second)
	dead.run(t)
	e.await(1)
	e.stop()
	dead.stop() // nobody hears it
	e.start()
	e.await(0)
}

func TestEtcdMayRestart(t *testing.T) {
	t.Parallel()
	e := newEtcd(t)
	a := newLister(t, 1, e.url, "192.0.2.1:14142").run(t)
	a.says(t, "one way to find other nodes has trouble; it is tried again")
	a.says(t, "connection refused")
	a.has(t, e.url)
	e.start()
	e.await(1)
	a.has(t, "")
	e.stop()
	e.start()
	b := newLister(t, 1, e.url, "192.0.2.2:14142").run(t)
	a.await(t, b.id.ID(), "192.0.2.2:14142")
	e.await(2)
}

// What others wrote is named and skipped, whatever it is.
func TestWrongEntriesInEtcdAreSkipped(t *testing.T) {
	t.Parallel()
	e := newEtcd(t)
	e.start()
	a := newLister(t, 1, e.url, "192.0.2.1:14142")
	prefix := "/iris/" + a.id.PublicTags()[0] + "/"
	e.put(prefix+"huge", strings.Repeat("x", 1<<20))
	for _, name := range []string{"1", "2", "3", "4", "5"} {
		e.put(prefix+name, strings.Repeat("x", 1<<20)) // more than an answer may have, in all
	}
	e.put(prefix, "")
	e.put(prefix+strings.Repeat("k", 10_000), "192.0.2.66:14142")
	e.put(prefix+"\x1b[2J", strings.Repeat("s", discovery.PacketSize))
	b := newLister(t, 1, e.url, "192.0.2.2:14142").run(t)
	sealed := e.await(10)[prefix+b.id.ID().String()]
	e.put(prefix+"copy", sealed)
	a.run(t)
	a.await(t, b.id.ID(), "192.0.2.2:14142")
	for _, v := range []struct{ delete, trouble string }{
		{"", "10 entries of which nothing comes are skipped, as \"" + prefix + "\": malformed: 0 octets, want 256"},
		{"", "/\\x1b[2J\": not sealed with the network's key"},
		{"\x1b[2J", "/1\": malformed: 1048576 octets, want 256"},
		{"1 2 3 4 5", "/copy\": it is under the id of another node"},
	} {
		for _, key := range strings.Split(v.delete, " ") {
			if v.trouble[0] == '/' {
				e.delete(prefix + key)
			}
		}
		a.has(t, v.trouble)
	}
	e.put(prefix+"a", "x")
	a.has(t, "4 entries")
	a.has(t, "/a\"")
	for _, key := range []string{"a", "copy", "huge", strings.Repeat("k", 10_000)} {
		e.delete(prefix + key)
	}
	a.has(t, "")
	c := newLister(t, 1, e.url, "192.0.2.3:14142").run(t)
	a.await(t, c.id.ID(), "192.0.2.3:14142")
}
