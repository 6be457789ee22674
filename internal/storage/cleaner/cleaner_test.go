package cleaner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/storage/cleaner"
	"github.com/walser-io/walser/internal/vfs"
)

// fill appends one batch per key so that a segment is sealed after them, and settles.
func fill(t testing.TB, n *node, l *storage.Log, entries ...entry) {
	t.Helper()
	for _, e := range entries {
		put(t, l, nil, record.None, []entry{e})
	}
	pad(t, n, l)
}

// pad seals the active segment: a record too large to share it.
func pad(t testing.TB, n *node, l *storage.Log) {
	t.Helper()
	put(t, l, nil, record.None, []entry{{ts: n.nowMs, key: "pad", value: strings.Repeat("p", 1200)}})
	put(t, l, nil, record.None, []entry{{ts: n.nowMs, key: "pad", value: strings.Repeat("p", 1200)}})
	n.settle(t, l)
}

func keysOf(entries []entry) string {
	var keys []string
	for _, e := range entries {
		if e.key == "pad" {
			continue
		}
		if e.deleted {
			e.key = "-" + e.key
		}
		keys = append(keys, fmt.Sprint(e.key, "@", e.offset))
	}
	return strings.Join(keys, " ")
}

// A tombstone outlives what it deletes by delete.retention.ms, counted from the round that removed that.
func TestCleaner_TombstoneStaysForDeleteRetention(t *testing.T) {
	n := open(t, vfs.NewMem(1), 1000, cleaner.Config{})
	cfg := compacted()
	cfg.DeleteRetentionMs = 500
	l := n.log(t, tp, cfg)
	fill(t, n, l, entry{key: "a", value: "1"}, entry{key: "b", value: "1"}, entry{key: "a", deleted: true})
	step := func(atMs int64, want string) {
		t.Helper()
		n.nowMs = atMs
		pad(t, n, l) // something dirty
		n.cleanAll(t)
		if got := keysOf(readEntries(t, l, 1<<20)); got != want {
			t.Fatalf("at %d the log holds %s, want %s", atMs, got, want)
		}
	}
	step(2000, "b@1 -a@2")
	step(2499, "b@1 -a@2")
	horizon := false
	readBatches(t, l, 0, 1<<20, func(b record.Batch) {
		if ms, ok := b.DeleteHorizon(); ok {
			horizon = horizon || ms == 2500
		}
	})
	if !horizon {
		t.Fatal("no batch carries the delete horizon 2500")
	}
	step(2500, "b@1")
}

func TestCleaner_LeavesYoungRecordsAlone(t *testing.T) {
	n := open(t, vfs.NewMem(1), 10_000, cleaner.Config{})
	cfg := compacted()
	cfg.MinCompactionLagMs = 5000
	l := n.log(t, tp, cfg)
	fill(t, n, l, entry{ts: 9000, key: "a", value: "1"}, entry{ts: 9000, key: "a", value: "2"})
	if n.c.CleanOne(t.Context()) {
		t.Fatal("compacted records of one second with min.compaction.lag.ms 5000")
	}
	n.nowMs = 15_001
	if n.cleanAll(t); keysOf(readEntries(t, l, 1<<20)) != "a@1" {
		t.Fatalf("six seconds later the log holds %s", keysOf(readEntries(t, l, 1<<20)))
	}
}

func TestCleaner_MaxLagOverridesTheRatio(t *testing.T) {
	n := open(t, vfs.NewMem(1), 10_000, cleaner.Config{})
	cfg := compacted()
	cfg.MinCleanableDirtyRatio, cfg.MaxCompactionLagMs = 1, 5000
	l := n.log(t, tp, cfg)
	fill(t, n, l, entry{ts: 9000, key: "a", value: "1"}, entry{ts: 9000, key: "a", value: "2"})
	if n.c.CleanOne(t.Context()) {
		t.Fatal("compacted below the ratio")
	}
	n.nowMs = 14_001
	if n.cleanAll(t); keysOf(readEntries(t, l, 1<<20)) != "a@1" {
		t.Fatalf("past max.compaction.lag.ms the log holds %s", keysOf(readEntries(t, l, 1<<20)))
	}
}

