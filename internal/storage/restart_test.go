package storage_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/storage/checkpoint"
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
	armed, stored := false, 0
	startOffsets := func(op vfs.Op) bool {
		if armed && syncsDirFor("WriteOffsets")(op) {
			stored++
		}
		return stored == 2 // the recovery point was before
	}
	mem := killAt(vfs.NewMem(1), startOffsets, func(fsys vfs.FS) {
		m := openManager(t, fsys, "/a")
		l := createLog(t, m, cfg)
		appendOne(t, l, batchOf(t, nil, 1000, "first"))
		flush(t, l)
		checkpointAll(t, m)
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

// A process that is killed before it recovered a log leaves it as the power loss did: the next one must not
// take it for a log that only lost its process.
func TestStart_KilledBeforeTheRecoveryFromAPowerLoss(t *testing.T) {
	cfg := storage.DefaultLogConfig()
	other := testTP
	other.Partition++
	for _, tc := range []struct {
		name string
		life func(*testing.T, *storage.Manager) // of the process between
		boot bool                               // it leaves its boot id
	}{
		{"none recovered", func(*testing.T, *storage.Manager) {}, false},
		{"another log recovered", func(t *testing.T, m *storage.Manager) {
			if _, err := m.Recover(other, cfg); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"shut down in order", func(t *testing.T, m *storage.Manager) {
			if err := m.CleanShutdown(1); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"both recovered", func(t *testing.T, m *storage.Manager) {
			if _, err := m.Recover(other, cfg); err != nil {
				t.Fatal(err)
			}
			recoverLog(t, m, cfg)
		}, true},
		{"one recovered, one deleted", func(t *testing.T, m *storage.Manager) {
			recoverLog(t, m, cfg)
			if err := m.Delete(other); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mem := vfs.NewMem(1)
			m := openManager(t, mem, "/a")
			l := createLog(t, m, cfg)
			for range 6 {
				appendOne(t, l, batchOf(t, nil, 1000, strings.Repeat("x", 300<<10)))
			}
			o, err := m.Create(other, testTopicID, cfg, [16]byte{})
			if err != nil {
				t.Fatal(err)
			}
			if err := o.Lead(1); err != nil {
				t.Fatal(err)
			}
			appendOne(t, o, batchOf(t, nil, 1000, "x"))
			mem = mem.Crash(vfs.CrashOptions{UnsyncedDataPercent: 100})
			flip(t, mem, "/a/orders-3/00000000000000000000.log", 1000) // a block that the power loss took
			tc.life(t, openManager(t, mem, "/a"))
			mem = mem.KillProcess()
			if boot, err := vfs.ReadFile(mem, "/a/.walser_boot"); err != nil || len(boot) > 0 != tc.boot {
				t.Errorf("it left the boot id %q, %v", boot, err)
			}
			if l := recoverLog(t, openManager(t, mem, "/a"), cfg); l.EndOffset() != 0 {
				t.Errorf("the log ends at %d with a batch that is not sound at offset 0", l.EndOffset())
			}
		})
	}
}

// The boot id is worth a shorter recovery and no more: a disk too full for it serves.
func TestStart_NoSpaceForTheBootID(t *testing.T) {
	m := openManager(t, vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, ".walser_boot") {
			return syscall.ENOSPC
		}
		return nil
	}), "/a")
	if err := m.Dirs()[0].Offline; err != nil {
		t.Error(err)
	}
}

// A log directory may be made with the directories it lies in.
func TestStart_MakesTheNamesOfNewDirectoriesDurable(t *testing.T) {
	mem := vfs.NewMem(1)
	l := createLog(t, openManager(t, mem, "/var/lib/walser"), smallConfig())
	appendOne(t, l, batchOf(t, nil, 1000, "x"))
	flush(t, l)
	if l := recoverLog(t, openManager(t, mem.Crash(vfs.CrashOptions{}), "/var/lib/walser"), smallConfig()); l.EndOffset() != 1 {
		t.Errorf("the log ends at %d, but it was flushed up to 1", l.EndOffset())
	}
}

// A node that is stopped while it recovers a log does not read the log to its end, and the next start recovers it.
func TestRecover_EndsWithItsContext(t *testing.T) {
	mem := vfs.NewMem(1)
	l := createLog(t, openManager(t, mem, "/a"), smallConfig())
	if err := l.Lead(1); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		appendOne(t, l, batchOf(t, nil, 1, "x"))
	}
	killed := mem.KillProcess()
	ctx, cancel := context.WithCancel(t.Context())
	ends := 0
	m := openManager(t, vfs.NewFaulty(killed, func(op vfs.Op) error {
		if op.Kind == vfs.OpRead && strings.HasSuffix(op.Name, ".log") {
			ends++
			cancel()
		}
		return nil
	}), "/a")
	stopped, _, err := m.OpenExisting(testTP, testTopicID, m.Dirs()[0].ID, smallConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := stopped.Recover(ctx); !errors.Is(err, context.Canceled) || ends != 1 || stopped.Recovered() {
		t.Errorf("Recover = %v after %d reads, recovered %v; want the end of the context after one", err, ends, stopped.Recovered())
	}
	if err := errors.Join(stopped.Dir().Err(), m.CleanShutdown(1)); err != nil {
		t.Fatalf("the directory is well: %v", err)
	}
	again, err := openManager(t, killed, "/a").Recover(testTP, smallConfig())
	if err != nil || again.EndOffset() != 20 {
		t.Errorf("the log ends at %d, %v; want 20", again.EndOffset(), err)
	}
}

// A stop that cannot write everything down makes the records durable all the same, and leaves no mark.
func TestCleanShutdown_FullDisk(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, vfs.NewFaulty(mem, func(op vfs.Op) error {
		if op.Kind == vfs.OpCreate && strings.Contains(op.Name, ".snapshot") {
			return syscall.ENOSPC
		}
		return nil
	}), "/a")
	l := createLog(t, m, smallConfig())
	if err := l.Lead(1); err != nil {
		t.Fatal(err)
	}
	appendOne(t, l, batchOf(t, nil, 1, "x"))
	if err := m.CleanShutdown(1); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("CleanShutdown = %v, want ENOSPC", err)
	}
	after := mem.CrashClone(vfs.CrashOptions{})
	if _, clean, err := checkpoint.ReadCleanShutdown(after, "/a"); clean || err != nil {
		t.Errorf("marked clean: %v, %v", clean, err)
	}
	if l, err := openManager(t, after, "/a").Recover(testTP, smallConfig()); err != nil || l.EndOffset() != 1 {
		t.Errorf("after a power loss: %v; want the record", err)
	}
}
