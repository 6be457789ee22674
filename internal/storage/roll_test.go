package storage_test

import (
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
)

// A flush that runs between the first step of a roll and the creation of the file must not take the new
// name for durable: the next flush owes it.
func TestRoll_FlushMeanwhileDoesNotCoverTheNewName(t *testing.T) {
	mem := vfs.NewMem(1)
	var l *storage.Log
	rolls := 0
	fsys := vfs.NewFaulty(mem, func(op vfs.Op) error {
		if op.Kind == vfs.OpCreate && strings.HasSuffix(op.Name, ".log") && l != nil && l.EndOffset() > 0 {
			rolls++
			flush(t, l)
		}
		return nil
	})
	l = createLog(t, openManager(t, fsys, "/a"), smallConfig())
	for rolls == 0 {
		appendOne(t, l, batchOf(t, nil, 1, strings.Repeat("x", 400)))
	}
	flush(t, l)
	flushed := l.FlushedOffset()
	if flushed != l.EndOffset() {
		t.Fatalf("flushed up to %d of %d", flushed, l.EndOffset())
	}
	if l := recoverLog(t, openManager(t, mem.Crash(vfs.CrashOptions{}), "/a"), smallConfig()); l.EndOffset() < flushed {
		t.Errorf("after a power loss the log ends at %d, but %d was flushed", l.EndOffset(), flushed)
	}
}
