package conform

import (
	"os"
	"regexp"
	"testing"
)

// TestEveryRequirementHasACase holds docs/relay-v1.md and the suite together: a
// number that the document gives has a case named after it, each number is given
// once, and no case is named after a number that does not exist.
func TestEveryRequirementHasACase(t *testing.T) {
	doc, err := os.ReadFile("../../docs/relay-v1.md")
	if err != nil {
		t.Fatal(err)
	}
	given := make(map[string]int)
	for _, m := range regexp.MustCompile(`\*\*(R[0-9]+)\*\*`).FindAllSubmatch(doc, -1) {
		given[string(m[1])]++
	}
	if len(given) < 64 {
		t.Errorf("the document gives %d requirements, wanted 64 or more", len(given))
	}
	covered := make(map[string]bool)
	names := make(map[string]bool)
	for _, c := range Requirements() {
		if names[c.Name] {
			t.Errorf("two cases are named %q", c.Name)
		}
		names[c.Name] = true
		for _, n := range regexp.MustCompile(`\bR[0-9]+\b`).FindAllString(c.Name, -1) {
			covered[n] = true
			if given[n] == 0 {
				t.Errorf("case %q: the document has no %s", c.Name, n)
			}
		}
	}
	for n, count := range given {
		if count > 1 {
			t.Errorf("the document gives %s %d times", n, count)
		}
		if !covered[n] {
			t.Errorf("no case is named after %s", n)
		}
	}
}
