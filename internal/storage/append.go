package storage

import (
	"errors"
	"fmt"
	"math"
	"syscall"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage/producerstate"
	"github.com/walser-io/walser/internal/storage/segment"
)

// Origin says who appends, and so what is checked of a producer's batches.
type Origin = producerstate.Origin

// The origins of an append as leader.
const (
	// Client: epoch, sequence and transaction are checked, and duplicates are found.
	Client = producerstate.Client
	// Coordinator: offset commits and transaction markers; the epoch is checked.
	Coordinator = producerstate.Coordinator
	// Internal: batches of the node's own topics, without a producer.
	Internal = producerstate.Replica + 1
)

// LeaderAppend says in what role batches are appended.
type LeaderAppend struct {
	LeaderEpoch int32
	NowMs       int64 // wall time, for segment.ms where batches carry no timestamps
	Origin      Origin
	// TransactionVersion is that of the transaction a marker ends; 2 makes its epoch check strict.
	TransactionVersion int16
}

// Appended says what an append did.
type Appended struct {
	FirstOffset, LastOffset int64
	LogAppendTime           int64 // ms; -1 where the batches carry their producers' times
	EndOffset               int64 // of the log, after the append
	StartOffset             int64 // of the log
	// Duplicate: the batch was in the log already, at the offsets given; nothing was written.
	Duplicate bool
	// Bytes is what was written. For a follower it may be less than what was given: a partial batch at
	// the end, or batches of a newer leader epoch, are left out.
	Bytes int
}

// AppendAsLeader checks role, epoch and producer state, gives the batches their offsets, stamps the
// leader epoch in place, and writes them with exactly one write. They were validated before
// (record.Validate) and may together be no larger than segment.bytes. From clients there is one batch.
//
// A batch that its producer has written already returns its original offsets with Duplicate set. The
// batches' memory is the caller's again on return; their offsets and epochs are overwritten also when
// the append fails. Errors: ErrFenced, ErrOutOfOrderSequence, ErrInvalidProducerEpoch,
// ErrInvalidTxnState, ErrCoordinatorFenced, ErrRecordListTooLarge, ErrNoSpace, ErrOffline, ErrClosed.
func (l *Log) AppendAsLeader(batches []record.Batch, a LeaderAppend) (Appended, error) {
	in := appending{batches: batches, role: roleLeader, leaderEpoch: a.LeaderEpoch, origin: a.Origin, nowMs: a.NowMs, txnVersion: a.TransactionVersion}
	for _, b := range batches {
		in.size += int64(len(b))
		in.maxTime = max(in.maxTime, b.MaxTimestamp())
		in.span += int64(b.LastOffsetDelta()) + 1
		in.records += int64(b.Count())
	}
	if limit := int64(l.config.Load().SegmentBytes); in.size > limit {
		return Appended{}, fmt.Errorf("%w: %d bytes, segment.bytes is %d", ErrRecordListTooLarge, in.size, limit)
	}
	if len(batches) == 0 {
		return Appended{}, fmt.Errorf("%w: nothing to append", ErrCorruptBatch)
	}
	return l.append(&in)
}

