package replica

import (
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/partition"
	"github.com/walser-io/walser/internal/storage"
)

// The timestamps with a meaning of their own in ListOffsets.
const (
	TimestampLatest   int64 = -1
	TimestampEarliest int64 = -2
	TimestampMax      int64 = -3 // KIP-734
	// TimestampEarliestLocal and the two after it tell tiers apart; nothing is tiered here, so the
	// earliest local offset is the earliest, and nothing is in or on its way to the remote tier.
	TimestampEarliestLocal         int64 = -4 // KIP-405
	TimestampLatestTiered          int64 = -5 // KIP-1005
	TimestampEarliestPendingUpload int64 = -6 // KIP-1023
)

// OffsetAnswer is a record's place in a partition. Offset -1 means there is none.
type OffsetAnswer struct {
	Offset      int64
	Timestamp   int64 // -1 where an end of the log was asked for
	LeaderEpoch int32 // -1 unknown
}

var noOffset = OffsetAnswer{Offset: -1, Timestamp: -1, LeaderEpoch: -1}

// OffsetQuery is one partition's question in ListOffsets.
type OffsetQuery struct {
	Timestamp          int64
	ReadCommitted      bool
	CurrentLeaderEpoch int32 // -1: not checked
}

// ListOffset finds an end of the partition, or the first record that is not older than a timestamp.
// Answers stay below what a consumer may read.
func (r *Replica) ListOffset(q OffsetQuery) (OffsetAnswer, error) {
	s := r.serving.Load()
	if err := s.checkEpoch(q.CurrentLeaderEpoch); err != nil {
		return noOffset, err
	}
	if s.role != partition.Leader {
		return noOffset, s.refusal()
	}
	upTo := r.log.HighWatermark()
	if q.ReadCommitted {
		upTo = r.log.LastStableOffset()
	}
	switch q.Timestamp {
	case TimestampLatest:
		if s.catchingUp {
			return noOffset, kafkaerr.OffsetNotAvailable
		}
		return OffsetAnswer{Offset: upTo, Timestamp: -1, LeaderEpoch: s.leaderEpoch}, nil
	case TimestampEarliest, TimestampEarliestLocal:
		start := r.log.StartOffset()
		return OffsetAnswer{Offset: start, Timestamp: -1, LeaderEpoch: r.log.EpochOf(start)}, nil
	case TimestampLatestTiered, TimestampEarliestPendingUpload:
		return noOffset, nil
	case TimestampMax:
		found, ok, err := r.log.OffsetOfMaxTimestamp()
		return r.answer(s, found, ok && found.Offset < upTo, err)
	}
	if q.Timestamp < 0 {
		return noOffset, kafkaerr.UnsupportedVersion
	}
	found, ok, err := r.log.OffsetForTimestamp(q.Timestamp, upTo)
	return r.answer(s, found, ok && found.Offset < upTo, err)
}

// answer is what a search by time came to. While the high watermark catches up, nothing found means that
// there may be something yet.
func (r *Replica) answer(s *serving, found storage.TimestampOffset, ok bool, err error) (OffsetAnswer, error) {
	switch {
	case err != nil:
		return noOffset, asKafkaError(err)
	case !ok && s.catchingUp:
		return noOffset, kafkaerr.OffsetNotAvailable
	case !ok:
		return noOffset, nil
	}
	return OffsetAnswer{Offset: found.Offset, Timestamp: found.Timestamp, LeaderEpoch: r.log.EpochOf(found.Offset)}, nil
}

// EpochEnd returns the end offset of an epoch, or of the largest one before it (KIP-101, KIP-279);
// -1, -1 where nothing is known.
func (r *Replica) EpochEnd(currentEpoch, epoch int32) (found int32, end int64, err error) {
	s := r.serving.Load()
	if err := s.checkEpoch(currentEpoch); err != nil {
		return -1, -1, err
	}
	if s.role != partition.Leader {
		return -1, -1, s.refusal()
	}
	found, end = r.log.EpochEndOffset(epoch)
	return found, end, nil
}

// DeleteRecords moves the start of the log up to offset, or to the high watermark for -1, and returns
// the new low watermark. OFFSET_OUT_OF_RANGE where records that are not committed would go.
func (r *Replica) DeleteRecords(offset int64) (lowWatermark int64, err error) {
	if s := r.serving.Load(); s.role != partition.Leader {
		return -1, s.refusal()
	}
	highWatermark := r.log.HighWatermark()
	if offset == -1 {
		offset = highWatermark
	}
	if offset < 0 || offset > highWatermark {
		return -1, kafkaerr.OffsetOutOfRange
	}
	config := r.config.Load()
	switch {
	case model.IsInternalTopic(r.tp.Topic):
		return -1, kafkaerr.New(kafkaerr.InvalidTopicException, "records of the internal topic %s cannot be deleted", r.tp.Topic)
	case !config.Log.Delete && config.Log.Compact:
		return -1, kafkaerr.New(kafkaerr.PolicyViolation,
			"records of %s cannot be deleted: its cleanup.policy is compact; add delete to it", r.tp.Topic)
	}
	if err := r.log.DeleteRecords(offset); err != nil {
		return -1, asKafkaError(err)
	}
	return r.log.StartOffset(), nil
}
