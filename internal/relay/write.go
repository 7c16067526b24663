package relay

import (
	"time"

	"github.com/project-iris/iris/internal/queue"
)

// Flush implements queue.Flusher: it writes what waits, as far as that does not
// block and for a while only, and leaves the rest to the writing goroutine.
func (c *conn) Flush(b *queue.Batch) {
	if c.kicks.Swap(false) {
		c.kick()
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
		c.wrote(b, n)
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
// everything is written, the farewell included, or the connection is broken.
func (c *conn) write() {
	var b queue.Batch
	for range c.wake {
		if (c.handed.Swap(false) || c.queue.Claim()) && !c.writeAll(&b) {
			break
		}
		if c.queue.Drained() {
			closeWrite(c.nc)
			break
		}
	}
	close(c.written)
	c.kick() // linger for a second from now
}

// writeAll writes what waits, with the claim. It reports false when the
// connection is broken.
func (c *conn) writeAll(b *queue.Batch) bool {
	for p := c.queue.Next(); p != nil; p = c.queue.Next() {
		n, err := c.nc.Write(p)
		c.wrote(b, n)
		if err != nil {
			c.broken(err)
			return false
		}
		b.Flush()
	}
	return true
}

// wrote takes n octets off the queue, and tells who waits for room.
func (c *conn) wrote(b *queue.Batch, n int) {
	if c.queue.Wrote(n, room/2) {
		c.tunnels.Room(b)
		c.m.Relieved()
	}
}

// broken waits, with the claim, until what was not written has been taken back.
// What the program sent before it went is still read.
func (c *conn) broken(err error) {
	if c.told.CompareAndSwap(nil, &ending{lost, err.Error()}) {
		c.nc.SetReadDeadline(time.Now().Add(brokenLimit))
	}
	for !c.queue.Sealed() {
		<-c.wake
	}
	c.queue.Discard()
	c.queue.Unclaim()
}

// crowdLimit is how long a program that publishes waits at most for a link that is
// filling up, each time it has sent as much as is flushed together.
const crowdLimit = 2 * time.Second

// WaitOut waits, after a flush, until a queue that the batch was filling up has room,
// or stands. It looks every millisecond: it is a matter of megabytes.
func WaitOut(b *queue.Batch) {
	c := b.Crowd
	if c == nil {
		return
	}
	b.Crowd = nil
	for end := time.Now().Add(crowdLimit); ; time.Sleep(time.Millisecond) {
		if now := time.Now(); !now.Before(end) || !c.Crowded(now) {
			return
		}
	}
}
