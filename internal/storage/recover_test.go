package storage_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/storage/checkpoint"
	"github.com/walser-io/walser/internal/vfs"
)

// windowOf appends five batches of one producer, the window that a retry may come from.
func windowOf(t testing.TB, l *storage.Log, p *client) []record.Batch {
	t.Helper()
	var window []record.Batch
	for range 5 {
		b := batchOf(t, p, 1000, "in flight")
		appendOne(t, l, b)
		window = append(window, b)
	}
	return window
}

func requireDuplicates(t testing.TB, l *storage.Log, window []record.Batch) {
	t.Helper()
	for _, b := range window {
		a, err := l.AppendAsLeader([]record.Batch{bytes.Clone(b)}, storage.LeaderAppend{LeaderEpoch: l.LatestEpoch(), NowMs: wallMs})
		if err != nil || !a.Duplicate || a.FirstOffset != b.BaseOffset() {
			t.Fatalf("retry of sequence %d at offset %d: %+v, %v", b.BaseSequence(), b.BaseOffset(), a, err)
		}
	}
}

func hasFile(t testing.TB, fsys vfs.FS, name string) bool {
	t.Helper()
	_, err := fsys.Stat(name)
	return err == nil
}

// Snapshots of a roll are not synced. DeleteRecords up to the roll must not make the next start take one
// that was torn for the heir of the segments before it.
func TestRecover_TornSnapshotAtTheRecoveryPointInheritsNothing(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	cfg := smallConfig()
	l := createLog(t, m, cfg)
	window := windowOf(t, l, &client{id: 77})
	flush(t, l)
	checkpointAll(t, m)
	l.SetHighWatermark(5)
	if err := l.DeleteRecords(5); err != nil {
		t.Fatal(err)
	}
	appendOne(t, l, batchOf(t, nil, 1000, string(make([]byte, 1400)))) // rolls
	const snapshot = "/a/orders-3/00000000000000000005"
	if !hasFile(t, mem, snapshot+".producers") {
		t.Fatal("no roll at offset 5")
	}
	if err := mem.SyncDir("/a/orders-3"); err != nil {
		t.Fatal(err) // as a journal commits at any time
	}
	l = recoverLog(t, openManager(t, mem.Crash(vfs.CrashOptions{}), "/a"), cfg)
	if err := l.Lead(2); err != nil {
		t.Fatal(err)
	}
	if l.StartOffset() != 5 || l.EndOffset() != 5 {
		t.Fatalf("the log spans %d..%d, want 5..5", l.StartOffset(), l.EndOffset())
	}
	requireDuplicates(t, l, window)
}

// A power loss keeps names by chance. Of a snapshot that was not synced it may leave Kafka's file, which
// knows one batch per producer, and take the side file.
func TestRecover_KafkaSnapshotAloneAtTheRecoveryPoint(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	cfg := smallConfig()
	l := createLog(t, m, cfg)
	window := windowOf(t, l, &client{id: 77})
	flush(t, l)
	checkpointAll(t, m)
	appendOne(t, l, batchOf(t, nil, 1000, string(make([]byte, 1400)))) // rolls
	const snapshot = "/a/orders-3/00000000000000000005"
	if err := mem.Remove(snapshot + ".producers"); err != nil {
		t.Fatal(err)
	}
	l = recoverLog(t, openManager(t, mem.Crash(vfs.CrashOptions{UnsyncedDataPercent: 100}), "/a"), cfg)
	if err := l.Lead(2); err != nil {
		t.Fatal(err)
	}
	requireDuplicates(t, l, window)
}

