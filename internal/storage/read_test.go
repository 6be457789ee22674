package storage_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
)

// What a read finds lies at or past the start: where retention takes the segment while its file is opened, the
// offset is out of range.
func TestRead_WhileRetentionTakesTheSegment(t *testing.T) {
	var meanwhile func()
	fsys := vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		if fn := meanwhile; fn != nil && op.Kind == vfs.OpOpen && strings.HasSuffix(op.Name, ".log") {
			meanwhile = nil
			fn()
		}
		return nil
	})
	m, err := storage.Open(testDeps(fsys), storage.ManagerConfig{ClusterID: "c", Dirs: []string{"/a"}, MaxOpenFiles: 1})
	if err != nil {
		t.Fatal(err)
	}
	cfg := smallConfig()
	l := createLog(t, m, cfg)
	for range 2 {
		appendOne(t, l, batchOf(t, nil, 1000, strings.Repeat("x", 1000)))
	}
	l.SetHighWatermark(2)
	meanwhile = func() {
		if err := l.ApplyRetention(wallMs + cfg.RetentionMs + 1); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := l.Read(0, 1000, true, 2); !errors.Is(err, storage.ErrOffsetOutOfRange) || meanwhile != nil {
		t.Errorf("read 0 of a log that begins at %d: %d bytes, %v", l.StartOffset(), s.Size, err)
	}
}

// A log that is deleted makes room for one of its name. A read of the old one that opens its file late finds
// the new one's there.
func TestRead_OfALogThatMadeRoomForAnother(t *testing.T) {
	var meanwhile func()
	mem := vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		if fn := meanwhile; fn != nil && op.Kind == vfs.OpOpen && strings.HasSuffix(op.Name, ".log") {
			meanwhile = nil
			fn()
		}
		return nil
	})
	m, err := storage.Open(testDeps(mem), storage.ManagerConfig{ClusterID: "c", Dirs: []string{"/a"}, MaxOpenFiles: 1})
	if err != nil {
		t.Fatal(err)
	}
	l := createLog(t, m, smallConfig())
	appendOne(t, l, batchOf(t, nil, 1000, "old"))
	other := testTP
	other.Partition++
	evict, err := m.Create(other, testTopicID, smallConfig(), [16]byte{})
	if err != nil {
		t.Fatal(err)
	}
	if err := evict.Lead(1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		appendOne(t, evict, batchOf(t, nil, 1000, "takes the one descriptor"))
	}
	meanwhile = func() {
		if err := m.Delete(testTP); err != nil {
			t.Fatal(err)
		}
		appendOne(t, createLog(t, m, smallConfig()), batchOf(t, nil, 1000, "new"))
	}
	s, err := l.Read(0, 1000, true, 1)
	if !errors.Is(err, storage.ErrClosed) {
		t.Errorf("the deleted log gave %d bytes, %v, want ErrClosed", s.Size, err)
	}
	if meanwhile != nil {
		t.Error("the read opened no file")
	}
	if _, _, err := l.OffsetForTimestamp(0, 1); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("a search by time in the deleted log: %v, want ErrClosed", err)
	}
}

// The checkpoints of a log that is deleted meanwhile are not written into the directory of the one that took
// its name.
func TestCheckpoint_OfALogThatMadeRoomForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var meanwhile func()
		mem := vfs.NewMem(1)
		m := openManager(t, vfs.NewFaulty(mem, func(op vfs.Op) error {
			if fn := meanwhile; fn != nil && op.Kind == vfs.OpCreate && strings.HasSuffix(op.Name, "leader-epoch-checkpoint.tmp") {
				meanwhile = nil
				go fn()
				synctest.Wait() // it is done, or waits until the checkpoint is
			}
			return nil
		}), "/a")
		l := createLog(t, m, smallConfig())
		if err := l.Lead(7); err != nil {
			t.Fatal(err)
		}
		appendOne(t, l, batchOf(t, nil, 1000, "old"))
		flush(t, l)
		made := make(chan struct{})
		meanwhile = func() {
			defer close(made)
			if err := m.Delete(testTP); err != nil {
				t.Error(err)
			}
			appendOne(t, createLog(t, m, smallConfig()), batchOf(t, nil, 1000, "new")) // in epoch 1
		}
		checkpointAll(t, m)
		<-made
		l = recoverLog(t, openManager(t, mem.KillProcess(), "/a"), smallConfig())
		if l.LatestEpoch() != 1 || l.EndOffset() != 1 {
			t.Errorf("the new log ends at %d in leader epoch %d, want 1 and 1", l.EndOffset(), l.LatestEpoch())
		}
	})
}

// A consumer at the tail asks for the newest batch: where it lies is known without a look at the file, after a truncation too,
// and to who begins inside it.
func TestRead_TailKnowsItsPlace(t *testing.T) {
	looks := 0
	fsys := vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		if op.Kind == vfs.OpRead {
			looks++
		}
		return nil
	})
	l := createLog(t, openManager(t, fsys, "/a"), storage.DefaultLogConfig())
	var ends []int64
	for i := range 5 {
		appendOne(t, l, batchOf(t, nil, int64(1000+i), strings.Repeat("a", 10*i), "b", "c"))
		ends = append(ends, l.EndOffset())
	}
	// expect reads at offset and wants the batches from first on, without a look at the file or with any.
	expect := func(offset, first int64, blind bool) {
		t.Helper()
		looks = 0
		s, err := l.Read(offset, 1<<20, true, l.EndOffset())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Release()
		if s.FirstOffset != first || blind != (looks == 0) {
			t.Errorf("a read at %d begins at %d, want %d; it looked into the file %d times", offset, s.FirstOffset, first, looks)
		}
		buf := make([]byte, s.Size)
		if _, err := s.CopyTo(buf); err != nil {
			t.Fatal(err)
		}
		if b, _, err := record.ParseBatch(buf); err != nil || b.BaseOffset() != first || !b.CheckCRC() {
			t.Errorf("a read at %d finds a batch at %d, %v", offset, b.BaseOffset(), err)
		}
	}
	expect(ends[3], ends[3], true)
	expect(ends[3]+1, ends[3], true)
	expect(ends[3]-1, ends[2], false)
	if err := l.Truncate(ends[2]); err != nil {
		t.Fatal(err)
	}
	expect(ends[1], ends[1], true)
}
