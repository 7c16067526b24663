package main

import (
	"strings"
	"testing"
	"time"
)

// TestFiguresAreWhatWasMeasured has two receivers take 1,000 messages each, after
// 1 ms, 2 ms and so on.
func TestFiguresAreWhatWasMeasured(t *testing.T) {
	b := &bench{benchFlags: &benchFlags{size: 1000}}
	for range 2 {
		r := b.receiver()
		for i := range 1000 {
			r.times.RecordValue(int64(i+1) * int64(time.Millisecond))
		}
		r.arrived.Store(1000)
	}
	b.sent.Store(1000)
	b.last.Store(int64(2 * time.Second))
	f := b.figures("publish")

	exact := figures{Bench: "publish", Size: 1000, Receivers: 2, Sent: 1000, Arrived: 2000, Seconds: 2, Rate: 500, Megabytes: 0.5}
	for _, q := range []struct{ got, want float64 }{{f.P50, 500}, {f.P90, 900}, {f.P99, 990}, {f.P999, 999}, {f.Max, 1000}} {
		if q.got < q.want || q.got > q.want*1.002 {
			t.Errorf("a quantile is %v ms, want %v ms", q.got, q.want)
		}
	}
	f.P50, f.P90, f.P99, f.P999, f.Max = 0, 0, 0, 0, 0
	if f != exact {
		t.Errorf("the figures are %+v, want %+v", f, exact)
	}
}

func TestNothingArrivedHasNoRate(t *testing.T) {
	b := &bench{benchFlags: &benchFlags{size: 8}}
	b.receiver()
	b.sent.Store(3)
	f := b.figures("request")
	if want := (figures{Bench: "request", Size: 8, Receivers: 1, Sent: 3, Lost: 3}); f != want {
		t.Errorf("the figures are %+v, want %+v", f, want)
	}
	if err := f.wrong(); !strings.Contains(err.Error(), "3 of 3 messages were lost") {
		t.Errorf("3 lost messages are told as %q", err)
	}
}

func TestMessagesThatArriveTwiceAreTold(t *testing.T) {
	f := figures{Receivers: 1, Sent: 3, Arrived: 5, Lost: -2}
	if err := f.wrong(); !strings.Contains(err.Error(), "2 messages arrived that were not sent") {
		t.Errorf("2 messages too many are told as %q", err)
	}
}
