package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoSleeps keeps tests from waiting by the clock on the wall: a sleep is either too short on a busy
// machine or too long on every other. In a bubble (testing/synctest) it advances the clock instead.
func TestNoSleeps(t *testing.T) {
	for _, top := range []string{"internal", "sim"} {
		err := filepath.WalkDir(filepath.Join(rootDir, top), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, "_test.go") || strings.Contains(file, "archtest") {
				return err
			}
			source, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(source), "time.Sleep(") {
				return err
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, spec := range parsed.Imports {
				if spec.Path.Value == `"testing/synctest"` {
					return nil
				}
			}
			t.Errorf("%s sleeps: wait for the condition, or advance the clock in a bubble", file)
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}
