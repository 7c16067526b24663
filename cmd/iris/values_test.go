package main

import (
	"strings"
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	for _, test := range []struct {
		text string
		want size
		err  string
	}{
		{"1048576", 1 << 20, ""},
		{"512M", 512 << 20, ""},
		{"512m", 512 << 20, ""},
		{"512MiB", 512 << 20, ""},
		{"3KiB", 3 << 10, ""},
		{"7k", 7 << 10, ""},
		{"2G", 2 << 30, ""},
		{"2gib", 2 << 30, ""},
		{"1T", 1 << 40, ""},
		{"8388607T", 8388607 << 40, ""},
		{"8388608T", 0, "too large"},
		{"99999999999999999999", 0, "number"},
		{"512MB", 0, `unknown suffix "MB": use K, M, G, T`},
		{"512iB", 0, "unknown suffix"},
		{"5 M", 0, "unknown suffix"},
		{"1.5G", 0, "unknown suffix"},
		{"-1", 0, "number"},
		{"M", 0, "number"},
		{"", 0, "number"},
	} {
		var s size
		err := s.Set(test.text)
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("size %q: error %v, want %q in it", test.text, err, test.err)
		}
		if s != test.want {
			t.Errorf("size %q is %d, want %d", test.text, s, test.want)
		}
	}
}

func TestSpans(t *testing.T) {
	for _, test := range []struct {
		text string
		want span
		ok   bool
	}{
		{"500ms", span(500 * time.Millisecond), true},
		{"1m30s", span(90 * time.Second), true},
		{"0s", 0, true},
		{"0", 0, true},
		{"-1s", 0, false},
		{"10", 0, false},
		{"soon", 0, false},
		{"", 0, false},
		{"9999999h", 0, false},
	} {
		var s span
		if err := s.Set(test.text); (err == nil) != test.ok || s != test.want {
			t.Errorf("span %q is %v, error %v, want %v", test.text, &s, err, &test.want)
		}
	}
}

func TestCounts(t *testing.T) {
	for _, test := range []struct {
		text string
		want count
	}{
		{"1", 1},
		{"2147483647", 1<<31 - 1},
		{"2147483648", 0},
		{"0", 0},
		{"-1", 0},
		{"1.5", 0},
		{"1K", 0},
		{"", 0},
	} {
		var c count
		if err := c.Set(test.text); (err == nil) != (test.want > 0) || c != test.want {
			t.Errorf("count %q is %d, error %v, want %d", test.text, c, err, test.want)
		}
	}
}

func TestOctetsAreReadable(t *testing.T) {
	for n, want := range map[int64]string{
		0:               "0 B",
		1023:            "1023 B",
		1024:            "1 KiB",
		1536:            "1.5 KiB",
		96 << 20:        "96 MiB",
		6319128576:      "5.9 GiB",
		5 << 40:         "5 TiB",
		1<<63 - 1:       "8388608 TiB",
		1<<20 - 1:       "1024 KiB",
		(64 << 20) + 10: "64 MiB",
	} {
		if got := octets(n); got != want {
			t.Errorf("octets(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestNodesNeverShareADirectory(t *testing.T) {
	long := strings.Repeat("n", 255)
	names := []string{
		"", "dev", "demo", "Demo", "DEMO", "demo-1", "demo 1", "demo_1", "demo/1", "../demo", ".", "..",
		"d~mo", "n\u00e9t", "ne\u0301t", "a", "A", long, long[1:], long[:24], long[:25],
	}
	seen := map[string]string{}
	for _, name := range names {
		dir := nodeDir(name, 55555)
		// Some file systems have no case.
		if other, ok := seen[strings.ToLower(dir)]; ok {
			t.Errorf("networks %q and %q share the directory %q", name, other, dir)
		}
		seen[strings.ToLower(dir)] = name
		if len(dir) > 32 || strings.ContainsFunc(dir, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
			t.Errorf("network %q has the directory %q: want at most 32 plain octets", name, dir)
		}
		network, port, ok := splitNodeDir(dir)
		if !ok || network != networkDir(name) || port != 55555 {
			t.Errorf("splitNodeDir(%q) = %q, %d, %v, want %q, 55555", dir, network, port, ok, networkDir(name))
		}
	}
	for name, want := range map[string]string{"": "dev-1", "demo": "demo-1", "my.net_2-x": "my.net_2-x-1"} {
		if got := nodeDir(name, 1); got != want {
			t.Errorf("nodeDir(%q, 1) = %q, want %q", name, got, want)
		}
	}
	for _, dir := range []string{"55555.sock.lock", "demo", "demo-x", "demo-"} {
		if network, port, ok := splitNodeDir(dir); ok {
			t.Errorf("splitNodeDir(%q) = %q, %d, want it refused", dir, network, port)
		}
	}
}
