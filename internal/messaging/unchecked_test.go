package messaging

import (
	"slices"
	"testing"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wire"
)

// A check that is long in coming must not let go of what it has yet to confirm: once a
// quarter of what a stream keeps is in no check, the loop hears that it hurries, once.
func TestManyOctetsHurryTheCheck(t *testing.T) {
	p, c, _, _ := far(core.Topic, "news")
	var b queue.Batch
	key := []wire.Name{p.Key(core.Topic, "news")}
	attend := func(published, hurried []wire.Name) {
		t.Helper()
		var asks Asks
		p.Attend(start, &b, &asks)
		if !slices.Equal(asks.Published, published) || !slices.Equal(asks.Hurried, hurried) {
			t.Fatalf("published %v, hurried %v; want %v, %v", asks.Published, asks.Hurried, published, hurried)
		}
	}
	publish := func(octets int) {
		c.Publish(start, &b, []byte("news"), make([]byte, octets-recordCost))
	}
	for range 2 {
		for range 256 {
			publish(maxUnchecked/256 - 1) // a check was asked for with the first
		}
		attend(nil, nil)
		publish(256)
		publish(1000)
		attend(key, key)
		publish(maxUnchecked)
		attend(nil, nil)
		p.Checked(key[0])
	}
	var asks Asks
	p.Confirmed(key[0], &asks)
	if asks.Published != nil {
		t.Errorf("%v is to be checked again", asks.Published)
	}
	publish(maxUnchecked) // at once, and much
	attend(key, key)
}
