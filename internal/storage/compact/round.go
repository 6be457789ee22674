package compact

import (
	"fmt"

	"github.com/walser-io/walser/internal/record"
)

// Round is one compaction of a log: first Learn is called with the batches of the dirty part in order,
// then Filter with those of the whole log up to End.
type Round struct {
	// NowMs is the wall clock, DeleteRetentionMs the topic's delete.retention.ms.
	NowMs, DeleteRetentionMs int64
	// LastOfProducer is the last offset that each living producer wrote.
	LastOfProducer map[int64]int64

	offsets *OffsetMap
	from    int64
	end     int64
	scratch *record.Scratch
	filter  record.Filter
	batch   record.Batch
	counts  Counts
}

// Counts are what Filter did to records.
type Counts struct {
	Read, Kept int64
	// Superseded have a later record of the same key, Expired are tombstones past their time, Keyless have
	// no key and no place in a compacted log.
	Superseded, Expired, Keyless int64
}

// NewRound returns a round over the dirty part that begins at from. It empties offsets. scratch is for
// compressed batches; both are the round's until it is over.
func NewRound(from int64, offsets *OffsetMap, scratch *record.Scratch) *Round {
	offsets.Reset()
	r := &Round{offsets: offsets, from: from, end: from, scratch: scratch}
	r.filter.Keep = r.keep
	return r
}

// End returns the offset up to which the round compacts: past the last record that Learn took.
func (r *Round) End() int64 { return r.end }

// Counts returns what Filter did so far.
func (r *Round) Counts() Counts { return r.counts }

// Learn notes the keys of a batch of the dirty part. full says that the map had no room for one of its
// records: the round ends before it, and no more batches are learned.
func (r *Round) Learn(b record.Batch) (full bool, err error) {
	if b.LastOffset() < r.from {
		return false, nil
	}
	if b.IsControl() {
		r.end = b.LastOffset() + 1
		return false, nil
	}
	it := b.Records(r.scratch)
	for rec, ok := it.Next(); ok; rec, ok = it.Next() {
		if rec.Offset < r.from || rec.Key == nil {
			continue
		}
		if !r.offsets.Put(rec.Key, rec.Offset) {
			r.end = max(r.end, rec.Offset)
			return true, nil
		}
		r.end = rec.Offset + 1
	}
	if err := it.Err(); err != nil {
		return false, fmt.Errorf("read batch at offset %d: %w", b.BaseOffset(), err)
	}
	// Past the batch, whatever is left in it: a round that ended inside a gap would begin there for ever
	// (KAFKA-8764).
	r.end = b.LastOffset() + 1
	return false, nil
}

// Passed says that the batches below offset were all shown: gaps before it hold nothing to learn.
func (r *Round) Passed(offset int64) { r.end = max(r.end, offset) }

// Filter appends to dst what stays of a batch: all, a part, a bare header or nothing.
func (r *Round) Filter(dst []byte, b record.Batch) ([]byte, error) {
	if b.BaseOffset() >= r.end || b.IsControl() {
		r.counts.Read += int64(b.Count())
		r.counts.Kept += int64(b.Count())
		return append(dst, b...), nil
	}
	last, living := r.LastOfProducer[b.ProducerID()]
	r.batch = b
	r.filter.KeepEmpty = living && b.HasProducer() && last == b.LastOffset()
	r.filter.DeleteHorizonMs = saturatingAdd(r.NowMs, r.DeleteRetentionMs)
	dst, res, err := b.FilterTo(dst, r.filter, r.scratch)
	r.counts.Read += int64(res.Read)
	r.counts.Kept += int64(res.Kept)
	return dst, err
}

// keep decides on one record of the batch that is being filtered.
func (r *Round) keep(rec record.Record) bool {
	if rec.Offset >= r.end {
		return true
	}
	if rec.Key == nil {
		r.counts.Keyless++
		return false
	}
	if last, ok := r.offsets.Get(rec.Key); ok && rec.Offset < last {
		r.counts.Superseded++
		return false
	}
	if rec.Value != nil {
		return true
	}
	if horizon, ok := r.batch.DeleteHorizon(); ok && r.NowMs >= horizon {
		r.counts.Expired++
		return false
	}
	return true
}

func saturatingAdd(a, b int64) int64 {
	if sum := a + b; sum >= a || b < 0 {
		return sum
	}
	return 1<<63 - 1
}
