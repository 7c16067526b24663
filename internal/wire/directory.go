package wire

import "github.com/project-iris/iris/internal/ring"

// A Ver is a version of a directory entry list: the epoch of its root, and a
// count.
//
//	epoch uint32
//	count uint32
type Ver struct{ Epoch, Count uint32 }

const verSize = 8

func (v Ver) append(b []byte) []byte { return appendUint32(appendUint32(b, v.Epoch), v.Count) }

func (p *parser) ver() Ver { return Ver{p.uint32(), p.uint32()} }

// An Entry is what the directory says of one member node of a name.
//
//	node    id
//	members uint16
//	workers uint16
//	seq     uint64
type Entry struct {
	Node    ring.ID
	Members uint16 // 0: a tombstone
	Workers uint16
	Seq     uint64 // grows with every announcement of the node; the highest wins
}

const entrySize = ring.Size + 2 + 2 + 8

func (e Entry) append(b []byte) []byte {
	b = appendUint16(e.Node.Append(b), e.Members)
	return appendUint64(appendUint16(b, e.Workers), e.Seq)
}

func (p *parser) entry() Entry { return Entry{p.id(), p.uint16(), p.uint16(), p.uint64()} }

// A Registration is what a member node announces of one name.
//
//	name    Name
//	members uint16
//	workers uint16
type Registration struct {
	Name             Name
	Members, Workers uint16
}

func (r Registration) append(b []byte) []byte {
	return appendUint16(appendUint16(r.Name.append(b), r.Members), r.Workers)
}

func (p *parser) registration() Registration {
	return Registration{p.name(), p.uint16(), p.uint16()}
}

// Announce tells roots and replicas how many members its sender has now.
//
//	seq   uint64
//	names [Registration]
type Announce struct {
	Seq   uint64
	Names []Registration
}

// Type returns TypeAnnounce.
func (Announce) Type() Type { return TypeAnnounce }

// AppendBody appends the layout above.
func (m Announce) AppendBody(b []byte) []byte {
	b = appendCount(appendUint64(b, m.Seq), len(m.Names))
	for _, r := range m.Names {
		b = r.append(b)
	}
	return b
}

func parseAnnounce(p *parser) Message {
	return Announce{p.uint64(), list(p, nameSize+4, (*parser).registration)}
}

// Announced acknowledges an Announce, but for names whose list its sender does not
// keep: as long as the other's view says that it does, those are announced again.
//
//	seq     uint64
//	notMine [uint16]
type Announced struct {
	Seq     uint64
	NotMine []uint16 // indexes into the Announce
}

// Type returns TypeAnnounced.
func (Announced) Type() Type { return TypeAnnounced }

// AppendBody appends the layout above.
func (m Announced) AppendBody(b []byte) []byte {
	b = appendCount(appendUint64(b, m.Seq), len(m.NotMine))
	for _, i := range m.NotMine {
		b = appendUint16(b, i)
	}
	return b
}

func parseAnnounced(p *parser) Message {
	return Announced{p.uint64(), list(p, 2, (*parser).uint16)}
}

// Held is a name with the version of its list that the sender holds.
//
//	name Name
//	ver  Ver
type Held struct {
	Name Name
	Ver  Ver
}

const heldSize = nameSize + verSize

func (p *parser) held() Held { return Held{p.name(), p.ver()} }

func appendHeld(b []byte, names []Held) []byte {
	b = appendCount(b, len(names))
	for _, h := range names {
		b = h.Ver.append(h.Name.append(b))
	}
	return b
}

// Resolve asks a root for the member nodes of names.
//
//	query uint32
//	watch byte
//	names [Held]
type Resolve struct {
	Query uint32
	Watch bool
	Names []Held
}

// Type returns TypeResolve.
func (Resolve) Type() Type { return TypeResolve }

// AppendBody appends the layout above.
func (m Resolve) AppendBody(b []byte) []byte {
	return appendHeld(appendFlag(appendUint32(b, m.Query), m.Watch), m.Names)
}

func parseResolve(p *parser) Message {
	return Resolve{p.uint32(), p.flag(), list(p, heldSize, (*parser).held)}
}

// Members tells the member nodes of a name, or how they changed.
//
//	query   uint32
//	name    Name
//	ver     Ver
//	from    Ver
//	flags   byte       bit 0: incomplete, bit 1: partial
//	entries [Entry]
type Members struct {
	Query      uint32 // 0: pushed
	Name       Name
	Ver        Ver
	From       Ver  // what it extends; zero: a full list
	Incomplete bool // the root may not know all
	Partial    bool // a sample
	Entries    []Entry
}

// Bits of the flags of a Members.
const (
	membersIncomplete = 1
	membersPartial    = 2
)

// Type returns TypeMembers.
func (Members) Type() Type { return TypeMembers }

// AppendBody appends the layout above.
func (m Members) AppendBody(b []byte) []byte {
	b = m.Name.append(appendUint32(b, m.Query))
	b = m.From.append(m.Ver.append(b))
	var flags byte
	if m.Incomplete {
		flags |= membersIncomplete
	}
	if m.Partial {
		flags |= membersPartial
	}
	b = appendCount(append(b, flags), len(m.Entries))
	for _, e := range m.Entries {
		b = e.append(b)
	}
	return b
}

