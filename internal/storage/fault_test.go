package storage_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
)

func leaderAppend(epoch int32) storage.LeaderAppend {
	return storage.LeaderAppend{LeaderEpoch: epoch, NowMs: wallMs}
}

// A sync that fails takes its directory offline, and only that; what waited for it is never told that it
// is durable, and no second sync makes it so.
func TestSync_FailureTakesTheDirectoryOffline(t *testing.T) {
	var broken atomic.Bool
	syncs := 0
	fsys := vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && strings.HasPrefix(op.Name, "/a/") && strings.HasSuffix(op.Name, ".log") && broken.Load() {
			syncs++
			return syscall.EIO
		}
		return nil
	})
	m := openManager(t, fsys, "/a", "/b")
	dirs := m.Dirs()
	l, err := m.Create(testTP, testTopicID, smallConfig(), dirs[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	other, err := m.Create(model.TopicPartition{Topic: "other"}, testTopicID, smallConfig(), dirs[1].ID)
	if err != nil {
		t.Fatal(err)
	}
	var flushed []int64
	var offline []error
	l.SetHooks(storage.Hooks{Flushed: func(o int64) { flushed = append(flushed, o) }, Offline: func(err error) { offline = append(offline, err) }})
	for _, l := range []*storage.Log{l, other} {
		if err := l.Lead(1); err != nil {
			t.Fatal(err)
		}
		appendOne(t, l, batchOf(t, nil, 1, "x"))
		flush(t, l)
	}
	broken.Store(true)
	appendOne(t, l, batchOf(t, nil, 1, "y"))
	l.Dir().Queue(l)
	if err := l.Dir().SyncRound(); !errors.Is(err, storage.ErrOffline) {
		t.Fatalf("SyncRound = %v, want ErrOffline", err)
	}
	broken.Store(false)
	l.Dir().Queue(l)
	if err := l.Dir().SyncRound(); !errors.Is(err, storage.ErrOffline) {
		t.Fatalf("a second SyncRound = %v, want ErrOffline", err)
	}
	if l.FlushedOffset() != 1 || len(flushed) != 1 || syncs != 1 {
		t.Errorf("flushed offset %d, told %v, after %d syncs", l.FlushedOffset(), flushed, syncs)
	}
	if len(offline) != 1 || !errors.Is(offline[0], storage.ErrOffline) || !errors.Is(offline[0], syscall.EIO) {
		t.Errorf("the offline hook was told %v", offline)
	}
	if _, err := l.AppendAsLeader([]record.Batch{batchOf(t, nil, 1, "z")}, leaderAppend(1)); !errors.Is(err, storage.ErrOffline) {
		t.Errorf("an append to the offline directory: %v", err)
	}
	if _, err := l.Read(0, 100, true, 1); !errors.Is(err, storage.ErrOffline) {
		t.Errorf("a read from the offline directory: %v", err)
	}
	appendOne(t, other, batchOf(t, nil, 1, "fine"))
	flush(t, other)
	if other.FlushedOffset() != 2 {
		t.Errorf("the other directory flushed up to %d, want 2", other.FlushedOffset())
	}
	if infos := m.Dirs(); infos[0].Offline == nil || infos[1].Offline != nil {
		t.Errorf("directories %+v", infos)
	}
	if placed, err := m.Create(model.TopicPartition{Topic: "new"}, testTopicID, smallConfig(), model.UUID{}); err != nil || placed.Dir() != other.Dir() {
		t.Errorf("a new log went to %v, %v", placed, err)
	}
}

// A full disk refuses appends and nothing else; what it half wrote is cut off, and space that comes back
// is used without a restart.
func TestFullDisk(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	cfg := smallConfig()
	l := createLog(t, m, cfg)
	p := &client{id: 5}
	for range 60 {
		appendOne(t, l, batchOf(t, p, 100, "some bytes to fill it"))
	}
	flush(t, l)
	l.SetHighWatermark(l.EndOffset())
	checkpointAll(t, m)
	usage, err := mem.Usage("/a")
	if err != nil {
		t.Fatal(err)
	}
	mem.SetCapacity(usage.TotalBytes - usage.FreeBytes)
	end, sequence := l.EndOffset(), p.seq
	refused := 0
	for range 400 { // until the last file's last block is full
		b := batchOf(t, p, 100, "does it fit?")
		_, err := l.AppendAsLeader([]record.Batch{b}, leaderAppend(1))
		if err == nil {
			end, sequence = l.EndOffset(), p.seq
			continue
		}
		if !errors.Is(err, storage.ErrNoSpace) || errors.Is(err, storage.ErrOffline) {
			t.Fatalf("an append to a full disk: %v", err)
		}
		p.seq = sequence
		if refused++; refused > 3 {
			break
		}
	}
	if refused == 0 || l.EndOffset() != end {
		t.Fatalf("%d appends were refused, the log ends at %d, want %d", refused, l.EndOffset(), end)
	}
	if got := readAll(t, l, 500); got[len(got)-1].LastOffset() != end-1 {
		t.Fatalf("reads end at %d, want %d", got[len(got)-1].LastOffset(), end-1)
	}
	l.SetHighWatermark(end)
	cfg.RetentionBytes = 2000
	l.SetConfig(cfg)
	m.ApplyRetention()
	if l.StartOffset() == 0 {
		t.Fatal("retention deleted nothing on a full disk")
	}
	m.RemoveDue(farFuture)
	a := appendOne(t, l, batchOf(t, p, 100, "there is space again"))
	if a.FirstOffset != end {
		t.Fatalf("the first append after that got offset %d, want %d", a.FirstOffset, end)
	}
	flush(t, l)
	l = recoverLog(t, openManager(t, mem.Crash(vfs.CrashOptions{}), "/a"), cfg)
	if l.EndOffset() != end+1 {
		t.Fatalf("after a power loss the log ends at %d, want %d", l.EndOffset(), end+1)
	}
	readAll(t, l, 500)
}

// On a disk without a free block retention makes room all the same, although no recovery point tells its
// deletes from losses: it takes the space of the reserve, which is set aside again when there is room.
func TestFullDisk_RetentionHasItsReserve(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	cfg := smallConfig()
	l := createLog(t, m, cfg)
	for round := range 3 {
		for range 60 {
			appendOne(t, l, batchOf(t, nil, 100, "some bytes to fill it"))
		}
		flush(t, l)
		l.SetHighWatermark(l.EndOffset())
		usage, err := mem.Usage("/a")
		if err != nil {
			t.Fatal(err)
		}
		mem.SetCapacity(usage.TotalBytes - usage.FreeBytes)
		end := l.EndOffset()
		if err := l.DeleteRecords(end); err != nil {
			t.Fatal(err)
		}
		m.ApplyRetention()
		if size := l.Size(); size != 0 {
			t.Fatalf("round %d: %d bytes are left of a log whose records are deleted", round, size)
		}
		m.RemoveDue(farFuture)
		if a := appendOne(t, l, batchOf(t, nil, 100, "there is space again")); a.FirstOffset != end {
			t.Fatalf("round %d: the first append after that got offset %d, want %d", round, a.FirstOffset, end)
		}
		mem.SetCapacity(1 << 40)
	}
	flush(t, l)
	l = recoverLog(t, openManager(t, mem.Crash(vfs.CrashOptions{}), "/a"), cfg)
	if l.StartOffset() == 0 {
		t.Error("after a power loss the log starts at 0")
	}
	readAll(t, l, 500)
}

// On a disk without a free block records can be deleted all the same. Where not even the reserve is there the
// answer is an error, also when it is asked for again, until the start is durable.
func TestFullDisk_DeleteRecords(t *testing.T) {
	for _, reserve := range []bool{true, false} {
		t.Run(fmt.Sprintf("reserve %v", reserve), func(t *testing.T) {
			mem := vfs.NewMem(1)
			m := openManager(t, vfs.NewFaulty(mem, func(op vfs.Op) error {
				if op.Kind == vfs.OpPreallocate && !reserve {
					return syscall.ENOSPC
				}
				return nil
			}), "/a")
			cfg := smallConfig()
			l := createLog(t, m, cfg)
			for range 6 {
				appendOne(t, l, batchOf(t, nil, 100, "some bytes to fill it"))
			}
			flush(t, l)
			l.SetHighWatermark(l.EndOffset())
			usage, err := mem.Usage("/a")
			if err != nil {
				t.Fatal(err)
			}
			mem.SetCapacity(usage.TotalBytes - usage.FreeBytes)
			stored := func() int64 {
				return recoverLog(t, openManager(t, mem.CrashClone(vfs.CrashOptions{}), "/a"), cfg).StartOffset()
			}
			for want := int64(2); want <= 4; want++ {
				for range 2 {
					err := l.DeleteRecords(want)
					if reserve && (err != nil || stored() != want) {
						t.Fatalf("before %d: %v; after a power loss the log begins at %d", want, err, stored())
					}
					if reserve && !hasFile(t, mem, "/a/.walser_reserve") {
						t.Fatal("the reserve is not set aside again")
					}
					if !reserve && (!errors.Is(err, storage.ErrNoSpace) || errors.Is(err, storage.ErrOffline)) {
						t.Fatalf("before %d: %v, want ErrNoSpace", want, err)
					}
				}
			}
			mem.SetCapacity(1 << 40)
			if err := l.DeleteRecords(4); err != nil || stored() != 4 {
				t.Errorf("with space again: %v; after a power loss the log begins at %d", err, stored())
			}
			if err := l.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A write that fails, and a cut that fails after it, are a disk that fails: the whole directory goes.
func TestAppend_FailedWriteThatCannotBeCutBack(t *testing.T) {
	var broken atomic.Bool
	fsys := vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		if broken.Load() && strings.HasSuffix(op.Name, ".log") {
			return syscall.EIO
		}
		return nil
	})
	m := openManager(t, fsys, "/a")
	l := createLog(t, m, smallConfig())
	appendOne(t, l, batchOf(t, nil, 1, "x"))
	broken.Store(true)
	if _, err := l.AppendAsLeader([]record.Batch{batchOf(t, nil, 1, "y")}, leaderAppend(1)); !errors.Is(err, storage.ErrOffline) {
		t.Fatalf("the append: %v, want ErrOffline", err)
	}
	if err := l.Dir().Err(); !errors.Is(err, storage.ErrOffline) {
		t.Fatalf("the directory: %v, want ErrOffline", err)
	}
}

// A write that falls short and cannot be cut back leaves a file of unknown content: that log goes offline.
func TestAppend_ShortWriteThatCannotBeCutBack(t *testing.T) {
	var broken atomic.Bool
	fsys := vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		switch {
		case !broken.Load() || !strings.HasSuffix(op.Name, ".log"):
			return nil
		case op.Kind == vfs.OpWrite:
			return syscall.ENOSPC
		case op.Kind == vfs.OpTruncate:
			return syscall.EIO
		}
		return nil
	})
	m := openManager(t, fsys, "/a")
	l := createLog(t, m, smallConfig())
	appendOne(t, l, batchOf(t, nil, 1, "x"))
	broken.Store(true)
	if _, err := l.AppendAsLeader([]record.Batch{batchOf(t, nil, 1, "y")}, leaderAppend(1)); !errors.Is(err, storage.ErrOffline) {
		t.Fatalf("the append: %v, want ErrOffline", err)
	}
	broken.Store(false)
	if _, err := l.AppendAsLeader([]record.Batch{batchOf(t, nil, 1, "y")}, leaderAppend(1)); !errors.Is(err, storage.ErrOffline) {
		t.Fatalf("the next append: %v, want ErrOffline", err)
	}
	if l.Dir().Err() != nil {
		t.Fatalf("the directory went offline too: %v", l.Dir().Err())
	}
}

// A produce on its way while its topic is deleted fails alone.
func TestDelete_AppendsAndReadsOnTheirWay(t *testing.T) {
	m := openManager(t, vfs.NewMem(1), "/a")
	l := createLog(t, m, smallConfig())
	appendOne(t, l, batchOf(t, nil, 1000, "x"))
	if err := m.Delete(testTP); err != nil {
		t.Fatal(err)
	}
	if _, err := l.AppendAsLeader([]record.Batch{batchOf(t, nil, 1, "y")}, leaderAppend(1)); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("an append: %v, want ErrClosed", err)
	}
	if _, err := l.Read(0, 100, true, 1); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("a read: %v, want ErrClosed", err)
	}
	if err := l.Dir().Err(); err != nil {
		t.Errorf("the directory: %v", err)
	}
}

