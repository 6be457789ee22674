package storage_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
)

// Appends, reads, retention, checkpoints and the background of Run side by side: every slice is whole
// batches with sound checksums, and the log is sound at the end. Meant for -race.
func TestLog_Concurrent(t *testing.T) {
	mem := vfs.NewMem(1)
	m, err := storage.Open(testDeps(mem), storage.ManagerConfig{
		ClusterID: "c", Dirs: []string{"/a"}, MaxOpenFiles: 2, SnapshotBytes: 3000,
		RecoveryPointInterval: time.Millisecond, HighWatermarkInterval: time.Millisecond, RetentionInterval: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := smallConfig()
	cfg.RetentionBytes = 6000
	l := createLog(t, m, cfg)
	l.SetHooks(storage.Hooks{Flushed: l.SetHighWatermark})
	ctx, cancel := context.WithCancel(t.Context())
	var background, appenders, readers sync.WaitGroup
	background.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for i := range 3 {
		appenders.Go(func() {
			p := &client{id: int64(50 + i)}
			for range 300 {
				if _, err := l.AppendAsLeader([]record.Batch{batchOf(t, p, 1000, "some", "records")}, leaderAppend(1)); err != nil {
					t.Error(err)
					return
				}
				l.Dir().Queue(l)
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				s, err := l.Read((l.StartOffset()+l.EndOffset())/2, 700, true, l.EndOffset())
				if errors.Is(err, storage.ErrOffsetOutOfRange) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				buf := make([]byte, s.Size)
				if _, err := s.CopyTo(buf); err != nil {
					t.Error(err)
				}
				s.Release()
				for len(buf) > 0 {
					b, rest, err := record.ParseBatch(buf)
					if err != nil || !b.CheckCRC() {
						t.Errorf("a slice holds an unsound batch: %v", err)
						return
					}
					buf = rest
				}
			}
		})
	}
	appenders.Wait()
	cancel()
	readers.Wait()
	background.Wait()
	if err := m.CleanShutdown(1); err != nil {
		t.Fatal(err)
	}
	l = recoverLog(t, reopenManager(t, mem), cfg)
	if l.EndOffset() != 3*300*2 {
		t.Fatalf("the log ends at %d, want %d", l.EndOffset(), 3*300*2)
	}
	readAll(t, l, 500)
}

func reopenManager(t *testing.T, fsys vfs.FS) *storage.Manager {
	t.Helper()
	m, err := storage.Open(testDeps(fsys), storage.ManagerConfig{ClusterID: "c", Dirs: []string{"/a"}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