// The offset map holds far fewer keys than there are: it takes several rounds, each in bounds.
func TestCleaner_BoundedMemoryTakesSeveralRounds(t *testing.T) {
	n := open(t, vfs.NewMem(1), 1000, cleaner.Config{DedupeBufferBytes: 24 * 100})
	cfg := compacted()
	cfg.SegmentBytes = 20_000
	l := n.log(t, tp, cfg)
	for i := range 2000 {
		put(t, l, nil, record.None, []entry{{key: fmt.Sprint("k", i%1000), value: fmt.Sprint(i)}})
	}
	n.settle(t, l)
	if rounds := n.cleanAll(t); rounds < 1900/100 {
		t.Fatalf("%d rounds for 2000 records with room for 80 keys", rounds)
	}
	got := readEntries(t, l, 1<<20)
	values := map[string]string{}
	for _, e := range got {
		values[e.key] = e.value
	}
	for i := range 1000 {
		if key := fmt.Sprint("k", i); values[key] != fmt.Sprint(1000+i) {
			t.Fatalf("%s is %q", key, values[key])
		}
	}
	if most := 1000 + int(l.EndOffset()-l.CleanedOffset()); len(got) > most {
		t.Fatalf("%d records are left, want at most %d", len(got), most)
	}
}

// With delete,compact retention takes whole segments, those too that compaction left empty.
func TestCleaner_DeleteAndCompact(t *testing.T) {
	n := open(t, vfs.NewMem(1), 10_000, cleaner.Config{})
	cfg := compacted()
	cfg.Delete, cfg.RetentionMs = true, 1000
	l := n.log(t, tp, cfg)
	pad(t, n, l) // a segment of which compaction leaves nothing
	fill(t, n, l, entry{ts: 9500, key: "a", value: "1"}, entry{ts: 9500, key: "a", value: "2"})
	n.cleanAll(t)
	n.m.ApplyRetention()
	if got := keysOf(readEntries(t, l, 1<<20)); got != "a@3" {
		t.Fatalf("the log holds %s", got)
	}
	n.nowMs = 11_001
	n.m.ApplyRetention()
	if got := keysOf(readEntries(t, l, 1<<20)); got != "" || l.StartOffset() < 4 {
		t.Fatalf("past retention the log holds %q and starts at %d", got, l.StartOffset())
	}
	pad(t, n, l)
	n.cleanAll(t)
}

// A damaged batch sets its log aside, with the reason; other logs go on.
func TestCleaner_DamagedLogIsSetAside(t *testing.T) {
	for name, at := range map[string]int64{"record": 65, "base offset of the second batch": 70} {
		t.Run(name, func(t *testing.T) { damaged(t, at) })
	}
}

func damaged(t *testing.T, at int64) {
	mem := vfs.NewMem(1)
	n := open(t, mem, 1000, cleaner.Config{})
	bad, good := n.log(t, tp, compacted()), n.log(t, model.TopicPartition{Topic: "good"}, compacted())
	for _, l := range []*storage.Log{bad, good} {
		fill(t, n, l, entry{key: "a", value: "1"}, entry{key: "a", value: "2"})
	}
	f, err := mem.OpenFile("/a/table-0/00000000000000000000.log", 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{'!'}, at); err != nil {
		t.Fatal(err)
	}
	before, err := bad.Read(0, 1<<20, true, bad.EndOffset())
	if err != nil {
		t.Fatal(err)
	}
	for n.c.CleanOne(t.Context()) {
	}
	aside := n.c.Uncleanable()
	if len(aside) != 1 || !errors.Is(aside[tp], storage.ErrCorruptSegment) {
		t.Fatalf("set aside: %v", aside)
	}
	if got := keysOf(readEntries(t, good, 1<<20)); got != "a@1" {
		t.Fatalf("the other log holds %s", got)
	}
	// Nothing was replaced, nothing is left behind.
	after, err := bad.Read(0, 1<<20, true, bad.EndOffset())
	if err != nil || after.Size != before.Size || bad.CleanedOffset() != 0 {
		t.Fatalf("the damaged log reads %d bytes, had %d: %v", after.Size, before.Size, err)
	}
	before.Release()
	after.Release()
	for _, name := range files(t, mem) {
		if strings.Contains(name, ".cleaned") {
			t.Fatalf("%s is left", name)
		}
	}
}