// A torn snapshot is in the list of a log's snapshots by its name. Before retention relies on it, it is
// written anew.
func TestRecover_TornSnapshotIsWrittenAnewBeforeRetentionReliesOnIt(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after int // batches flushed behind the roll before the recovery point is stored
	}{{"at the recovery point", 0}, {"below the recovery point", 2}} {
		t.Run(tc.name, func(t *testing.T) {
			mem := vfs.NewMem(1)
			m := openManager(t, mem, "/a")
			cfg := smallConfig()
			l := createLog(t, m, cfg)
			window := windowOf(t, l, &client{id: 77})
			flush(t, l)
			checkpointAll(t, m)
			appendOne(t, l, batchOf(t, nil, 1000, string(make([]byte, 1200)))) // rolls
			for range tc.after {
				appendOne(t, l, batchOf(t, nil, 1000, "behind"))
			}
			if tc.after > 0 {
				flush(t, l)
				checkpointAll(t, m)
			}
			mem = mem.Crash(vfs.CrashOptions{UnsyncedDataPercent: 100})
			flip(t, mem, "/a/orders-3/00000000000000000005.producers", 20)
			m = openManager(t, mem, "/a")
			l = recoverLog(t, m, cfg)
			if err := l.Lead(2); err != nil {
				t.Fatal(err)
			}
			requireDuplicates(t, l, window)

			flush(t, l)
			l.SetHighWatermark(l.EndOffset())
			if err := l.DeleteRecords(5); err != nil {
				t.Fatal(err)
			}
			m.ApplyRetention()
			m.RemoveDue(farFuture)
			if hasFile(t, mem, "/a/orders-3/00000000000000000000.log") {
				t.Fatal("retention left the first segment")
			}
			appendOne(t, l, batchOf(t, nil, 1000, "so that there is something to flush"))
			flush(t, l)
			l = recoverLog(t, openManager(t, mem.Crash(vfs.CrashOptions{}), "/a"), cfg)
			if err := l.Lead(3); err != nil {
				t.Fatal(err)
			}
			requireDuplicates(t, l, window)
		})
	}
}

// Checkpoints outlive the log that they are of. One that is made under the name of a deleted one must
// not be recovered by them.
func TestRecover_CheckpointsOfADeletedLogOfTheSameName(t *testing.T) {
	for _, tc := range []struct {
		name  string
		crash func(*vfs.Mem) *vfs.Mem
		end   int64
	}{
		{"process killed", (*vfs.Mem).KillProcess, 3},
		{"power lost", func(m *vfs.Mem) *vfs.Mem { return m.Crash(vfs.CrashOptions{}) }, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mem := vfs.NewMem(1)
			m := openManager(t, mem, "/a")
			cfg := smallConfig()
			l := createLog(t, m, cfg)
			for range 10 {
				appendOne(t, l, batchOf(t, nil, 1000, "old"))
			}
			flush(t, l)
			l.SetHighWatermark(10)
			if err := l.DeleteRecords(8); err != nil {
				t.Fatal(err)
			}
			checkpointAll(t, m)
			if err := m.Delete(testTP); err != nil {
				t.Fatal(err)
			}
			again := testTopicID
			again[0] = 99
			l, err := m.Create(testTP, again, cfg, [16]byte{})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Lead(1); err != nil {
				t.Fatal(err)
			}
			appendOne(t, l, batchOf(t, nil, 1000, "new"))
			appendOne(t, l, batchOf(t, nil, 1000, "new"))
			flush(t, l)
			appendOne(t, l, batchOf(t, nil, 1000, "new"))
			mem = tc.crash(mem)
			for _, name := range []string{checkpoint.RecoveryPoints, checkpoint.HighWatermarks, checkpoint.LogStartOffsets} {
				if offsets, err := checkpoint.ReadOffsets(mem, "/a", name); err != nil || offsets[testTP] != 0 {
					t.Errorf("%s holds %d, %v", name, offsets[testTP], err)
				}
			}
			l = recoverLog(t, openManager(t, mem, "/a"), cfg)
			if l.StartOffset() != 0 || l.EndOffset() != tc.end || l.HighWatermark() != 0 || len(readAll(t, l, 1<<20)) != int(tc.end) {
				t.Fatalf("the new log spans %d..%d, high watermark %d, want 0..%d, 0", l.StartOffset(), l.EndOffset(), l.HighWatermark(), tc.end)
			}
			if err := l.Lead(2); err != nil {
				t.Fatal(err)
			}
			if a := appendOne(t, l, batchOf(t, nil, 1000, "next")); a.FirstOffset != tc.end {
				t.Fatalf("the next append got offset %d, want %d", a.FirstOffset, tc.end)
			}
		})
	}
}

