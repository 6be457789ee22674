package archtest

import (
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "rewrite deps.txt")

// TestDependencies compares the modules that the binary links with deps.txt, so that a new one shows
// in the diff. The commit that adds a line says what it saves us from writing.
func TestDependencies(t *testing.T) {
	if _, err := os.Stat(rootDir + "/cmd/walser"); err != nil {
		t.Skip("cmd/walser is not there yet")
	}
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/walser")
	list.Dir = rootDir
	list.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	modules = slices.DeleteFunc(slices.Compact(modules), func(m string) bool { return m+"/" == module })
	got := strings.Join(modules, "\n") + "\n"
	if *rewrite {
		if err := os.WriteFile("deps.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile("deps.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the binary links other modules than deps.txt lists; if that is meant: go test ./internal/archtest -run Dependencies -rewrite\ngot:\n%s\nwant:\n%s", got, want)
	}
}
