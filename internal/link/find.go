package link

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
)

var errStopped = errors.New("this node links to no others any more")

// Find links to a node at one of its addresses, or to whoever is there if the id is
// zero. It returns when there is a link, of this dial or of another, or when the
// addresses have failed or ctx has ended. What may be dialled the caller knows.
func (m *Manager) Find(ctx context.Context, id ring.ID, addrs []netip.AddrPort) error {
	if id == m.Identity.ID() {
		return nil
	}
	return m.find(ctx, m.newJob(id), id, addrs)
}

func (m *Manager) find(ctx context.Context, j *job, id ring.ID, addrs []netip.AddrPort) error {
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

// Steps are how far the dial of an address has come, and after how long; 0: not so far.
type Steps struct {
	Connected time.Duration // somebody is there
	Trusted   time.Duration // it is a node of the network
	Welcomed  time.Duration // it has made a link of the connection

	Node ring.ID // who is there, once it is trusted
}

// Reach finds who is at an address, at once though it may have failed lately, and says
// how far that came. There is a link if there is no error; that may be an earlier one.
func (m *Manager) Reach(ctx context.Context, addr netip.AddrPort) (Steps, error) {
	m.Forgive([]netip.AddrPort{addr})
	j := m.newJob(ring.ID{})
	err := m.find(ctx, j, ring.ID{}, []netip.AddrPort{addr})
	switch {
	case isCode(err, session.DialClosed) && m.own(addr):
		err = &session.Error{Code: session.PeerSelf}
	case err != nil && ctx.Err() != nil && j.steps.Connected == 0:
		err = &session.Error{Code: session.DialTimeout}
	case err != nil && ctx.Err() != nil:
		err = &session.Error{Code: session.TLSTime}
	}
	return j.steps, err
}
