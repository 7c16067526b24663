package link

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// TestRequestsAgeInTheLane has requests wait for two seconds because the other node
// does not read: those that had less left never leave and are counted, the others say
// how much they have left, and what else waits in the lane is left as it is.
func TestRequestsAgeInTheLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := linkedPair(t)
		resume := halted(b)
		l := a.current()
		var batch queue.Batch
		const all, wait = 500, 2 * time.Second
		life := func(number uint64) uint32 { return []uint32{1000, 5000}[number%2] }
		before := len(b.data)
		for number := range uint64(all) {
			f := wire.Frame{Type: wire.TypeRequest, Flags: wire.Named, Name: wire.Name{Kind: wire.Cluster, Key: ring.ID{Hi: 1}}}
			head := wire.RequestHead{Number: number, Life: life(number), Timeout: 1}.AppendBody(nil)
			if number%10 == 9 {
				f, head = wire.Frame{Type: wire.TypeReply}, wire.ReplyHead{Number: number}.AppendBody(nil)
			}
			if _, err := l.Send(&batch, wire.Requests, &f, head, queue.Payload{Data: make([]byte, 30000+number%97)}); err != nil {
				t.Fatal(err)
			}
			batch.Flush()
			synctest.Wait()
		}
		time.Sleep(wait)
		resume()
		synctest.Wait()

		came, fresh, last := 0, 0, -1
		for _, r := range b.data[before:] {
			if r.frame.Type == wire.TypeReply {
				came++
				continue
			}
			h, rest, err := wire.ParseRequestHead(r.body)
			if err != nil {
				t.Fatal(err)
			}
			if n := int(h.Number); n <= last || len(rest) != 30000+n%97 {
				t.Errorf("after request %d comes %d, of %d octets", last, n, len(rest))
			}
			last = int(h.Number)
			switch left := life(h.Number) - uint32((wait-agingStep)/time.Millisecond); {
			case h.Life == life(h.Number):
				fresh++ // the system had it before the wait
			case h.Life != left:
				t.Errorf("request %d has %d ms left, want %d", h.Number, h.Life, left)
			}
			came++
		}
		expired := int(l.m.Stats.Expired.Load())
		if came+expired != all || expired < all/4 || fresh > all/4 {
			t.Errorf("%d came, %d of them as they were sent, and %d expired, of %d", came, fresh, expired, all)
		}
	})
}
