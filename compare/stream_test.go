package main

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func message(n byte, ask byte) []byte { return []byte{0, 0, 0, 0, 0, 0, 0, n, ask} }

func TestReceiverAcknowledges(t *testing.T) {
	r := &receiver{index: 3, every: 4}
	for _, c := range []struct {
		what string
		msg  []byte
		want []byte
	}{
		{"is somebody there?", message(0, 0), []byte{3, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"first", message(1, 0), nil},
		{"second, asked for", message(2, 1), []byte{3, 0, 0, 0, 0, 0, 0, 0, 2, 0}},
		{"third", message(3, 0), nil},
		{"fourth, of every four", message(4, 0), []byte{3, 0, 0, 0, 0, 0, 0, 0, 4, 0}},
		{"sixth: one was lost", message(6, 0), []byte{3, 0, 0, 0, 0, 0, 0, 0, 5, 1}},
	} {
		if got := r.take(c.msg); string(got) != string(c.want) {
			t.Errorf("message %q is acknowledged with % x, want % x", c.what, got, c.want)
		}
	}
}

func TestReceiverNoticesTwice(t *testing.T) {
	r := &receiver{every: 100}
	r.take(message(1, 0))
	if ack := r.take(message(1, 0)); len(ack) != ackSize || ack[9] != 1 {
		t.Errorf("a message that came twice is acknowledged with % x, want a bad one", ack)
	}
}

func TestStreamStaysWithinTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var receivers [2]receiver
		w := newWindow(len(receivers))
		most := int64(0)
		var taken atomic.Int64
		messages := make(chan []byte, 100)
		s := &stream{msg: make([]byte, bodySize), ahead: 10, window: w}
		s.send = func(msg []byte) error {
			most = max(most, s.sent-taken.Load())
			messages <- append([]byte(nil), msg...)
			return nil
		}
		go func() {
			for msg := range messages {
				time.Sleep(time.Millisecond)
				for i := range receivers {
					receivers[i].index, receivers[i].every = byte(i), 2
					if ack := receivers[i].take(msg); ack != nil {
						w.take(ack)
						taken.Store(receivers[i].count)
					}
				}
			}
		}()
		if err := s.greet(); err != nil {
			t.Fatal(err)
		}
		got, err := s.run(100 * time.Millisecond)
		close(messages)
		if err != nil || got.Ops < 90 || got.Ops > 130 {
			t.Errorf("run for 100 messages' time = %+v, %v", got, err)
		}
		if most > 10 {
			t.Errorf("the stream was %d messages ahead, of 10", most)
		}
	})
}

func TestStreamFailsWhenAMessageIsLost(t *testing.T) {
	r := receiver{every: 1}
	w := newWindow(1)
	s := &stream{msg: make([]byte, bodySize), ahead: 10, window: w}
	s.send = func(msg []byte) error {
		if s.sent != 5 {
			w.take(r.take(msg))
		}
		return nil
	}
	if err := s.greet(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.run(time.Millisecond); err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("run = %v, want an error about a lost message", err)
	}
}
