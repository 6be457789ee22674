package cleaner_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/storage/cleaner"
	"github.com/walser-io/walser/internal/vfs"
)

var (
	topicID = model.TopicID{1, 2, 3}
	tp      = model.TopicPartition{Topic: "table", Partition: 0}
)

// node is a manager and a cleaner over one disk.
type node struct {
	m     *storage.Manager
	c     *cleaner.Cleaner
	nowMs int64
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (n *node) wall() time.Time { return time.UnixMilli(n.nowMs) }

func open(t testing.TB, fsys vfs.FS, nowMs int64, cfg cleaner.Config) *node {
	t.Helper()
	n := &node{nowMs: nowMs}
	logger := discard()
	m, err := storage.Open(storage.Deps{FS: fsys, Logger: logger, Wall: n.wall}, storage.ManagerConfig{NodeID: 1, ClusterID: "c", Dirs: []string{"/a"}})
	if err != nil {
		t.Fatal(err)
	}
	n.m = m
	n.c = cleaner.New(cleaner.Deps{Logs: m, Logger: logger, Wall: n.wall}, cfg)
	return n
}

func (n *node) log(t testing.TB, tp model.TopicPartition, cfg storage.LogConfig) *storage.Log {
	t.Helper()
	l, _, err := n.m.Open(tp, topicID, model.UUID{}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Lead(max(l.LatestEpoch(), 0) + 1); err != nil {
		t.Fatal(err)
	}
	return l
}

// settle commits, flushes and checkpoints what was appended: all sealed segments may be compacted.
func (n *node) settle(t testing.TB, logs ...*storage.Log) {
	t.Helper()
	for _, l := range logs {
		l.SetHighWatermark(l.EndOffset())
		l.Dir().Queue(l)
		if err := l.Dir().SyncRound(); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.m.Checkpoint(); err != nil {
		t.Fatal(err)
	}
}

// cleanAll runs rounds until no log is due, and returns how many there were.
func (n *node) cleanAll(t testing.TB) (rounds int) {
	t.Helper()
	for n.c.CleanOne(t.Context()) {
		if rounds++; rounds > 10_000 {
			t.Fatal("rounds without end")
		}
	}
	for tp, err := range n.c.Uncleanable() {
		t.Fatalf("%s was set aside: %v", tp, err)
	}
	return rounds
}

func compacted() storage.LogConfig {
	cfg := storage.DefaultLogConfig()
	cfg.Compact, cfg.Delete = true, false
	cfg.SegmentBytes, cfg.IndexIntervalBytes, cfg.FileDeleteDelayMs = 1500, 200, 0
	cfg.MinCleanableDirtyRatio = 0
	return cfg
}

// entry is a record as the tests know it; deleted is a tombstone.
type entry struct {
	offset     int64
	ts         int64
	key, value string
	deleted    bool
}

func (e entry) String() string {
	if e.deleted {
		return fmt.Sprintf("%d: %s deleted", e.offset, e.key)
	}
	return fmt.Sprintf("%d: %s=%.20s", e.offset, e.key, e.value)
}

// producer is an idempotent one; nil is none.
type producer struct {
	id   int64
	seq  int32
	last record.Batch
}

// put appends the entries as one batch, and fills in their offsets.
func put(t testing.TB, l *storage.Log, p *producer, codec record.Codec, entries []entry) {
	t.Helper()
	o := record.BuilderOptions{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1, LeaderEpoch: -1, Codec: codec}
	if p != nil {
		o.ProducerID, o.ProducerEpoch, o.BaseSequence = p.id, 0, p.seq
		p.seq = record.AddSequence(p.seq, int32(len(entries)))
	}
	bl := record.NewBuilder(o)
	for _, e := range entries {
		var value []byte
		if !e.deleted {
			value = []byte(e.value)
		}
		bl.Append(e.ts, []byte(e.key), value, nil)
	}
	b, err := bl.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.AppendAsLeader([]record.Batch{b}, storage.LeaderAppend{LeaderEpoch: l.LatestEpoch(), NowMs: 1})
	if err != nil || a.Duplicate {
		t.Fatalf("append: %+v, %v", a, err)
	}
	for i := range entries {
		entries[i].offset = a.FirstOffset + int64(i)
	}
	if p != nil {
		p.last = b
	}
}

// readBatches reads the log from offset on and shows each batch.
func readBatches(t testing.TB, l *storage.Log, from int64, maxBytes int, visit func(record.Batch)) {
	t.Helper()
	for at := from; at < l.EndOffset(); {
		s, err := l.Read(at, maxBytes, true, l.EndOffset())
		if err != nil {
			t.Fatalf("read %d: %v", at, err)
		}
		buf := make([]byte, s.Size)
		if _, err := s.CopyTo(buf); err != nil {
			t.Fatalf("read %d: %v", at, err)
		}
		s.Release()
		if len(buf) == 0 {
			return
		}
		for len(buf) > 0 {
			b, rest, err := record.ParseBatch(buf)
			if err != nil || !b.CheckCRC() {
				t.Fatalf("read %d: %v", at, err)
			}
			if b.LastOffset() < at {
				t.Fatalf("read %d: got the batch %d..%d", at, b.BaseOffset(), b.LastOffset())
			}
			visit(b)
			at, buf = b.LastOffset()+1, rest
		}
	}
}

func entriesOf(t testing.TB, b record.Batch, s *record.Scratch) (found []entry) {
	t.Helper()
	it := b.Records(s)
	for r, ok := it.Next(); ok; r, ok = it.Next() {
		found = append(found, entry{r.Offset, r.Timestamp, string(r.Key), string(r.Value), r.Value == nil})
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

func readEntries(t testing.TB, l *storage.Log, maxBytes int) (found []entry) {
	t.Helper()
	s := record.NewScratch(record.Limits{})
	readBatches(t, l, l.StartOffset(), maxBytes, func(b record.Batch) { found = append(found, entriesOf(t, b, s)...) })
	return found
}

// files lists a partition's directory.
func files(t testing.TB, fsys vfs.FS) []string {
	t.Helper()
	entries, err := fsys.ReadDir("/a/" + tp.String())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".deleted") {
			names = append(names, e.Name())
		}
	}
	return names
}
