package node

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// sizes are those of messages around the limits of both dialects, and large ones apart.
var (
	sizes      = []int{0, 1, 65535, 65536, 65537, 1 << 20}
	largeSizes = []int{16 << 20}
)

// noise is what messages are made of.
var noise = sync.OnceValue(func() []byte {
	b := make([]byte, largeSizes[0]+64)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
})

// content returns one of a size, another for each n.
func content(n, size int) []byte { return noise()[n%64:][:size] }

type dialler = func() (net.Conn, error)

// A pair is two programs of the same name: one that acts, and one that is found.
type pair struct {
	from, to         *actor
	cluster          string
	fromNode, toNode dialler
	sizes            []int // of messages
}

// A primitive is something that programs do, and its play with a pair of them.
type primitive struct {
	name string
	play func(t *testing.T, p pair)
}

// primitives are what a program can do with another; the first carry large messages
// too.
var primitives = []primitive{
	{"requests", playRequests},
	{"broadcasts", playBroadcasts},
	{"events", playEvents},
	{"tunnel", playTunnel},
	{"no reply", playNoReply},
	{"tunnel ahead", playAhead},
	{"tunnel behind", playBehind},
	{"tunnel abandoned", playAbandoned},
	{"tunnel closed", playClosed},
	{"tunnel closed by both", playCrossed},
	{"tunnel lost", playLost},
}

const carriers = 4 // so many are the first

var dialects = []relaywire.Dialect{relaywire.V0, relaywire.V1}

// A place runs a play where there are nodes.
type place = func(t *testing.T, play func(t *testing.T, from, to dialler))

// matrix plays primitives for each pair of dialects.
func matrix(t *testing.T, run place, primitives []primitive, sizes []int) {
	for _, from := range dialects {
		for _, to := range dialects {
			for _, p := range primitives {
				t.Run(from.String()+"-"+to.String()+"/"+p.name, func(t *testing.T) {
					cluster := t.Name()
					run(t, func(t *testing.T, fromNode, toNode dialler) {
						p.play(t, pair{play(t, fromNode, from, "", nil), play(t, toNode, to, cluster, nil), cluster, fromNode, toNode, sizes})
					})
				})
			}
		}
	}
}

// TestMatrix has programs of both dialects use each other on one node, in invented time.
func TestMatrix(t *testing.T) { matrix(t, onOneNode, primitives, sizes) }

// TestMatrixOfTwoNodes has them do it across two nodes.
func TestMatrixOfTwoNodes(t *testing.T) { matrix(t, acrossTwo(t), primitives, sizes) }

// TestMatrixLarge has them do it with large messages.
func TestMatrixLarge(t *testing.T) {
	t.Run("one node", func(t *testing.T) { matrix(t, onOneNode, primitives[:carriers], largeSizes) })
	t.Run("two nodes", func(t *testing.T) { matrix(t, acrossTwo(t), primitives[:carriers], largeSizes) })
}

// onOneNode starts a node for each play.
func onOneNode(t *testing.T, play func(t *testing.T, from, to dialler)) {
	synctest.Test(t, func(t *testing.T) {
		n := virtualNode(t)
		t.Cleanup(n.Close)
		play(t, n.Dial, n.Dial)
	})
}

// acrossTwo starts two nodes for all plays.
func acrossTwo(t *testing.T) place {
	nodes := joined(t, 2)
	return func(t *testing.T, play func(t *testing.T, from, to dialler)) {
		play(t, socketsOf(nodes[0]), socketsOf(nodes[1]))
	}
}

func socketsOf(n *Node) dialler {
	return func() (net.Conn, error) { return net.Dial("tcp", n.addrs[0]) }
}

func playRequests(t *testing.T, p pair) {
	for i, size := range p.sizes {
		body := content(i, size)
		m := p.from.request(p.cluster, body, patience)
		if m.Fault || m.TimedOut {
			t.Fatalf("%d octets: came %v", size, m)
		}
		same(t, m.Body, body)
		if asked := <-p.to.asked; p.to.dialect == relaywire.V1 && asked.Timeout != uint64(patience.Milliseconds()) {
			t.Errorf("asked with a timeout of %d ms", asked.Timeout)
		}
	}
	var many sync.WaitGroup
	for i := range 300 {
		many.Go(func() { same(t, p.from.request(p.cluster, content(i, i), patience).Body, content(i, i)) })
	}
	many.Wait()
}

