package storage_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/vfs"
)

// example returns the fenced block of a page that is tagged with a file's name.
func example(t *testing.T, page, tag string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/formats/" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n```"+tag+"\n")
	block, _, end := strings.Cut(rest, "```")
	if !ok || !end {
		t.Fatalf("%s has no example of %s", page, tag)
	}
	return block
}

var hexBytes = regexp.MustCompile(`^([0-9a-f]{2} )*[0-9a-f]{2}`)

// The pages of docs/formats show the bytes that are written.
func TestFormats_PagesShowWhatIsWritten(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	cfg := smallConfig()
	cfg.IndexIntervalBytes = 50
	l := createLog(t, m, cfg)
	p := &client{id: 77, epoch: 2}
	appendOne(t, l, batchOf(t, p, 1000, "a", "b", "c"))
	appendOne(t, l, batchOf(t, p, 2000, "d", "e", "f"))
	cfg.SegmentBytes = 100
	l.SetConfig(cfg)
	appendOne(t, l, batchOf(t, nil, 2000, "g")) // rolls
	if err := l.Truncate(6); err != nil {
		t.Fatal(err)
	}
	flush(t, l)
	checkpointAll(t, m)

	for _, f := range []struct{ page, tag, name string }{
		{"log-directory.md", "index", "orders-3/00000000000000000000.index"},
		{"log-directory.md", "timeindex", "orders-3/00000000000000000000.timeindex"},
		{"producer-state.md", "producers", "orders-3/00000000000000000006.producers"},
		{"log-directory.md", "leader-epoch-checkpoint", "orders-3/leader-epoch-checkpoint"},
		{"log-directory.md", "partition.metadata", "orders-3/partition.metadata"},
		{"log-directory.md", "recovery-point-offset-checkpoint", "recovery-point-offset-checkpoint"},
	} {
		t.Run(f.name, func(t *testing.T) {
			got, err := vfs.ReadFile(mem, "/a/"+f.name)
			if err != nil {
				t.Fatal(err)
			}
			block := example(t, f.page, f.tag)
			if !strings.HasPrefix(f.name, "orders-3/0") {
				var want []string
				for line := range strings.Lines(block) {
					text, _, _ := strings.Cut(line, "  ") // the remark
					want = append(want, strings.TrimSpace(text))
				}
				if strings.TrimSpace(string(got)) != strings.Join(want, "\n") {
					t.Errorf("the file holds\n%s\nthe page shows\n%s", got, block)
				}
				return
			}
			var want string
			for line := range strings.Lines(block) {
				want += strings.ReplaceAll(hexBytes.FindString(line), " ", "")
			}
			if hex.EncodeToString(got) != want {
				t.Errorf("the file holds\n%s\nthe page shows\n%s", fmt.Sprintf("% x", got), block)
			}
		})
	}
}
