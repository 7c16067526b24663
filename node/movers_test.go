package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A bed is a node in invented time to which the test is programs, and other nodes.
type bed struct {
	*testing.T
	n *Node
	l *memnet.Listener
	b queue.Batch
	c *Client // of ask

	door *memnet.Listener // where others get in; nil: nowhere
}

func (b *bed) close() {
	if b.door != nil {
		b.door.Close()
	}
	b.n.Close()
}

// newBed starts a node of a network that nobody can dial.
func newBed(t *testing.T) *bed {
	l := memnet.Listen("relay")
	n, err := New(Config{Network: "test", Key: testKey, Listeners: []net.Listener{l}, Memory: 64 << 20, MaxPrograms: 8})
	if err != nil {
		t.Fatal(err)
	}
	n.network.dial = func(context.Context, netip.AddrPort) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return &bed{T: t, n: n, l: l}
}

// counts is what the node counts, by metric and label as Prometheus writes them.
func (b *bed) counts() map[string]uint64 {
	r, err := b.n.read()
	if err != nil { // it has ended
		r = b.n.glance()
	}
	return rows(r)
}

func rows(r *reading) map[string]uint64 {
	all := make(map[string]uint64)
	for _, f := range r.counters() {
		for _, c := range f.of {
			switch {
			case f.name == "":
			case f.label == "":
				all[f.name] = c.count
			default:
				all[fmt.Sprintf("%s{%s=%q}", f.name, f.label, c.value)] = c.count
			}
		}
	}
	return all
}

func (b *bed) client(cluster string, request func(*Request)) *Client {
	return connect(b, b.n, cluster, &handler{request: request})
}

func (b *bed) program(cluster string) *raw { return attach(b, dial(b, b.l), cluster) }

// ask sends a request that is not waited for.
func (b *bed) ask(cluster string, body int, timeout time.Duration) {
	if b.c == nil {
		b.c = b.client("", nil)
	}
	go b.c.Request(context.Background(), cluster, make([]byte, body), timeout)
	synctest.Wait()
}

// loop has the node's loop do something.
func (b *bed) loop(f func(now time.Time, b *queue.Batch)) {
	if !b.n.do(f) {
		b.Fatal("the node has ended")
	}
	synctest.Wait()
}

// scarce has payload hold nearly all the memory there is.
func (b *bed) scarce() { b.n.plane.Budget.Force(int(b.n.plane.Budget.Limit()) - 100) }

// A far is another node, with a link to this one that the test is the other end of.
type far struct {
	*bed
	*messaging.Peer
	key     ring.ID
	waiting int
	left    bool // what was sent may have left

	mu      sync.Mutex
	sent    []wire.Frame
	refuses error
}

// full has the link take nothing more, or go on.
func (f *far) full(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuses = err
}

func (f *far) take(fr *wire.Frame, head, body []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuses != nil {
		return f.refuses
	}
	got := *fr
	got.Body = slices.Concat(head, body)
	f.sent = append(f.sent, got)
	return nil
}

func (f *far) Send(_ *queue.Batch, _ wire.Lane, fr *wire.Frame, head []byte, p queue.Payload) (uint64, error) {
	return 0, f.take(fr, head, p.Data)
}
func (f *far) SendRouted(_ *queue.Batch, fr *wire.Frame, head, body []byte) error {
	return f.take(fr, head, body)
}
func (f *far) Unwritten(wire.Lane, uint64) bool { return !f.left }
func (f *far) SendControl(wire.Message)         {}
func (f *far) Waiting(wire.Lane) int            { return f.waiting }
func (f *far) Moved(wire.Lane) uint64           { return 0 }
func (f *far) RTT() time.Duration               { return time.Millisecond }

// far returns another node that is linked.
func (b *bed) far(id uint64) *far {
	f := &far{bed: b, key: ring.ID{Hi: id, Lo: 1}}
	f.up()
	return f
}

func (f *far) up() {
	f.loop(func(now time.Time, b *queue.Batch) {
		f.n.plane.Join()
		f.Peer = f.n.plane.LinkUp(now, b, f.key, f)
	})
}

func (f *far) down() {
	f.loop(func(now time.Time, b *queue.Batch) { f.n.plane.LinkDown(now, b, f.key, f) })
}

func (f *far) gone() {
	f.loop(func(now time.Time, b *queue.Batch) { f.n.plane.NodeGone(now, b, f.key) })
}

