package fetch

// ListOffsets: v1-11.
//
// Behaviour: -1 is the high watermark (the last stable offset under read_committed), -2 the log start,
// -3 the record with the largest timestamp, -4 the earliest local offset, which is the log start while
// nothing is tiered; -5 and -6 have no answer then (-1). A timestamp finds the first record not older.
// Records at or above what the caller may read are as if they were not there.
//
// While a new leader's high watermark catches up with where its epoch began, ends are OFFSET_NOT_AVAILABLE
// (KIP-207; LEADER_NOT_AVAILABLE below v5), so that they never go back.
//
// Versions: v2 isolation levels; v4 leader epochs (KIP-320); v6 flexible; v7 max timestamp (KIP-734); v8,
// v9, v11 the tiers (KIP-405, KIP-1005, KIP-1023); v10 a timeout, which nothing here takes long enough
// to need. A special timestamp below its version is UNSUPPORTED_VERSION.

import (
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/wire"
)

type listOffsets struct{ deps Deps }

func (h *listOffsets) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.ListOffsetsRequest)
	resp := r.Response().(*wire.ListOffsetsResponse)
	repeated := repeatedPartitions(req)
	for i := range req.Topics {
		t := &req.Topics[i]
		topic := wire.Add(&resp.Topics)
		topic.Name = t.Name
		for j := range t.Partitions {
			asked := &t.Partitions[j]
			p := wire.Add(&topic.Partitions)
			p.PartitionIndex = asked.PartitionIndex
			var answer replica.OffsetAnswer
			var err error
			switch {
			case repeated[model.TopicPartition{Topic: t.Name, Partition: asked.PartitionIndex}]:
				err = kafkaerr.InvalidRequest
			case !knownTimestamp(asked.Timestamp, r.Version()):
				err = kafkaerr.UnsupportedVersion
			default:
				answer, err = h.find(t.Name, asked, req.IsolationLevel == 1)
			}
			p.ErrorCode = kafkaerr.CodeOf(err)
			if p.ErrorCode == kafkaerr.OffsetNotAvailable && r.Version() < 5 {
				p.ErrorCode = kafkaerr.LeaderNotAvailable
			}
			p.Offset, p.Timestamp, p.LeaderEpoch = -1, -1, -1
			if err == nil {
				p.Offset, p.Timestamp = answer.Offset, answer.Timestamp
				if r.Version() >= 4 {
					p.LeaderEpoch = answer.LeaderEpoch
				}
			}
		}
	}
	r.Reply(resp)
	return server.Done
}

func (h *listOffsets) find(topic string, asked *wire.ListOffsetsPartition, readCommitted bool) (replica.OffsetAnswer, error) {
	found, err := h.deps.Replicas.ReplicaNamed(topic, asked.PartitionIndex)
	if err != nil {
		return replica.OffsetAnswer{}, err
	}
	return found.ListOffset(replica.OffsetQuery{
		Timestamp: asked.Timestamp, ReadCommitted: readCommitted, CurrentLeaderEpoch: asked.CurrentLeaderEpoch,
	})
}

// knownTimestamp reports whether a version has this special timestamp.
func knownTimestamp(timestamp int64, version int16) bool {
	switch timestamp {
	case replica.TimestampLatest, replica.TimestampEarliest:
		return true
	case replica.TimestampMax:
		return version >= 7
	case replica.TimestampEarliestLocal:
		return version >= 8
	case replica.TimestampLatestTiered:
		return version >= 9
	case replica.TimestampEarliestPendingUpload:
		return version >= 11
	}
	return timestamp >= 0
}

// repeatedPartitions returns those that a request names more than once.
func repeatedPartitions(req *wire.ListOffsetsRequest) map[model.TopicPartition]bool {
	seen := map[model.TopicPartition]bool{}
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			tp := model.TopicPartition{Topic: req.Topics[i].Name, Partition: req.Topics[i].Partitions[j].PartitionIndex}
			_, again := seen[tp]
			seen[tp] = again
		}
	}
	return seen
}
