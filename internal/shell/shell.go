// Package shell has what all need that run commands of the operator.
package shell

// A Capture keeps what is written to it, up to Most octets. More is cut off if Full is
// nil, and else is that error.
type Capture struct {
	Most int
	Full error

	b []byte
}

// Write implements io.Writer.
func (c *Capture) Write(p []byte) (int, error) {
	room := c.Most - len(c.b)
	c.b = append(c.b, p[:min(len(p), room)]...)
	if len(p) > room && c.Full != nil {
		return room, c.Full
	}
	return len(p), nil
}

// Bytes returns what was kept.
func (c *Capture) Bytes() []byte { return c.b }
