package main

import (
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
		text   string
	}{
		{nil, spread{}, "-"},
		{[]float64{7}, spread{7, 7, 7}, "7.00 (7.00..7.00)"},
		{[]float64{300, 1, 20}, spread{20, 1, 300}, "20.0 (1.00..300)"},
		{[]float64{4, 1, 3, 2}, spread{2.5, 1, 4}, "2.50 (1.00..4.00)"},
	} {
		got := spreadOf(c.values)
		if got != c.want || got.String() != c.text {
			t.Errorf("spreadOf(%v) = %+v, written %q, want %+v, written %q", c.values, got, got, c.want, c.text)
		}
	}
}

func TestSpreadLeavesValuesAsTheyAre(t *testing.T) {
	values := []float64{3, 1, 2}
	spreadOf(values)
	if values[0] != 3 || values[1] != 1 || values[2] != 2 {
		t.Errorf("after spreadOf the values are %v, want 3 1 2 as before", values)
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		sorted []time.Duration
		q      float64
		want   time.Duration
	}{
		{nil, 0.5, 0},
		{hundred[:1], 0.99, 1},
		{hundred[:3], 0.5, 2},
		{hundred, 0.5, 51},
		{hundred, 0.99, 100},
		{hundred, 1, 100},
	} {
		if got := quantile(c.sorted, c.q); got != c.want {
			t.Errorf("quantile of %d values at %g = %d, want %d", len(c.sorted), c.q, got, c.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 0.0041: "0.004", 0.5: "0.500", 0.62: "0.620", 1: "1.00", 9.87: "9.87", 98.76: "98.8", 987.6: "988", 1234567: "1234567",
	} {
		if got := number(x); got != want {
			t.Errorf("number(%v) = %q, want %q", x, got, want)
		}
	}
}
