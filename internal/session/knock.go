package session

import (
	"encoding/binary"
	"sync"
	"time"
)

// A Purpose is what a connection is for.
type Purpose byte

// The purposes there are.
const (
	PurposeLink   Purpose = 1
	PurposeTunnel Purpose = 2
)

const (
	knockVersion = 1
	knockSize    = 64
	knockPlain   = knockSize - overhead

	maxSkew = 26 * time.Hour
)

// A knock is the first 64 octets of every connection between nodes, sealed:
//
//	version byte     1
//	purpose byte
//	port    uint16   as dialled
//	zero    [4]byte
//	time    int64
//	sender  [8]byte  first half of the dialler's id
type knock struct {
	purpose Purpose
	port    uint16
	time    time.Time
	sender  uint64
}

func (k knock) append(b []byte) []byte {
	b = append(b, knockVersion, byte(k.purpose))
	b = binary.BigEndian.AppendUint16(b, k.port)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(k.time.UnixMilli()))
	return binary.BigEndian.AppendUint64(b, k.sender)
}

// knock returns the sealed knock of this node.
func (i *Identity) knock(p Purpose, port uint16) []byte {
	k := knock{p, port, i.now(), i.id.Hi}
	return seal(nil, i.trusts().Anchors[0].Discovery, knockInfo, k.append(nil))
}

// answer opens a knock and says whether its sender may come in.
func (i *Identity) answer(sealed []byte, seen *salts) (knock, error) {
	plain, _, ok := i.open(knockInfo, sealed)
	if !ok || len(plain) != knockPlain {
		return knock{}, &Error{KnockKey, nil}
	}
	k := knock{
		purpose: Purpose(plain[1]),
		port:    binary.BigEndian.Uint16(plain[2:]),
		time:    time.UnixMilli(int64(binary.BigEndian.Uint64(plain[8:]))),
		sender:  binary.BigEndian.Uint64(plain[16:]),
	}
	now := i.now()
	switch {
	case plain[0] != knockVersion || k.purpose != PurposeLink && k.purpose != PurposeTunnel:
		return knock{}, refuse(KnockVersion, "version %d, purpose %d", plain[0], plain[1])
	case now.Sub(k.time).Abs() > maxSkew:
		return knock{}, refuse(KnockTime, "its clock says %v, ours %v", k.time.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case !seen.add([saltSize]byte(sealed), now):
		return knock{}, &Error{KnockReplay, nil}
	case k.sender == i.id.Hi:
		return knock{}, &Error{KnockSelf, nil}
	}
	return k, nil
}

// salts remembers what was opened of late: the same salt again is a replay.
type salts struct {
	mu    sync.Mutex
	at    map[[saltSize]byte]time.Time
	order [][saltSize]byte
}

const (
	maxSalts = 4096
	saltLife = 2 * time.Minute
)

// add reports whether the salt is new.
func (s *salts) add(salt [saltSize]byte, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = make(map[[saltSize]byte]time.Time)
	}
	if at, ok := s.at[salt]; ok && now.Sub(at) <= saltLife {
		return false
	}
	for len(s.order) > 0 && (len(s.order) >= maxSalts || now.Sub(s.at[s.order[0]]) > saltLife) {
		delete(s.at, s.order[0])
		s.order = s.order[1:]
	}
	s.at[salt] = now
	s.order = append(s.order, salt)
	return true
}
