package relay

// Abort breaks the connections of all programs as the end of the process would: they
// are told nothing. Close is still to be called.
func (s *Server) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.conns {
		c.nc.Close()
	}
}
