package storage_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
)

// fetched is what a leader would send: batches at the given offsets, in the given epochs.
func fetched(t testing.TB, at ...[2]int64) []byte {
	t.Helper()
	var all []byte
	for _, x := range at {
		b := batchOf(t, nil, 1000, "a", "b")
		b.SetBaseOffset(x[0])
		b.SetPartitionLeaderEpoch(int32(x[1]))
		all = append(all, b...)
	}
	return all
}

func TestAppendAsFollower(t *testing.T) {
	corrupt := fetched(t, [2]int64{0, 3}, [2]int64{2, 3})
	corrupt[len(corrupt)-1] ^= 1
	whole := fetched(t, [2]int64{0, 3}, [2]int64{2, 3})
	for _, tc := range []struct {
		name string
		data []byte
		end  int64
		err  error
	}{
		{"two batches", whole, 4, nil},
		{"the last one cut off", whole[:len(whole)-3], 2, nil},
		{"nothing whole", whole[:70], 0, nil},
		{"a checksum that does not match", corrupt, 0, storage.ErrCorruptBatch},
		{"a gap, as compaction leaves", fetched(t, [2]int64{0, 3}, [2]int64{9, 3}), 11, nil},
		{"offsets that go back", fetched(t, [2]int64{5, 3}, [2]int64{0, 3}), 0, storage.ErrCorruptBatch},
		{"epochs that go back", fetched(t, [2]int64{0, 3}, [2]int64{2, 2}), 0, storage.ErrCorruptBatch},
		{"a newer epoch is left for its own fetch", fetched(t, [2]int64{0, 3}, [2]int64{2, 4}), 2, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := createLog(t, openManager(t, vfs.NewMem(1), "/a"), smallConfig())
			if err := l.Truncate(0); err != nil {
				t.Fatal(err)
			}
			if err := l.Follow(3); err != nil {
				t.Fatal(err)
			}
			a, err := l.AppendAsFollower(tc.data, 3)
			if !errors.Is(err, tc.err) || l.EndOffset() != tc.end || err == nil && a.EndOffset != tc.end {
				t.Fatalf("AppendAsFollower = %+v, %v; the log ends at %d, want %d", a, err, l.EndOffset(), tc.end)
			}
		})
	}
}

func TestFence(t *testing.T) {
	l := createLog(t, openManager(t, vfs.NewMem(1), "/a"), smallConfig())
	if _, err := l.AppendAsLeader([]record.Batch{batchOf(t, nil, 1, "x")}, leaderAppend(0)); !errors.Is(err, storage.ErrFenced) {
		t.Fatalf("an append of an older epoch: %v", err)
	}
	if _, err := l.AppendAsLeader([]record.Batch{batchOf(t, nil, 1, "x")}, leaderAppend(2)); !errors.Is(err, storage.ErrFenced) {
		t.Fatalf("an append of a newer epoch: %v", err)
	}
	if _, err := l.AppendAsFollower(fetched(t, [2]int64{0, 1}), 1); !errors.Is(err, storage.ErrFenced) {
		t.Fatalf("a follower's append to a leader: %v", err)
	}
	if err := l.Follow(2); err != nil {
		t.Fatal(err)
	}
	if _, err := l.AppendAsLeader([]record.Batch{batchOf(t, nil, 1, "x")}, leaderAppend(2)); !errors.Is(err, storage.ErrFenced) {
		t.Fatalf("a leader's append to a follower: %v", err)
	}
	if err := l.Lead(1); !errors.Is(err, storage.ErrFenced) {
		t.Fatalf("leading an older epoch: %v", err)
	}
	if l.EndOffset() != 0 {
		t.Fatalf("the log ends at %d", l.EndOffset())
	}
}

func TestEpochEndOffset(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	l := createLog(t, m, smallConfig())
	appendOne(t, l, batchOf(t, nil, 1, "a", "b"))
	if err := l.Lead(4); err != nil {
		t.Fatal(err)
	}
	appendOne(t, l, batchOf(t, nil, 1, "c"))
	check := func(l *storage.Log) {
		t.Helper()
		for _, tc := range []struct {
			asked, epoch int32
			end          int64
		}{{1, 1, 2}, {2, 1, 2}, {3, 1, 2}, {4, 4, 3}, {5, -1, -1}, {-1, -1, -1}} {
			if epoch, end := l.EpochEndOffset(tc.asked); epoch != tc.epoch || end != tc.end {
				t.Errorf("EpochEndOffset(%d) = %d, %d; want %d, %d", tc.asked, epoch, end, tc.epoch, tc.end)
			}
		}
	}
	check(l)
	// From the batches alone: the file was never written.
	check(recoverLog(t, openManager(t, mem.KillProcess(), "/a"), smallConfig()))
}

