package session

import (
	"strings"
	"testing"
)

func TestNetworkNames(t *testing.T) {
	for _, name := range []string{"a", "test-net", "Müller & Söhne", strings.Repeat("n", 255), "\u00a0", "🌈"} {
		if err := CheckNetwork(name); err != nil {
			t.Errorf("CheckNetwork(%q) = %v", name, err)
		}
	}
	for _, c := range []struct{ name, want string }{
		{"", "needs a name"},
		{strings.Repeat("n", 256), "256 octets, 255 are the most"},
		{strings.Repeat("ü", 128), "256 octets, 255 are the most"},
		{"a\xff", "not UTF-8"},
		{"a\nb", "control character"},
		{"a\x00", "control character"},
		{"a\x7f", "control character"},
		{"a\u0085", "control character"},
	} {
		hasParts(t, CheckNetwork(c.name), c.want)
	}
}