// The last sync of a directory may fail like any other: nothing is marked clean then.
func TestCleanShutdown_SyncFails(t *testing.T) {
	var broken atomic.Bool
	mem := vfs.NewMem(1)
	m := openManager(t, vfs.NewFaulty(mem, func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && strings.HasSuffix(op.Name, ".log") && broken.Load() {
			return syscall.EIO
		}
		return nil
	}), "/a")
	appendOne(t, createLog(t, m, smallConfig()), batchOf(t, nil, 1, "x"))
	broken.Store(true)
	if err := m.CleanShutdown(1); !errors.Is(err, syscall.EIO) {
		t.Errorf("CleanShutdown = %v", err)
	}
	if hasFile(t, mem, "/a/.kafka_cleanshutdown") {
		t.Error("it is marked clean, but its records were never synced")
	}
}

// A node may be started on a disk that is full, and reads and retention work there; appends do once there is
// space.
func TestFullDisk_AtAStart(t *testing.T) {
	for _, tc := range []struct {
		name  string
		crash func(*vfs.Mem) *vfs.Mem
	}{
		{"process killed", (*vfs.Mem).KillProcess},
		{"power lost", func(m *vfs.Mem) *vfs.Mem { return m.Crash(vfs.CrashOptions{UnsyncedDataPercent: 100}) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mem := vfs.NewMem(1)
			m := openManager(t, mem, "/a")
			cfg := smallConfig()
			l := createLog(t, m, cfg)
			for range 6 {
				appendOne(t, l, batchOf(t, nil, 1000, strings.Repeat("x", 400)))
			}
			mem = tc.crash(mem)
			usage, err := mem.Usage("/a")
			if err != nil {
				t.Fatal(err)
			}
			mem.SetCapacity(usage.TotalBytes - usage.FreeBytes)
			m = openManager(t, mem, "/a")
			l = recoverLog(t, m, cfg)
			if got := readAll(t, l, 500); len(got) != 6 {
				t.Errorf("%d batches can be read", len(got))
			}
			if err := l.Lead(2); err != nil {
				t.Fatal(err)
			}
			_, err = l.AppendAsLeader([]record.Batch{batchOf(t, nil, 1000, strings.Repeat("x", 1400))}, leaderAppend(2))
			if !errors.Is(err, storage.ErrNoSpace) {
				t.Errorf("an append to a full disk: %v", err)
			}
			flush(t, l)
			l.SetHighWatermark(6)
			cfg.RetentionBytes = 1000
			l.SetConfig(cfg)
			_ = m.CheckpointAll() // retention past the stored recovery point waits for it
			m.ApplyRetention()
			mem.SetCapacity(1 << 30)
			m.ApplyRetention()
			if l.StartOffset() == 0 {
				t.Error("retention took nothing once there is space")
			}
			if a := appendOne(t, l, batchOf(t, nil, 1000, strings.Repeat("x", 1400))); a.FirstOffset != 6 {
				t.Errorf("the first append once there is space got offset %d, want 6", a.FirstOffset)
			}
			flush(t, l)
			l = recoverLog(t, openManager(t, mem.Crash(vfs.CrashOptions{}), "/a"), cfg)
			if l.EndOffset() != 7 {
				t.Errorf("the log ends at %d, want 7", l.EndOffset())
			}
		})
	}
}

