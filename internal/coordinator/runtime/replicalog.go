package runtime

import (
	"fmt"
	"sync"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/storage"
)

// ledPartition is what a replicaLog needs of the replica.
type ledPartition interface {
	AppendInternal(leaderEpoch int32, batch record.Batch, committed func(error)) (storage.Appended, error)
	AwaitCommit(offset int64, committed func(error))
	StartOffset() int64
	EndOffset() int64
	MaxBatchBytes() int
	ReadLocal(offset int64, buf []byte) ([]byte, error)
}

var _ ledPartition = (*replica.Replica)(nil)

// replicaLog is the log of a shard: the replica that this broker leads.
type replicaLog struct {
	replica ledPartition
	loaders *sync.Pool // of *loader

	// Calls of one shard never overlap, so it builds all its batches in one place.
	builder record.Builder
	batch   []byte
}

// loader is what reading takes: as many as there are loads at a time share it.
type loader struct {
	chunk   []byte
	scratch *record.Scratch
}

// newLoaders returns a pool of loaders that read so much at a time, and at least one batch.
func newLoaders(chunkBytes int) *sync.Pool {
	return &sync.Pool{New: func() any {
		return &loader{chunk: make([]byte, chunkBytes), scratch: record.NewScratch(record.Limits{})}
	}}
}

var _ Log = (*replicaLog)(nil)

// Append implements Log.
func (l *replicaLog) Append(leaderEpoch int32, records []coordinator.Record, committed func(err error)) (int64, error) {
	l.builder.Reset(record.BuilderOptions{LeaderEpoch: leaderEpoch})
	for i := range records {
		l.builder.Append(records[i].TimestampMs, records[i].Key, records[i].Value, nil)
	}
	batch, err := l.builder.Build(l.batch[:0])
	if err != nil {
		return 0, fmt.Errorf("build a batch of %d records: %w", len(records), err)
	}
	if l.batch = batch; cap(batch) > keepBatchBytes {
		l.batch = nil
	}
	appended, err := l.replica.AppendInternal(leaderEpoch, batch, committed)
	if err != nil {
		return 0, err
	}
	return appended.LastOffset + 1, nil
}

// keepBatchBytes is the size above which the memory of a batch is not kept for the next.
const keepBatchBytes = 16 << 10

// AwaitCommit implements Log.
func (l *replicaLog) AwaitCommit(offset int64, committed func(err error)) {
	l.replica.AwaitCommit(offset, committed)
}

// Bounds implements Log.
func (l *replicaLog) Bounds() (start, end int64) {
	return l.replica.StartOffset(), l.replica.EndOffset()
}

// MaxBatchBytes implements Log.
func (l *replicaLog) MaxBatchBytes() int { return l.replica.MaxBatchBytes() }

// Read implements Log.
func (l *replicaLog) Read(offset int64, visit func(rec coordinator.Record) error) (next int64, err error) {
	ld := l.loaders.Get().(*loader)
	defer l.loaders.Put(ld)
	data, err := l.replica.ReadLocal(offset, ld.chunk)
	if err != nil {
		return offset, err
	}
	next = offset
	for len(data) > 0 {
		var batch record.Batch
		batch, data, err = record.ParseBatch(data)
		if err != nil {
			return next, fmt.Errorf("batch behind offset %d: %w", next, err)
		}
		if !batch.CheckCRC() {
			return next, kafkaerr.New(kafkaerr.CorruptMessage, "the checksum of the batch at offset %d is wrong", batch.BaseOffset())
		}
		if err := ld.visitBatch(batch, offset, visit); err != nil {
			return next, fmt.Errorf("batch at offset %d: %w", batch.BaseOffset(), err)
		}
		next = batch.LastOffset() + 1
	}
	return next, nil
}

// visitBatch visits the records of a batch that are not before from.
func (ld *loader) visitBatch(batch record.Batch, from int64, visit func(rec coordinator.Record) error) error {
	if batch.IsControl() {
		return nil
	}
	records := batch.Records(ld.scratch)
	for {
		rec, ok := records.Next()
		if !ok {
			return records.Err()
		}
		if rec.Offset < from {
			continue // the read began within the batch
		}
		if err := visit(coordinator.Record{Key: rec.Key, Value: rec.Value, TimestampMs: rec.Timestamp}); err != nil {
			return fmt.Errorf("record at offset %d: %w", rec.Offset, err)
		}
	}
}
