package relay

import (
	"testing"
	"testing/synctest"

	"github.com/project-iris/iris/internal/relaywire"
)

// TestDrainTakesBackWhatWasNotBegun ends a node that is drained while a service does
// not read: requests that it cannot have seen are not lost, and it gets the rest.
func TestDrainTakesBackWhatWasNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<30)
		const many = 100
		service, client := w.attach("echo"), w.attach("")
		for i := range many {
			client.send(relaywire.Message{Op: relaywire.Request, ID: uint64(i), Name: []byte("echo"), Body: make([]byte, 10_000), Timeout: 60_000})
			body := make([]byte, 1000*(i%30)) // some are shared with other queues
			client.send(relaywire.Message{Op: relaywire.Broadcast, Name: []byte("echo"), Body: append(body, byte(i))})
		}
		synctest.Wait()
		w.plane.Drain()
		for c := range w.server.conns {
			if c.m.Cluster == "echo" { // before the client, of which nothing would be left in its hands
				c.stop(ending{cause: stopped, reason: "node terminating"})
			}
		}
		synctest.Wait()
		requests, broadcasts := 0, 0
		for {
			m, err := service.read()
			if err != nil {
				t.Fatalf("after %d broadcasts: %v", broadcasts, err)
			}
			if m.Op == relaywire.Close {
				break
			}
			if m.Op == relaywire.Request {
				requests++
				continue
			}
			if got := m.Body[len(m.Body)-1]; int(got) != broadcasts {
				t.Fatalf("broadcast %d came after %d others", got, broadcasts)
			}
			broadcasts++
		}
		service.nc.Close()
		client.nc.Close()
		w.close()
		if broadcasts != many {
			t.Errorf("%d of %d broadcasts came", broadcasts, many)
		}
		d := &w.plane.Drops
		if lost, rest := d.Lost.Load(), d.Unstarted.Load(); int(lost) != requests || int(lost+rest) != many || rest == 0 {
			t.Errorf("%d of %d requests came: %d count as lost, %d as not begun", requests, many, lost, rest)
		}
		if used := w.plane.Budget.Used(); used > 0 {
			t.Errorf("%d octets stay charged", used)
		}
	})
}
