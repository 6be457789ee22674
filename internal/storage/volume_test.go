package storage_test

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
)

// logsIn opens a directory with a few logs whose names are durable.
func logsIn(t *testing.T, disk vfs.FS, count int) (*storage.Manager, []*storage.Log) {
	t.Helper()
	config := managerConfig("/a")
	config.VolumeSyncLogs = 3
	m, err := storage.Open(testDeps(disk), config)
	if err != nil {
		t.Fatal(err)
	}
	logs := make([]*storage.Log, count)
	for i := range logs {
		tp := model.TopicPartition{Topic: "orders", Partition: int32(i)}
		if logs[i], err = m.Create(tp, testTopicID, smallConfig(), model.UUID{}); err != nil {
			t.Fatal(err)
		}
		if err := logs[i].Lead(1); err != nil {
			t.Fatal(err)
		}
	}
	appendEach(t, logs)
	round(t, logs)
	return m, logs
}

func appendEach(t *testing.T, logs []*storage.Log) {
	t.Helper()
	for i, l := range logs {
		appendOne(t, l, batchOf(t, nil, 1000, fmt.Sprint("record ", i)))
	}
}

// round flushes logs in one round of the syncer.
func round(t *testing.T, logs []*storage.Log) {
	t.Helper()
	for _, l := range logs {
		l.Dir().Queue(l)
	}
	if err := logs[0].Dir().SyncRound(); err != nil {
		t.Fatal(err)
	}
}

// Many logs are flushed by one sync of their file system, few and those that need more by syncs of their own; in
// either case what counts as flushed outlives a power loss.
func TestDir_SyncsTheFileSystem(t *testing.T) {
	for _, tc := range []struct {
		name     string
		logs     int
		also     func(t *testing.T, mem *vfs.Mem, logs []*storage.Log)
		volume   int // syncs of the file system that are wanted …
		files    int // … and of files
		ownNames int // … and of directories
	}{
		{name: "enough logs", logs: 3, volume: 1},
		{name: "too few logs", logs: 2, files: 2},
		{
			name: "one of them needs a name too", logs: 4, volume: 1, files: 1, ownNames: 1,
			also: func(t *testing.T, _ *vfs.Mem, logs []*storage.Log) {
				if err := logs[0].Truncate(1); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "others write much", logs: 3, files: 3,
			also: func(t *testing.T, mem *vfs.Mem, _ []*storage.Log) {
				f, err := mem.OpenFile("/other", os.O_RDWR|os.O_CREATE, 0o644)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteAt(make([]byte, 33<<20), 0); err != nil {
					t.Fatal(err)
				}
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mem := vfs.NewMem(1)
			disk := vfs.NewFaulty(mem, nil)
			_, logs := logsIn(t, disk, tc.logs)
			appendEach(t, logs)
			if tc.also != nil {
				tc.also(t, mem, logs)
			}
			before := len(disk.Syncs())
			round(t, logs)
			counts := map[vfs.OpKind]int{}
			for _, op := range disk.Syncs()[before:] {
				counts[op.Kind]++
			}
			if counts[vfs.OpSyncVolume] != tc.volume || counts[vfs.OpSync] != tc.files || counts[vfs.OpSyncDir] != tc.ownNames {
				t.Errorf("syncs %v, want %d of the file system, %d of files and %d of directories", counts, tc.volume, tc.files, tc.ownNames)
			}
			for i, l := range logs {
				if l.FlushedOffset() != l.EndOffset() {
					t.Errorf("log %d is flushed up to %d and ends at %d", i, l.FlushedOffset(), l.EndOffset())
				}
			}
			m := openManager(t, mem.Crash(vfs.CrashOptions{}), "/a")
			for i, l := range logs {
				recovered, err := m.Recover(l.TopicPartition(), smallConfig())
				if err != nil {
					t.Fatal(err)
				}
				if recovered.EndOffset() != l.FlushedOffset() {
					t.Errorf("log %d ends at %d after a power loss, was flushed up to %d", i, recovered.EndOffset(), l.FlushedOffset())
				}
			}
		})
	}
}

// A sync of the file system that fails says of no log that it is flushed, and takes the directory offline.
func TestDir_SyncOfTheFileSystemFails(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem(1), vfs.FailNth(vfs.OpSyncVolume, 1, syscall.EIO))
	m, logs := logsIn(t, disk, 3)
	flushed := logs[0].FlushedOffset()
	appendEach(t, logs)
	for _, l := range logs {
		l.Dir().Queue(l)
	}
	if err := logs[0].Dir().SyncRound(); !errors.Is(err, storage.ErrOffline) || !errors.Is(err, syscall.EIO) {
		t.Errorf("the round: %v, want ErrOffline by EIO", err)
	}
	for _, l := range logs {
		if l.FlushedOffset() != flushed {
			t.Errorf("flushed up to %d, was %d", l.FlushedOffset(), flushed)
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