// AppendAsFollower writes what the leader sent, offsets and all. It checks what a leader could not have
// sent whole: checksums, offsets that do not continue the log, epochs that go back; batches of an epoch
// newer than leaderEpoch are left for the fetch that knows that epoch (KAFKA-18723), and so is a batch
// that is cut off at the end. b is the caller's again on return.
func (l *Log) AppendAsFollower(b []byte, leaderEpoch int32) (Appended, error) {
	in := appending{role: roleFollower, leaderEpoch: leaderEpoch, origin: producerstate.Replica, nowMs: -1}
	rest, next, lastEpoch := b, l.end.Load(), l.latestEpoch.Load()
	for len(rest) > 0 {
		batch, after, err := record.ParseBatch(rest)
		if errors.Is(err, record.ErrShort) {
			break
		}
		switch {
		case err != nil:
		case !batch.CheckCRC():
			err = errors.New("checksum mismatch")
		case batch.BaseOffset() < next:
			err = fmt.Errorf("it does not continue the log at %d", next)
		case batch.PartitionLeaderEpoch() < 0:
			err = errors.New("it has no leader epoch")
		case batch.PartitionLeaderEpoch() < lastEpoch:
			err = fmt.Errorf("its leader epoch %d lies before %d", batch.PartitionLeaderEpoch(), lastEpoch)
		}
		if err != nil {
			return Appended{}, fmt.Errorf("%w: %s: byte %d of %d: %w", ErrCorruptBatch, l.tp, len(b)-len(rest), len(b), err)
		}
		if batch.PartitionLeaderEpoch() > leaderEpoch {
			break
		}
		if in.records == 0 {
			in.first = batch.BaseOffset()
		}
		next, lastEpoch = batch.LastOffset()+1, batch.PartitionLeaderEpoch()
		in.maxTime = max(in.maxTime, batch.MaxTimestamp())
		in.records += int64(batch.Count())
		in.size += int64(batch.Size())
		rest = after
	}
	if in.size == 0 {
		end := l.end.Load()
		return Appended{FirstOffset: end, LastOffset: end - 1, LogAppendTime: -1, EndOffset: end, StartOffset: l.start.Load()}, nil
	}
	in.follower, in.span = b[:in.size], next-in.first
	return l.append(&in)
}

// appending is one append on its way.
type appending struct {
	batches  []record.Batch // as leader
	follower []byte         // as follower
	first    int64          // as follower: the first offset

	role        role
	leaderEpoch int32
	origin      Origin
	nowMs       int64
	txnVersion  int16

	size, span, records int64 // bytes, offsets, records
	maxTime             int64
}

// outcome says how an attempt under the lock went.
type outcome int8

const (
	appended   outcome = iota
	needsRoom          // there is no active segment, or it is full: roll and try again
	needsTurn          // a roll or truncation is under way: wait for it and try again
	needsFlush         // appended, and flush.messages is reached
)

func (l *Log) append(in *appending) (Appended, error) {
	if err := l.dir.refuseWhileLent(); err != nil {
		return Appended{}, err
	}
	for {
		seg, h, err := l.active()
		if err != nil {
			return Appended{}, err
		}
		l.mu.Lock()
		out, result, err := l.appendLocked(in, seg, h)
		l.mu.Unlock()
		if h != nil {
			h.Release()
		}
		switch {
		case err != nil:
			if isIO(err) {
				err = l.diskError(err)
			}
			return Appended{}, err
		case result == needsRoom, result == needsTurn:
			if err := l.roll(seg, in, result == needsRoom); err != nil {
				return Appended{}, err
			}
			continue
		case result == needsFlush:
			l.dir.Queue(l)
		}
		return out, nil
	}
}

// active returns the active segment with its file open, nil for a log without files.
func (l *Log) active() (*segment.Segment, *segment.Handle, error) {
	for {
		segs := l.list()
		if len(segs) == 0 {
			return nil, nil, nil
		}
		seg := segs[len(segs)-1]
		h, err := seg.Acquire()
		if err == nil {
			return seg, h, nil
		}
		if now := l.list(); len(now) > 0 && now[len(now)-1] == seg {
			if err := l.Err(); err != nil {
				return nil, nil, err
			}
			return nil, nil, l.diskError(err)
		}
	}
}

