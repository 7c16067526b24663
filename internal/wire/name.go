package wire

import (
	"fmt"

	"github.com/project-iris/iris/internal/ring"
)

// A Kind says what a name is the name of.
type Kind byte

// The kinds.
const (
	Cluster Kind = 1
	Topic   Kind = 2
)

// A Name stands for the name of a cluster or topic: names themselves never
// travel.
//
//	kind  byte
//	split byte    0
//	key   id
type Name struct {
	Kind Kind
	Key  ring.ID
}

const nameSize = 2 + ring.Size

func (n Name) append(b []byte) []byte {
	return n.Key.Append(append(b, byte(n.Kind), 0))
}

func (p *parser) name() Name {
	b := p.octets(nameSize)
	if b == nil {
		return Name{}
	}
	kind, split := Kind(b[0]), b[1]
	if kind != Cluster && kind != Topic || split != 0 {
		p.fail(fmt.Errorf("name of kind %d, split %d", kind, split))
		return Name{}
	}
	return Name{kind, ring.FromBytes(b[2:])}
}
