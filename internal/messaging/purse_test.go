package messaging

import (
	"fmt"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/wheel"
)

// One program that uses ever new names, in whatever way, holds half of what names may:
// what it sends beyond that is refused and counted, others go on, and a minute later
// all is free again.
func TestEndlessNewNamesOfOneProgramAreRefused(t *testing.T) {
	const many = 20_000
	for what, send := range map[string]func(w *host, p *program, name string, i int){
		"requests": func(w *host, p *program, name string, i int) { w.request(p, uint64(i), name, "", 10) },
		"tunnels":  func(w *host, p *program, name string, i int) { w.build(p, uint64(i), name, 10) },
		"events": func(w *host, p *program, name string, i int) {
			p.Conn.Publish(w.now, &w.b, []byte(name), nil)
			w.attend()
		},
		"broadcasts": func(w *host, p *program, name string, i int) {
			p.Conn.Broadcast(w.now, &w.b, []byte(name), nil)
			w.attend()
		},
	} {
		net := newNetwork(t, 1)
		h := net.nodes[0]
		h.budget = queue.NewBudget(32 << 20)
		h.plane = New(Config{Timers: wheel.NewTimers(start, func() {}), Budget: h.budget, Wake: func() { h.wakes++ }, Network: "test"})
		h.plane.Join()
		hostile, other := h.program(""), h.program("")
		for i := range many {
			if send(h, hostile, fmt.Sprint("name ", i), i); i%1000 == 0 {
				h.pass(10 * time.Millisecond)
			}
		}
		h.pass(10 * time.Millisecond)
		kept, refused := len(h.plane.names), int(h.plane.Drops.Names.Load())
		if limit := int(h.plane.uses.Limit()); kept+refused != many || kept*useCost(5) > limit/2 || kept < limit/8/useCost(20) {
			t.Errorf("%s: %d names are kept, %d refused, with room for %d octets", what, kept, refused, limit)
		}
		if n := len(hostile.read()); (what == "requests" || what == "tunnels") && n != many {
			t.Errorf("%s: %d of %d are answered", what, n, many)
		}
		send(h, other, "another's", 1)
		if n := len(h.plane.names); n != kept+1 {
			t.Errorf("%s: %d names; another program could not use one", what, n)
		}
		for range interestIdle / (10 * time.Second) * 2 {
			for key := range h.plane.names {
				if k := h.plane.cell(key); k.pub != nil {
					k.pub.check()
					k.pub.confirm()
				}
			}
			h.pass(10 * time.Second)
			h.plane.Advance(h.now, &h.b, &Asks{})
		}
		if n := len(h.plane.names); n != 0 || h.plane.uses.Used() != 0 {
			t.Errorf("%s: %d names are kept for ever, %d octets charged", what, n, h.plane.uses.Used())
		}
		h.rest(hostile, other)
	}
}

// Calls that end before the loop hears of them do not pile up for it.
func TestCallsThatTheLoopDoesNotComeToAreRefused(t *testing.T) {
	w := newWorld(t)
	p := w.program("")
	for i := range 2 * mostNotes {
		p.Conn.Request(w.now, &w.b, uint64(i), []byte("nobody"), nil, 1)
		if i%MaxPending == MaxPending-1 {
			w.now = w.now.Add(10 * time.Millisecond)
			w.plane.Timers.Advance(w.now, func(owner any) { owner.(Expirer).Expire(w.now, &w.b) })
		}
	}
	if n := len(w.plane.notes); n > 2*mostNotes || w.plane.Drops.Pending.Load() == 0 {
		t.Errorf("%d notes wait for the loop; %d calls refused", n, w.plane.Drops.Pending.Load())
	}
	if n := len(p.read()); n != 2*mostNotes {
		t.Errorf("%d of %d calls are answered", n, 2*mostNotes)
	}
	w.attend()
	w.rest(p)
}
