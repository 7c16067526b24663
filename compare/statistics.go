package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// quantile returns the value below which the part q of sorted is.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// A spread is what a figure was over the rounds. The zero value is that of no
// rounds.
type spread struct{ median, least, most float64 }

func spreadOf(values []float64) spread {
	n := len(values)
	if n == 0 {
		return spread{}
	}
	v := slices.Sorted(slices.Values(values))
	return spread{(v[(n-1)/2] + v[n/2]) / 2, v[0], v[n-1]}
}

func (s spread) String() string {
	if s == (spread{}) {
		return "-"
	}
	return fmt.Sprintf("%s (%s..%s)", s.middle(), number(s.least), number(s.most))
}

// middle writes the median alone.
func (s spread) middle() string {
	if s == (spread{}) {
		return "-"
	}
	return number(s.median)
}

// number writes x with three digits, or all it has before the point.
func number(x float64) string {
	if x == 0 {
		return "0"
	}
	decimals := 2 - int(math.Floor(math.Log10(math.Abs(x))))
	return fmt.Sprintf("%.*f", max(0, min(decimals, 3)), x)
}
