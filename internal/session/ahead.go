package session

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
)

// TLS asks the system for every record by itself, and nobody can see whether there
// is another. Here as much is read as has come, TLS is given record after record, and
// whoever handles what they bring can ask for the next before acting on it.

const (
	recordHead  = 5 // octets of a record's header, the last two of which are its length
	recordShort = 1 << 10
	aheadMost   = 64 << 10
)

var aheads = sync.Pool{New: func() any { return new([aheadMost]byte) }}

// An ahead is what was read and not yet given to TLS: buf[r:w]. A connection on which
// little comes has a small buffer.
type ahead struct {
	small [recordShort]byte
	large *[aheadMost]byte
	buf   []byte
	r, w  int
	rest  int  // octets of the record that TLS is reading
	full  bool // the system filled the buffer: more will have come
}

// read gives TLS octets of one record. With short set the large buffer is not used.
func (a *ahead) read(nc net.Conn, b []byte, short bool) (int, error) {
	need := 1
	if a.rest == 0 {
		need = recordHead
	}
	for a.w-a.r < need {
		if err := a.fill(nc, short); err != nil {
			if err == io.EOF && a.w > a.r {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
	if a.rest == 0 {
		a.rest = a.record()
	}
	n := copy(b[:min(a.rest, len(b))], a.buf[a.r:a.w])
	a.r += n
	a.rest -= n
	return n, nil
}

// record returns how many octets the record at the start has.
func (a *ahead) record() int {
	return recordHead + int(binary.BigEndian.Uint16(a.buf[a.r+recordHead-2:]))
}

// pending reports whether the whole of another record has come.
func (a *ahead) pending() bool {
	return a.rest == 0 && a.w-a.r >= recordHead && a.w-a.r >= a.record()
}

// fill reads what has come. There are fewer octets than a header has.
func (a *ahead) fill(nc net.Conn, short bool) error {
	to, kept := a.small[:], a.buf[a.r:a.w]
	if a.full && !short {
		if a.large == nil {
			a.large = aheads.Get().(*[aheadMost]byte)
		}
		to = a.large[:]
	}
	a.w = copy(to, kept)
	if a.buf, a.r = to, 0; a.large != nil && &to[0] != &a.large[0] {
		aheads.Put(a.large)
		a.large = nil
	}
	n, err := nc.Read(a.buf[a.w:])
	a.w += n
	a.full = a.w == len(a.buf)
	if n > 0 {
		return nil
	}
	return err
}

// Pending reports, to whoever reads, that the next Read will not wait: the whole of
// another record has come.
func (c *Conn) Pending() bool { return c.raw.ahead.pending() }
