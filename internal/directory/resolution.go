package directory

import (
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A Resolution is how far this node is with the question which nodes have members of a
// name.
type Resolution struct {
	Root      ring.ID // who is to know, as far as this node can tell; zero: nobody
	Watched   bool    // the name is watched: the question was asked
	Asked     ring.ID // who was asked, or sent on to; zero: nobody yet
	Redirects int     // times that the question under way was sent on
	Answered  bool    // there was an answer
	Unsure    bool    // by one that may not know all yet
	Nodes     int     // other nodes with members, as far as is known
}

// Resolution returns it as it is.
func (d *Directory) Resolution(name wire.Name) Resolution {
	r := Resolution{Root: d.ring.Owner(name.Key)}
	if w := d.watched[name]; w != nil {
		r.Watched, r.Asked, r.Redirects = true, w.root, w.redirects
		r.Answered, r.Unsure, r.Nodes = w.ver != wire.Ver{}, w.unsure, len(w.members)
	}
	return r
}
