package configdef_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/walser-io/walser/internal/configdef"
)

var rewrite = flag.Bool("rewrite", false, "rewrite docs/config-compat.md and docs/configuration.md")

func TestDocs_AreCurrent(t *testing.T) {
	for name, want := range map[string]string{
		"config-compat.md": configdef.RenderCompat(),
		"configuration.md": configdef.RenderReference(),
	} {
		path := filepath.Join("..", "..", "docs", name)
		if *rewrite {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(got), "\n")); diff != "" {
			t.Errorf("docs/%s is not current: go test ./internal/configdef -rewrite\n%s", name, diff)
		}
	}
}

// Every key is told of exactly once: in the reference, or as one without effect.
func TestDocs_TellOfEveryKey(t *testing.T) {
	reference, compat := configdef.RenderReference(), configdef.RenderCompat()
	_, noEffect, _ := strings.Cut(compat, "## Keys without an effect")
	node, topic, _ := strings.Cut(reference, "## Keys of a topic")
	for scope, def := range scopes {
		for k := range def.Keys() {
			row := "\n| `" + k.Name + "` |"
			inReference := scope == "broker" && strings.Contains(node, row) || scope == "topic" && strings.Contains(topic, row)
			if want := k.NoEffect == "" && !k.Internal; inReference != want {
				t.Errorf("%s/%s: in the reference: %v", scope, k.Name, inReference)
			}
			if k.NoEffect != "" && !strings.Contains(noEffect, "`"+k.Name+"`") {
				t.Errorf("%s/%s: has no effect, and is not listed", scope, k.Name)
			}
			if k.Reason != "" && !strings.Contains(compat, row) {
				t.Errorf("%s/%s: differs, and is not listed", scope, k.Name)
			}
		}
	}
}
