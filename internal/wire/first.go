package wire

import "time"

// MaxFirst bounds the length field of the first frame of a connection.
const MaxFirst = 1024

// maxSoftware bounds the name of a node's software.
const maxSoftware = 64

// A State is where a node stands in the life of a network.
type State byte

// The states.
const (
	Solo State = iota
	Joining
	Active
	InLeaving
)

// String returns the state as a word.
func (s State) String() string {
	return [...]string{"solo", "joining", "active", "leaving"}[s&3]
}

// Roles of a connection in its link, and results of the first frames.
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

// Hello is the dialler's first frame on a link's connection (docs/security.md,
// First frames). The octets of Software beyond 64 are not sent.
//
//	role     byte
//	flags    byte           bit 0: replace
//	state    byte
//	count    byte           0-8
//	link     uint64
//	caps     uint64
//	time     int64          Unix milliseconds
//	addrs    [count]Addr
//	software uv length, UTF-8
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

// Type returns TypeHello.
func (Hello) Type() Type { return TypeHello }

// AppendBody appends the layout above.
func (h Hello) AppendBody(b []byte) []byte {
	b = appendFlag(append(b, h.Role), h.Replace)
	b = append(b, byte(h.State), byte(len(h.Addrs)))
	b = appendUint64(b, h.Link)
	b = appendUint64(b, h.Caps)
	b = appendTime(b, h.Time)
	b = appendAddrs(b, h.Addrs)
	return appendSoftware(b, h.Software)
}

// ParseHello reads the body of a HELLO. The result shares nothing with it.
func ParseHello(body []byte) (Hello, error) {
	p := parser{b: body}
	var h Hello
	h.Role = p.choice("role", RoleData)
	h.Replace = p.flag()
	h.State = p.state()
	count := p.byte()
	h.Link = p.uint64()
	h.Caps = p.uint64()
	h.Time = p.time()
	h.Addrs = p.addrs(int(count))
	h.Software = p.text(maxSoftware)
	if h.Role == 0 {
		p.fail(errRole)
	}
	return h, p.failed(TypeHello)
}

// Welcome is the acceptor's answer to a Hello. The octets of Software beyond 64
// are not sent.
//
//	result   byte
//	state    byte
//	zero     byte
//	count    byte           0-8
//	link     uint64
//	caps     uint64
//	time     int64          Unix milliseconds
//	seen     Addr
//	addrs    [count]Addr
//	software uv length, UTF-8
type Welcome struct {
	Result   byte // one that is unknown refuses, as all but ResultUp do
	State    State
	Link     uint64 // control: random, not 0; data: repeated; refusal: 0
	Caps     uint64
	Time     time.Time
	Seen     Addr // the dialler as accepted
	Addrs    []Addr
	Software string
}

// Type returns TypeWelcome.
func (Welcome) Type() Type { return TypeWelcome }

// AppendBody appends the layout above.
func (w Welcome) AppendBody(b []byte) []byte {
	b = append(b, w.Result, byte(w.State), 0, byte(len(w.Addrs)))
	b = appendUint64(b, w.Link)
	b = appendUint64(b, w.Caps)
	b = appendTime(b, w.Time)
	b = w.Seen.Append(b)
	b = appendAddrs(b, w.Addrs)
	return appendSoftware(b, w.Software)
}

// ParseWelcome reads the body of a WELCOME. The result shares nothing with it.
func ParseWelcome(body []byte) (Welcome, error) {
	p := parser{b: body}
	var w Welcome
	w.Result = p.byte()
	w.State = p.state()
	p.byte()
	count := p.byte()
	w.Link = p.uint64()
	w.Caps = p.uint64()
	w.Time = p.time()
	w.Seen = p.addr()
	w.Addrs = p.addrs(int(count))
	w.Software = p.text(maxSoftware)
	return w, p.failed(TypeWelcome)
}

// Attach is the dialler's first frame on a tunnel's connection.
//
//	tunnel [16]byte
type Attach struct{ Tunnel [16]byte }

// Type returns TypeAttach.
func (Attach) Type() Type { return TypeAttach }

// AppendBody appends the layout above.
func (a Attach) AppendBody(b []byte) []byte { return append(b, a.Tunnel[:]...) }

// ParseAttach reads the body of an ATTACH.
func ParseAttach(body []byte) (Attach, error) {
	p := parser{b: body}
	return Attach{p.tunnel()}, p.failed(TypeAttach)
}

// Attached is the accepting node's answer to an Attach.
//
//	result byte    0 open; all else: refused
type Attached struct{ Result byte }

// Type returns TypeAttached.
func (Attached) Type() Type { return TypeAttached }

// AppendBody appends the layout above.
func (a Attached) AppendBody(b []byte) []byte { return append(b, a.Result) }

// ParseAttached reads the body of an ATTACHED.
func ParseAttached(body []byte) (Attached, error) {
	p := parser{b: body}
	return Attached{p.byte()}, p.failed(TypeAttached)
}

func appendSoftware(b []byte, s string) []byte {
	return appendText(b, cut(s, maxSoftware))
}
