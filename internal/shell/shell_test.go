package shell

import (
	"errors"
	"testing"
)

func TestCaptureIsBounded(t *testing.T) {
	cut := &Capture{Most: 5}
	for _, part := range []string{"abc", "", "defg", "h"} {
		if n, err := cut.Write([]byte(part)); n != len(part) || err != nil {
			t.Errorf("Write(%q) = %d, %v, want all of it taken", part, n, err)
		}
	}
	if got := string(cut.Bytes()); got != "abcde" {
		t.Errorf("cut to 5 octets there is %q, want %q", got, "abcde")
	}

	full := errors.New("full")
	whole := &Capture{Most: 5, Full: full}
	if _, err := whole.Write([]byte("abcd")); err != nil {
		t.Errorf("4 octets of 5: %v", err)
	}
	if n, err := whole.Write([]byte("ef")); n != 1 || err != full {
		t.Errorf("6 octets of 5: %d, %v, want 1 and the error", n, err)
	}
	if got := string(whole.Bytes()); got != "abcde" {
		t.Errorf("after that there is %q, want %q", got, "abcde")
	}
}