// A recovery point that lies above what is left would vouch for what is appended there next.
func TestRecover_LowersTheRecoveryPointToWhatIsLeft(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	cfg := smallConfig()
	l := createLog(t, m, cfg)
	for range 10 {
		appendOne(t, l, batchOf(t, nil, 1000, "same size"))
	}
	flush(t, l)
	checkpointAll(t, m)
	size := l.Size()
	mem = mem.Crash(vfs.CrashOptions{})
	f, err := mem.OpenFile("/a/orders-3/00000000000000000000.log", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size/2), f.Sync(), f.Close()); err != nil { // a disk that did not do as it said
		t.Fatal(err)
	}
	l = recoverLog(t, openManager(t, mem, "/a"), cfg)
	if l.EndOffset() != 5 || l.FlushedOffset() != 5 {
		t.Fatalf("the log ends at %d, flushed %d, want 5", l.EndOffset(), l.FlushedOffset())
	}
	mem = mem.Crash(vfs.CrashOptions{})
	points, err := checkpoint.ReadOffsets(mem, "/a", checkpoint.RecoveryPoints)
	if err != nil || points[testTP] != 5 {
		t.Fatalf("the recovery point is %d, %v; want 5", points[testTP], err)
	}
}

// With write caching DeleteRecords may go past what is flushed. After a power loss the log then begins
// past the batches it has left, and the segment rolled there continues it.
func TestRecover_GapBelowTheStoredStart(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	cfg := smallConfig()
	l := createLog(t, m, cfg)
	appendOne(t, l, batchOf(t, nil, 1000, string(make([]byte, 1300))))
	flush(t, l)
	checkpointAll(t, m)
	for range 2 {
		appendOne(t, l, batchOf(t, nil, 1000, "not flushed"))
	}
	l.SetHighWatermark(3)
	if err := l.DeleteRecords(3); err != nil {
		t.Fatal(err)
	}
	mem = mem.Crash(vfs.CrashOptions{})
	l = recoverLog(t, openManager(t, mem, "/a"), cfg)
	if l.StartOffset() != 3 || l.EndOffset() != 3 {
		t.Fatalf("the log spans %d..%d, want 3..3", l.StartOffset(), l.EndOffset())
	}
	if err := l.Lead(2); err != nil {
		t.Fatal(err)
	}
	appendOne(t, l, batchOf(t, nil, 1000, string(make([]byte, 500)))) // rolls at once
	flush(t, l)
	if !hasFile(t, mem, "/a/orders-3/00000000000000000003.log") {
		t.Fatal("no roll at offset 3")
	}
	l = recoverLog(t, openManager(t, mem.Crash(vfs.CrashOptions{}), "/a"), cfg)
	if l.StartOffset() != 3 || l.EndOffset() != 4 || len(readAll(t, l, 1<<20)) != 1 {
		t.Fatalf("the log spans %d..%d, want 3..4: the record was flushed", l.StartOffset(), l.EndOffset())
	}
}

