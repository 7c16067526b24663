package relay

import (
	"errors"
	"time"

	"github.com/project-iris/iris/internal/queue"
)

// errAgain says that a write would block.
var errAgain = errors.New("write would block")

// Flush implements queue.Flusher: it writes what waits, as far as that does not
// block and for a while only, and leaves the rest to the writing goroutine.
func (c *conn) Flush(b *queue.Batch) {
	if c.kicks.Swap(false) {
		c.kick()
	}
	if !c.io.nonblocking() {
		c.poke()
		return
	}
	if !c.queue.Claim() {
		return
	}
	const most = 256 << 10
	for total := 0; total < most; {
		p := c.queue.Next()
		if p == nil {
			if c.queue.Drained() {
				c.poke() // it says farewell
			}
			return
		}
		n, err := c.io.tryWrite(p)
		if c.queue.Wrote(n, room/2) {
			c.tunnels.Room(b)
		}
		total += n
		if n < len(p) || err != nil {
			break // the writing goroutine waits for room, or meets the error
		}
	}
	c.handed.Store(true)
	c.poke()
}

// poke wakes the writing goroutine.
func (c *conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write is the writing goroutine: it writes what others left to it, and ends when
// the queue is sealed and empty, or the connection broken.
func (c *conn) write() {
	defer close(c.written)
	var b queue.Batch
	for range c.wake {
		if c.handed.Swap(false) || c.queue.Claim() {
			for p := c.queue.Next(); p != nil; p = c.queue.Next() {
				n, err := c.nc.Write(p)
				if c.queue.Wrote(n, room/2) {
					c.tunnels.Room(&b)
				}
				if err != nil {
					c.broken(err)
					return
				}
				b.Flush()
			}
		}
		if c.queue.Drained() {
			closeWrite(c.nc)
			c.nc.SetReadDeadline(time.Now().Add(lingerLimit))
			return
		}
	}
}

// broken waits, with the claim, until what was not written has been taken back.
func (c *conn) broken(err error) {
	c.stop(ending{lost, err.Error()})
	for !c.queue.Sealed() {
		<-c.wake
	}
	c.queue.Discard()
	c.queue.Unclaim()
}
