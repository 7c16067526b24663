package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The manual names the tests that hold what it says: they are there.
func TestTestsOfTheManualExist(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(root, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\b((?:Test|Fuzz)\w+) \(([\w/]+)\)`).FindAllStringSubmatch(string(doc), -1)
	if len(named) < 70 {
		t.Fatalf("the manual names %d tests", len(named))
	}
	for _, m := range named {
		files, _ := filepath.Glob(filepath.Join(root, "internal", m[2], "*_test.go"))
		if len(files) == 0 {
			files, _ = filepath.Glob(filepath.Join(root, m[2], "*_test.go"))
		}
		found := false
		for _, f := range files {
			src, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(src), "\nfunc "+m[1]+"(")
		}
		if !found {
			t.Errorf("there is no %s in %s", m[1], m[2])
		}
	}
}