// A disk may be too full to create a file. What is synced after a roll was created by it, where that is an
// append that is refused: the syncer creates none, as an error there is the directory's end.
func TestFullDisk_FlushAfterARoll(t *testing.T) {
	var full atomic.Bool
	mem := vfs.NewMem(1)
	m := openManager(t, vfs.NewFaulty(mem, func(op vfs.Op) error {
		if full.Load() && op.Kind == vfs.OpCreate && !hasFile(t, mem, op.Name) {
			return syscall.ENOSPC
		}
		return nil
	}), "/a")
	cfg := smallConfig()
	cfg.IndexIntervalBytes = 4096 // no entry in a segment of these
	l := createLog(t, m, cfg)
	for range 3 {
		appendOne(t, l, batchOf(t, nil, -1, strings.Repeat("x", 900)))
	}
	full.Store(true)
	flush(t, l)
	if l.FlushedOffset() != 3 {
		t.Errorf("flushed up to %d", l.FlushedOffset())
	}
	if _, err := l.AppendAsLeader([]record.Batch{batchOf(t, nil, 1000, strings.Repeat("x", 900))}, leaderAppend(1)); !errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("an append that has to roll: %v, want ErrNoSpace", err)
	}
	full.Store(false)
	appendOne(t, l, batchOf(t, nil, 1000, strings.Repeat("x", 900)))
	flush(t, l)
}
