package conform

import (
	"os"
	"regexp"
	"testing"
)

// TestEveryRequirementHasACase holds the documents and the suite together: a
// number that a document gives has a case named after it, each number is given
// once, and no case is named after a number that does not exist.
func TestEveryRequirementHasACase(t *testing.T) {
	for _, v := range []struct {
		doc, letter string
		least       int
		cases       []Case
	}{
		{"../../docs/relay-v1.md", "R", 64, Requirements()},
		{"../../docs/relay-v0.md", "V", 18, OlderRequirements()},
	} {
		doc, err := os.ReadFile(v.doc)
		if err != nil {
			t.Fatal(err)
		}
		given := make(map[string]int)
		for _, m := range regexp.MustCompile(`\*\*(`+v.letter+`[0-9]+)\*\*`).FindAllSubmatch(doc, -1) {
			given[string(m[1])]++
		}
		if len(given) < v.least {
			t.Errorf("%s gives %d requirements, wanted %d or more", v.doc, len(given), v.least)
		}
		covered := make(map[string]bool)
		names := make(map[string]bool)
		for _, c := range v.cases {
			if names[c.Name] {
				t.Errorf("two cases are named %q", c.Name)
			}
			names[c.Name] = true
			for _, n := range regexp.MustCompile(`\b`+v.letter+`[0-9]+\b`).FindAllString(c.Name, -1) {
				covered[n] = true
				if given[n] == 0 {
					t.Errorf("case %q: %s has no %s", c.Name, v.doc, n)
				}
			}
		}
		for n, count := range given {
			if count > 1 {
				t.Errorf("%s gives %s %d times", v.doc, n, count)
			}
			if !covered[n] {
				t.Errorf("no case is named after %s of %s", n, v.doc)
			}
		}
	}
}