// playNoReply has a member of v1 fault, which one of v0 is told as if time had passed,
// but at once; and one of v0 say nothing until time has.
func playNoReply(t *testing.T, p pair) {
	cluster := p.cluster + " mute"
	const short = 50 * time.Millisecond
	timeout := time.Hour
	if p.to.dialect == relaywire.V0 {
		timeout = short
	}
	play(t, p.toNode, p.to.dialect, cluster, func(m *relaywire.Message) {
		if p.to.dialect == relaywire.V0 {
			m.Op = 0 // no reply
		}
		m.Fault, m.Body = true, []byte("not today")
	})
	began := time.Now()
	m := p.from.request(cluster, []byte("?"), timeout)
	took := time.Since(began)
	switch {
	case p.to.dialect == relaywire.V1 && p.from.dialect == relaywire.V1:
		if !m.Fault || string(m.Body) != "not today" {
			t.Errorf("came %v instead of the fault", m)
		}
	case !m.TimedOut:
		t.Errorf("came %v, wanted the timeout form", m)
	case p.to.dialect == relaywire.V0 && took < short:
		t.Errorf("the timeout form came after %v", took)
	}
}

// heard sends until a listener hears it: what subscribes is not told when it has.
func heard(a *actor, send func()) {
	for {
		send()
		select {
		case <-a.heard:
			return
		case <-a.done:
			a.t.Fatal("nothing is heard")
		case <-time.After(look):
		}
	}
}

func playBroadcasts(t *testing.T, p pair) {
	own := play(t, p.fromNode, p.from.dialect, p.cluster, nil)
	p.playHeard(p.from, relaywire.Broadcast, p.cluster, p.to, own)
	p.playHeard(p.to, relaywire.Broadcast, p.cluster, p.to, own) // itself too
}

func playEvents(t *testing.T, p pair) {
	for _, a := range []*actor{p.from, p.to} {
		a.send(relaywire.Message{Op: relaywire.Subscribe, Name: []byte(p.cluster)})
	}
	p.playHeard(p.from, relaywire.Publish, p.cluster, p.to, p.from)
	p.from.send(relaywire.Message{Op: relaywire.Unsubscribe, Name: []byte(p.cluster)})
	p.playHeard(p.to, relaywire.Publish, p.cluster, p.to)
}

// playHeard sends messages of all sizes, and many small ones.
func (p pair) playHeard(from *actor, op relaywire.Op, name string, to ...*actor) {
	send := func(body []byte) { from.send(relaywire.Message{Op: op, Name: []byte(name), Body: body}) }
	for _, a := range to {
		heard(a, func() { send([]byte("anybody there?")) })
	}
	send([]byte("begin"))
	for _, a := range to {
		a.until("begin")
	}
	for i := range 100 {
		send(content(i, 100))
	}
	for i, size := range p.sizes {
		send(content(i, size))
	}
	for _, a := range to {
		for i := range 100 {
			a.hear(content(i, 100))
		}
		for i, size := range p.sizes {
			a.hear(content(i, size))
		}
	}
}

// playTunnel sends messages of all sizes both ways at once. Empty ones do not come to
// programs of v1, which do not send them either.
func playTunnel(t *testing.T, p pair) {
	near, far := p.from.tunnel(p.cluster, p.to)
	var work sync.WaitGroup
	for _, way := range []struct{ from, to *pipe }{{near, far}, {far, near}} {
		work.Go(func() {
			for i, size := range p.sizes {
				way.from.put(content(i, size))
			}
		})
		work.Go(func() {
			for i, size := range p.sizes {
				if size > 0 || way.from.dialect == relaywire.V0 && way.to.dialect == relaywire.V0 {
					way.to.want(content(i, size))
				}
			}
		})
	}
	work.Wait()
}

// playAhead has 1000 messages sent through an echo before the first that comes back is
// taken, as the libraries' tests do; the windows of both programs hold 228.
func playAhead(t *testing.T, p pair) {
	near, far := p.from.tunnel(p.cluster, p.to)
	const messages = 1000
	var work sync.WaitGroup
	work.Go(func() {
		for range messages {
			body, _ := far.get()
			far.put(body)
		}
	})
	for i := range messages {
		near.put(content(i, 1+i))
	}
	for i := range messages {
		near.want(content(i, 1+i))
	}
	work.Wait()
}

// playBehind has programs that begin to take messages when many wait, more of which are
// to come than anybody holds.
func playBehind(t *testing.T, p pair) {
	near, far := p.from.tunnel(p.cluster, p.to)
	const messages, behind, size = 800, 384, 7000
	var work sync.WaitGroup
	for _, way := range []struct{ from, to *pipe }{{near, far}, {far, near}} {
		begin := make(chan struct{})
		work.Go(func() {
			for i := range messages {
				if way.from.put(content(i, size)); i == behind {
					close(begin)
				}
			}
		})
		work.Go(func() {
			<-begin
			for i := range messages {
				way.to.want(content(i, size))
			}
		})
	}
	work.Wait()
}

// playAbandoned has a program of v1 begin messages that it does not end: one of v0 gets
// whole ones only.
func playAbandoned(t *testing.T, p pair) {
	near, far := p.from.tunnel(p.cluster, p.to)
	for _, way := range []struct{ from, to *pipe }{{near, far}, {far, near}} {
		if way.from.dialect == relaywire.V0 {
			continue
		}
		for i := range 50 {
			way.from.spend(65536)
			way.from.chunk(100_000, content(0, 65536))
			way.from.put(content(i, 70_000))
			way.to.want(content(i, 70_000))
		}
	}
}

