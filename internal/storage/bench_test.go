package storage_test

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/walser-io/walser/internal/invariants"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
)

func benchmarkAppend(b *testing.B, records, size int) {
	m := openManager(b, vfs.OS(), b.TempDir())
	defer m.Close()
	l := createLog(b, m, storage.DefaultLogConfig())
	values := make([]string, records)
	for i := range values {
		values[i] = string(bytes.Repeat([]byte{'v'}, size))
	}
	p := &client{id: 9}
	batch := batchOf(b, p, 1000, values...)
	batches := []record.Batch{batch}
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		// The producer's next batch: sequences move on, so that producer state is paid for too.
		setSequence(batch, p.seq)
		p.seq = record.AddSequence(p.seq, int32(records))
		if _, err := l.AppendAsLeader(batches, storage.LeaderAppend{LeaderEpoch: 1, NowMs: wallMs}); err != nil {
			b.Fatal(err)
		}
		if l.EndOffset() >= int64(records)<<15 { // keep the disk's share of the machine small
			b.StopTimer()
			if err := l.TruncateFullyAndStartAt(0); err != nil {
				b.Fatal(err)
			}
			m.RemoveDue(farFuture)
			if err := l.Lead(1); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	}
}

func setSequence(b record.Batch, seq int32) {
	b[53], b[54], b[55], b[56] = byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq)
}

func BenchmarkAppend_16Records1KiB(b *testing.B) { benchmarkAppend(b, 16, 1024) }
func BenchmarkAppend_1Record100B(b *testing.B)   { benchmarkAppend(b, 1, 100) }

// The budget of an append in steady state is no allocation; a few per thousand pay for index entries and
// the descriptor.
func TestAppend_AllocationBudget(t *testing.T) {
	if invariants.Enabled {
		t.Skip("assertions box their arguments")
	}
	m := openManager(t, vfs.OS(), t.TempDir())
	defer m.Close()
	l := createLog(t, m, storage.DefaultLogConfig())
	batch := batchOf(t, nil, 1000, "a value of some length")
	batches := []record.Batch{batch}
	per := testing.AllocsPerRun(5000, func() {
		if _, err := l.AppendAsLeader(batches, storage.LeaderAppend{LeaderEpoch: 1, NowMs: wallMs}); err != nil {
			t.Fatal(err)
		}
	})
	if per > 0.5 {
		t.Errorf("an append allocates %v times, want 0 in steady state", per)
	}
}

func BenchmarkRead_Lookup(b *testing.B) {
	m := openManager(b, vfs.OS(), b.TempDir())
	defer m.Close()
	l := createLog(b, m, storage.DefaultLogConfig())
	for range 20000 {
		appendOne(b, l, batchOf(b, nil, 1000, string(bytes.Repeat([]byte{'v'}, 1000))))
	}
	checkpointAll(b, m)
	end := l.EndOffset()
	for _, bc := range []struct {
		name string
		next func(i int64) int64
		max  int
	}{
		{"tail", func(int64) int64 { return end - 1 }, 1 << 20},
		{"sequential1MiB", func(i int64) int64 { return i * 900 % (end - 2000) }, 1 << 20},
		{"random64KiB", func(i int64) int64 { return i * 7919 % end }, 64 << 10},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			i := int64(0)
			for b.Loop() {
				s, err := l.Read(bc.next(i), bc.max, true, end)
				if err != nil || s.Size == 0 {
					b.Fatal(s.Size, err)
				}
				s.Release()
				i++
			}
		})
	}
}

// BenchmarkOpen10000 opens 10 000 partitions with data in each, one after the other, after a kill.
func BenchmarkOpen10000(b *testing.B) {
	const partitions = 10000
	dir := b.TempDir()
	m := openManager(b, vfs.OS(), dir)
	batch := batchOf(b, &client{id: 5}, 1000, string(bytes.Repeat([]byte{'v'}, 500)))
	for i := range partitions {
		l, err := m.Create(model.TopicPartition{Topic: "many", Partition: int32(i)}, testTopicID, storage.DefaultLogConfig(), model.UUID{})
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Lead(1); err != nil {
			b.Fatal(err)
		}
		for range 3 {
			if _, err := l.AppendAsLeader([]record.Batch{bytes.Clone(batch)}, storage.LeaderAppend{LeaderEpoch: 1}); err != nil {
				b.Fatal(err)
			}
		}
	}
	open := func(b *testing.B) {
		for b.Loop() {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			m := openManager(b, vfs.OS(), dir)
			for i := range partitions {
				if _, err := m.Recover(model.TopicPartition{Topic: "many", Partition: int32(i)}, storage.DefaultLogConfig()); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/partitions, "B/partition")

			if err := m.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	}
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("killed", open)
}
