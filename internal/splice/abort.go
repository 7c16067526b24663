package splice

import (
	"errors"

	"github.com/project-iris/iris/internal/ring"
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
