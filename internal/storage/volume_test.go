package storage_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

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

// What others have left unwritten keeps rounds from syncing the file system once: it is then written out beside them,
// and not again and again where somebody goes on writing.
func TestDir_WritesOutWhatOthersLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem(1)
		gate := make(chan struct{}, 1)
		gate <- struct{}{}
		disk := vfs.NewFaulty(mem, func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				<-gate
				gate <- struct{}{}
			}
			return nil
		})
		m, logs := logsIn(t, disk, 4)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error)
		go func() { stopped <- m.Run(ctx) }()
		other, err := mem.OpenFile("/other", os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		// expect has one round of many logs and counts syncs of the file system, of the round and beside it.
		expect := func(what string, want int) {
			t.Helper()
			before := len(disk.Syncs())
			appendEach(t, logs)
			<-gate // the round of one log waits at the disk while the others are queued
			logs[0].Dir().Queue(logs[0])
			synctest.Wait()
			for _, l := range logs[1:] {
				l.Dir().Queue(l)
			}
			gate <- struct{}{}
			synctest.Wait()
			got := 0
			for _, op := range disk.Syncs()[before:] {
				if op.Kind == vfs.OpSyncVolume {
					got++
				}
			}
			if got != want {
				t.Errorf("%s: %d syncs of the file system, want %d", what, got, want)
			}
			for _, l := range logs {
				if l.FlushedOffset() != l.EndOffset() {
					t.Errorf("%s: flushed up to %d of %d", what, l.FlushedOffset(), l.EndOffset())
				}
			}
		}
		write := func() {
			t.Helper()
			if _, err := other.WriteAt(make([]byte, 33<<20), 0); err != nil {
				t.Fatal(err)
			}
		}
		write()
		expect("others wrote much", 1) // beside the round
		expect("it is written out", 1) // of the round
		write()
		expect("they go on", 0)
		time.Sleep(6 * time.Second) // by the bubble's clock, past the pause between two such syncs
		write()
		expect("they go on later", 1)
		expect("and stop", 1)

		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// A write that was lost is reported once: where that is to the sync beside the rounds, it takes the directory offline.
func TestDir_WriteOutFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem(1)
		m, logs := logsIn(t, vfs.NewFaulty(mem, vfs.FailNth(vfs.OpSyncVolume, 1, syscall.EIO)), 3)
		other, err := mem.OpenFile("/other", os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.WriteAt(make([]byte, 33<<20), 0); err != nil {
			t.Fatal(err)
		}
		appendEach(t, logs)
		round(t, logs)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error)
		go func() { stopped <- m.Run(ctx) }()
		synctest.Wait()
		if err := logs[0].Dir().Err(); !errors.Is(err, storage.ErrOffline) || !errors.Is(err, syscall.EIO) {
			t.Errorf("the directory: %v, want ErrOffline by EIO", err)
		}
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}
