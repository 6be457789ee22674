package node_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/config"
	"github.com/walser-io/walser/internal/configdef"
	"github.com/walser-io/walser/internal/metaconfig"
)

// source is what the code that ships says.
type source struct {
	literals map[string]bool // of the packages that resolve configuration
	selected map[string]bool // names after a dot, in the packages above those
}

func readSource(t *testing.T) source {
	t.Helper()
	s := source{literals: map[string]bool{}, selected: map[string]bool{}}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		resolves := file.Name.Name == "config" || file.Name.Name == "metaconfig"
		ast.Inspect(file, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.BasicLit:
				if text, err := strconv.Unquote(node.Value); err == nil && resolves {
					s.literals[text] = true
				}
			case *ast.SelectorExpr:
				if !resolves {
					s.selected[node.Sel.Name] = true
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSettings_EveryKeyIsRead finds keys that configdef says take effect and nothing reads, and settings that
// are resolved and nothing uses. It goes by names, so a setting that shares its name with another field may
// slip through; what a key does is for tests of the part that obeys it.
func TestSettings_EveryKeyIsRead(t *testing.T) {
	code := readSource(t)
	inherited := map[string]bool{}
	for k := range configdef.Topic().Keys() {
		if k.NoEffect != "" {
			continue
		}
		if !code.literals[k.Name] {
			t.Errorf("nothing reads the topic key %s", k.Name)
		}
		for _, s := range k.Synonyms {
			inherited[s.Name] = true
		}
	}
	for k := range configdef.Broker().Keys() {
		if k.NoEffect == "" && !inherited[k.Name] && !code.literals[k.Name] {
			t.Errorf("nothing reads the broker key %s", k.Name)
		}
	}
	unused := map[string]string{
		"ControllerListeners": "a quorum of one voter opens none",
		"InterBrokerListener": "has no effect: inter.broker.listener.name",
	}
	for _, settings := range []any{config.Node{}, config.Topics{}, config.Limits{}, config.Storage{}, config.Groups{}, config.Offsets{}, metaconfig.Topic{}, metaconfig.Broker{}, metaconfig.Cleaner{}} {
		typ := reflect.TypeOf(settings)
		for field := range typ.Fields() {
			_, known := unused[field.Name]
			if used := code.selected[field.Name]; !used && !known {
				t.Errorf("%s.%s is resolved, and nothing uses it", typ, field.Name)
			} else if used && known {
				t.Errorf("%s.%s is used: take it off the list", typ, field.Name)
			}
		}
	}
}
