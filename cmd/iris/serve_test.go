package main

import (
	"strings"
	"testing"
)

func TestCaptureIsBounded(t *testing.T) {
	cut := &capture{most: 5, cut: true}
	for _, part := range []string{"abc", "", "defg", "h"} {
		if n, err := cut.Write([]byte(part)); n != len(part) || err != nil {
			t.Errorf("Write(%q) = %d, %v, want all of it taken", part, n, err)
		}
	}
	if got := string(cut.b); got != "abcde" {
		t.Errorf("cut to 5 octets there is %q, want %q", got, "abcde")
	}

	whole := &capture{most: 5}
	if _, err := whole.Write([]byte("abcde")); err != nil {
		t.Errorf("5 octets of 5: %v", err)
	}
	if _, err := whole.Write([]byte("f")); err == nil || !strings.Contains(err.Error(), "longer than the 5 B") {
		t.Errorf("6 octets of 5: error %v, want one that tells the limit", err)
	}
	if got := string(whole.b); got != "abcde" {
		t.Errorf("after that there is %q, want %q", got, "abcde")
	}
}
