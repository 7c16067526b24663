package discovery

import (
	"log/slog"
	"strings"
	"sync"
)

// A troubled is a Source that goes on when it fails, and tells of it.
type troubled interface {
	// Trouble returns how often the source has failed so far, and what keeps it from
	// finding others now; nil: nothing. It may be called concurrently.
	Trouble() (failed uint64, now error)
}

// A trouble is what a source is built upon that has some at times. The zero value is none.
type trouble struct {
	mu     sync.Mutex
	failed uint64
	now    error
}

// Trouble implements troubled.
func (t *trouble) Trouble() (failed uint64, now error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed, t.now
}

// note takes in how an attempt of a source went. The log tells when the cause is another
// than before, and when there is none any more.
func (t *trouble) note(log *slog.Logger, by string, err error) {
	before := t.setTrouble(err)
	switch {
	case err != nil && (before == nil || Cause(err.Error()) != Cause(before.Error())):
		log.Warn("one way to find other nodes has trouble; it is tried again", "by", by, "error", err)
	case err == nil && before != nil:
		log.Info("one way to find other nodes works again", "by", by)
	}
}

// setTrouble takes in how an attempt went, and returns what the trouble was before.
func (t *trouble) setTrouble(err error) (before error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, t.now = t.now, err
	if err != nil {
		t.failed++
	}
	return before
}

// Cause returns of an error's text what tells it from others. Digits do not: ports, times
// and counts change while the trouble is the same.
func Cause(text string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, text)
}
