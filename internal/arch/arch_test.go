package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/project-iris/iris"
	root   = "../.." // the module's directory, seen from this package
)

// lines are the packages bottom up, as directories of the module. A package
// imports only from lines before its own.
var lines = [][]string{
	0:  {"internal/ring", "internal/relaywire", "internal/queue", "internal/memnet", "internal/wheel", "internal/localsock", "internal/nonblock", "internal/shell"},
	1:  {"internal/wire", "internal/balance"},
	2:  {".", "internal/session"},
	3:  {"internal/overlay", "internal/link", "internal/discovery"},
	4:  {"internal/directory", "internal/multicast"},
	5:  {"internal/core"},
	6:  {"internal/messaging", "internal/tunnel"},
	7:  {"internal/relay", "internal/splice", "internal/admin"},
	8:  {"node", "internal/sim", "internal/hosts"},
	9:  {"internal/doctor", "internal/measure", "internal/chaos", "internal/compiles"},
	10: {"cmd/iris"},
}

// testOnly are the packages that stand outside of the lines, since only test
// files import them.
var testOnly = []string{"internal/arch", "internal/discovery/discoverytest", "internal/conform"}

// narrow are the packages that import nothing but the standard library and the
// packages named here.
var narrow = map[string][]string{
	".":                {"internal/relaywire"}, // the client library: nothing for its users to download
	"internal/arch":    {},
	"internal/conform": {"internal/relaywire"}, // shares nothing with any client library
}

// pure are the packages of protocol logic.
var pure = []string{
	"internal/ring", "internal/relaywire", "internal/wire", "internal/balance",
	"internal/overlay", "internal/directory", "internal/multicast", "internal/core",
}

// locked are the packages that are pure but for locks and atomics, since their
// methods are called from many goroutines.
var locked = []string{"internal/queue", "internal/wheel", "internal/messaging", "internal/tunnel"}

func TestPackagesImportOnlyFromLinesBelow(t *testing.T) {
	files := moduleFiles(t)
	if !slices.ContainsFunc(files, func(f source) bool { return f.path == "internal/memnet/conn.go" }) {
		t.Fatalf("the walk over the module found %d files, but not internal/memnet/conn.go", len(files))
	}
	for _, f := range files {
		for _, problem := range checkImports(f) {
			t.Error(problem)
		}
	}
}

func TestProtocolLogicIsPure(t *testing.T) {
	var dirs []string
	for _, dir := range slices.Concat(pure, locked) {
		if names, _ := filepath.Glob(filepath.Join(root, dir, "*.go")); len(names) > 0 {
			dirs = append(dirs, "./"+dir)
		}
	}
	if len(dirs) == 0 {
		t.Fatal("found none of the pure packages")
	}
	listed := goList(t, dirs...)
	for _, p := range listed {
		dir := strings.TrimPrefix(p.ImportPath, module+"/")
		if !slices.Contains(dirs, "./"+dir) {
			continue // a dependency
		}
		for _, name := range slices.Concat(p.IgnoredGoFiles, p.CgoFiles) {
			if !strings.HasSuffix(name, "_test.go") {
				t.Errorf("%s/%s: a pure package has no files for some platforms only, and no cgo", dir, name)
			}
		}
		mayLock := slices.Contains(locked, dir)
		fset := token.NewFileSet()
		var files []*ast.File
		for _, name := range p.GoFiles {
			src, err := os.ReadFile(filepath.Join(root, dir, name))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, parse(t, fset, path.Join(dir, name), string(src), parser.ParseComments))
		}
		for _, f := range files {
			for _, problem := range checkPureImports(fset, f, mayLock) {
				t.Error(problem)
			}
		}
		for _, problem := range checkPureCode(t, fset, files, importerOf(fset, listed)) {
			t.Error(problem)
		}
	}
}

// A source is what the import rule looks at in a file.
type source struct {
	path    string // below the module's directory, with slashes
	imports []string
}

