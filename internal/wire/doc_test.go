package wire_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestFormatPage decodes the frame of docs/formats/wire.md.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/formats/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	frame, err := hex.DecodeString(strings.Join(strings.Fields(block(t, string(page), "hex")), ""))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := goldenRequest(t, &datadriven.TestData{}, frame), block(t, string(page), "dump"); got != want {
		t.Errorf("the page says\n%s\nand the frame is\n%s", want, got)
	}
}

// block returns the text of the page's fenced block of that kind.
func block(t *testing.T, page, kind string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "```"+kind+"\n")
	text, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("the page has no block of kind %q", kind)
	}
	return text
}
