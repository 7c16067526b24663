package main

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	onceExecuted = "a request is executed at most once"
	onceAnswered = "a request is answered exactly once"
	trueReply    = "what is replied was executed, by who replied"
	notEarly     = "a request has the time it was given"
)

// earlyBy is what rounding may take: times are told in milliseconds.
const earlyBy = 2 * time.Millisecond

// requests are those of the whole run: none of them is ever executed again.
type requests struct {
	all     map[string]*request
	answers map[string]int // by what they were
	runs    int            // executions
	replies map[way]int64  // when the last was asked that was replied to
}

// A way is from a session to a name.
type way struct{ from, to string }

func newRequests() requests {
	return requests{all: make(map[string]*request), answers: make(map[string]int), replies: make(map[way]int64)}
}

// A request is what is known of one.
type request struct {
	session  *session // that asked
	to       string
	at       int64 // when it was asked
	answers  uint8
	runs     uint8
	replied  bool
	by       string // who executed it, if the reply is not there yet; else who replied
	mismatch bool
}

func (q *requests) take(c *checker, s *session, r *record) {
	x := q.all[r.ID]
	if x == nil {
		x = new(request)
		q.all[r.ID] = x
	}
	switch r.What {
	case asked:
		x.session, x.to, x.at = s, r.To, r.At
	case executed:
		q.runs++
		if x.runs++; x.runs > 1 {
			c.broken(r.At, onceExecuted, "request %s to %q was executed %d times: by %s, then by %s", r.ID, r.To, x.runs, x.by, r.Session)
		}
		x.sign(c, r, r.Session)
	case answered:
		q.answers[r.Why]++
		if x.answers++; x.answers > 1 {
			c.broken(r.At, onceAnswered, "request %s was answered %d times, the last with %s", r.ID, x.answers, r.Why)
		}
		if early := requestTime - time.Duration(r.At-x.at); r.Why == timedOut && early > earlyBy {
			c.broken(r.At, notEarly, "request %s timed out %v before its time", r.ID, early)
		}
		if r.Why == replied {
			x.replied = true
			x.sign(c, r, r.From)
			w := way{r.Session, r.To}
			q.replies[w] = max(q.replies[w], x.at)
		}
	}
}

// sign notes who executed or answered a request: that is one and the same.
func (x *request) sign(c *checker, r *record, by string) {
	if x.by != "" && x.by != by && !x.mismatch && x.runs <= 1 {
		x.mismatch = true
		c.broken(r.At, trueReply, "request %s was executed or answered by %s, and by %s", r.ID, x.by, by)
	}
	x.by = by
}

func (q *requests) finish(c *checker) {
	for _, id := range slices.Sorted(maps.Keys(q.all)) {
		x := q.all[id]
		switch {
		case x.session == nil:
			c.broken(0, trueReply, "request %s was executed or answered, and never asked", id)
		case x.replied && x.runs == 0:
			c.broken(x.at, trueReply, "request %s to %q was replied to by %s and never executed", id, x.to, x.by)
		case x.answers == 0 && !x.session.over:
			c.broken(x.at, onceAnswered, "request %s to %q was never answered, and %s is there still", id, x.to, x.session.name)
		}
	}
}

// failedSince returns what a calm network does not do: requests asked in a span of
// time, to some names, that got no reply; of sessions that lived through it.
func (q *requests) failedSince(from, until int64, to []string) (failed []*request) {
	for _, x := range q.all {
		if x.session != nil && !x.session.over && from <= x.at && x.at < until && !x.replied && slices.Contains(to, x.to) {
			failed = append(failed, x)
		}
	}
	slices.SortFunc(failed, func(a, b *request) int { return cmp.Compare(a.at, b.at) })
	return failed
}