// What a reader was given is never overwritten: after a truncation it comes up short, and new records go
// elsewhere (KAFKA-18723).
func TestTruncate_DoesNotChangeBytesUnderAReader(t *testing.T) {
	for _, fsys := range []vfs.FS{vfs.NewMem(1), vfs.OS()} {
		for _, to := range []int64{0, 4} {
			l := createLog(t, openManager(t, fsys, t.TempDir()), smallConfig())
			for range 5 {
				appendOne(t, l, batchOf(t, nil, 1, "old", "old"))
			}
			s, err := l.Read(4, 1<<20, true, 10)
			if err != nil {
				t.Fatal(err)
			}
			before := make([]byte, s.Size)
			if _, err := s.CopyTo(before); err != nil {
				t.Fatal(err)
			}
			if err := l.Truncate(to); err != nil {
				t.Fatal(err)
			}
			if err := l.Lead(2); err != nil {
				t.Fatal(err)
			}
			for range 8 {
				appendOne(t, l, batchOf(t, nil, 1, "new", "new"))
			}
			after := make([]byte, s.Size)
			n, _ := s.CopyTo(after)
			if !bytes.Equal(after[:n], before[:n]) {
				t.Fatalf("truncated to %d: a slice of %d bytes changed under its reader", to, s.Size)
			}
			s.Release()
			if got := readAll(t, l, 100); got[len(got)-1].LastOffset() != to+15 {
				t.Fatalf("the log reads up to %d, want %d", got[len(got)-1].LastOffset(), to+15)
			}
		}
	}
}

func TestOffsetForTimestamp(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	l := createLog(t, m, smallConfig())
	type at struct{ ts, offset int64 }
	var all []at
	for i := range int64(120) {
		ts := 1000 + i*10 - (i%7)*25 // not monotone
		b := batchOf(t, nil, ts, "x", "y", "z")
		appendOne(t, l, b)
		for j := range int64(3) {
			all = append(all, at{ts + j, b.BaseOffset() + j})
		}
	}
	l.SetHighWatermark(l.EndOffset())
	check := func(l *storage.Log) {
		t.Helper()
		for ts := int64(800); ts < 2300; ts += 7 {
			want := int64(-1)
			if i := slices.IndexFunc(all, func(x at) bool { return x.ts >= ts && x.offset >= l.StartOffset() }); i >= 0 && all[i].offset < 300 {
				want = all[i].offset
			}
			found, ok, err := l.OffsetForTimestamp(ts, 300)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				found.Offset = -1
			}
			if found.Offset != want {
				t.Fatalf("OffsetForTimestamp(%d) = %d, want %d", ts, found.Offset, want)
			}
		}
		largest := slices.MaxFunc(all, func(a, b at) int { return int(a.ts - b.ts) })
		if found, ok, err := l.OffsetOfMaxTimestamp(); err != nil || !ok || found.Timestamp != largest.ts || found.Offset != largest.offset {
			t.Fatalf("OffsetOfMaxTimestamp = %+v, %v, %v; want %+v", found, ok, err, largest)
		}
	}
	check(l)
	if err := l.DeleteRecords(50); err != nil {
		t.Fatal(err)
	}
	check(l)
	l = recoverLog(t, openManager(t, mem.KillProcess(), "/a"), smallConfig())
	check(l)
}

func TestTransactions_StableOffsetAndAbortedIndex(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/a")
	l := createLog(t, m, smallConfig())
	a, b := &client{id: 11}, &client{id: 12}
	appendOne(t, l, batchOf(t, nil, 1, "plain"))   // 0
	appendOne(t, l, transactionalBatch(t, a, "a")) // 1
	appendOne(t, l, transactionalBatch(t, b, "b")) // 2
	l.SetHighWatermark(3)
	if l.LastStableOffset() != 1 {
		t.Fatalf("last stable offset %d with two transactions open, want 1", l.LastStableOffset())
	}
	appendMarker(t, l, a, record.ControlAbort) // 3
	if l.LastStableOffset() != 1 {
		t.Fatalf("last stable offset %d before the marker is replicated, want 1", l.LastStableOffset())
	}
	l.SetHighWatermark(4)
	if l.LastStableOffset() != 2 {
		t.Fatalf("last stable offset %d, want 2", l.LastStableOffset())
	}
	appendMarker(t, l, b, record.ControlCommit) // 4
	l.SetHighWatermark(5)
	if l.LastStableOffset() != 5 {
		t.Fatalf("last stable offset %d, want 5", l.LastStableOffset())
	}
	want := []storage.AbortedTxn{{ProducerID: 11, FirstOffset: 1, LastOffset: 3, LastStableOffset: 2}}
	check := func(l *storage.Log) {
		t.Helper()
		if got := l.AbortedTransactions(0, 5); !slices.Equal(got, want) {
			t.Errorf("aborted %+v, want %+v", got, want)
		}
		if got := l.AbortedTransactions(4, 5); len(got) != 0 {
			t.Errorf("aborted past the marker: %+v", got)
		}
		if got := l.AbortedTransactions(0, 1); len(got) != 0 {
			t.Errorf("aborted before the transaction: %+v", got)
		}
	}
	check(l)
	flush(t, l)
	checkpointAll(t, m)
	// With the recovery point past the marker the index must be durable; without it, the replay finds it.
	check(recoverLog(t, openManager(t, mem.CrashClone(vfs.CrashOptions{}), "/a"), smallConfig()))
	mem = mem.KillProcess()
	check(recoverLog(t, openManager(t, mem, "/a"), smallConfig()))
}
