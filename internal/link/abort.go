package link

// Abort breaks all links, and those that are coming about, as the end of the process
// would: nothing more is written, and the other nodes are told nothing. Stop is still
// to be called.
func (m *Manager) Abort() {
	m.mu.Lock()
	m.stopped = true
	for c := range m.admitting {
		c.NetConn().Close()
	}
	m.mu.Unlock()
	m.cancel()
	for _, l := range m.Links() {
		l.fail(Stopped, "")
	}
}