// checkImports returns what is wrong with the imports of f.
func checkImports(f source) (problems []string) {
	report := func(format string, args ...any) {
		problems = append(problems, f.path+": "+fmt.Sprintf(format, args...))
	}
	pkg := path.Dir(f.path)
	from, placed := lineOf(pkg)
	if !placed {
		report("package %s is not in the table of internal/arch: place it on a line there", pkg)
		return problems
	}
	if strings.HasSuffix(f.path, "_test.go") {
		return problems // the compiler refuses cycles, more is not asked of tests
	}
	allowed, isNarrow := narrow[pkg]
	for _, imp := range f.imports {
		dep, own := inModule(imp)
		if isNarrow && !isStandard(imp) && !slices.Contains(allowed, dep) {
			report("imports %s: package %s imports nothing but the standard library and %v", imp, pkg, allowed)
			continue
		}
		if !own {
			continue
		}
		to, placed := lineOf(dep)
		switch {
		case !placed:
			report("imports %s, which is not in the table of internal/arch: place it on a line there", dep)
		case slices.Contains(testOnly, dep):
			report("imports %s, which only test files may", dep)
		case to >= from:
			report("package %s of line %d imports %s of line %d: only lines below its own are allowed", pkg, from, dep, to)
		}
	}
	return problems
}

// lineOf returns the line of the package in a directory, or false for one that
// has no place. Packages of testOnly are above all others.
func lineOf(pkg string) (int, bool) {
	if slices.Contains(testOnly, pkg) {
		return len(lines), true
	}
	i := slices.IndexFunc(lines, func(line []string) bool { return slices.Contains(line, pkg) })
	return i, i >= 0
}

// inModule returns the directory of an import path of this module.
func inModule(imp string) (dir string, ok bool) {
	if imp == module {
		return ".", true
	}
	return strings.CutPrefix(imp, module+"/")
}

// isStandard reports whether an import path is one of the standard library.
func isStandard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}

// checkPureImports returns which imports a pure package may not have.
func checkPureImports(fset *token.FileSet, f *ast.File, mayLock bool) (problems []string) {
	for _, spec := range f.Imports {
		imp := importPath(spec)
		dep, own := inModule(imp)
		first, _, _ := strings.Cut(imp, "/")
		ok := true
		switch {
		case own:
			ok = slices.Contains(pure, dep) || mayLock && slices.Contains(locked, dep)
		case !isStandard(imp):
			ok = false
		case imp == "net/netip": // addresses as values
		case first == "sync", imp == "hash/maphash": // a seed of its own in each process, to spread names over shards
			ok = mayLock
		case slices.Contains([]string{"net", "os", "log", "runtime", "syscall"}, first):
			ok = false
		case slices.Contains([]string{"C", "context", "crypto/rand", "io/ioutil", "unsafe"}, imp):
			ok = false
		}
		if !ok {
			problems = append(problems, fmt.Sprintf("%v: a pure package may not import %s", fset.Position(spec.Pos()), imp))
		}
	}
	return problems
}

// impure are functions and methods that a pure package may not use, by
// types.Func.FullName.
var impure = regexp.MustCompile(`^(` +
	`time\.(Now|Since|Until|Sleep|After|AfterFunc|Tick|NewTimer|NewTicker)` +
	`|fmt\.(Print|Scan)(f|ln)?` +
	`|\(\*sync\.WaitGroup\)\.(Go|Wait)` +
	`|\(\*sync\.Cond\)\.Wait` +
	`)$`)

// mapOrder are the functions that pass on the order of a map.
var mapOrder = regexp.MustCompile(`^maps\.(All|Keys|Values|DeleteFunc)$`)

// unordered is the comment that says why the order of a map does not show.
var unordered = regexp.MustCompile(`^//iris:unordered\s+\S`)