// name is what a name is between nodes.
func (b *bed) name(k core.Kind, name string) wire.Name { return b.n.plane.Key(k, name) }

// joins says that the node has a member of a name that programs here use.
func (f *far) joins(k core.Kind, name string) {
	key := f.name(k, name)
	f.loop(func(now time.Time, b *queue.Batch) {
		f.n.plane.Member(b, directory.Change{Name: key, Node: f.key, Members: 1, Workers: 1}, &messaging.Asks{})
	})
	f.loop(func(now time.Time, b *queue.Batch) { f.n.plane.Found(now, b, key) })
}

// says has the node send a frame.
func (f *far) says(typ wire.Type, flags wire.Flags, name wire.Name, body []byte) {
	fr := wire.Frame{Type: typ, Flags: flags, Name: name, Body: body}
	if !name.Key.IsZero() {
		fr.Flags |= wire.Named
	}
	f.hands(&fr)
}

func (f *far) hands(fr *wire.Frame) {
	if err := f.Receive(time.Now(), &f.b, fr); err != nil {
		f.Fatal(err)
	}
	f.b.Flush()
	synctest.Wait()
}

// last returns the number of the request that the node was sent last.
func (f *far) last() uint64 { return f.lastOf(wire.TypeRequest) }

func (f *far) lastOf(typ wire.Type) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fr := range slices.Backward(f.sent) {
		if fr.Type == typ {
			h, _, err := wire.ParseRequestHead(fr.Body)
			if err != nil {
				f.Fatal(err)
			}
			return h.Number
		}
	}
	f.Fatal("no request came to the other node")
	return 0
}

// asked returns another node with a member, which was sent a request.
func (b *bed) asked() *far {
	f := b.far(7)
	b.ask("there", 10, 5*time.Second)
	f.joins(core.Cluster, "there")
	f.last()
	return f
}

// refuses has the node say that it did not start the request.
func (f *far) refusesIt(reason byte) {
	f.says(wire.TypeNotStarted, 0, wire.Name{}, wire.NotStarted{Number: f.last(), Reason: reason}.AppendBody(nil))
}

func (f *far) requests(number uint64, cluster string, life uint32) {
	f.says(wire.TypeRequest, 0, f.name(core.Cluster, cluster), wire.RequestHead{Number: number, Life: life, Timeout: 1000}.AppendBody(nil))
}

func (f *far) publishes(flags wire.Flags, number uint64, body int) {
	f.says(wire.TypePublish, flags, f.name(core.Topic, "news"), append(wire.PublishHead{Number: number}.AppendBody(nil), make([]byte, body)...))
}

// subscribed is a bed with a member of a topic, and another node.
func (b *bed) subscribed() *far {
	if err := b.client("", nil).Subscribe("news", func([]byte) {}); err != nil {
		b.Fatal(err)
	}
	return b.far(7)
}

// target is a bed that publishes to another node.
func (b *bed) target() (*far, *Client) {
	f := b.far(7)
	c := b.client("", nil)
	c.Publish("news", []byte("first"))
	synctest.Wait()
	f.joins(core.Topic, "news")
	return f, c
}

// control has the loop receive a control message of another node.
func (b *bed) control(from ring.ID, m wire.Message) {
	b.loop(func(now time.Time, _ *queue.Batch) {
		b.n.loop.Core.Receive(now, from, &wire.Frame{Type: m.Type()}, m, &b.n.loop.Out)
	})
}

// A mover moves counters by something that happens.
type mover struct {
	rows string // with spaces between; each as what is in front of the brace
	move func(b *bed)
}