// Of the segments that retention deleted a crash may bring back some and not others. They must not hide what
// the snapshot that retention relied on knows: a producer whose last batches lie in the gap is not refused.
func TestRecover_SegmentsThatCameBackBelowTheStoredStart(t *testing.T) {
	for _, ending := range []struct {
		name string
		end  func(*vfs.Mem) *vfs.Mem
	}{
		{"power loss", func(m *vfs.Mem) *vfs.Mem { return m.Crash(vfs.CrashOptions{UnsyncedDataPercent: 100}) }},
		{"kill", (*vfs.Mem).KillProcess},
	} {
		t.Run(ending.name, func(t *testing.T) {
			cameBack := []string{"/a/orders-3/00000000000000000000.log", "/a/orders-3/00000000000000000002.log"} // 1 and 3 do not
			mem := vfs.NewMem(1)
			m := openManager(t, mem, "/a")
			cfg := smallConfig()
			l := createLog(t, m, cfg)
			p := &client{id: 77}
			for range 3 {
				appendOne(t, l, batchOf(t, p, 1000, string(make([]byte, 1300)))) // rolls
			}
			window := windowOf(t, l, p)
			appendOne(t, l, batchOf(t, nil, 1000, string(make([]byte, 1300)))) // rolls
			appendOne(t, l, batchOf(t, nil, 1000, "stays"))
			flush(t, l)
			files := map[string][]byte{}
			for _, name := range cameBack {
				data, err := vfs.ReadFile(mem, name)
				if err != nil {
					t.Fatal(err)
				}
				files[name] = data
			}
			l.SetHighWatermark(l.EndOffset())
			if err := l.DeleteRecords(8); err != nil {
				t.Fatal(err)
			}
			m.ApplyRetention()
			mem = ending.end(mem)
			for name, data := range files {
				if hasFile(t, mem, name) {
					t.Fatalf("retention left %s", name)
				}
				if err := vfs.WriteFileAtomic(mem, name, data); err != nil {
					t.Fatal(err)
				}
			}
			m = openManager(t, mem, "/a")
			l = recoverLog(t, m, cfg)
			if l.StartOffset() != 8 || l.EndOffset() != 10 {
				t.Fatalf("the log spans %d..%d, want 8..10", l.StartOffset(), l.EndOffset())
			}
			if err := l.Lead(2); err != nil {
				t.Fatal(err)
			}
			requireDuplicates(t, l, window)
			if a := appendOne(t, l, batchOf(t, p, 1000, "next")); a.FirstOffset != 10 {
				t.Fatalf("the next batch lies at %d, want 10", a.FirstOffset)
			}
			l.SetHighWatermark(l.EndOffset())
			m.ApplyRetention()
			for name := range files {
				if hasFile(t, mem, name) {
					t.Errorf("%s is still there", name)
				}
			}
		})
	}
}

// A log that is dropped since its first segments are lost has nothing that a flush would make durable. Its files
// must not come back under the mark of a clean shutdown.
func TestRecover_DroppedLogStaysDropped(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	cfg := smallConfig()
	l := createLog(t, m, cfg)
	for range 3 {
		appendOne(t, l, batchOf(t, nil, 1000, string(make([]byte, 1000)))) // rolls
	}
	mem = mem.Crash(vfs.CrashOptions{UnsyncedDataPercent: 100})
	for _, suffix := range []string{".log", ".index", ".timeindex"} {
		if err := mem.Remove("/a/orders-3/00000000000000000000" + suffix); err != nil {
			t.Fatal(err)
		}
	}
	mem = mem.Crash(vfs.CrashOptions{UnsyncedDataPercent: 100})
	m = openManager(t, mem, "/a")
	if l = recoverLog(t, m, cfg); l.EndOffset() != 0 {
		t.Fatalf("the log spans %d..%d, its first segment is lost", l.StartOffset(), l.EndOffset())
	}
	if err := m.CleanShutdown(1); err != nil {
		t.Fatal(err)
	}
	if l = recoverLog(t, openManager(t, mem.Crash(vfs.CrashOptions{}), "/a"), cfg); l.EndOffset() != 0 {
		t.Fatalf("the log spans %d..%d after a clean shutdown, it was empty", l.StartOffset(), l.EndOffset())
	}
}
