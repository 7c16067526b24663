package link

import (
	"time"

	"github.com/project-iris/iris/internal/wire"
)

// close ends the link in order: what waits is written, what comes is read, for two
// seconds at most. With say set the other side is told.
func (l *Link) close(why Reason, text string, say bool) {
	l.mu.Lock()
	if l.phase != open {
		l.mu.Unlock()
		return
	}
	l.phase = closing
	l.end = &Error{why, text}
	if say {
		l.control.last(why, text)
	} else {
		l.control.last(0, "")
	}
	l.data.last(0, "")
	if !l.data.started {
		l.closeWritten()
	}
	l.timer = time.AfterFunc(closeLimit, func() { l.fail(why, text) })
	l.mu.Unlock()

	l.cancel()
	l.requests.Seal(false)
	l.publications.Seal(false)
	l.bulk.seal()
	l.routed.Seal(false)
	l.commands.Seal(false)
	l.data.poke()
	l.control.poke()
}

// told notes the reason that the other side gave for ending the link.
func (l *Link) told(m wire.Error) {
	why := ClosedByPeer
	if m.Code < uint16(Reasons) && Reason(m.Code).lost() {
		why = Lost
	}
	l.close(why, m.Text, false)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.phase == closing && l.end.Reason == Lost {
		l.end = &Error{why, m.Text}
	}
}

// fail ends the link at once. What no writer has been handed is never written.
func (l *Link) fail(why Reason, text string) {
	l.mu.Lock()
	if l.phase == dead {
		l.mu.Unlock()
		return
	}
	tell := why.told() && l.phase == open
	l.phase = dead
	if l.end == nil {
		l.end = &Error{why, text}
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	if tell {
		l.control.last(why, text)
	} else {
		l.control.last(0, "")
	}
	l.data.last(0, "")
	for _, c := range l.conns {
		if tell && l.control.has(c) {
			c.SetDeadline(time.Now().Add(toldLimit))
			continue
		}
		c.NetConn().Close()
	}
	l.mu.Unlock()
	l.closeWritten()

	l.cancel()
	l.requests.Discard()
	l.publications.Discard()
	l.bulk.discard()
	l.routed.Seal(false)
	l.commands.Seal(false)
	l.data.poke()
	l.control.poke()
}

// finish says goodbye when nothing of the link runs any more.
func (l *Link) finish() {
	l.mu.Lock()
	l.phase = dead
	if l.end == nil {
		l.end = &Error{Lost, ""}
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	end, up, conns := l.end, l.up, l.conns
	l.mu.Unlock()

	l.cancel()
	l.requests.Discard()
	l.publications.Discard()
	l.bulk.discard()
	l.routed.Discard()
	l.commands.Discard()
	l.joins.drop()
	for _, c := range conns {
		c.NetConn().Close()
	}
	if up {
		l.m.Stats.Closed[end.Reason].Add(1)
		l.m.Log.Info("link is down", "node", l.peer, "addr", l.addr, "reason", end.Error())
		l.m.Handler.Down(l, end)
	}
	if l.former != nil {
		<-l.former.gone // who comes next waits for this one only
	}
	l.m.remove(l, end)
	close(l.gone)
}

// ending reports whether the link is at its end.
func (l *Link) ending() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.phase != open
}

// farewell is the last frame of a link.
func farewell(why Reason, text string) []byte {
	return wire.Append(nil, wire.Error{Code: why.code(), Text: (&Error{why, text}).Error()})
}