var movers = []mover{
	{`messages_sent{primitive="request"} messages_sent{primitive="reply"} messages_sent{primitive="broadcast"} messages_sent{primitive="event"} messages_sent{primitive="tunnel"} tunnels_opened`, func(b *bed) {
		connect(b, b.n, "echo", &handler{request: echo, tunnel: func(t *Tunnel) { t.Close() }})
		c := b.client("", nil)
		c.Request(b.Context(), "echo", nil, time.Second)
		c.Broadcast("echo", nil)
		c.Publish("news", nil)
		c.Tunnel(b.Context(), "echo")
	}},
	{`connection_closed{reason="orderly"}`, func(b *bed) { b.client("", nil).Close() }},
	{`connection_closed{reason="lost"}`, func(b *bed) { b.program("").nc.Close() }},
	{`connection_closed{reason="violation"}`, func(b *bed) { b.program("").nc.Write([]byte{0xff}) }},
	{`connection_closed{reason="handshake"}`, func(b *bed) { dial(b, b.l).Write([]byte("GET / HTTP/1.1\r\n\r\n")) }},
	{`connection_closed{reason="slow"}`, func(b *bed) {
		stop := make(chan bool)
		connect(b, b.n, "slow", &handler{broadcast: func([]byte) { <-stop }})
		c := b.client("", nil)
		b.scarce()
		for range 10 {
			c.Broadcast("slow", make([]byte, 1<<10))
		}
		synctest.Wait()
		close(stop)
	}},
	{`connection_closed{reason="limit"}`, func(b *bed) {
		p := b.program("")
		b.scarce()
		p.send(relaywire.Message{Op: relaywire.Publish, Name: []byte("news"), Body: make([]byte, 1<<20)})
	}},
	{`refused{reason="relay_names"}`, func(b *bed) {
		c := b.client("", nil)
		b.loop(func(now time.Time, _ *queue.Batch) {
			for i := range core.MaxNames {
				b.n.loop.Core.Subscribe(now, c.conn.ID, fmt.Sprint(i), &b.n.loop.Out)
			}
		})
		c.Subscribe("one more", func([]byte) {})
	}},
	{`connection_closed{reason="full"} refused{reason="relay_full"}`, func(b *bed) {
		for range 9 {
			b.n.Connect("", nil)
		}
	}},
	{`connection_closed{reason="foreign_user"} refused{reason="unix_peer"}`, func(b *bed) { b.n.refuse(12345) }},
	{`connection_closed{reason="drain"}`, func(b *bed) {
		b.client("", nil)
		b.close()
	}},

	{`request_refused{reason="busy"} request_retries{reason="busy"}`, func(b *bed) { b.asked().refusesIt(wire.Busy) }},
	{`request_refused{reason="gone"} request_retries{reason="gone"}`, func(b *bed) { b.asked().refusesIt(wire.Gone) }},
	{`request_refused{reason="draining"} request_retries{reason="draining"}`, func(b *bed) { b.asked().refusesIt(wire.Draining) }},
	{`request_refused{reason="turned_down"} request_retries{reason="turned_down"}`, func(b *bed) { b.asked().refusesIt(wire.Waits) }},
	{`request_retries{reason="budget"}`, func(b *bed) {
		f := b.asked()
		for range 20 {
			f.refusesIt(wire.Busy)
			b.ask("there", 10, 5*time.Second)
			time.Sleep(200 * time.Millisecond)
		}
	}},
	{`request_refused{reason="unwritten"} request_retries{reason="unwritten"}`, func(b *bed) { b.asked().down() }},
	{`request_retries{reason="ended"}`, func(b *bed) {
		stop := make(chan bool)
		c := b.client("one", func(*Request) { <-stop })
		from := b.client("", nil)
		for range 300 {
			go from.Request(b.Context(), "one", nil, time.Second)
		}
		synctest.Wait()
		go c.Close()
		synctest.Wait()
		close(stop)
	}},
	{`request_refused_here`, func(b *bed) { b.far(7).requests(2, "nobody", 1000) }},
	{`request_unknown{cause="lost"}`, func(b *bed) {
		f := b.asked()
		f.says(wire.TypeReply, 0, wire.Name{}, wire.ReplyHead{Number: f.last(), Status: wire.ReplyLost}.AppendBody(nil))
	}},
	{`request_unknown{cause="node_dead"}`, func(b *bed) {
		f := b.asked()
		f.left = true
		f.down()
		f.gone()
	}},
	{`request_unknown{cause="silent"} request_unanswered{cause="timeout"}`, func(b *bed) {
		b.asked()
		time.Sleep(6 * time.Second)
	}},
	{`request_unknown{cause="below_window"} request_dropped{cause="window_evicted"}`, func(b *bed) {
		f := b.far(7)
		f.requests(2<<1, "nobody", 1000)
		f.requests(9000<<1, "nobody", 1000)
		f.requests(1<<1, "nobody", 1000)
	}},
	{`request_unknown{cause="undelivered"} routed{what="returned"}`, func(b *bed) {
		f := b.asked()
		number := f.last()
		f.left = true
		f.down()
		b.loop(func(now time.Time, batch *queue.Batch) {
			b.n.plane.Undelivered(now, batch, wire.Undelivered{Target: f.key, Of: wire.TypeRequest, Number: number})
		})
	}},
	{`request_unanswered{cause="no_member"}`, func(b *bed) {
		b.ask("nobody", 1, time.Second)
		time.Sleep(2 * time.Second)
	}},
	{`request_unanswered{cause="busy"}`, func(b *bed) {
		f := b.asked()
		for range 20 {
			f.full(queue.ErrFull)
			f.refusesIt(wire.Busy)
		}
		time.Sleep(6 * time.Second)
	}},
	{`request_dropped{cause="expired"}`, func(b *bed) { b.far(7).requests(2, "nobody", 0) }},
	{`request_dropped{cause="duplicate"}`, func(b *bed) {
		f := b.far(7)
		f.requests(2, "nobody", 1000)
		f.requests(2, "nobody", 1000)
	}},
	{`request_dropped{cause="body"} refused{reason="relay_parked"} memory_shed{pool="bodies"}`, func(b *bed) {
		c := b.client("", nil)
		for range 3 {
			go c.Request(b.Context(), "nobody", make([]byte, 12<<20), time.Second)
			synctest.Wait()
		}
	}},
	{`request_dropped{cause="late_reply"}`, func(b *bed) {
		b.far(7).says(wire.TypeReply, 0, wire.Name{}, wire.ReplyHead{Number: 2}.AppendBody(nil))
	}},
	{`request_dropped{cause="pending"} refused{reason="relay_pending"}`, func(b *bed) {
		c := b.client("", nil)
		for range messaging.MaxPending + 1 {
			go c.Request(b.Context(), "nobody", nil, time.Second)
		}
	}},

	{`stream_gaps{cause="hold_back_full"}`, func(b *bed) {
		f := b.subscribed()
		f.publishes(wire.First, 0, 1)
		for n := range uint64(40) {
			f.publishes(0, n+2, 32<<10)
		}
	}},
	{`stream_gaps{cause="no_progress"} stream_repairs{cause="nack"}`, func(b *bed) {
		f := b.subscribed()
		f.publishes(wire.First, 0, 1)
		f.publishes(0, 2, 1)
		time.Sleep(3 * time.Second)
	}},
	{`stream_gaps{cause="publisher_gone"}`, func(b *bed) {
		f := b.subscribed()
		f.publishes(wire.First, 0, 1)
		f.publishes(0, 2, 1)
		f.down()
		f.gone()
		time.Sleep(time.Second)
	}},
	{`stream_gaps{cause="not_kept"}`, func(b *bed) {
		f := b.subscribed()
		f.publishes(wire.First, 0, 1)
		f.says(wire.TypeGap, 0, b.name(core.Topic, "news"), wire.Gap{From: 1, To: 4}.AppendBody(nil))
	}},
	{`stream_dropped{cause="duplicate"}`, func(b *bed) {
		f := b.subscribed()
		f.publishes(wire.First, 0, 1)
		f.publishes(0, 0, 1)
	}},
	{`stream_dropped{cause="unwanted"}`, func(b *bed) { b.far(7).publishes(wire.First, 0, 1) }},
	{`stream_dropped{cause="aborted"}`, func(b *bed) {
		f := b.far(7)
		f.Dropped(time.Now(), &b.b, &wire.Frame{Type: wire.TypePublish, Flags: wire.Named, Name: b.name(core.Topic, "news")})
	}},
	{`stream_dropped{cause="lane_dropping"}`, func(b *bed) {
		f, c := b.target()
		f.full(queue.ErrFull)
		for range 50 {
			c.Publish("news", make([]byte, 400<<10))
		}
		f.full(nil)
		b.loop(func(now time.Time, batch *queue.Batch) { f.Peer = b.n.plane.LinkUp(now, batch, f.key, f) })
	}},
	{`stream_repairs{cause="overrun_in_check"}`, func(b *bed) {
		f := b.far(7)
		c := b.client("", nil)
		c.Publish("news", nil)
		synctest.Wait()
		b.loop(func(time.Time, *queue.Batch) { // so nothing is confirmed
			for range 20 {
				c.Publish("news", make([]byte, 100<<10))
			}
			f.n.plane.Member(&f.b, directory.Change{Name: b.name(core.Topic, "news"), Node: f.key, Members: 1}, &messaging.Asks{})
		})
	}},
	{`stream_repairs{cause="replayed"}`, func(b *bed) {
		f, c := b.target()
		c.Publish("news", []byte("second"))
		synctest.Wait()
		b.loop(func(now time.Time, batch *queue.Batch) {
			b.n.plane.Nack(batch, f.key, wire.Nack{Name: b.name(core.Topic, "news"), From: 0, To: 0})
		})
	}},
	{`stream_repairs{cause="start_asked"}`, func(b *bed) { b.subscribed().publishes(0, 5, 1) }},
	{`lane_dropping`, func(b *bed) {
		f, c := b.target()
		f.waiting = 16 << 20
		for range 4 {
			go c.Publish("news", make([]byte, 80<<10))
			time.Sleep(1500 * time.Millisecond)
		}
	}},
	{`memory_shed{pool="hold_back"}`, func(b *bed) {
		f := b.subscribed()
		f.publishes(wire.First, 0, 1)
		b.scarce()
		f.publishes(0, 2, 1)
	}},
	{`memory_shed{pool="rings"}`, func(b *bed) {
		_, c := b.target()
		b.scarce()
		c.Publish("news", make([]byte, 8<<10))
	}},
	{`memory_shed{pool="tunnels"}`, func(b *bed) {
		c := b.client("", nil)
		b.scarce()
		c.Tunnel(b.Context(), "nobody")
	}},
	{`request_dropped{cause="unstarted"}`, func(b *bed) {
		p := b.program("slow")
		b.ask("slow", 8<<20, time.Minute)
		b.ask("slow", 10, time.Minute)
		b.n.plane.Drain()
		p.nc.Close()
	}},
	{`memory_shed{pool="streams"} refused{reason="stream_full"}`, func(b *bed) {
		f := b.subscribed()
		b.scarce()
		f.publishes(wire.First, 0, 1)
	}},
	{`memory_shed{pool="names"}`, func(b *bed) {
		b.far(7)
		c := b.client("", nil)
		for i := range 20_000 {
			c.Publish(fmt.Sprint(i), nil)
		}
	}},
	{`hints_dropped`, func(b *bed) {
		f := b.far(7)
		f.Dropped(time.Now(), &b.b, &wire.Frame{Type: wire.TypePublish})
		for n := range uint64(1<<12 + 2) {
			f.Receive(time.Now(), &b.b, &wire.Frame{Type: wire.TypeCancel, Body: wire.Cancel{Number: n}.AppendBody(nil)})
		}
	}},

	{`discovery_found{source="peers"}`, func(b *bed) { b.n.network.search.static.Set([]string{"192.0.2.1:14142"}) }},
	{`discovery_failed{source="peers"}`, func(b *bed) { b.n.network.search.static.Set([]string{"no..name:14142"}) }},

	{`routed{what="arrived"} routed{what="forged"} routed{what="undelivered"}`, func(b *bed) {
		f := b.far(7)
		self, other := b.n.network.identity.ID(), ring.ID{Hi: 9}
		for _, way := range [][2]ring.ID{{other, self}, {self, self}, {other, {Hi: 11}}} {
			f.hands(&wire.Frame{Type: wire.TypeReply, Flags: wire.Routed, Hops: 3, Origin: way[0], Target: way[1], Body: wire.ReplyHead{Number: 2}.AppendBody(nil)})
		}
	}},
	{`control_dropped{cause="no_way"} control_dropped{cause="forged"}`, func(b *bed) {
		b.loop(func(now time.Time, _ *queue.Batch) {
			c, out := b.n.loop.Core, &b.n.loop.Out
			for _, to := range []ring.ID{{Hi: 11}, c.Self} {
				c.Receive(now, ring.ID{Hi: 7}, &wire.Frame{Flags: wire.Routed, Hops: 3, Origin: c.Self, Target: to}, wire.Beat{}, out)
			}
		})
	}},
}

