package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module  = "github.com/walser-io/walser/"
	rootDir = "../.."
)

// pkg is one package's non-test source.
type pkg struct {
	name  string // below internal/, or below the root for cmd/
	files map[string]*ast.File
}

// imports returns the module's own packages that p imports, by their names in the table.
func (p *pkg) imports() map[string]token.Pos {
	found := map[string]token.Pos{}
	for _, file := range p.files {
		for _, spec := range file.Imports {
			target, _ := strconv.Unquote(spec.Path.Value)
			if own, ok := strings.CutPrefix(target, module); ok {
				found[strings.TrimPrefix(own, "internal/")] = spec.Pos()
			}
		}
	}
	return found
}

func loadPackages(t *testing.T) ([]*pkg, *token.FileSet) {
	t.Helper()
	fset := token.NewFileSet()
	byDir := map[string]*pkg{}
	for _, top := range []string{"internal", "cmd", "sim"} {
		err := filepath.WalkDir(filepath.Join(rootDir, top), func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				if os.IsNotExist(err) {
					return filepath.SkipDir
				}
				return err
			}
			if d.IsDir() {
				if d.Name() == "testdata" {
					return filepath.SkipDir
				}
				return nil
			}
			if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return nil
			}
			parsed, err := parser.ParseFile(fset, file, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			dir, err := filepath.Rel(rootDir, filepath.Dir(file))
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(filepath.ToSlash(dir), "internal/")
			if byDir[name] == nil {
				byDir[name] = &pkg{name: name, files: map[string]*ast.File{}}
			}
			byDir[name].files[file] = parsed
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	packages := make([]*pkg, 0, len(byDir))
	for _, p := range byDir {
		packages = append(packages, p)
	}
	slices.SortFunc(packages, func(a, b *pkg) int { return strings.Compare(a.name, b.name) })
	return packages, fset
}

func loadLayers(t *testing.T) *layers {
	t.Helper()
	file, err := os.Open("layers.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	table, err := parseLayers(file)
	if err != nil {
		t.Fatalf("layers.txt: %v", err)
	}
	return table
}

func TestFloors(t *testing.T) {
	table := loadLayers(t)
	packages, fset := loadPackages(t)
	for _, p := range packages {
		if table.isExempt(p.name) {
			continue
		}
		from, ok := table.find(p.name)
		if !ok {
			t.Errorf("package %s is not in layers.txt: put its noun on a floor (see docs/ARCHITECTURE.md)", p.name)
			continue
		}
		for target, pos := range p.imports() {
			if table.isExempt(target) {
				t.Errorf("%s: %s imports %s, which is for tests only", fset.Position(pos), p.name, target)
				continue
			}
			to, ok := table.find(target)
			if ok && !mayImport(from, to) {
				t.Errorf("%s: %s (floor %d) must not import %s (floor %d): move the noun to the floor it belongs to, or pass a function",
					fset.Position(pos), p.name, from.floor, target, to.floor)
			}
		}
	}
}

// impureImports bring IO, time that passes, logging or chance into a package by themselves.
var impureImports = []string{
	"os", "net", "net/http", "io/ioutil", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "syscall",
	"os/exec", "os/signal", "golang.org/x/sys/unix", "github.com/prometheus/client_golang/prometheus",
}

// impureNames are the members of otherwise harmless packages that a pure package must not touch.
var impureNames = map[string][]string{
	"time": {"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker", "Timer", "Ticker"},
	"sync": {"Mutex", "RWMutex", "Cond", "WaitGroup", "Once", "Map", "NewCond", "OnceFunc", "OnceValue", "OnceValues"},
}

func TestPurity(t *testing.T) {
	table := loadLayers(t)
	packages, fset := loadPackages(t)
	for _, p := range packages {
		at, ok := table.find(p.name)
		if !ok || !at.pure || table.isExempt(p.name) {
			continue
		}
		for _, file := range p.files {
			for _, problem := range impurities(file) {
				t.Errorf("%s: %s is pure (P in layers.txt) but %s: take it as an argument, or do it in the runner",
					fset.Position(problem.pos), p.name, problem.what)
			}
		}
		for target, pos := range p.imports() {
			if to, ok := table.find(target); ok && !to.pure && target != "invariants" {
				t.Errorf("%s: %s is pure (P in layers.txt) but imports %s, which is not", fset.Position(pos), p.name, target)
			}
		}
	}
}

type impurity struct {
	pos  token.Pos
	what string
}

func impurities(file *ast.File) []impurity {
	var found []impurity
	local := map[string]string{} // local name of an import → its path
	for _, spec := range file.Imports {
		target, _ := strconv.Unquote(spec.Path.Value)
		if slices.Contains(impureImports, target) {
			found = append(found, impurity{spec.Pos(), "imports " + target})
		}
		name := path.Base(target)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		local[name] = target
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, impurity{n.Pos(), "starts a goroutine"})
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && slices.Contains(impureNames[local[x.Name]], n.Sel.Name) {
				found = append(found, impurity{n.Pos(), "uses " + x.Name + "." + n.Sel.Name})
			}
		}
		return true
	})
	return found
}

func TestPackageComments(t *testing.T) {
	packages, _ := loadPackages(t)
	for _, p := range packages {
		documented := false
		for _, file := range p.files {
			documented = documented || file.Doc != nil && len(file.Doc.Text()) > 60
		}
		if !documented {
			t.Errorf("package %s has no package comment: say what it is, what it guarantees and what it must never do", p.name)
		}
	}
}

// The checks above are only worth what they catch.
func TestLayers_CatchesWhatItShould(t *testing.T) {
	table, err := parseLayers(strings.NewReader("floor 0 a\n x P < y, z\n w\nfloor 1 b\n u < api/*\nexempt gen\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		from, to string
		want     bool
	}{
		{"y", "x", true},
		{"x", "y", false},
		{"y", "z", false},
		{"w", "x", false},
		{"u", "w", true},
		{"w", "u", false},
		{"api/produce", "u", true},
		{"api/produce", "api/fetch", false},
	} {
		from, ok1 := table.find(tc.from)
		to, ok2 := table.find(tc.to)
		if !ok1 || !ok2 {
			t.Fatalf("%s or %s is not found", tc.from, tc.to)
		}
		if got := mayImport(from, to); got != tc.want {
			t.Errorf("%s → %s: allowed %v, want %v", tc.from, tc.to, got, tc.want)
		}
	}
	if !table.isExempt("gen") || !table.isExempt("vfs/vfstest") || table.isExempt("x") {
		t.Error("exempt packages are misread")
	}
	if _, err := parseLayers(strings.NewReader("floor 0 a\n x\n x\n")); err == nil {
		t.Error("a package that stands twice was accepted")
	}
}

func TestPurity_CatchesWhatItShould(t *testing.T) {
	const source = `package p
import ("time"; "sync"; r "math/rand"; "os")
var mu sync.Mutex
func f() { go f(); time.Sleep(1); _ = time.Second; _ = r.Int(); _ = os.Args; var p sync.Pool; _ = &p }`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	var whats []string
	for _, problem := range impurities(file) {
		whats = append(whats, problem.what)
	}
	want := []string{"imports math/rand", "imports os", "starts a goroutine", "uses sync.Mutex", "uses time.Sleep"}
	slices.Sort(whats)
	if fmt.Sprint(whats) != fmt.Sprint(want) {
		t.Errorf("found %q, want %q", whats, want)
	}
}
