package session

import (
	"os"
	"regexp"
	"testing"
)

func TestEveryCodeIsInTheManual(t *testing.T) {
	doc, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[Code]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (?:warning|total) \\| (.+) \\| (.+) \\|$").FindAllSubmatch(doc, -1) {
		c := Code(m[1])
		told[c] = true
		if string(m[2]) != c.Meaning() || string(m[3]) != c.Hint() {
			t.Errorf("the manual says of %s %q and %q, the log %q and %q", c, m[2], m[3], c.Meaning(), c.Hint())
		}
	}
	for _, c := range Codes() {
		if !told[c] {
			t.Errorf("the manual does not tell of %s", c)
		}
		delete(told, c)
	}
	for c := range told {
		t.Errorf("the manual tells of %s, which there is not", c)
	}
}