// full returns a row as the node has it: iris_ in front, and _total before the label.
func full(row string) string {
	name, label, labelled := strings.Cut(row, "{")
	if labelled {
		label = "{" + label
	}
	return "iris_" + name + "_total" + label
}

// TestEachCounterMoves has each thing happen that is counted, and looks at the metric.
func TestEachCounterMoves(t *testing.T) {
	for _, m := range movers {
		t.Run(m.rows, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t)
				defer b.close()
				before := b.counts()
				m.move(b)
				synctest.Wait()
				after := b.counts()
				for row := range strings.FieldsSeq(m.rows) {
					if after[full(row)] <= before[full(row)] {
						t.Errorf("%s stays at %d", full(row), after[full(row)])
					}
				}
			})
		})
	}
}

// provedBy are counters that a node alone is hard to bring to: which package's test does,
// and looks at the field or the code that they are made of. That this leads to the metric
// is TestEveryCounterIsShown's.
var provedBy = map[string][3]string{
	`link_renewed`:                      {"internal/link", "TestKeyLimitCountsWire", "Renewed"},
	`link_closed{reason="key_limit"}`:   {"internal/link", "TestKeyLimitCountsWire", "KeyLimit"},
	`tunnel_closed{reason="violation"}`: {"internal/splice", "TestNodeThatBreaksTheProtocol", "Broken"},
	`tunnel_closed{reason="key_limit"}`: {"internal/splice", "TestKeyLimitEndsTheTunnel", "Limit"},
	`tunnel_failed{cause="dial_back"}`:  {"internal/splice", "TestNeitherCanDial", "DialBack"},

	`seal_retries_exhausted{cell="cluster"}`: {"internal/messaging", "TestCellThatEndsEachTime", "SealedClusters"},
	`seal_retries_exhausted{cell="topic"}`:   {"internal/messaging", "TestCellThatEndsEachTime", "SealedTopics"},

	`directory_events{cause="forgotten"}`:      {"internal/directory", "TestNamesThatWereLeftAreLimited", "Forgotten"},
	`directory_events{cause="redirect_limit"}`: {"internal/directory", "TestRedirectsAreFollowedFourTimes", "RedirectLimits"},
	`directory_events{cause="cell_limit"}`:     {"internal/directory", "TestListsAreLimited", "Full"},
	`memory_shed{pool="nodes"}`:                {"internal/messaging", "TestNodesThatAreGoneAreLimited", "Forgotten"},

	`discovery_dials{outcome="begun"}`:   {"internal/discovery", "TestFinderMergesItsSources", "Dialled"},
	`discovery_dials{outcome="linked"}`:  {"internal/discovery", "TestFinderMergesItsSources", "Linked"},
	`discovery_dials{outcome="refused"}`: {"internal/discovery", "TestAddressesThatNobodyDials", "Refused"},
	`discovery_dials{outcome="dropped"}`: {"internal/discovery", "TestTargetsAreBounded", "Dropped"},
	`discovery_sent{kind="failed"}`:      {"internal/hosts", "TestHostThatMaySendNothing", `Sent["failed"]`},
	`discovery_paused`:                   {"internal/hosts", "TestFloodOfDatagrams", "left to the system"},
	`discovery_sent{kind="beacon"}`:      {"internal/hosts", "TestNodesFindEachOther", "Sent"},
	`discovery_sent{kind="probe"}`:       {"internal/hosts", "TestNodesFindEachOther", "Sent"},
	`discovery_sent{kind="answer"}`:      {"internal/hosts", "TestNodesFindEachOther", "Sent"},
	`discovery_heard{kind="beacon"}`:     {"internal/hosts", "TestNodesFindEachOther", "Heard"},
	`discovery_heard{kind="probe"}`:      {"internal/hosts", "TestNodesFindEachOther", "Heard"},
	`discovery_heard{kind="answer"}`:     {"internal/hosts", "TestNodesFindEachOther", "Heard"},

	`refused{reason="knock_version"}`:   {"internal/session", "TestKnockOfAnotherVersion", "KnockVersion"},
	`refused{reason="knock_replay"}`:    {"internal/session", "TestReplayedKnock", "KnockReplay"},
	`refused{reason="accept_files"}`:    {"internal/session", "TestSilentStrangerIsClosedForItsDescriptor", "AcceptFiles"},
	`refused{reason="tls_failed"}`:      {"internal/session", "TestTLS12", "TLSFailed"},
	`refused{reason="tls_bytes"}`:       {"internal/session", "TestCertificateFlood", "TLSBytes"},
	`refused{reason="peer_version"}`:    {"internal/session", "TestTLS12", "PeerVersion"},
	`refused{reason="peer_alpn"}`:       {"internal/session", "TestNoALPN", "PeerALPN"},
	`refused{reason="peer_chain"}`:      {"internal/session", "TestChainOfTwo", "PeerChain"},
	`refused{reason="peer_leaf"}`:       {"internal/session", "TestLeafThatIsCA", "PeerLeaf"},
	`refused{reason="peer_trust"}`:      {"internal/session", "TestLeafSignedByLeaf", "PeerTrust"},
	`refused{reason="peer_time"}`:       {"internal/session", "TestExpired", "PeerTime"},
	`refused{reason="peer_tag"}`:        {"internal/session", "TestLeafWithOtherNames", "PeerTag"},
	`refused{reason="peer_self"}`:       {"internal/session", "TestOwnCertificateReflected", "PeerSelf"},
	`refused{reason="packet_key"}`:      {"internal/discovery", "TestPacketOfOtherNetwork", "PacketKey"},
	`refused{reason="packet_version"}`:  {"internal/discovery", "TestChecksComeInOrder", "PacketVersion"},
	`refused{reason="packet_time"}`:     {"internal/discovery", "TestClocksMayDiffer", "PacketTime"},
	`refused{reason="packet_replay"}`:   {"internal/discovery", "TestReplayedPacketHasNoEffect", "PacketReplay"},
	`refused{reason="packet_size"}`:     {"internal/discovery", "TestPacketsHaveOneSize", "PacketSize"},
	`refused{reason="packet_self"}`:     {"internal/discovery", "TestChecksComeInOrder", "PacketSelf"},
	`refused{reason="packet_form"}`:     {"internal/discovery", "TestChecksComeInOrder", "PacketForm"},
	`refused{reason="packet_rate"}`:     {"internal/discovery", "TestPacketFlood", "PacketRate"},
	`refused{reason="answer_rate"}`:     {"internal/discovery", "TestAnswersAreBounded", "AnswerRate"},
	`refused{reason="address_refused"}`: {"internal/discovery", "TestUndialableAddresses", "AddressRefused"},
	`refused{reason="link_full"}`:       {"internal/link", "TestAdmissionEnds", "LinkFull"},
	`refused{reason="handle_unknown"}`:  {"internal/link", "TestUnknownHandle", "HandleUnknown"},
	`refused{reason="key_limit"}`:       {"internal/link", "TestKeyLimitCountsWire", "KeyLimit"},
	`refused{reason="attach_peer"}`:     {"internal/splice", "TestAttachByOtherNode", "AttachPeer"},
	`refused{reason="attach_time"}`:     {"internal/splice", "TestAttachExpired", "AttachTime"},
	`refused{reason="http_full"}`:       {"internal/admin", "TestHeaderIsBounded", "HTTPFull"},
	`refused{reason="http_host"}`:       {"internal/admin", "TestRebindingHost", "HTTPHost"},
	`refused{reason="http_origin"}`:     {"internal/admin", "TestCrossOrigin", "HTTPOrigin"},
	`refused{reason="http_token"}`:      {"internal/admin", "TestPostNeedsToken", "HTTPToken"},
}

// TestNoCounterIsForgotten wants something that moves each counter there is.
func TestNoCounterIsForgotten(t *testing.T) {
	b := newBed(t)
	defer b.close()
	moved := make(map[string]bool)
	for _, m := range movers {
		for row := range strings.FieldsSeq(m.rows) {
			moved[full(row)] = true
		}
	}
	for row, by := range provedBy {
		moved[full(row)] = true
		if src := testSource(t, "../"+by[0], by[1]); !strings.Contains(src, by[2]) {
			t.Errorf("%s: no %s in %s that looks at %s", row, by[1], by[0], by[2])
		}
	}
	counts := b.counts()
	for row := range counts {
		if !moved[row] {
			t.Errorf("nothing moves %s", row)
		}
	}
	for row := range moved {
		if _, ok := counts[row]; !ok {
			t.Errorf("there is no %s to be moved", row)
		}
	}
}

// testSource returns a test's code; empty: there is no such test.
func testSource(t *testing.T, dir, name string) string {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, body, ok := strings.Cut(string(src), "\nfunc "+name+"("); ok {
			body, _, _ = strings.Cut(body, "\n}\n")
			return body
		}
	}
	return ""
}
