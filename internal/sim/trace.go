package sim

import (
	"encoding/binary"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A trace sums up everything that happens in a run.
type trace struct {
	hash uint64
	buf  []byte
}

// message adds a message that arrives, and returns how many octets its frame has.
func (t *trace) message(at instant, to ring.ID, f *frame) int {
	t.buf = wire.Append(t.buf[:0], f.msg)
	size := len(t.buf)
	t.add(uint64(at), to.Hi, f.origin.Hi, f.target.Hi, uint64(f.hops))
	t.octets(t.buf)
	if f.isRouted() {
		size += 2 * ring.Size
	}
	return size
}

func (t *trace) add(words ...uint64) {
	for _, w := range words {
		t.hash = (t.hash ^ w) * 0x9e3779b97f4a7c15
		t.hash ^= t.hash >> 29
	}
}

func (t *trace) octets(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		t.add(binary.LittleEndian.Uint64(b))
	}
	for _, c := range b {
		t.add(uint64(c))
	}
}
