package storage_test

import (
	"bytes"
	"context"
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

func openManager(t testing.TB, fsys vfs.FS, dirs ...string) *storage.Manager {
	t.Helper()
	m, err := storage.Open(storage.Deps{
		FS: fsys, Logger: slog.New(slog.DiscardHandler), Wall: func() time.Time { return time.UnixMilli(1_000_000) },
	}, storage.ManagerConfig{NodeID: 1, ClusterID: "cluster", Dirs: dirs})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

type producer struct {
	id    int64
	epoch int16
	seq   int32
}

func batchOf(t testing.TB, p *producer, ts int64, values ...string) record.Batch {
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

func TestSmoke(t *testing.T) {
	mem := vfs.NewMem(1)
	m := openManager(t, mem, "/data")
	l, err := m.Create(testTP, testTopicID, storage.DefaultLogConfig(), model.UUID{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Lead(1); err != nil {
		t.Fatal(err)
	}
	p := &producer{id: 7}
	for range 10 {
		b := batchOf(t, p, 100, "a", "b")
		if _, err := l.AppendAsLeader([]record.Batch{b}, storage.LeaderAppend{LeaderEpoch: 1}); err != nil {
			t.Fatal(err)
		}
	}
	l.Dir().Queue(l)
	if err := l.Dir().SyncRound(); err != nil {
		t.Fatal(err)
	}
	if l.FlushedOffset() != 20 {
		t.Fatal(l.FlushedOffset())
	}
	mem = mem.Crash(vfs.CrashOptions{})
	m = openManager(t, mem, "/data")
	l, err = m.Recover(testTP, storage.DefaultLogConfig())
	if err != nil {
		t.Fatal(err)
	}
	if l.EndOffset() != 20 || l.FlushedOffset() != 20 || l.LatestEpoch() != 1 {
		t.Fatal(l.EndOffset(), l.FlushedOffset(), l.LatestEpoch())
	}
	s, err := l.Read(3, 1000, true, 20)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	buf := make([]byte, s.Size)
	if _, err := s.CopyTo(buf); err != nil {
		t.Fatal(err)
	}
	b, _, err := record.ParseBatch(buf)
	if err != nil || b.BaseOffset() != 2 || !b.CheckCRC() || !bytes.Contains(b, []byte("a")) {
		t.Fatal(err, b.BaseOffset())
	}
	_ = context.Background
}
