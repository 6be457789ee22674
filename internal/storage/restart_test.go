package storage_test

import (
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
)

// killAt runs a process on mem until it first wants to do what match holds for, and kills it there.
func killAt(mem *vfs.Mem, match func(vfs.Op) bool, process func(vfs.FS)) *vfs.Mem {
	var next *vfs.Mem
	process(vfs.NewFaulty(mem, func(op vfs.Op) error {
		if next == nil && match(op) {
			next = mem.KillProcess()
		}
		return nil
	}))
	return next
}

// syncsDirFor matches the sync of the log directory that caller asks for.
func syncsDirFor(caller string) func(vfs.Op) bool {
	return func(op vfs.Op) bool {
		return op.Kind == vfs.OpSyncDir && op.Name == "/a" && strings.Contains(op.Caller, caller)
	}
}

// A process that is killed between the rename of a checkpoint and the sync of its directory leaves the next
// one to see a start offset that is not on the device. Retention there deletes by it.
func TestStart_CheckpointRenamedByAKilledProcess(t *testing.T) {
	cfg := smallConfig()
	armed := false
	mem := killAt(vfs.NewMem(1), func(op vfs.Op) bool { return armed && syncsDirFor("WriteOffsets")(op) }, func(fsys vfs.FS) {
		m := openManager(t, fsys, "/a")
		l := createLog(t, m, cfg)
		appendOne(t, l, batchOf(t, nil, 1000, "first"))
		flush(t, l)
		checkpointAll(t, m) // the recovery point stays at 1
		for range 3 {
			appendOne(t, l, batchOf(t, nil, 1000, strings.Repeat("x", 1000)))
		}
		flush(t, l)
		l.SetHighWatermark(l.EndOffset())
		cfg.RetentionBytes = 1500
		l.SetConfig(cfg)
		armed = true
		m.ApplyRetention() // stores the start, deletes nothing any more
	})
	m := openManager(t, mem, "/a")
	l := recoverLog(t, m, cfg)
	if l.StartOffset() <= 1 || l.EndOffset() != 4 {
		t.Fatalf("the killed process left %d..%d, want a start that retention moved", l.StartOffset(), l.EndOffset())
	}
	l.SetHighWatermark(l.EndOffset())
	m.ApplyRetention()
	l.Dir().Queue(l)
	flush(t, l)
	flushed := l.FlushedOffset()
	l = recoverLog(t, openManager(t, mem.Crash(vfs.CrashOptions{}), "/a"), cfg)
	if flushed != 4 || l.EndOffset() != flushed || len(readAll(t, l, 1<<20)) == 0 {
		t.Errorf("after a power loss the log spans %d..%d, but it was flushed up to %d", l.StartOffset(), l.EndOffset(), flushed)
	}
}

// The same between the removal of the clean mark and its sync: the mark must not come back and vouch for what
// the next process writes.
func TestStart_CleanMarkRemovedByAKilledProcess(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	appendOne(t, createLog(t, m, smallConfig()), batchOf(t, nil, 1000, "x"))
	if err := m.CleanShutdown(1); err != nil {
		t.Fatal(err)
	}
	mem = killAt(mem, syncsDirFor("RemoveCleanShutdown"), func(fsys vfs.FS) {
		_, _ = storage.Open(testDeps(fsys), storage.ManagerConfig{NodeID: 1, ClusterID: "cluster", Dirs: []string{"/a"}})
	})
	l := recoverLog(t, openManager(t, mem, "/a"), smallConfig())
	if err := l.Lead(2); err != nil {
		t.Fatal(err)
	}
	appendOne(t, l, batchOf(t, nil, 1000, "no clean shutdown knows of this"))
	flush(t, l)
	if mem = mem.Crash(vfs.CrashOptions{}); hasFile(t, mem, "/a/.kafka_cleanshutdown") {
		t.Error("the mark of a clean shutdown came back after records were written")
	}
}
