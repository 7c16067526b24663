package main

import (
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/node"
)

func TestTableSaysWhatCounts(t *testing.T) {
	var b strings.Builder
	err := writeTable(&b, &node.Status{
		Version:  "v1",
		PID:      7,
		Network:  "demo",
		Started:  time.Now().Add(-90 * time.Second),
		Relay:    []string{"127.0.0.1:55555", "[::1]:55555"},
		Programs: 3,
		Tunnels:  1,
		Clusters: []node.NameStatus{{Name: "echo", Members: 2, Load: 5}, {Name: "a b\x1b[31m\u202e", Members: 1}, {Name: " "}},
		Topics:   []node.NameStatus{{Name: "news", Members: 4}},
		Memory:   node.MemoryStatus{Used: 1536, Limit: 96 << 20},
		Sent:     node.SentStatus{Requests: 11, Replies: 12, Broadcasts: 13, Events: 14, Tunnels: 15},
		Ended:    map[string]uint64{"orderly": 6, "lost": 0, "slow": 2},
		Dropped:  map[string]uint64{"late replies": 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `network   demo
relay     127.0.0.1:55555 [::1]:55555
up        1m30s
process   7, version v1
programs  3
tunnels   1
memory    1.5 KiB of 96 MiB hold payload

SENT BY PROGRAMS
requests    11
replies     12
broadcasts  13
events      14
tunnels     15

CLUSTER              MEMBERS  LOAD
echo                 2        5
"a b\x1b[31m\u202e"  1        0
" "                  0        0

TOPIC  SUBSCRIBERS
news   4

CONNECTIONS ENDED
orderly  6
slow     2
`
	if got := b.String(); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}

func TestOddNamesAreQuoted(t *testing.T) {
	for name, want := range map[string]string{
		"echo":       "echo",
		"two words":  "two words",
		"caf\u00e9":  "caf\u00e9",
		"":           `""`,
		" x":         `" x"`,
		"a\tb":       `"a\tb"`,
		"a\nb":       `"a\nb"`,
		"\x1b[2J":    `"\x1b[2J"`,
		"\xff\xfe":   `"\xff\xfe"`,
		"rtl\u202e":  `"rtl\u202e"`,
		`"`:          `"\""`,
		"zero\u200b": `"zero\u200b"`,
	} {
		if got := printable(name); got != want {
			t.Errorf("printable(%q) = %s, want %s", name, got, want)
		}
	}
}

func TestVisibleTextIsHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"":           "",
		"two words ": "two words ",
		`a "b" \n`:   `a "b" \n`,
		"caf\u00e9":  "caf\u00e9",
		"a\nb":       `a\nb`,
		"\x1b[2J":    `\x1b[2J`,
		"\u009b2J":   `\u009b2J`,
		"\xff":       `\xff`,
		"rtl\u202e":  `rtl\u202e`,
		"a\t\"b\"":   `a\t\"b\"`,
		"\x7f":       `\x7f`,
	} {
		if got := visible(text); got != want {
			t.Errorf("visible(%q) = %s, want %s", text, got, want)
		}
	}
}