// A panic in the middle of a round is one log's.
func TestCleaner_PanicIsCaught(t *testing.T) {
	mem := vfs.NewMem(1)
	boom := false
	n := open(t, vfs.NewFaulty(mem, func(op vfs.Op) error {
		if boom && op.Kind == vfs.OpWrite && strings.Contains(op.Name, "table-0") && strings.HasSuffix(op.Name, ".cleaned") {
			panic("boom")
		}
		return nil
	}), 1000, cleaner.Config{})
	bad, good := n.log(t, tp, compacted()), n.log(t, model.TopicPartition{Topic: "good"}, compacted())
	for _, l := range []*storage.Log{bad, good} {
		fill(t, n, l, entry{key: "a", value: "1"}, entry{key: "a", value: "2"})
	}
	boom = true
	for n.c.CleanOne(t.Context()) {
	}
	if aside := n.c.Uncleanable(); len(aside) != 1 || !strings.Contains(fmt.Sprint(aside[tp]), "boom") {
		t.Fatalf("set aside: %v", aside)
	}
	if keysOf(readEntries(t, good, 1<<20)) != "a@1" || keysOf(readEntries(t, bad, 1<<20)) != "a@0 a@1" {
		t.Fatal("the logs read otherwise")
	}
	boom = false
	pad(t, n, bad) // the log itself goes on
}

// A full disk puts a round off; nothing is lost, and the log is not given up.
func TestCleaner_FullDiskPutsOff(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpWrite, vfs.OpCreate, vfs.OpSync} {
		t.Run(kind.String(), func(t *testing.T) {
			full := false
			n := open(t, vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
				if full && op.Kind == kind && strings.HasSuffix(op.Name, ".cleaned") {
					return syscall.ENOSPC
				}
				return nil
			}), 1000, cleaner.Config{Backoff: time.Nanosecond})
			l := n.log(t, tp, compacted())
			fill(t, n, l, entry{key: "a", value: "1"}, entry{key: "a", value: "2"})
			full = true
			if !n.c.CleanOne(t.Context()) {
				t.Fatal("no round")
			}
			if err := l.Err(); err != nil || len(n.c.Uncleanable()) > 0 {
				t.Fatalf("after a round on a full disk: %v, set aside %v", err, n.c.Uncleanable())
			}
			if got := keysOf(readEntries(t, l, 1<<20)); got != "a@0 a@1" {
				t.Fatalf("the log holds %s", got)
			}
			full = false
			if n.cleanAll(t); keysOf(readEntries(t, l, 1<<20)) != "a@1" {
				t.Fatalf("with space again the log holds %s", keysOf(readEntries(t, l, 1<<20)))
			}
		})
	}
}

// Above the stored recovery point recovery takes a gap for lost records: nothing is compacted there.
func TestCleaner_WaitsForTheRecoveryPoint(t *testing.T) {
	n := open(t, vfs.NewMem(1), 1000, cleaner.Config{})
	l := n.log(t, tp, compacted())
	for _, size := range []int{1, 1200, 1200} {
		put(t, l, nil, record.None, []entry{{key: "a", value: strings.Repeat("v", size)}})
	}
	l.SetHighWatermark(l.EndOffset())
	l.Dir().Queue(l)
	if err := l.Dir().SyncRound(); err != nil {
		t.Fatal(err)
	}
	if n.c.CleanOne(t.Context()) {
		t.Fatal("compacted what is flushed, but not below the stored recovery point")
	}
	if n.settle(t, l); !n.c.CleanOne(t.Context()) {
		t.Fatal("not compacted below the recovery point")
	}
}

// A round that runs beside a truncation replaces nothing.
func TestRewrite_RefusesWhatWasTruncated(t *testing.T) {
	n := open(t, vfs.NewMem(1), 1000, cleaner.Config{})
	l := n.log(t, tp, compacted())
	fill(t, n, l, entry{key: "a", value: "1"}, entry{key: "a", value: "2"})
	look, err := l.Compaction()
	if err != nil {
		t.Fatal(err)
	}
	w, err := look.Rewrite(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Truncate(1); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); !errors.Is(err, storage.ErrSegmentsChanged) {
		t.Fatalf("commit: %v", err)
	}
	if got := keysOf(readEntries(t, l, 1<<20)); got != "a@0" {
		t.Fatalf("the log holds %s", got)
	}
}