func parseMembers(p *parser) Message {
	m := Members{Query: p.uint32(), Name: p.name(), Ver: p.ver(), From: p.ver()}
	flags := p.byte()
	m.Incomplete = flags&membersIncomplete != 0
	m.Partial = flags&membersPartial != 0
	m.Entries = list(p, entrySize, (*parser).entry)
	return m
}

// Redirect says who owns a name, in the eyes of its sender.
//
//	query uint32
//	name  Name
//	owner id
//	addrs [Addr]
type Redirect struct {
	Query uint32
	Name  Name
	Owner ring.ID
	Addrs []Addr
}

// Type returns TypeRedirect.
func (Redirect) Type() Type { return TypeRedirect }

// AppendBody appends the layout above.
func (m Redirect) AppendBody(b []byte) []byte {
	b = m.Owner.Append(m.Name.append(appendUint32(b, m.Query)))
	return appendAddrList(b, m.Addrs)
}

func parseRedirect(p *parser) Message {
	return Redirect{p.uint32(), p.name(), p.id(), p.addrList()}
}

// Check asks a root whether the lists held of names published to are its own.
//
//	check uint32
//	names [Held]
type Check struct {
	Check uint32
	Names []Held
}

// Type returns TypeCheck.
func (Check) Type() Type { return TypeCheck }

// AppendBody appends the layout above.
func (m Check) AppendBody(b []byte) []byte { return appendHeld(appendUint32(b, m.Check), m.Names) }

func parseCheck(p *parser) Message { return Check{p.uint32(), list(p, heldSize, (*parser).held)} }

// States in a Checked.
const (
	CheckNewer byte = iota
	CheckIncomplete
	CheckNotMine
)

// A CheckedName is the answer about one name of a Check.
//
//	index uint16
//	state byte
//	ver   Ver
type CheckedName struct {
	Index uint16
	State byte
	Ver   Ver
}

func (c CheckedName) append(b []byte) []byte {
	return c.Ver.append(append(appendUint16(b, c.Index), c.State))
}

func (p *parser) checkedName() CheckedName {
	return CheckedName{p.uint16(), p.choice("state", CheckNotMine), p.ver()}
}

// Checked is the answer to a Check. Of a name that is not in it, the version
// sent is the root's.
//
//	check uint32
//	names [CheckedName]
type Checked struct {
	Check uint32
	Names []CheckedName
}

// Type returns TypeChecked.
func (Checked) Type() Type { return TypeChecked }

// AppendBody appends the layout above.
func (m Checked) AppendBody(b []byte) []byte {
	b = appendCount(appendUint32(b, m.Check), len(m.Names))
	for _, c := range m.Names {
		b = c.append(b)
	}
	return b
}

func parseChecked(p *parser) Message {
	return Checked{p.uint32(), list(p, 3+verSize, (*parser).checkedName)}
}

// Roles in a DigestDir.
const (
	DigestMember byte = iota
	DigestRoot
	DigestAnswer
)

// DigestDir sums up what a member node announced to a root, or a root holds for
// a replica; or says whether the receiver of such a sum wants everything.
//
//	role   byte
//	count  uint32    not in an answer
//	sum    uint64    not in an answer
//	wanted byte      in an answer only
type DigestDir struct {
	Role   byte
	Count  uint32
	Sum    uint64
	Wanted bool // answer: send everything
}

// Type returns TypeDigestDir.
func (DigestDir) Type() Type { return TypeDigestDir }

// AppendBody appends the layout above.
func (m DigestDir) AppendBody(b []byte) []byte {
	b = append(b, m.Role)
	if m.Role == DigestAnswer {
		return appendFlag(b, m.Wanted)
	}
	return appendUint64(appendUint32(b, m.Count), m.Sum)
}

func parseDigestDir(p *parser) Message {
	role := p.choice("role", DigestAnswer)
	if role == DigestAnswer {
		return DigestDir{Role: role, Wanted: p.flag()}
	}
	return DigestDir{Role: role, Count: p.uint32(), Sum: p.uint64()}
}

// A Replica is an entry with the name it is of, and the version of the list it
// came with.
//
//	name  Name
//	ver   Ver
//	entry Entry
type Replica struct {
	Name  Name
	Ver   Ver
	Entry Entry
}

func (r Replica) append(b []byte) []byte {
	return r.Entry.append(r.Ver.append(r.Name.append(b)))
}

func (p *parser) replica() Replica { return Replica{p.name(), p.ver(), p.entry()} }

// Replicate feeds a replica.
//
//	entries [Replica]
type Replicate struct{ Entries []Replica }

// Type returns TypeReplicate.
func (Replicate) Type() Type { return TypeReplicate }

// AppendBody appends the layout above.
func (m Replicate) AppendBody(b []byte) []byte {
	b = appendCount(b, len(m.Entries))
	for _, r := range m.Entries {
		b = r.append(b)
	}
	return b
}

func parseReplicate(p *parser) Message {
	return Replicate{list(p, nameSize+verSize+entrySize, (*parser).replica)}
}
