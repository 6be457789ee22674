package storage_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/walser-io/walser/internal/vfs"
)

// logReads is a file system beside a count of the bytes that are read from N.log files.
func logReads(inner vfs.FS) (fsys vfs.FS, read *atomic.Int64) {
	read = &atomic.Int64{}
	return vfs.NewFaulty(inner, func(op vfs.Op) error {
		if op.Kind == vfs.OpRead && strings.HasSuffix(op.Name, ".log") {
			read.Add(int64(op.Len))
		}
		return nil
	}), read
}

// Under load each snapshot lies above the recovery point that is stored with it. The one before it is what
// a start needs: without it the headers of the whole segment are read.
func TestSnapshot_UnderLoadOneStaysBelowTheRecoveryPoint(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	cfg := smallConfig()
	cfg.SegmentBytes = 1 << 30
	l := createLog(t, m, cfg)
	p := &client{id: 7}
	for range 20 {
		for range 30 {
			appendOne(t, l, batchOf(t, p, l.EndOffset(), strings.Repeat("x", 10_000)))
		}
		flush(t, l)
		appendOne(t, l, batchOf(t, nil, l.EndOffset(), "not flushed when the recovery point is stored"))
		checkpointAll(t, m)
	}
	entries, err := mem.ReadDir("/a/orders-3")
	if err != nil {
		t.Fatal(err)
	}
	snapshots := 0
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".snapshot") {
			snapshots++
		}
	}
	if snapshots > 3 {
		t.Errorf("%d snapshots are kept", snapshots)
	}
	fsys, read := logReads(mem.KillProcess())
	l = recoverLog(t, openManager(t, fsys, "/a"), cfg)
	if l.EndOffset() != 20*31 {
		t.Errorf("the log ends at %d", l.EndOffset())
	}
	// Twice the last round, and a few headers to find their places.
	if limit := l.Size() / 10; read.Load() > limit {
		t.Errorf("the start read %d bytes, want at most %d of %d", read.Load(), limit, l.Size())
	}
}