// checkPureCode returns what the files of a package do that a pure package may
// not.
func checkPureCode(t *testing.T, fset *token.FileSet, files []*ast.File, imp types.Importer) (problems []string) {
	t.Helper()
	info := types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: imp}
	if _, err := config.Check("pure", fset, files, &info); err != nil {
		t.Fatal(err)
	}
	report := func(n ast.Node, what string) {
		problems = append(problems, fmt.Sprintf("%v: a pure package may not %s", fset.Position(n.Pos()), what))
	}
	for _, f := range files {
		reasons := map[int]bool{} // lines with a good comment
		for _, group := range f.Comments {
			for _, c := range group.List {
				if unordered.MatchString(c.Text) {
					reasons[fset.Position(c.Pos()).Line] = true
				}
			}
		}
		reportUnordered := func(n ast.Node, what string) {
			line := fset.Position(n.Pos()).Line
			if !reasons[line] && !reasons[line-1] {
				report(n, what+" without an //iris:unordered comment that gives a reason")
			}
		}
		sorted := map[*ast.Ident]bool{} // map functions whose result is sorted at once
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				report(n, "start a goroutine")
			case *ast.SendStmt:
				report(n, "send on a channel")
			case *ast.SelectStmt:
				report(n, "select")
			case *ast.UnaryExpr:
				if n.Op == token.ARROW {
					report(n, "receive from a channel")
				}
			case *ast.RangeStmt:
				if may[*types.Chan](info.TypeOf(n.X)) {
					report(n, "receive from a channel")
				}
				if may[*types.Map](info.TypeOf(n.X)) {
					reportUnordered(n, "range over a map")
				}
			case *ast.CallExpr:
				if b, ok := used(&info, n.Fun).(*types.Builtin); ok {
					switch {
					case b.Name() == "make" && may[*types.Chan](info.TypeOf(n.Args[0])):
						report(n, "make a channel")
					case b.Name() == "print" || b.Name() == "println":
						report(n, "call "+b.Name())
					}
				}
				if fn, ok := used(&info, n.Fun).(*types.Func); ok && fn.FullName() == "slices.Sorted" {
					if call, ok := n.Args[0].(*ast.CallExpr); ok {
						sorted[name(call.Fun)] = true
					}
				}
			case *ast.Ident:
				fn, ok := info.Uses[n].(*types.Func)
				if !ok {
					break
				}
				full := fn.Origin().FullName()
				switch {
				case impure.MatchString(full):
					report(n, "use "+full)
				case drawsGlobally(fn):
					report(n, "use "+full+": draw from a generator handed in")
				case mapOrder.MatchString(full) && !sorted[n]:
					reportUnordered(n, "use "+full)
				}
			}
			return true
		})
	}
	return problems
}

// drawsGlobally reports whether fn uses the random source that all of a program
// shares; methods, and functions that make a generator, do not.
func drawsGlobally(fn *types.Func) bool {
	return fn.Pkg() != nil && slices.Contains([]string{"math/rand", "math/rand/v2"}, fn.Pkg().Path()) &&
		fn.Signature().Recv() == nil && !strings.HasPrefix(fn.Name(), "New")
}

// may reports whether values of type t are T underneath; for a type parameter,
// whether any of its types are.
func may[T types.Type](t types.Type) bool {
	switch u := t.Underlying().(type) {
	case T:
		return true
	case *types.Interface:
		for e := range u.EmbeddedTypes() {
			if may[T](e) {
				return true
			}
		}
	case *types.Union:
		for term := range u.Terms() {
			if may[T](term.Type()) {
				return true
			}
		}
	}
	return false
}

// used returns what the name that ends a called expression stands for.
func used(info *types.Info, fun ast.Expr) types.Object {
	return info.Uses[name(fun)]
}

// name returns the name that ends a called expression; nil if it is none.
func name(fun ast.Expr) *ast.Ident {
	switch e := ast.Unparen(fun).(type) {
	case *ast.Ident:
		return e
	case *ast.SelectorExpr:
		return e.Sel
	case *ast.IndexExpr:
		return name(e.X)
	case *ast.IndexListExpr:
		return name(e.X)
	}
	return nil
}

