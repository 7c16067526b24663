package wire

import "github.com/project-iris/iris/internal/ring"

// Beat asks for an answer, or is one.
//
//	nonce uint64
//	ack   byte
//	load  byte      0 beat, 1 probe
type Beat struct {
	Nonce uint64
	Ack   bool
	Probe bool // a failure detector's question, not a mere sign of life
}

// Type returns TypeBeat.
func (Beat) Type() Type { return TypeBeat }

// AppendBody appends the layout above.
func (m Beat) AppendBody(b []byte) []byte {
	return appendFlag(appendFlag(appendUint64(b, m.Nonce), m.Ack), m.Probe)
}

func parseBeat(p *parser) Message { return Beat{p.uint64(), p.flag(), p.flag()} }

// ProbeFor asks a third node to probe Subject.
//
//	nonce   uint64
//	subject id
type ProbeFor struct {
	Nonce   uint64
	Subject ring.ID
}

// Type returns TypeProbeFor.
func (ProbeFor) Type() Type { return TypeProbeFor }

// AppendBody appends the layout above.
func (m ProbeFor) AppendBody(b []byte) []byte { return m.Subject.Append(appendUint64(b, m.Nonce)) }

func parseProbeFor(p *parser) Message { return ProbeFor{p.uint64(), p.id()} }

// A Contact is a node somebody knows.
//
//	node  id
//	state byte
//	addrs [Addr]
type Contact struct {
	Node  ring.ID
	State State
	Addrs []Addr
}

const contactSize = ring.Size + 1 + 2 // without addresses

func (c Contact) append(b []byte) []byte {
	return appendAddrList(append(c.Node.Append(b), byte(c.State)), c.Addrs)
}

func (p *parser) contact() Contact { return Contact{p.id(), p.state(), p.addrList()} }

// Leaves are the sender's neighbours on the ring.
//
//	state    byte         the sender's
//	contacts [Contact]
type Leaves struct {
	State    State
	Contacts []Contact
}

// Type returns TypeLeaves.
func (Leaves) Type() Type { return TypeLeaves }

// AppendBody appends the layout above.
func (m Leaves) AppendBody(b []byte) []byte {
	b = appendCount(append(b, byte(m.State)), len(m.Contacts))
	for _, c := range m.Contacts {
		b = c.append(b)
	}
	return b
}

func parseLeaves(p *parser) Message {
	return Leaves{p.state(), list(p, contactSize, (*parser).contact)}
}

// An EventKind says what happened to a node.
type EventKind byte

// The events.
const (
	EventJoin EventKind = 1 + iota
	EventLeaving
	EventLeave
	EventDead
)

// An Event is a change of the view; of two about a node the higher Seq wins.
//
//	node  id
//	kind  byte
//	seq   uint64
//	addrs [Addr]
type Event struct {
	Node  ring.ID
	Kind  EventKind
	Seq   uint64
	Addrs []Addr
}

const eventSize = ring.Size + 1 + 8 + 2 // without addresses

func (e Event) append(b []byte) []byte {
	b = appendUint64(append(e.Node.Append(b), byte(e.Kind)), e.Seq)
	return appendAddrList(b, e.Addrs)
}

func (p *parser) event() Event {
	e := Event{Node: p.id(), Kind: EventKind(p.choice("event", byte(EventDead)))}
	if e.Kind == 0 {
		p.fail(errEvent)
	}
	e.Seq, e.Addrs = p.uint64(), p.addrList()
	return e
}

// ViewEvent tells of changes of the view.
//
//	events [Event]
type ViewEvent struct{ Events []Event }

// Type returns TypeViewEvent.
func (ViewEvent) Type() Type { return TypeViewEvent }

// AppendBody appends the layout above.
func (m ViewEvent) AppendBody(b []byte) []byte {
	b = appendCount(b, len(m.Events))
	for _, e := range m.Events {
		b = e.append(b)
	}
	return b
}

func parseViewEvent(p *parser) Message { return ViewEvent{list(p, eventSize, (*parser).event)} }

// ViewHash sums up the sender's view, by the first octet of the ids.
//
//	buckets [256]uint64
type ViewHash struct{ Buckets [256]uint64 }

// Type returns TypeViewHash.
func (ViewHash) Type() Type { return TypeViewHash }

// AppendBody appends the layout above.
func (m ViewHash) AppendBody(b []byte) []byte {
	for _, v := range m.Buckets {
		b = appendUint64(b, v)
	}
	return b
}

func parseViewHash(p *parser) Message {
	var m ViewHash
	for i := range m.Buckets {
		m.Buckets[i] = p.uint64()
	}
	return m
}

// ViewGet asks for what the receiver knows of some buckets of the view. Bucket i
// is bit i%8 of octet i/8, the lowest bit being bit 0.
//
//	buckets [32]byte
type ViewGet struct{ Buckets [32]byte }

// Type returns TypeViewGet.
func (ViewGet) Type() Type { return TypeViewGet }

// AppendBody appends the layout above.
func (m ViewGet) AppendBody(b []byte) []byte { return append(b, m.Buckets[:]...) }

func parseViewGet(p *parser) Message {
	var m ViewGet
	copy(m.Buckets[:], p.octets(len(m.Buckets)))
	return m
}

// Lookup asks who owns a key.
//
//	nonce   uint64
//	key     id
//	exclude byte
type Lookup struct {
	Nonce   uint64
	Key     ring.ID
	Exclude bool // the asker itself
}

// Type returns TypeLookup.
func (Lookup) Type() Type { return TypeLookup }

// AppendBody appends the layout above.
func (m Lookup) AppendBody(b []byte) []byte {
	return appendFlag(m.Key.Append(appendUint64(b, m.Nonce)), m.Exclude)
}

func parseLookup(p *parser) Message { return Lookup{p.uint64(), p.id(), p.flag()} }

// Found is the answer to a Lookup.
//
//	nonce uint64
//	owner id
//	addrs [Addr]
type Found struct {
	Nonce uint64
	Owner ring.ID
	Addrs []Addr
}

// Type returns TypeFound.
func (Found) Type() Type { return TypeFound }

// AppendBody appends the layout above.
func (m Found) AppendBody(b []byte) []byte {
	return appendAddrList(m.Owner.Append(appendUint64(b, m.Nonce)), m.Addrs)
}

func parseFound(p *parser) Message { return Found{p.uint64(), p.id(), p.addrList()} }
