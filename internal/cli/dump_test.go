package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/cli"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/vfs"
)

// What is not UTF-8 is shown as kafka-dump-log shows it. The wanted texts are what its 4.3.1 printed.
func TestAsText(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"grüße, 日本語, 🎼":           "grüße, 日本語, 🎼",
		"\xff\xfe":                "\ufffd\ufffd",
		"a\xe6\x97 b":             "a\ufffd b",
		"c\xc0\x80":               "c\ufffd\ufffd",
		"d\xe0\x80\x80":           "d\ufffd\ufffd\ufffd",
		"e\xf0\x80\x80\x80":       "e\ufffd\ufffd\ufffd\ufffd",
		"f\xf4\x90\x80\x80":       "f\ufffd\ufffd\ufffd\ufffd",
		"g\xf0\x9f\x8e h":         "g\ufffd h",
		"i\xed\xa0\x80 j\xed\xa0": "i\ufffd j\ufffd", // surrogates
		"k\xf0\x9f":               "k\ufffd",
	} {
		if got := cli.AsText([]byte(in)); got != want {
			t.Errorf("asText(%q) = %q, want %q", in, got, want)
		}
	}
}

// A header without a value and one whose value is empty are told apart.
func TestLogDump_HeaderValues(t *testing.T) {
	b := record.NewBuilder(record.BuilderOptions{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1})
	b.Append(1, nil, nil, []record.Header{{Key: []byte("none")}, {Key: []byte("empty"), Value: []byte{}}})
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "00000000000000000000.log")
	if err := os.WriteFile(name, batch, 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	deps := cli.Deps{Stdout: &stdout, Stderr: &stderr, FS: vfs.OS(), Now: time.Now}
	if code := cli.Main(context.Background(), deps, []string{"log", "dump", "--records", "-o", "jsonl", name}); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	var dumped cli.DumpedBatch
	if err := json.Unmarshal(stdout.Bytes(), &dumped); err != nil {
		t.Fatal(err)
	}
	headers := dumped.Records[0].Headers
	if headers[0].Value != nil || headers[1].Value == nil {
		t.Errorf("the headers none and empty are dumped with the values %#v and %#v: %s", headers[0].Value, headers[1].Value, &stdout)
	}
}
