package splice

import (
	"errors"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/tunnel"
)

// Abort breaks the connections of all tunnels as the end of the process would: the
// other nodes are told nothing. The programs will be given the reason; Close is still
// to be called.
func (s *Server) Abort(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.cancel(errors.New(reason)) // no connection becomes a tunnel's any more
	for h := range s.halves {
		h.abandon()
	}
}

// With returns how many tunnels are open to each node to which there are any.
func (s *Server) With() map[ring.ID]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := make(map[ring.ID]int)
	for h := range s.halves {
		n[h.peer]++
	}
	return n
}

// A Remote is the other node's side of a tunnel.
type Remote struct {
	Peer    ring.ID
	Cluster string // that the member there is of; empty: the member is here
}

// Remotes returns what is at the other side of the tunnels to other nodes, by the
// table of their connections.
func (s *Server) Remotes() map[*tunnel.Table]Remote {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := make(map[*tunnel.Table]Remote, len(s.halves))
	add := func(h *half) { of[h.table] = Remote{h.peer, h.cluster} }
	for h := range s.halves {
		add(h)
	}
	for _, a := range s.agreed {
		if a.half != nil { // accepted, and the connection is to come
			add(a.half)
		}
	}
	return of
}
