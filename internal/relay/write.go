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

// WaitOut waits, after a flush, until each queue that the batch was filling up has room
// or stands, or ended says that there is no point. As long as a queue moves its
// publishers are no faster than it, or messages would be lost for no fault of the link.
// It returns how long that took.
func WaitOut(b *queue.Batch, ended func() bool) (took time.Duration) {
	if len(b.Crowds) == 0 {
		return 0
	}
	began := time.Now()
	const often, seldom = time.Millisecond, 10 * time.Millisecond // it is a matter of megabytes
	for _, c := range b.Crowds {
		for pause := often; c.Crowded(time.Now()) && !ended(); pause = min(2*pause, seldom) {
			time.Sleep(pause)
		}
	}
	clear(b.Crowds)
	b.Crowds = b.Crowds[:0]
	return time.Since(began)
}
