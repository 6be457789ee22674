package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
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

// TestFormatPage holds the example of docs/formats/wire.md to the definition that it shows.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/formats/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../defs/12_heartbeat.def")
	if err != nil {
		t.Fatal(err)
	}
	if _, rest, _ := strings.Cut(string(page), "```def\n"); !strings.HasPrefix(rest, string(want)+"```") {
		t.Errorf("the page does not show defs/12_heartbeat.def as it is:\n%s", want)
	}
}

// Every mistake in a definition is an error that says where, not a wrong codec.
func TestParseRefuses(t *testing.T) {
	const head = "api 1 Test\nversions 0-4\nflexible 2+\n"
	tests := []struct{ name, text, want string }{
		{"unknown directive", "apis 1 Test", `line 1: unknown word "apis"`},
		{"key is no number", "api x Test", `key "x" is not a number`},
		{"bad versions", "api 1 Test\nversions 4-0", "holds no version"},
		{"field before a section", head + "  A int8", `"A" stands before request`},
		{"odd indent", head + "request\n   A int8", "indent of 3"},
		{"field without a type", head + "request\n  A", "want: <name> <type>"},
		{"unknown word", head + "request\n  A int8 ignored", `unknown word "ignored"`},
		{"unknown type", head + "request\n  A int9", `TestRequest: TestRequest.A: unknown type "int9"`},
		{"versions outside those of the struct", head + "request\n  A []B 1-2\n    C int8 1-3", "versions 1-3 outside"},
		{"too deep", head + "request\n  A int8\n      C int8", "indented deeper"},
		{"null number", head + "request\n  A int8?", "a int8 cannot be null"},
		{"tag before flexible versions", head + "request\n  A int8 1+ tag 0", "tagged in versions that are not flexible"},
		{"null preset of a string", head + "request\n  A string? = null", "null is the preset"},
		{"strings in a hot message", "api 1 Test\nversions 0-4\nflexible 2+\nhot\nrequest\n  A []string", "would be copied"},
		{"unbounded count", "api 1 Test\nversions 0-4\nflexible none\nrequest\n  A []B\n    C int8 1+", "could not be bounded"},
		{"array of records", head + "request\n  A []records", "arrays of records"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parse(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestGenerateRefusesOneNameTwice(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"1_a", "2_b"} {
		text := "api " + name[:1] + " " + name[2:] + "\nversions 0\nflexible none\nrequest\n  X []Same\n    Y int8\nresponse\n  Z int8\n"
		if err := os.WriteFile(filepath.Join(dir, name+".def"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := generate(dir); err == nil || !strings.Contains(err.Error(), "struct Same stands in aRequest and in bRequest") {
		t.Errorf("got %v", err)
	}
}

func TestMinSize(t *testing.T) {
	messages, err := parse("api 1 Test\nversions 0-4\nflexible 2+\nrequest\n  A []B\n    C string\n    D []int32 1+\n    E uuid 3+\n    F int8 2+ tag 0\n")
	if err != nil {
		t.Fatal(err)
	}
	m := messages[0]
	for version, want := range []int{2, 6, 3, 19, 19} {
		if got := m.minSizeAt(m.structs[1], version); got != want {
			t.Errorf("version %d: %d bytes at least, want %d", version, got, want)
		}
	}
	if got := m.minSize(m.structs[1]); got != 2 {
		t.Errorf("over all versions: %d", got)
	}
}
