package storage_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/vfs"
)

// A delay longer than a Duration is for ever, not for no time at all.
func TestDelete_LongestDelayIsNotOver(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	cfg := smallConfig()
	cfg.FileDeleteDelayMs = math.MaxInt64
	appendOne(t, createLog(t, m, cfg), batchOf(t, nil, 1, "x"))
	if err := m.Delete(testTP); err != nil {
		t.Fatal(err)
	}
	m.RemoveDue(time.Now().Add(time.Hour))
	entries, err := mem.ReadDir("/a")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "-delete") {
			return
		}
	}
	t.Errorf("the files are gone: %v", entries)
}
