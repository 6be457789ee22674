package storage_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/model"
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

// A topic is deleted and created anew under its name, again and again, while appends, reads, searches by time and
// the background of Run go on with whatever log they hold: each sees its own records or an error, and the
// directory stays online.
func TestLog_DeletedAndCreatedAnew(t *testing.T) {
	mem := vfs.NewMem(1)
	m, err := storage.Open(testDeps(mem), storage.ManagerConfig{
		ClusterID: "c", Dirs: []string{"/a"}, MaxOpenFiles: 1, SnapshotBytes: 3000,
		RecoveryPointInterval: time.Millisecond, HighWatermarkInterval: time.Millisecond, RetentionInterval: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := smallConfig()
	cfg.RetentionBytes = 6000
	type incarnation struct {
		*storage.Log
		name string
	}
	var now atomic.Pointer[incarnation]
	create := func(n int) {
		id := testTopicID
		id[0], id[1] = byte(n), byte(n>>8)
		l, err := m.Create(testTP, id, cfg, model.UUID{})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Lead(int32(n)); err != nil {
			t.Fatal(err)
		}
		l.SetHooks(storage.Hooks{Flushed: l.SetHighWatermark})
		now.Store(&incarnation{l, strconv.Itoa(n)})
	}
	create(1)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	expected := func(err error) bool {
		return errors.Is(err, storage.ErrClosed) || errors.Is(err, storage.ErrOffsetOutOfRange) || errors.Is(err, storage.ErrFenced)
	}
	for range 2 {
		all.Go(func() {
			for ctx.Err() == nil {
				l := now.Load()
				b := batchOf(t, nil, 1000, l.name, strings.Repeat("x", 300))
				if _, err := l.AppendAsLeader([]record.Batch{b}, leaderAppend(l.LatestEpoch())); err != nil && !expected(err) {
					t.Errorf("append: %v", err)
					return
				}
				l.Dir().Queue(l.Log)
			}
		})
		all.Go(func() {
			for ctx.Err() == nil {
				l := now.Load()
				if _, _, err := l.OffsetForTimestamp(1000, l.EndOffset()); err != nil && !expected(err) {
					t.Errorf("search by time: %v", err)
					return
				}
				s, err := l.Read((l.StartOffset()+l.EndOffset())/2, 3000, true, l.EndOffset())
				if err != nil {
					if !expected(err) {
						t.Errorf("read: %v", err)
						return
					}
					continue
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
					if r, ok := b.Records(nil).Next(); !ok || string(r.Value) != l.name {
						t.Errorf("incarnation %s read a record of %s", l.name, r.Value)
						return
					}
					buf = rest
				}
			}
		})
	}
	for n := 0; n < 100 && !t.Failed(); n++ {
		for now.Load().EndOffset() < 20 && !t.Failed() {
			runtime.Gosched()
		}
		if err := m.Delete(testTP); err != nil {
			t.Fatal(err)
		}
		create(n + 2)
	}
	cancel()
	all.Wait()
	if err := m.Dirs()[0].Offline; err != nil {
		t.Error(err)
	}
}
