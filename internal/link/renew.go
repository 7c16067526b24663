package link

import (
	"context"
	"errors"
	"time"

	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// openData has the data connection opened: by this node if it dialled the link, else
// it asks for it.
func (l *Link) openData() {
	if l.asked.Swap(true) {
		return
	}
	if !l.dialled {
		l.SendControl(wire.Want{})
		return
	}
	l.dialsFor(func() {
		if c, err := l.dialPatiently(wire.RoleData, false); err == nil {
			l.carry(c)
		} else {
			l.noData(err)
		}
	})
}

// dialsFor runs f, which dials for the link, when nothing else does.
func (l *Link) dialsFor(f func()) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.m.stopped {
		return
	}
	l.m.running.Go(func() {
		select {
		case l.dialling <- struct{}{}:
		case <-l.ctx.Done():
			return
		}
		f()
		<-l.dialling
	})
}

// dialPatiently dials a further connection of the link, more than once if need be.
func (l *Link) dialPatiently(role byte, replace bool) (*session.Conn, error) {
	for pause := backoffLeast; ; pause *= 2 {
		c, _, err := l.dial(role, replace)
		if err == nil || isCode(err, session.LinkUnknown) || pause >= 4*backoffLeast {
			return c, err
		}
		select {
		case <-time.After(pause):
		case <-l.ctx.Done():
			return nil, l.ctx.Err()
		}
	}
}

// dial dials a further connection of the link, once. It needs no slot: those may be
// taken by dials of nodes that are dead.
func (l *Link) dial(role byte, replace bool) (c *session.Conn, id uint64, err error) {
	m := l.m
	connecting, cancel := context.WithTimeout(l.ctx, connectLimit)
	nc, err := m.Config.Dial(connecting, l.addr)
	cancel()
	if err != nil {
		return nil, 0, dialError(connecting, err)
	}
	ctx, cancel := context.WithTimeout(l.ctx, welcomeLimit)
	defer cancel()
	if c, err = m.Identity.Dial(ctx, nc, session.PurposeLink, l.addr.Port(), l.peer); err != nil {
		return nil, 0, err
	}
	h := m.greeting(role)
	h.Replace, h.Link = replace, l.name()
	w, err := m.ask(ctx, c, h)
	if err != nil {
		c.Close()
		return nil, 0, err
	}
	return c, w.Link, nil
}

// worn reports whether a connection of the link, or the link, has been in use for
// times as much as a key may be.
func (l *Link) worn(now time.Time, times int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range []*role{l.control, l.data} {
		if r.out == nil {
			continue
		}
		read, written := r.out.Wire()
		if max(read, written) >= uint64(times)*l.m.KeyOctets {
			return true
		}
	}
	return now.Sub(l.keyed) >= time.Duration(times)*l.m.KeyAge
}

// renewSoon puts new connections in the place of the link's, unless that is under
// way or has failed just now.
func (l *Link) renewSoon(now time.Time) {
	l.mu.Lock()
	due := l.phase == open && !l.renewing && !now.Before(l.renew)
	if due {
		l.renewing = true
		l.renew = now.Add(renewPause)
	}
	l.mu.Unlock()
	if due {
		l.dialsFor(func() {
			err := l.renewAll()
			l.mu.Lock()
			l.renewing, l.control.replacing, l.data.replacing = false, false, false
			l.mu.Unlock()
			if err != nil && l.ctx.Err() == nil {
				l.m.Log.Warn("a link could not be renewed", "node", l.peer, "addr", l.addr, "error", err)
			}
		})
	}
}

// renewPause is how long after an attempt to renew a link the next may follow.
const renewPause = 10 * time.Second

// renewAll replaces the control connection, then that for data.
func (l *Link) renewAll() error {
	l.mu.Lock()
	carries := l.data.started
	l.control.replacing, l.data.replacing = true, carries
	l.mu.Unlock()
	c, id, err := l.dial(wire.RoleControl, true)
	if isCode(err, session.LinkUnknown) {
		l.fail(Lost, "the other side does not know the link")
	}
	if err != nil {
		return err
	}
	if !l.rename(id) {
		c.Close()
		return nil
	}
	l.control.replace(c)
	l.renewed()
	if !carries {
		return nil
	}
	if c, err = l.dialPatiently(wire.RoleData, true); err == nil {
		l.data.replace(c)
	} else {
		l.noData(err)
	}
	return err
}

// noData ends the link because its data connection could not be dialled.
func (l *Link) noData(err error) {
	switch {
	case l.ctx.Err() != nil: // it is at its end
	case isCode(err, session.LinkUnknown):
		l.fail(Lost, "the other side does not know the link")
	default:
		l.fail(NoData, err.Error())
	}
}

// renewed counts a replacement.
func (l *Link) renewed() {
	l.m.Stats.Renewed.Add(1)
	l.m.refuse(l.addr.String(), l.peer, &session.Error{Code: session.KeyLimit, Err: errors.New("the keys of the connections had been in use for long")})
}

// sweep does what is due now and then.
func (l *Link) sweep(now time.Time) {
	switch {
	case l.jammed(now):
		l.fail(Slow, "control frames waited for two seconds")
	case l.worn(now, 2):
		l.fail(KeyLimit, "")
	case l.dialled && l.worn(now, 1):
		l.renewSoon(now)
	}
	if l.joins.overdue(now) {
		l.mu.Lock()
		if l.phase == open && l.data.in != nil {
			l.data.in.SetReadDeadline(time.Unix(1, 0))
		}
		l.mu.Unlock()
	}
}

// jammed reports whether the control lane has been over its limit for too long.
func (l *Link) jammed(now time.Time) bool {
	over := l.commands.Waiting() > controlLimit
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !over:
		l.fullSince = time.Time{}
	case l.fullSince.IsZero():
		l.fullSince = now
	}
	return over && now.Sub(l.fullSince) >= controlPatience
}