func (l *Log) appendLocked(in *appending, seg *segment.Segment, h *segment.Handle) (Appended, outcome, error) {
	if err := l.Err(); err != nil {
		return Appended{}, 0, err
	}
	if l.mu.role != in.role || l.mu.epoch != in.leaderEpoch {
		return Appended{}, 0, fmt.Errorf("%w: %s: the append carries epoch %d, in force is %d", ErrFenced, l.tp, in.leaderEpoch, l.mu.epoch)
	}
	if l.mu.busy {
		return Appended{}, needsTurn, nil
	}
	if in.role == roleLeader {
		if dup, err := l.checkProducersLocked(in); dup != nil || err != nil {
			if err != nil {
				return Appended{}, 0, fmt.Errorf("%s: %w", l.tp, err)
			}
			return Appended{
				FirstOffset: dup.FirstOffset, LastOffset: dup.LastOffset, LogAppendTime: appendTime(in.batches[0], dup.Timestamp),
				EndOffset: l.end.Load(), StartOffset: l.start.Load(), Duplicate: true,
			}, appended, nil
		}
	}
	end := l.end.Load()
	first := end
	if in.role == roleFollower {
		if first = in.first; first < end {
			return Appended{}, 0, fmt.Errorf("%w: %s: offset %d is in the log, which ends at %d", ErrCorruptBatch, l.tp, first, end)
		}
	}
	if segs := l.list(); len(segs) == 0 || segs[len(segs)-1] != seg {
		if len(segs) > 0 {
			return Appended{}, needsTurn, nil // rolled since: look again
		}
		return Appended{}, needsRoom, nil
	}
	if l.fullLocked(in, seg, first+in.span-1) {
		return Appended{}, needsRoom, nil
	}

	data := in.follower
	if in.role == roleLeader {
		data = in.stamp(first, l.dir.scratch)
		defer l.dir.scratch.put(data, in)
	}
	cfg := l.config.Load()
	if err := seg.Append(h, data, cfg.IndexIntervalBytes); err != nil {
		return Appended{}, 0, ioError{err}
	}
	// From here on nothing can fail: the bytes are in the page cache.
	l.end.Store(first + in.span)
	l.noteAppendedLocked(data, in, seg)
	l.checkInvariantsLocked()
	out := Appended{
		FirstOffset: first, LastOffset: first + in.span - 1, LogAppendTime: -1,
		EndOffset: first + in.span, StartOffset: l.start.Load(), Bytes: len(data),
	}
	if in.role == roleLeader {
		out.LogAppendTime = appendTime(in.batches[0], in.maxTime)
	}
	if l.mu.unflushed += in.records; l.mu.unflushed >= cfg.FlushMessages {
		return out, needsFlush, nil
	}
	return out, appended, nil
}

// checkProducersLocked checks every batch that has a producer; dup is set for a batch that is in the log.
func (l *Log) checkProducersLocked(in *appending) (dup *producerstate.Appended, err error) {
	for _, b := range in.batches {
		if b.ProducerID() < 0 || in.origin == Internal {
			continue
		}
		if b.IsControl() {
			if m, ok := marker(b, in.txnVersion); ok {
				if err := l.mu.producers.CheckMarker(m, in.origin); err != nil {
					return nil, err
				}
			}
			continue
		}
		if dup, err := l.mu.producers.Check(producerBatch(b), in.origin); dup != nil || err != nil {
			return dup, err
		}
	}
	return nil, nil
}

// noteAppendedLocked takes what was written into producer state, epochs and counters.
func (l *Log) noteAppendedLocked(data []byte, in *appending, seg *segment.Segment) {
	for len(data) > 0 {
		b := record.Batch(data)
		b = b[:b.Size()]
		data = data[len(b):]
		if in.role == roleFollower && b.PartitionLeaderEpoch() > l.latestEpoch.Load() {
			l.assignEpoch(b.PartitionLeaderEpoch(), b.BaseOffset())
		}
		applyProducer(&l.mu.producers, b, seg)
	}
	l.mu.sinceSnap += in.size
	l.stableLocked()
}

