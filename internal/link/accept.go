package link

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"time"

	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// Serve takes an accepted connection whose purpose is to be of a link, which has the
// deadline that it got when it was let in. It returns when the connection has become
// that, or was closed.
func (m *Manager) Serve(c *session.Conn) {
	m.mu.Lock()
	if m.stopped {
		m.mu.Unlock()
		c.NetConn().Close()
		return
	}
	m.admitting[c] = struct{}{}
	m.running.Add(1)
	m.mu.Unlock()

	defer m.running.Done()
	err := m.admit(c)
	m.mu.Lock()
	delete(m.admitting, c)
	stopped := m.stopped
	m.mu.Unlock()
	if err != nil {
		c.Close()
		if !stopped {
			m.refuse(c.RemoteAddr().String(), c.Peer(), err)
		}
	}
}

// admit reads HELLO and answers it. With an error the connection is to be closed.
func (m *Manager) admit(c *session.Conn) error {
	if c.Purpose() != session.PurposeLink {
		return session.BadFirst("a connection of purpose %d is not a link's", c.Purpose())
	}
	h, err := readHello(c)
	if err != nil {
		if errors.As(err, new(*session.Error)) {
			m.welcome(c, wire.ResultMalformed, 0)
			return err
		}
		code := session.TLSFailed
		if errors.Is(err, os.ErrDeadlineExceeded) {
			code = session.TLSTime
		}
		return &session.Error{Code: code, Err: err}
	}
	if h.Role == wire.RoleControl {
		return m.admitControl(c, h)
	}
	return m.admitData(c, h)
}

// welcome sends WELCOME.
func (m *Manager) welcome(c *session.Conn, result byte, id uint64) error {
	state, addrs := m.Hello()
	seen, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	_, err := c.Write(wire.Append(nil, wire.Welcome{
		Result: result, State: state, Link: id, Caps: m.Caps, Time: time.Now(),
		Seen: wire.Addr{AddrPort: seen}, Addrs: addrs, Software: m.Software,
	}))
	return err
}

func (m *Manager) admitControl(c *session.Conn, h wire.Hello) error {
	l, old, result := m.settle(c, h)
	switch {
	case result != wire.ResultUp:
		m.welcome(c, result, 0)
		if result == wire.ResultFull {
			return errFull
		}
		return refusal(result)
	case l == old:
		return l.admitControl(c)
	case old != nil:
		old.fail(Replaced, "")
	}
	if err := m.welcome(c, wire.ResultUp, l.id); err != nil {
		l.fail(Lost, err.Error())
		l.finish()
		return &session.Error{Code: session.DialClosed, Err: err}
	}
	l.run(c)
	return nil
}

// settle decides what becomes of a HELLO for control (docs/security.md, First
// frames). It returns the link that the connection is for, which has been made
// unless it is an old one that goes on, and the old one that it ends.
func (m *Manager) settle(c *session.Conn, h wire.Hello) (l, old *Link, result byte) {
	state, _ := m.Hello()
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peer(c.Peer())
	old = p.up()
	named := old != nil && h.Link == old.name()
	switch {
	case h.Replace && named:
		return old, old, wire.ResultUp
	case h.Replace:
		return nil, nil, wire.ResultUnknownLink
	case m.stopped || state == wire.InLeaving:
		return nil, nil, wire.ResultLeaving
	case old != nil && !named && old.dialled:
		return nil, nil, wire.ResultTie // the dials crossed, and ours was the one
	case old == nil && p.sent != nil && m.Identity.ID().Less(c.Peer()):
		return nil, nil, wire.ResultTie // they will answer ours
	case p.link == nil && (m.links >= m.Max || m.Admit != nil && !m.Admit(c.Peer(), m.links)):
		return nil, nil, wire.ResultFull
	}
	addr, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	l = newLink(m, c.Peer(), freshID(), addr)
	l.info = Info{State: h.State, Addrs: h.Addrs, Software: h.Software, Caps: h.Caps}
	m.install(p, l)
	return l, old, wire.ResultUp
}

// admitControl has the link go on with another control connection.
func (l *Link) admitControl(c *session.Conn) error {
	id := freshID()
	if !l.control.expect() || !l.rename(id) {
		l.m.welcome(c, wire.ResultUnknownLink, 0)
		return refusal(wire.ResultUnknownLink)
	}
	if err := l.m.welcome(c, wire.ResultUp, id); err != nil {
		l.fail(Lost, err.Error())
		return &session.Error{Code: session.DialClosed, Err: err}
	}
	l.control.replace(c)
	l.renewed()
	return nil
}

// admitData takes a data connection of a link that the other node dialled.
func (m *Manager) admitData(c *session.Conn, h wire.Hello) error {
	l := m.Link(c.Peer())
	if l == nil || l.dialled || l.name() != h.Link || !l.expectData(h.Replace) {
		m.welcome(c, wire.ResultUnknownLink, 0)
		return refusal(wire.ResultUnknownLink)
	}
	if err := m.welcome(c, wire.ResultUp, h.Link); err != nil {
		l.fail(Lost, err.Error())
		return &session.Error{Code: session.DialClosed, Err: err}
	}
	if h.Replace {
		l.data.replace(c)
	} else {
		l.carry(c)
	}
	return nil
}

// expectData reports whether a data connection is welcome: the first, or one in the
// place of another.
func (l *Link) expectData(replace bool) bool {
	if replace {
		return l.data.expect()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh := !l.admitted
	l.admitted = true
	return fresh
}

// freshID returns an id for a link that nobody guesses.
func freshID() uint64 {
	for {
		var b [8]byte
		rand.Read(b[:])
		if id := binary.BigEndian.Uint64(b[:]); id != 0 {
			return id
		}
	}
}
