package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

const (
	gap      = "  " // between columns
	leastCut = 16   // cells that a name is not cut below while there are columns to drop
)

// A column is one of a grid. In a terminal that is too narrow the columns with the
// highest rank are dropped first, those with rank 0 never; names are cut.
type column struct {
	title string
	rank  int
	name  bool
}

// A grid is a table that fits a terminal.
type grid struct {
	columns []column
	rows    [][]string
}

// row adds a row, which has a cell for each column once it is complete.
func (g *grid) row(cells ...any) {
	g.rows = append(g.rows, nil)
	g.add(cells...)
}

// add adds cells to the last row.
func (g *grid) add(cells ...any) {
	last := &g.rows[len(g.rows)-1]
	for _, c := range cells {
		*last = append(*last, fmt.Sprint(c))
	}
}

// lines returns the title and the rows, of at most so many cells; 0: of any number.
func (g *grid) lines(limit int) []string {
	widths := g.fit(limit)
	lines := make([]string, 0, 1+len(g.rows))
	titles := make([]string, len(g.columns))
	for i, c := range g.columns {
		titles[i] = c.title
	}
	lines = append(lines, line(titles, widths, limit))
	for _, r := range g.rows {
		lines = append(lines, line(r, widths, limit))
	}
	return lines
}

// write writes the lines.
func (g *grid) write(w io.Writer, limit int) error {
	_, err := io.WriteString(w, strings.Join(g.lines(limit), "\n")+"\n")
	return err
}

// fit returns how wide each column is; -1: it is dropped.
func (g *grid) fit(limit int) []int {
	widths, total := make([]int, len(g.columns)), -len(gap)
	least := 0 // what names need not have
	for i, c := range g.columns {
		widths[i] = cells(c.title)
		for _, r := range g.rows {
			widths[i] = max(widths[i], cells(r[i]))
		}
		total += widths[i] + len(gap)
		if c.name {
			least += max(0, widths[i]-leastCut)
		}
	}
	if limit <= 0 {
		return widths
	}
	for total-least > limit {
		last := -1
		for i, c := range g.columns {
			if widths[i] >= 0 && c.rank > 0 && (last < 0 || c.rank >= g.columns[last].rank) {
				last = i
			}
		}
		if last < 0 {
			break
		}
		if g.columns[last].name {
			least -= max(0, widths[last]-leastCut)
		}
		total -= widths[last] + len(gap)
		widths[last] = -1
	}
	for total > limit { // the widest name gives
		widest := -1
		for i, c := range g.columns {
			if c.name && widths[i] > 1 && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		total--
	}
	return widths
}

// line returns the cells of a row.
func line(texts []string, widths []int, limit int) string {
	var b strings.Builder
	pad := 0
	for i, text := range texts {
		if widths[i] < 0 {
			continue
		}
		text = cut(text, widths[i])
		b.WriteString(strings.Repeat(" ", pad))
		b.WriteString(text)
		pad = widths[i] - cells(text) + len(gap)
	}
	if limit > 0 {
		return head(b.String(), limit)
	}
	return b.String()
}

// cells is how many cells of a terminal text takes, or more than it does.
func cells(text string) (n int) {
	for _, r := range text {
		n += runeCells(r)
	}
	return n
}

func runeCells(r rune) int {
	if r < 0x300 {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me) && r != 0xfe0f { // which may make the one before wide
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cut returns text in at most n cells, without its middle if it is longer.
func cut(text string, n int) string {
	if cells(text) <= n {
		return text
	}
	if n < 3 {
		return head(text, n)
	}
	first := head(text, n/2)
	runes := []rune(text)
	at, left := len(runes), n-1-cells(first)
	for left -= runeCells(runes[at-1]); left >= 0 && at > 0; left -= runeCells(runes[at-1]) {
		at--
	}
	return first + "…" + string(runes[at:])
}

// head returns as much of the start of text as has room in n cells.
func head(text string, n int) string {
	for i, r := range text {
		if n -= runeCells(r); n < 0 {
			return text[:i]
		}
	}
	return text
}

// terminalWidth returns how many cells a line of w has; 0: it is no terminal.
func terminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			return columns
		}
	}
	return 0
}
