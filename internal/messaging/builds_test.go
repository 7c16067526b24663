package messaging

import (
	"testing"
	"time"
)

func TestBuildIsOfferedAndConfirmed(t *testing.T) {
	w := newWorld(t)
	c, ms := w.program(""), w.programs("echo", 2)
	w.build(c, 7, "echo", 1000)
	w.build(c, 8, "echo", 1000)
	w.expect(ms[0], offered(0))
	w.expect(ms[1], offered(0)) // least busy
	if ms[0].Load() != 1 {
		t.Errorf("Load = %d with a build to confirm", ms[0].Load())
	}
	for i, m := range ms {
		from, id, ok := confirmed(m, 0)
		if from != c.Conn || id != uint64(7+i) || !ok {
			t.Errorf("Confirm = %v, %d, %v; want the initiator's %d", from, id, ok, 7+i)
		}
		if m.Load() != 0 {
			t.Errorf("Load = %d after the confirm", m.Load())
		}
	}
	w.pass(10 * time.Second)
	w.expect(c) // the tunnel's table tells of the tunnel
	if ms[0].failed != "" {
		t.Errorf("failed after the confirm: %s", ms[0].failed)
	}
	w.rest(append(ms, c)...)
}

func TestBuildThatWasNotOfferedCannotBeConfirmed(t *testing.T) { // R59
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	refused := func(p *program, id uint64) {
		t.Helper()
		if from, _, ok := confirmed(p, id); ok || from != nil {
			t.Errorf("build %d was confirmed", id)
		}
	}
	refused(m, 0)
	w.request(c, 1, "echo", "", 1000) // its id is not a build's
	refused(m, 0)
	w.build(c, 2, "echo", 1000)
	refused(m, 1)
	refused(c, 0)
	if _, ok := m.Confirm(0); !ok {
		t.Error("the build offered was refused")
	}
	refused(m, 0) // confirmed before
	w.rest(c, m)
}

func TestBuildThatEndedMayStillBeConfirmed(t *testing.T) {
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	w.build(c, 7, "echo", 100)
	w.expect(m, offered(0))
	w.pass(101 * time.Millisecond)
	w.expect(c, unbuilt(7, TimedOut))
	if from, _, ok := confirmed(m, 0); from != nil || !ok {
		t.Errorf("Confirm after the deadline = %v, %v; want nobody, and no violation", from, ok)
	}
	if m.Load() != 0 {
		t.Errorf("Load = %d", m.Load())
	}
	w.rest(c, m)
}

func TestUnconfirmedBuildEndsTheAcceptorAfterThreeSeconds(t *testing.T) {
	for _, timeout := range []uint64{100, 10_000} { // also when its initiator has given up
		w := newWorld(t)
		c, m := w.program(""), w.program("echo")
		w.build(c, 7, "echo", timeout)
		begun := w.now
		w.at(begun.Add(3*time.Second - 1))
		if m.failed != "" {
			t.Fatalf("failed %v after the offer: %s", w.now.Sub(begun), m.failed)
		}
		w.at(begun.Add(3*time.Second + time.Millisecond))
		if m.failed == "" {
			t.Fatal("did not fail 3 s after the offer")
		}
		m.read()
		w.close(m)
		w.at(begun.Add(11 * time.Second))
		w.expect(c, unbuilt(7, TimedOut))
		w.rest(c)
	}
}

func TestEachBuildHasItsOwnLimit(t *testing.T) {
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	for i := range uint64(100) {
		w.build(c, i, "echo", 60_000)
		if i != 50 {
			w.pass(time.Second)
			if _, ok := m.Confirm(i); !ok {
				t.Fatalf("build %d: not offered", i)
			}
		}
		if i < 53 && m.failed != "" {
			t.Fatalf("failed at build %d", i)
		}
	}
	if m.failed == "" {
		t.Error("the one that was not confirmed did not count")
	}
	w.rest(c, m)
}

func TestAbandonedBuildIsStillToBeConfirmed(t *testing.T) {
	w := newWorld(t)
	c, m := w.program(""), w.program("echo")
	w.build(c, 7, "echo", 10_000)
	w.expect(m, offered(0))
	w.close(c)
	w.pass(2 * time.Second)
	if from, _, ok := confirmed(m, 0); from != nil || !ok {
		t.Errorf("Confirm = %v, %v", from, ok)
	}
	w.pass(2 * time.Second)
	if m.failed != "" {
		t.Errorf("failed: %s", m.failed)
	}
	w.rest(m)
}
