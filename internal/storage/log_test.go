package storage_test

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
)

var (
	testTopicID = model.TopicID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	testTP      = model.TopicPartition{Topic: "orders", Partition: 3}
)

// wallMs is what the tests' wall clock says.
const wallMs = 1_000_000

func testDeps(fsys vfs.FS) storage.Deps {
	return storage.Deps{FS: fsys, Logger: slog.New(slog.DiscardHandler), Wall: func() time.Time { return time.UnixMilli(wallMs) }}
}

func openManager(t testing.TB, fsys vfs.FS, dirs ...string) *storage.Manager {
	t.Helper()
	m, err := storage.Open(testDeps(fsys), managerConfig(dirs...))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func managerConfig(dirs ...string) storage.ManagerConfig {
	return storage.ManagerConfig{NodeID: 1, ClusterID: "cluster", Dirs: dirs, SnapshotBytes: 2000}
}

func createLog(t testing.TB, m *storage.Manager, cfg storage.LogConfig) *storage.Log {
	t.Helper()
	l, err := m.Create(testTP, testTopicID, cfg, model.UUID{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Lead(1); err != nil {
		t.Fatal(err)
	}
	return l
}

func recoverLog(t testing.TB, m *storage.Manager, cfg storage.LogConfig) *storage.Log {
	t.Helper()
	l, err := m.Recover(testTP, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// client is an idempotent producer.
type client struct {
	id    int64
	epoch int16
	seq   int32
}

// batchOf builds a batch of one record per value; the i-th carries ts+i ms.
func batchOf(t testing.TB, p *client, ts int64, values ...string) record.Batch {
	t.Helper()
	o := record.BuilderOptions{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1, LeaderEpoch: -1}
	if p != nil {
		o.ProducerID, o.ProducerEpoch, o.BaseSequence = p.id, p.epoch, p.seq
		p.seq = record.AddSequence(p.seq, int32(len(values)))
	}
	b := record.NewBuilder(o)
	for i, v := range values {
		b.Append(ts+int64(i), nil, []byte(v), nil)
	}
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func appendOne(t testing.TB, l *storage.Log, b record.Batch) storage.Appended {
	t.Helper()
	a, err := l.AppendAsLeader([]record.Batch{b}, storage.LeaderAppend{LeaderEpoch: l.LatestEpoch(), NowMs: wallMs})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func flush(t testing.TB, l *storage.Log) {
	t.Helper()
	l.Dir().Queue(l)
	if err := l.Dir().SyncRound(); err != nil {
		t.Fatal(err)
	}
}

// readAll returns every batch from start to end, read in pieces of at most maxBytes.
func readAll(t testing.TB, l *storage.Log, maxBytes int) []record.Batch {
	t.Helper()
	var all []record.Batch
	for at := l.StartOffset(); at < l.EndOffset(); {
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
			break // a gap up to the end
		}
		for len(buf) > 0 {
			b, rest, err := record.ParseBatch(buf)
			if err != nil || !b.CheckCRC() {
				t.Fatalf("read %d: %v, checksum %v", at, err, b != nil && b.CheckCRC())
			}
			all = append(all, bytes.Clone(b))
			at, buf = b.LastOffset()+1, rest
		}
	}
	return all
}

func checkpointAll(t testing.TB, m *storage.Manager) {
	t.Helper()
	if err := m.CheckpointAll(); err != nil {
		t.Fatal(err)
	}
}

// farFuture is past every file.delete.delay.ms.
var farFuture = time.Unix(1<<40, 0)