// playClosed has either side close, with messages under way to the other.
func playClosed(t *testing.T, p pair) {
	for _, first := range []int{0, 1} {
		near, far := p.from.tunnel(p.cluster, p.to)
		ends := []*pipe{near, far}
		closer, other := ends[first], ends[1-first]
		for i := range 50 {
			closer.put(content(i, 40_000))
		}
		closer.close()
		if reason := closer.over(); reason != "" {
			t.Errorf("a close was confirmed with %q", reason)
		}
		for i := range 50 {
			other.want(content(i, 40_000))
		}
		if reason := other.over(); reason != "" {
			t.Errorf("a close came as %q", reason)
		}
	}
}

// playCrossed has both sides close at the same time: each hears of it once.
func playCrossed(t *testing.T, p pair) {
	for range 10 {
		near, far := p.from.tunnel(p.cluster, p.to)
		var work sync.WaitGroup
		for _, end := range []*pipe{near, far} {
			work.Go(func() {
				for i := range 10 {
					end.put(content(i, 1000))
				}
				end.close()
				i := 0
				for body := range end.came {
					same(t, body, content(i, 1000))
					i++
				}
			})
		}
		work.Wait()
	}
}

// playLost has either side vanish: the other gets what was sent, and the close.
func playLost(t *testing.T, p pair) {
	for _, first := range []int{0, 1} {
		cluster := fmt.Sprint(p.cluster, " lost ", first)
		from, to := play(t, p.fromNode, p.from.dialect, "", nil), play(t, p.toNode, p.to.dialect, cluster, nil)
		near, far := from.tunnel(cluster, to)
		ends := []*pipe{near, far}
		lost, other := ends[first], ends[1-first]
		lost.put(content(0, 100_000))
		other.want(content(0, 100_000))
		lost.vanish()
		if reason := other.over(); (reason != "") != (other.dialect == relaywire.V1) {
			t.Errorf("the end of a lost program's tunnel came to %v with %q", other.dialect, reason)
		}
	}
}

// TestMatrixTooLarge announces to a program of v0 a message that it cannot get: v1 bounds
// tunnel messages by 2^31-1 octets, v0 like all others.
func TestMatrixTooLarge(t *testing.T) {
	tooLarge := func(t *testing.T, from, to dialler) {
		cluster := t.Name()
		a, b := play(t, from, relaywire.V1, "", nil), play(t, to, relaywire.V0, cluster, nil)
		near, far := a.tunnel(cluster, b)
		near.put(content(0, 100))
		near.spend(1)
		near.chunk(relaywire.DefaultLimits.Body+1, []byte{1})
		if reason := near.over(); reason == "" {
			t.Error("the tunnel was closed without a reason")
		}
		far.want(content(0, 100))
		far.over()
	}
	t.Run("one node", func(t *testing.T) { onOneNode(t, tooLarge) })
	t.Run("two nodes", func(t *testing.T) { acrossTwo(t)(t, tooLarge) })
}

// TestMatrixMixedCluster has a cluster with members of both dialects on each node:
// requests are spread over all, broadcasts reach all.
func TestMatrixMixedCluster(t *testing.T) {
	mixed := func(t *testing.T, from, to dialler) {
		cluster := t.Name()
		var members []*actor
		for _, place := range []dialler{from, to} {
			for _, d := range dialects {
				members = append(members, play(t, place, d, cluster, func(m *relaywire.Message) {
					m.Body = append([]byte{byte(d)}, m.Body...)
				}))
			}
		}
		for _, d := range dialects {
			a := play(t, from, d, "", nil)
			heard(members[len(members)-1], func() { a.send(relaywire.Message{Op: relaywire.Broadcast, Name: []byte(cluster)}) })
			counts := make([]int, len(dialects))
			for i := range 200 {
				body := content(i, 100)
				m := a.request(cluster, body, patience)
				if m.TimedOut || len(m.Body) != 101 {
					t.Fatalf("came %v", m)
				}
				same(t, m.Body[1:], body)
				counts[m.Body[0]]++
			}
			for to, n := range counts {
				if n < 50 {
					t.Errorf("%d of 200 requests of %v went to members of %v", n, d, relaywire.Dialect(to))
				}
			}
			a.send(relaywire.Message{Op: relaywire.Broadcast, Name: []byte(cluster), Body: []byte("all of you")})
			for _, m := range members {
				m.until("all of you")
			}
		}
	}
	t.Run("one node", func(t *testing.T) { onOneNode(t, mixed) })
	t.Run("two nodes", func(t *testing.T) { acrossTwo(t)(t, mixed) })
}
