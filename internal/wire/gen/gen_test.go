package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestCommittedOutput fails when a definition or the generator changed and `go generate` was not run.
func TestCommittedOutput(t *testing.T) {
	want, err := generate("../defs")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s is not what the definitions say: run `go generate ./internal/wire` (%v)", name, err)
		}
	}
	committed, err := filepath.Glob("../zz_*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range committed {
		if _, ok := want[filepath.Base(path)]; !ok {
			t.Errorf("%s has no definition behind it", path)
		}
	}
}
