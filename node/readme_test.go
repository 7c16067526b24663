package node

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/project-iris/iris/internal/conform"
)

// The README's table of client libraries names the tests that say what it says: they
// are there, and have cases that begin as it tells.
func TestTestsOfTheReadmeExist(t *testing.T) {
	doc, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "| Library | Speaks |")
	table, _, _ = strings.Cut(table, "\n\n")
	var cases []string
	for _, c := range slices.Concat(conform.Expectations(), conform.OlderExpectations()) {
		cases = append(cases, c.Name)
	}
	for _, from := range dialects {
		for _, to := range dialects {
			cases = append(cases, from.String()+"-"+to.String()+"/")
		}
	}
	rows := strings.Split(table, "\n")[2:]
	if len(rows) < 7 {
		t.Errorf("the table has %d rows", len(rows))
	}
	test := regexp.MustCompile("^ (?:`([a-z/]+)` )?(Test\\w+)(?: `([^`]+)`)?( of the root)?")
	for _, row := range rows {
		for _, cell := range strings.Split(strings.Trim(row, "|"), "|")[2:] {
			m := test.FindStringSubmatch(cell)
			if m == nil {
				t.Errorf("no test is named in %q of %q", cell, row)
				continue
			}
			dir := "."
			switch {
			case m[1] != "":
				dir = "../" + m[1]
			case m[4] != "":
				dir = ".."
			}
			if !hasTest(t, dir, m[2]) {
				t.Errorf("there is no %s in %s", m[2], dir)
			}
			if !slices.ContainsFunc(cases, func(name string) bool { return strings.HasPrefix(name, m[3]) }) {
				t.Errorf("no case begins with %s", m[3])
			}
		}
	}
}

func hasTest(t *testing.T, dir, name string) bool {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(src), "\nfunc "+name+"(")
	})
}
