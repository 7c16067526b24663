package discovery

import (
	"context"
	"net/netip"

	"github.com/project-iris/iris/internal/ring"
)

// A Source finds addresses that nodes may be at. discoverytest.Conform says what
// each has to keep to.
type Source interface {
	// Name is what the log and the status call it.
	Name() string

	// Run finds, until ctx ends or there is nothing more to find, and hands what it
	// finds to found: as often as it is worth another dial, for others see to it that
	// an address is not dialled too often. It calls found on one goroutine at a time,
	// and none of its goroutines runs on when it returns. The error says why it ended
	// before ctx did; it is the source's end, and nobody else's.
	Run(ctx context.Context, found func(Found)) error
}

// A Found is what a source has found: where a node may be.
type Found struct {
	Node  ring.ID    // zero: whoever is there
	From  netip.Addr // where a packet came from that says so; zero: there was none
	Addrs []netip.AddrPort
	Keep  bool // the operator named the address: it is dialled again for ever
	Gone  bool // the operator names it no longer
}
