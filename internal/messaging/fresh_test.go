package messaging

import (
	"sync"
	"testing"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A topic that has just been published to is there, whatever becomes of the cluster of
// the same name.
func TestEndOfAClusterLeavesTheTopicOfItsName(t *testing.T) {
	p := newNetwork(t, 1).nodes[0].plane
	cl := p.freshCluster([]byte("x"), nil)
	topic := p.freshTopic([]byte("x"), nil)
	if !p.close(&cl.everyone) {
		t.Fatal("the cluster is not closed")
	}
	if p.freshTopics["x"] != topic || p.freshClusters["x"] != nil {
		t.Errorf("topics %v, clusters %v", p.freshTopics, p.freshClusters)
	}
}

// A message whose cell ends each time that it is found is counted, not tried for ever.
func TestCellThatEndsEachTime(t *testing.T) {
	net := newNetwork(t, 1)
	h := net.nodes[0]
	p := h.program("")
	h.plane.freshCluster([]byte("x"), nil).everyone.closed.Store(true)
	h.plane.freshTopic([]byte("x"), nil).closed.Store(true)
	p.Conn.Broadcast(net.now, &h.b, []byte("x"), nil)
	p.Conn.Publish(net.now, &h.b, []byte("x"), nil)
	if d := &h.plane.Drops; d.SealedClusters.Load() != 1 || d.SealedTopics.Load() != 1 {
		t.Errorf("%d broadcasts and %d events are counted, want 1 each", d.SealedClusters.Load(), d.SealedTopics.Load())
	}
}

// Nodes unheard of bring frames by routers while the loop looks through those that there
// are. It is for the race detector.
func TestStrangersComeWhileTheLoopLooksThroughPeers(t *testing.T) {
	net := newNetwork(t, 2)
	a, b := net.nodes[0], net.nodes[1]
	router := b.plane.Peer(a.id)
	var reader sync.WaitGroup
	reader.Go(func() {
		var batch queue.Batch
		for i := range uint64(1000) {
			f := wire.Frame{
				Type: wire.TypeCancel, Flags: wire.Skip | wire.Routed, Hops: 1,
				Origin: ring.ID{Hi: 1 + i}, Target: b.id, Body: wire.Cancel{Number: 1}.AppendBody(nil),
			}
			if err := router.Receive(net.now, &batch, &f); err != nil {
				t.Error(err)
			}
		}
	})
	for range 100 {
		b.plane.dropCanceled()
	}
	reader.Wait()
}