// moduleFiles returns every Go file of the module.
func moduleFiles(t *testing.T) (files []source) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipDir(name)
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		src, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		f := source{path: name}
		for _, spec := range parse(t, token.NewFileSet(), name, string(src), parser.ImportsOnly).Imports {
			f.imports = append(f.imports, importPath(spec))
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// skipDir returns fs.SkipDir for directories the go command does not look into.
func skipDir(name string) error {
	if name == "." {
		return nil
	}
	base := path.Base(name)
	if base == "testdata" || base[0] == '.' || base[0] == '_' {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(root, name, "go.mod")); err == nil {
		return fs.SkipDir // a module of its own
	}
	return nil
}

func parse(t *testing.T, fset *token.FileSet, name, src string, mode parser.Mode) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(fset, name, src, mode)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func importPath(spec *ast.ImportSpec) string {
	return strings.Trim(spec.Path.Value, "\"`")
}

// A listedPackage is what the go command says about a package.
type listedPackage struct {
	ImportPath     string
	GoFiles        []string
	IgnoredGoFiles []string
	CgoFiles       []string
	Export         string // file with the types it exports
}

// goList returns the packages that match patterns and all they depend on,
// compiled.
func goList(t *testing.T, patterns ...string) (listed []listedPackage) {
	t.Helper()
	args := []string{"list", "-export", "-deps", "-json=ImportPath,GoFiles,IgnoredGoFiles,CgoFiles,Export", "--"}
	cmd := exec.Command("go", append(args, patterns...)...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := dec.Decode(&p); err == io.EOF {
			return listed
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		listed = append(listed, p)
	}
}

// importerOf returns an importer of the listed packages.
func importerOf(fset *token.FileSet, listed []listedPackage) types.Importer {
	return importer.ForCompiler(fset, "gc", func(imp string) (io.ReadCloser, error) {
		for _, p := range listed {
			if p.ImportPath == imp {
				return os.Open(p.Export)
			}
		}
		return nil, fmt.Errorf("package %s is not listed", imp)
	})
}

// What follows tests the checks themselves.

func TestEveryPackageHasOnePlace(t *testing.T) {
	seen := map[string]bool{}
	for _, pkg := range append(slices.Concat(lines...), testOnly...) {
		if seen[pkg] {
			t.Errorf("%s has two places", pkg)
		}
		seen[pkg] = true
	}
	for _, pkg := range slices.Concat(pure, locked, slices.Collect(maps.Keys(narrow))) {
		if !seen[pkg] {
			t.Errorf("%s has a rule but no place on a line", pkg)
		}
	}
}

func TestImportsAgainstTheOrderAreRefused(t *testing.T) {
	for _, c := range []struct {
		path, imp string
		want      string // part of the problem; none if empty
	}{
		{"internal/core/core.go", module + "/internal/ring", ""},
		{"internal/core/core.go", module + "/internal/core", "line 5 imports internal/core of line 5"},
		{"internal/ring/id.go", module + "/internal/relaywire", "of line 0 imports internal/relaywire of line 0"},
		{"internal/overlay/table.go", module + "/node", "of line 3 imports node of line 8"},
		{"internal/overlay/table_test.go", module + "/node", ""},
		{"internal/relay/relay.go", module, ""},
		{"internal/session/key.go", module, "of line 2 imports . of line 2"},
		{"internal/session/key.go", "golang.org/x/sys/unix", ""},
		{"internal/nowhere/x.go", "fmt", "package internal/nowhere is not in the table"},
		{"internal/nowhere/x_test.go", "fmt", "package internal/nowhere is not in the table"},
		{"internal/core/deep/x.go", "fmt", "package internal/core/deep is not in the table"},
		{"node/node.go", module + "/internal/nowhere", "imports internal/nowhere, which is not in the table"},
		{"node/node.go", module + "/internal/conform", "only test files may"},
		{"node/suite_test.go", module + "/internal/conform", ""},
		{"internal/conform/conform.go", module + "/internal/relaywire", ""},
		{"internal/conform/conform.go", module, "imports nothing but the standard library"},
		{"internal/conform/conform.go", module + "/internal/memnet", "imports nothing but the standard library"},
		{"client.go", "net/http", ""},
		{"client.go", module + "/internal/relaywire", ""},
		{"client.go", module + "/internal/ring", "imports nothing but the standard library"},
		{"client.go", "golang.org/x/net/proxy", "imports nothing but the standard library"},
		{"client_test.go", "golang.org/x/net/nettest", ""},
	} {
		got := checkImports(source{c.path, []string{c.imp}})
		want(t, c.path+" importing "+c.imp, got, c.want)
	}
}

func TestImportsOfImpurePackagesAreRefused(t *testing.T) {
	const no = "may not import"
	for _, c := range []struct {
		imp          string
		pure, locked string // the problem in a pure package, and in one with locks
	}{
		{"errors", "", ""},
		{"math/rand/v2", "", ""},
		{"net/netip", "", ""},
		{module + "/internal/ring", "", ""},
		{"sync", no, ""},
		{"sync/atomic", no, ""},
		{module + "/internal/queue", no, ""},
		{module + "/internal/session", no, no},
		{"golang.org/x/sys/unix", no, no},
		{"C", no, no},
		{"context", no, no},
		{"crypto/rand", no, no},
		{"hash/maphash", no, ""},
		{"io/ioutil", no, no},
		{"log", no, no},
		{"log/slog", no, no},
		{"net", no, no},
		{"net/http", no, no},
		{"os", no, no},
		{"os/exec", no, no},
		{"runtime", no, no},
		{"runtime/debug", no, no},
		{"syscall", no, no},
		{"unsafe", no, no},
	} {
		fset := token.NewFileSet()
		f := parse(t, fset, "snippet.go", fmt.Sprintf("package p\nimport _ %q\n", c.imp), 0)
		want(t, "pure package importing "+c.imp, checkPureImports(fset, f, false), c.pure)
		want(t, "locked package importing "+c.imp, checkPureImports(fset, f, true), c.locked)
	}
}

func TestImpureCodeIsRefused(t *testing.T) {
	listed := goList(t, "fmt", "maps", "math/rand", "math/rand/v2", "slices", "sync", "time")
	for _, c := range []struct {
		code string
		want string // part of the problem; none if empty
	}{
		{`func f() { go f() }`, "start a goroutine"},
		{`import "sync"; func f(wg *sync.WaitGroup) { wg.Go(func() {}) }`, "(*sync.WaitGroup).Go"},
		{`import "sync"; func f(wg *sync.WaitGroup) { wg.Wait() }`, "(*sync.WaitGroup).Wait"},
		{`import "sync"; func f(c *sync.Cond) { c.Wait() }`, "(*sync.Cond).Wait"},
		{`import "sync"; func f(mu *sync.Mutex) { mu.Lock() }`, ""},

		{`func f(c chan int) { c <- 1 }`, "send on a channel"},
		{`func f(c chan int) int { return <-c }`, "receive from a channel"},
		{`func f(c chan int) { for range c {} }`, "receive from a channel"},
		{`func f[C ~chan int](c C) { for range c {} }`, "receive from a channel"},
		{`func f() { select {} }`, "select"},
		{`type c chan int; var x = make(c)`, "make a channel"},
		{`var x = make([]int, 3)`, ""},

		{`import "time"; var x = time.Now()`, "time.Now"},
		{`import "time"; var clock = time.Now`, "time.Now"},
		{`import t "time"; var x = t.Since(t.Time{})`, "time.Since"},
		{`import . "time"; var x = Until(Time{})`, "time.Until"},
		{`import "time"; func f() { time.Sleep(1) }`, "time.Sleep"},
		{`import "time"; func f() { time.After(1) }`, "time.After"},
		{`import "time"; func f() { time.AfterFunc(1, f) }`, "time.AfterFunc"},
		{`import "time"; func f() { time.Tick(1) }`, "time.Tick"},
		{`import "time"; func f() { time.NewTimer(1) }`, "time.NewTimer"},
		{`import "time"; func f() { time.NewTicker(1) }`, "time.NewTicker"},
		{`import "time"; func f(now, then time.Time) bool { return then.After(now.Add(time.Second)) }`, ""},
		{`type host struct{}; func (host) Now() int { return 1 }; var x = host{}.Now()`, ""},

		{`import "fmt"; func f() { fmt.Println() }`, "fmt.Println"},
		{`func f() { println() }`, "call println"},
		{`import "fmt"; var x = fmt.Sprintln()`, ""},

		{`import "math/rand"; var x = rand.Intn(3)`, "math/rand.Intn"},
		{`import "math/rand"; func f() { rand.Seed(3) }`, "math/rand.Seed"},
		{`import "math/rand"; var x = rand.New(rand.NewSource(1)).Intn(3)`, ""},
		{`import "math/rand/v2"; var x = rand.IntN(3)`, "math/rand/v2.IntN"},
		{`import "math/rand/v2"; var x = rand.N(3)`, "math/rand/v2.N"},
		{`import "math/rand/v2"; var x = rand.NormFloat64()`, "math/rand/v2.NormFloat64"},
		{`import "math/rand/v2"; var x = rand.New(rand.NewPCG(1, 2)).IntN(3)`, ""},
		{`import "math/rand/v2"; func f(r *rand.Rand) int { return r.IntN(3) }`, ""},

		{`func f(m map[int]int) { for range m {} }`, "range over a map"},
		{`type set map[int]bool; func f(m set) { for range m {} }`, "range over a map"},
		{`type set = map[int]bool; func f(m set) { for range m {} }`, "range over a map"},
		{`func f[M ~map[K]V, K comparable, V any](m M) { for range m {} }`, "range over a map"},
		{`func f(s []int) { for range s {} }`, ""},
		{"func f(m map[int]int) {\n//iris:unordered sums commute\nfor range m {}\n}", ""},
		{"func f(m map[int]int) {\nfor range m { //iris:unordered sums commute\n}\n}", ""},
		{"func f(m map[int]int) {\n//iris:unordered\nfor range m {}\n}", "gives a reason"},
		{"func f(m map[int]int) {\n// iris:unordered sums commute\nfor range m {}\n}", "gives a reason"},
		{"func f(m map[int]int) {\n//iris:unordered sums commute\n\nfor range m {}\n}", "gives a reason"},
		{`import "maps"; func f(m map[int]int) { for range maps.Keys(m) {} }`, "maps.Keys"},
		{`import "maps"; func f(m map[int]int) { for range maps.Values(m) {} }`, "maps.Values"},
		{`import "maps"; func f(m map[int]int) { for range maps.All(m) {} }`, "maps.All"},
		{`import "maps"; func f(m map[int]int) { maps.DeleteFunc(m, nil) }`, "maps.DeleteFunc"},
		{`import ("maps"; "slices"); func f(m map[int]int) []int { return slices.Collect(maps.Keys(m)) }`, "maps.Keys"},
		{`import ("maps"; "slices"); func f(m map[int]int) []int { return slices.Sorted(maps.Keys(m)) }`, ""},
	} {
		fset := token.NewFileSet()
		f := parse(t, fset, "snippet.go", "package p; "+c.code, parser.ParseComments)
		got := checkPureCode(t, fset, []*ast.File{f}, importerOf(fset, listed))
		want(t, c.code, got, c.want)
	}
}

// want checks that a check of what found one problem that contains part; none
// if part is empty.
func want(t *testing.T, what string, problems []string, part string) {
	t.Helper()
	switch {
	case part == "" && len(problems) > 0:
		t.Errorf("%s:\ngot %q\nwant no problem", what, problems)
	case part != "" && (len(problems) != 1 || !strings.Contains(problems[0], part)):
		t.Errorf("%s:\ngot %q\nwant one problem with %q", what, problems, part)
	}
}