// applyProducer takes one batch into the table; seg gets the transaction that it aborts, if any.
func applyProducer(t *producerstate.Table, b record.Batch, seg *segment.Segment) {
	if b.ProducerID() < 0 {
		return
	}
	if !b.IsControl() {
		t.Apply(producerBatch(b))
		return
	}
	m, ok := marker(b, 0)
	if !ok {
		return // a control batch that compaction emptied: nothing is left of the transaction
	}
	if done, ok := t.ApplyMarker(m); ok && done.Abort && seg != nil {
		seg.AddAborted(AbortedTxn{
			ProducerID: done.ProducerID, FirstOffset: done.FirstOffset,
			LastOffset: done.LastOffset, LastStableOffset: done.LastStableOffset,
		})
	}
}

func producerBatch(b record.Batch) producerstate.Batch {
	return producerstate.Batch{
		ProducerID: b.ProducerID(), Epoch: b.ProducerEpoch(),
		FirstSequence: b.BaseSequence(), LastSequence: b.LastSequence(),
		FirstOffset: b.BaseOffset(), LastOffset: b.LastOffset(),
		MaxTimestamp: b.MaxTimestamp(), Transactional: b.IsTransactional(),
	}
}

// appendTime is what a produce answer carries: the broker's time on a LogAppendTime topic, else -1.
func appendTime(b record.Batch, ts int64) int64 {
	if b.TimestampType() == record.LogAppendTime {
		return ts
	}
	return -1
}

// stamp gives the batches offsets from first on and the leader epoch, and returns them as one piece.
func (in *appending) stamp(first int64, scratch *scratch) []byte {
	for _, b := range in.batches {
		b.SetBaseOffset(first)
		b.SetPartitionLeaderEpoch(in.leaderEpoch)
		first += int64(b.LastOffsetDelta()) + 1
	}
	if len(in.batches) == 1 {
		return in.batches[0]
	}
	data := scratch.get(int(in.size))
	for _, b := range in.batches {
		data = append(data, b...)
	}
	return data
}

// fullLocked says whether the active segment must be rolled before in.
func (l *Log) fullLocked(in *appending, seg *segment.Segment, last int64) bool {
	st := seg.State()
	if st.Size == 0 {
		// Rolling an empty segment helps only where the offsets are too far from its base.
		return !seg.Fits(in.size, last)
	}
	cfg := l.config.Load()
	index, times := seg.IndexBytes()
	switch {
	case l.mu.rollNext, st.Size+in.size > int64(cfg.SegmentBytes), !seg.Fits(in.size, last):
		return true
	case index+8 > int64(cfg.SegmentIndexBytes), times+2*12 > int64(cfg.SegmentIndexBytes): // one time entry is kept for Seal
		return true
	}
	age := int64(0)
	if t := seg.FirstTimestamp(); t >= 0 && in.maxTime >= 0 {
		age = in.maxTime - t
	}
	limit := cfg.SegmentMs
	if cfg.Compact {
		// The active segment is never compacted: it must not keep records past max.compaction.lag.ms.
		limit = min(limit, max(cfg.MaxCompactionLagMs, 1))
	}
	return age > limit-l.jitter(cfg.SegmentJitterMs, seg.Base())
}

// jitter spreads the rolls of partitions that began together. It is drawn from names, not from chance:
// a restart must not move it.
func (l *Log) jitter(maxMs, base int64) int64 {
	if maxMs <= 0 {
		return 0
	}
	const prime = 1099511628211 // FNV-1a
	x := uint64(14695981039346656037)
	for _, c := range []byte(l.tp.Topic) {
		x = (x ^ uint64(c)) * prime
	}
	for _, v := range []uint64{uint64(l.tp.Partition), uint64(base)} {
		x = (x ^ v) * prime
	}
	return int64((x ^ x>>29) % uint64(maxMs))
}

// ioError marks an error of the disk among those of a check.
type ioError struct{ error }

func (e ioError) Unwrap() error { return e.error }

func isIO(err error) bool {
	_, ok := errors.AsType[ioError](err)
	return ok
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// maxOffsetSpan is how far offsets may lie from their segment's base.
const maxOffsetSpan = math.MaxInt32
