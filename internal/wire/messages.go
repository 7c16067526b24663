package wire

import (
	"net/netip"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

// A Message is the body of a control frame: one that the control planes of two
// nodes exchange. The messages of the data plane are not Messages, as they are
// encoded and decoded without one.
type Message interface {
	Type() Type
	AppendBody(b []byte) []byte // the layout in the type's comment
}

// A State is where a node stands in the life of a network.
type State byte

const (
	Solo State = iota
	Joining
	Active
	InLeaving
)

// An Addr is where a node may be dialled.
type Addr struct {
	netip.AddrPort
	Advertised bool // the operator said so; else a listener is bound to it
}

// MaxAddrs is how many addresses a list may hold.
const MaxAddrs = 8

// Roles and results of the first frames.
const (
	RoleControl byte = 1
	RoleData    byte = 2

	ResultUp          byte = 0
	ResultTie         byte = 1
	ResultFull        byte = 2
	ResultLeaving     byte = 3
	ResultUnknownLink byte = 4
	ResultMalformed   byte = 5
)

// Hello is the dialler's first frame on a link's connection.
type Hello struct {
	Role     byte
	Replace  bool
	State    State
	Link     uint64 // the last one with this node, else 0; data: the control connection's
	Caps     uint64
	Time     time.Time
	Addrs    []Addr
	Software string
}

// Welcome is the acceptor's answer to a Hello.
type Welcome struct {
	Result   byte
	State    State
	Link     uint64
	Caps     uint64
	Time     time.Time
	Seen     Addr // the dialler as accepted
	Addrs    []Addr
	Software string
}

// Attach is the dialler's first frame on a tunnel's connection, Attached the
// accepting node's answer: 0 open, 1 refused.
type (
	Attach   struct{ Tunnel [16]byte }
	Attached struct{ Result byte }
)

// A Ver is a version of a directory entry list: the epoch of its root, and a count.
type Ver struct{ Epoch, Count uint32 }

// An Entry is what the directory says of one member node of a name.
type Entry struct {
	Node    ring.ID
	Members uint16 // 0: a tombstone
	Workers uint16
	Seq     uint64 // grows with every announcement of the node; the highest wins
}

// Messages of both control planes.
type (
	Undelivered struct {
		Target ring.ID
		Of     Type // of the frame that could not be forwarded
		Number uint64
	}
	Leaving struct{ Seconds uint16 }
	Leave   struct{}
	Error   struct {
		Code uint16
		Text string
	}
	Want struct{}
)

// Messages of the overlay.
type (
	// Beat asks for an answer, or is one.
	Beat struct {
		Nonce uint64
		Ack   bool
		Probe bool // a failure detector's question, not a mere sign of life
	}
	ProbeFor struct {
		Nonce   uint64
		Subject ring.ID
	}
	// Contact is a node somebody knows.
	Contact struct {
		Node  ring.ID
		State State
		Addrs []Addr
	}
	Leaves struct {
		State    State
		Contacts []Contact
	}
	ViewEvent struct{ Events []Event }
	ViewHash  struct{ Buckets [256]uint64 }
	ViewGet   struct{ Buckets [32]byte } // a bit for each bucket
	Lookup    struct {
		Nonce   uint64
		Key     ring.ID
		Exclude bool // the asker itself
	}
	Found struct {
		Nonce uint64
		Owner ring.ID
		Addrs []Addr
	}
)

// What happened to a node.
type EventKind byte

const (
	EventJoin EventKind = 1 + iota
	EventLeaving
	EventLeave
	EventDead
)

// An Event is a change of the view; of two about a node the higher Seq wins.
type Event struct {
	Node  ring.ID
	Kind  EventKind
	Seq   uint64
	Addrs []Addr
}

// Messages of the directory.
type (
	Announce struct {
		Seq   uint64
		Names []Registration
	}
	Registration struct {
		Name             Name
		Members, Workers uint16
	}
	Announced struct {
		Seq     uint64
		NotMine []uint16 // indexes into the Announce
	}
	Resolve struct {
		Query uint32
		Watch bool
		Names []Held
	}
	// Held is a name with the version of its list that the sender holds.
	Held struct {
		Name Name
		Ver  Ver
	}
	Members struct {
		Query      uint32 // 0: pushed
		Name       Name
		Ver        Ver
		From       Ver // what it extends; zero: a full list
		Incomplete bool
		Partial    bool
		Entries    []Entry
	}
	Redirect struct {
		Query uint32
		Name  Name
		Owner ring.ID
		Addrs []Addr
	}
	Check struct {
		Check uint32
		Names []Held
	}
	Checked struct {
		Check uint32
		Names []CheckedName
	}
	CheckedName struct {
		Index uint16
		State byte
		Ver   Ver
	}
	DigestDir struct {
		Role   byte // 0 member, 1 root, 2 answer
		Count  uint32
		Sum    uint64
		Wanted bool // answer: send everything
	}
	Replicate struct{ Entries []Replica }
	Replica   struct {
		Name  Name
		Ver   Ver
		Entry Entry
	}
)

// States in a Checked.
const (
	CheckNewer byte = iota
	CheckIncomplete
	CheckNotMine
)

// Roles in a DigestDir.
const (
	DigestMember byte = iota
	DigestRoot
	DigestAnswer
)

// Messages of the data plane that travel on the control connection, and carry
// no payload.
type (
	Nack struct {
		Name     Name
		From, To uint64 // both max: asks for the start of the stream
	}
	Unwanted struct {
		Name Name
		Seq  uint64
	}
	DialBack struct {
		Tunnel [16]byte
		Addrs  []Addr
	}
)

// A Load is what every answer says of the name at the member node.
type Load struct {
	InFlight uint16
	Workers  uint16
	Handler  uint16 // packed, see Handler and PackHandler
}

// Heads of the data plane's frames: what precedes the payload in the body. All
// travel with Named in place of a handle.
type (
	// RequestHead precedes the program's body.
	RequestHead struct {
		Number  uint64
		Life    uint32 // milliseconds left
		Timeout uint64 // as the program said
	}
	// ReplyHead precedes the reply or the text of the fault.
	ReplyHead struct {
		Number uint64
		Status byte
		Load   Load
	}
	NotStarted struct {
		Number uint64
		Reason byte
		Load   Load
	}
	Cancel struct{ Number uint64 }

	// PublishHead precedes an event or broadcast.
	PublishHead struct {
		Group  uint32 // 0: for you alone
		Number uint64
	}
	Gap struct {
		Group    uint32
		From, To uint64 // both lost
		Cause    byte
	}
	Digest struct {
		Group uint32
		Last  uint64 // number last published; FIRST: the stream begins after it
	}

	OfferHead = RequestHead

	TunnelAccept struct {
		Number  uint64
		Tunnel  [16]byte
		Expires uint32 // milliseconds
		Load    Load
		Addrs   []Addr
	}
)

// Statuses of a reply, and reasons of a NotStarted.
const (
	ReplyOK byte = iota
	ReplyFault
	ReplyLost
)
const (
	Busy byte = iota
	Draining
	Gone
)
