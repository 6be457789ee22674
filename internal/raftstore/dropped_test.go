package raftstore_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"math/rand/v2"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/vfs"
)

var dropSeeds = flag.Int("drop", 200, "seeds that may show that a sync is needed")

// syncs are the calls that sync.
var syncs = map[string]bool{"Sync": true, "SyncDir": true, "SyncPath": true, "ReplaceFile": true, "WriteFileAtomic": true}

var line = regexp.MustCompile(`:\d+$`)

// site names the line that asked for a sync, by its function, which has one, and the directory.
func site(op vfs.Op) string {
	at := op.Kind.String() + " " + strings.TrimPrefix(line.ReplaceAllString(op.Caller, ""), "raftstore.")
	if op.Kind == vfs.OpSyncDir {
		at += " " + path.Base(op.Name)
	}
	return at
}

// broken ends a scenario that went wrong.
type broken string

// prober turns what a test would report into a broken.
type prober struct{}

func (prober) Helper() {}

func (prober) Fatalf(format string, args ...any) { panic(broken(fmt.Sprintf(format, args...))) }

// probe plays one scenario and returns the syncs it came by and what went wrong. From the first of the kind at on
// copies are made and, if drop is set, those of that kind are left out; all else is the same with and without.
func probe(seed uint64, at string, drop bool) (sites []string, why string) {
	defer func() {
		if p := recover(); p != nil {
			found, ok := p.(broken)
			if !ok {
				panic(p)
			}
			why = string(found)
		}
	}()
	raft := rand.New(rand.NewPCG(seed, 0))
	sc := scenario{
		t:     prober{},
		draw:  func(_ string, n int) int { return raft.IntN(n) },
		lives: rand.New(rand.NewPCG(seed, 1)),
	}
	sc.syncs = func(op vfs.Op) bool {
		sites = append(sites, site(op))
		if site(op) != at {
			return false
		}
		if sc.cuts == nil {
			sc.cuts = rand.New(rand.NewPCG(seed, 2))
		}
		return drop
	}
	sc.run()
	return sites, ""
}

// TestStore_DroppedSyncs takes out one sync after the other and expects a seed that misses it: one that none
// does is to be removed, or the scenario does not show yet what it is for. docs/formats/raftstore.md has the list.
func TestStore_DroppedSyncs(t *testing.T) {
	seeds := map[string][]uint64{} // that come by a sync
	for seed := range uint64(*dropSeeds) {
		sites, why := probe(seed, "", false)
		if why != "" {
			t.Fatalf("seed %d: %s", seed, why)
		}
		slices.Sort(sites)
		for _, at := range slices.Compact(sites) {
			seeds[at] = append(seeds[at], seed)
		}
	}
	all := slices.Sorted(maps.Keys(seeds))
	for _, function := range syncing(t) {
		if !slices.ContainsFunc(all, func(at string) bool { return slices.Contains(strings.Fields(at), function) }) {
			t.Errorf("%s syncs, and no seed comes by", function)
		}
	}
	for _, at := range all {
		seed, why := firstRed(at, seeds[at])
		if why == "" {
			t.Errorf("%-50s none of the %d seeds that come by misses it", at, len(seeds[at]))
			continue
		}
		t.Logf("%-50s seed %-4d %.200s", at, seed, why)
		if _, why := probe(seed, at, false); why != "" {
			t.Errorf("%-50s seed %d is red with it, too: %s", at, seed, why)
		}
	}
}

// firstRed looks for a seed that goes wrong without a sync.
func firstRed(at string, seeds []uint64) (seed uint64, why string) {
	for _, seed = range seeds {
		if _, why = probe(seed, at, true); why != "" {
			return seed, why
		}
	}
	return 0, ""
}

// syncing returns the functions of the package that sync.
func syncing(t *testing.T) (functions []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	must(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		must(t, err)
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			function := f.Name.Name
			if f.Recv != nil {
				function = "(" + types.ExprString(f.Recv.List[0].Type) + ")." + function
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if call, ok := n.(*ast.SelectorExpr); ok && syncs[call.Sel.Name] {
					functions = append(functions, function)
				}
				return true
			})
		}
	}
	return functions
}
