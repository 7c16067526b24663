package link

import (
	"context"
	"errors"
	"net/netip"

	"github.com/project-iris/iris/internal/ring"
)

var errStopped = errors.New("this node links to no others any more")

// Find links to a node at one of its addresses, or to whoever is there if the id is
// zero. It returns when there is a link, of this dial or of another, or when the
// addresses have failed or ctx has ended. What may be dialled the caller knows.
func (m *Manager) Find(ctx context.Context, id ring.ID, addrs []netip.AddrPort) error {
	if id == m.Identity.ID() {
		return nil
	}
	j := m.newJob(id)
	defer j.cancel(nil)
	m.mu.Lock()
	if m.stopped {
		m.mu.Unlock()
		return errStopped
	}
	if !id.IsZero() {
		if p := m.peer(id); p.up() != nil {
			m.mu.Unlock()
			return nil
		} else if p.job == nil {
			p.job = j
		}
	}
	m.running.Add(1)
	m.mu.Unlock()
	defer m.running.Done()
	stop := context.AfterFunc(ctx, func() { j.cancel(ctx.Err()) })
	defer stop()
	found, err := id, error(nil)
	if id.IsZero() {
		found, _, err = m.try(j, addrs)
	} else {
		err = m.search(j, addrs)
	}
	m.done(j, found, err)
	return err
}
