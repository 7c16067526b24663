package main

const noLeak = "a node that lives on holds no more than before"

// A usage is what a node holds while the network is calm and the load is on.
type usage struct {
	Node       string `json:"node"`
	At         int64  `json:"at"`
	Resident   int64  `json:"resident"` // octets of memory, by /proc
	Files      int    `json:"files"`    // descriptors, by /proc
	Goroutines int    `json:"goroutines"`
	Payload    int64  `json:"payload"` // octets
	Gaps       uint64 `json:"gaps"`    // declared lost, from the start on
}

// What a node may hold more in a later calm than in its first one. Garbage is
// collected when there is as much of it as there is in use, and links and tunnels,
// which have goroutines and descriptors, come and go under load.
const (
	moreResident   = 48 << 20
	moreFiles      = 40
	moreGoroutines = 120
	morePayload    = 24 << 20
)

// usages are what nodes held in the calms.
type usages struct {
	first map[string]usage // of each start of a node
	last  []usage          // of the last calm
}

func newUsages() usages { return usages{first: make(map[string]usage)} }

// take compares what a node holds with what it held in its first calm.
func (us *usages) take(c *checker, u usage) {
	before, ok := us.first[u.Node]
	if !ok {
		us.first[u.Node] = u
		before = u
	}
	for _, f := range []struct {
		what              string
		before, now, more int64
	}{
		{"octets of memory", before.Resident, u.Resident, moreResident},
		{"descriptors", int64(before.Files), int64(u.Files), moreFiles},
		{"goroutines", int64(before.Goroutines), int64(u.Goroutines), moreGoroutines},
		{"octets of payload", before.Payload, u.Payload, morePayload},
	} {
		if f.now > f.before+f.more {
			c.broken(u.At, noLeak, "%s holds %d %s; in its first calm it held %d", u.Node, f.now, f.what, f.before)
		}
	}
}