// A truncation below the cleaned offset takes it back, also for the next start.
func TestCleaner_TruncationLowersTheCleanedOffset(t *testing.T) {
	mem := vfs.NewMem(1)
	n := open(t, mem, 1000, cleaner.Config{})
	l := n.log(t, tp, compacted())
	fill(t, n, l, entry{key: "a", value: "1"}, entry{key: "a", value: "2"}, entry{key: "b", value: "1"})
	n.cleanAll(t)
	if l.CleanedOffset() < 3 {
		t.Fatalf("compacted up to %d", l.CleanedOffset())
	}
	if err := l.Truncate(2); err != nil {
		t.Fatal(err)
	}
	put(t, l, nil, record.None, []entry{{key: "c", value: "1"}, {key: "d", value: "2"}, {key: "e", value: "2"}})
	again := open(t, mem.KillProcess(), 1000, cleaner.Config{}).log(t, tp, compacted())
	if l.CleanedOffset() != 2 || again.CleanedOffset() != 2 {
		t.Fatalf("cleaned offset %d, after a restart %d, want 2", l.CleanedOffset(), again.CleanedOffset())
	}
}

// A million updates of a thousand keys shrink to their live set, while readers go over the log again and
// again: each record they see is as written, offsets rise, and a pass that sees the whole log sees a last
// value of every key.
func TestCleaner_MillionUpdatesWithReaders(t *testing.T) {
	updates, keys, perBatch := 1_000_000, 1000, 100
	if testing.Short() {
		updates = 100_000
	}
	dir := t.TempDir()
	nowMs := int64(1000)
	m, err := storage.Open(storage.Deps{FS: vfs.OS(), Logger: discard(), Wall: func() time.Time { return time.UnixMilli(nowMs) }}, storage.ManagerConfig{NodeID: 1, ClusterID: "c", Dirs: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	n := &node{m: m, nowMs: nowMs, c: cleaner.New(cleaner.Deps{Logs: m, Logger: discard(), Wall: func() time.Time { return time.UnixMilli(nowMs) }}, cleaner.Config{})}
	cfg := compacted()
	cfg.SegmentBytes, cfg.IndexIntervalBytes = 1<<20, 4096
	l := n.log(t, tp, cfg)

	rng := rand.New(rand.NewPCG(1, 1))
	keyOf := make([]uint16, updates) // by offset
	appended := atomic.Int64{}
	var readers sync.WaitGroup
	stop, passes := atomic.Bool{}, atomic.Int64{}
	for range 2 {
		readers.Go(func() {
			for !stop.Load() {
				readPass(t, l, keyOf, &appended)
				passes.Add(1)
			}
		})
	}
	defer readers.Wait()
	defer stop.Store(true)
	batch := make([]entry, perBatch)
	for at := 0; at < updates; at += perBatch {
		for i := range batch {
			k := rng.IntN(keys)
			keyOf[at+i] = uint16(k)
			batch[i] = entry{ts: 1, key: fmt.Sprint("key-", k), value: fmt.Sprint("value-", at+i)}
		}
		put(t, l, nil, record.None, batch)
		appended.Store(int64(at + perBatch))
		if at%(updates/5) == 0 {
			n.settle(t, l)
			n.cleanAll(t)
			m.RemoveDue(time.Unix(1<<40, 0)) // readers must live without the old files
		}
	}
	n.settle(t, l)
	n.cleanAll(t)
	m.RemoveDue(time.Unix(1<<40, 0))
	for seen := passes.Load(); passes.Load() < seen+3 && !t.Failed(); {
		runtime.Gosched() // readers finish passes over the compacted log
	}
	stop.Store(true)
	readers.Wait()

	h := map[string]bool{}
	below := 0
	for _, e := range readEntries(t, l, 1<<20) {
		if h[e.key] = true; e.offset < l.CleanedOffset() {
			below++
		}
	}
	if len(h) != keys || below > keys {
		t.Fatalf("%d keys are left, %d records below the cleaned offset %d of %d", len(h), below, l.CleanedOffset(), l.EndOffset())
	}
	if l.EndOffset()-l.CleanedOffset() > int64(updates)/4 {
		t.Fatalf("compacted only up to %d of %d", l.CleanedOffset(), l.EndOffset())
	}
}

// readPass reads the log once as a consumer does.
func readPass(t testing.TB, l *storage.Log, keyOf []uint16, appended *atomic.Int64) {
	end := appended.Load()
	buf := make([]byte, 256<<10)
	scratch := record.NewScratch(record.Limits{})
	newest := map[uint16]int64{}
	last := int64(-1)
	for at := int64(0); at < end; {
		s, err := l.Read(at, len(buf), true, end)
		if err != nil {
			t.Errorf("read %d: %v", at, err)
			return
		}
		raw := buf[:s.Size]
		_, err = s.CopyTo(raw)
		s.Release()
		if err != nil {
			t.Errorf("read %d: %v", at, err)
			return
		}
		if len(raw) == 0 {
			break
		}
		for len(raw) > 0 {
			b, rest, err := record.ParseBatch(raw)
			if err != nil || !b.CheckCRC() {
				t.Errorf("read %d: batch at %d: %v", at, last+1, err)
				return
			}
			it := b.Records(scratch)
			for r, ok := it.Next(); ok; r, ok = it.Next() {
				key := fmt.Appendf(nil, "key-%d", keyOf[r.Offset])
				if r.Offset <= last || !bytes.Equal(r.Key, key) || !bytes.Equal(r.Value, fmt.Appendf(nil, "value-%d", r.Offset)) {
					t.Errorf("offset %d after %d reads %s=%s, written was %s", r.Offset, last, r.Key, r.Value, key)
					return
				}
				last = r.Offset
				newest[keyOf[r.Offset]] = r.Offset
			}
			at, raw = b.LastOffset()+1, rest
		}
	}
	// Each key's last record below end was read, or a later one replaced it meanwhile: then it stands past
	// where this pass read, or it was read.
	want := map[uint16]int64{}
	for o := range end {
		want[keyOf[o]] = o
	}
	upTo := appended.Load()
	later := map[uint16]bool{}
	for o := end; o < upTo; o++ {
		later[keyOf[o]] = true
	}
	for key, offset := range want {
		if newest[key] != offset && !later[key] {
			t.Errorf("key %d: the last record read is at %d, written was %d", key, newest[key], offset)
			return
		}
	}
}

// Run compacts in the background, takes another number of threads while it runs, and stops.
func TestCleaner_Run(t *testing.T) {
	n := open(t, vfs.NewMem(1), 1000, cleaner.Config{Threads: 2, Backoff: time.Hour})
	var logs []*storage.Log
	for i := range 5 {
		l := n.log(t, model.TopicPartition{Topic: "many", Partition: int32(i)}, compacted())
		fill(t, n, l, entry{key: "a", value: "1"}, entry{key: "a", value: "2"})
		logs = append(logs, l)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- n.c.Run(ctx) }()
	wait := func(count int) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for slices.ContainsFunc(logs, func(l *storage.Log) bool { return l.CleanedOffset() < int64(count) }) {
			if time.Now().After(deadline) {
				t.Fatal("not compacted")
			}
			runtime.Gosched()
		}
	}
	wait(2)
	for _, l := range logs {
		fill(t, n, l, entry{key: "a", value: "3"})
	}
	n.c.SetConfig(cleaner.Config{Threads: 4, Backoff: time.Hour}) // wakes them, an hour early
	wait(4)
	n.c.SetConfig(cleaner.Config{Threads: 1, Backoff: time.Hour})
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func BenchmarkClean(b *testing.B) {
	const updates, keys, perBatch = 100_000, 1000, 100
	for b.Loop() {
		b.StopTimer()
		n := open(b, vfs.NewMem(1), 1000, cleaner.Config{})
		cfg := compacted()
		cfg.SegmentBytes, cfg.IndexIntervalBytes = 4<<20, 4096
		l := n.log(b, tp, cfg)
		rng := rand.New(rand.NewPCG(1, 1))
		batch := make([]entry, perBatch)
		value := strings.Repeat("v", 200)
		for range updates / perBatch {
			for i := range batch {
				batch[i] = entry{ts: 1, key: fmt.Sprint("key-", rng.IntN(keys)), value: value}
			}
			put(b, l, nil, record.None, batch)
		}
		n.settle(b, l)
		b.SetBytes(l.Size())
		b.StartTimer()
		n.cleanAll(b)
	}
}
