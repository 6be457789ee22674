package group

import (
	"unicode/utf16"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/kafkaerr"
)

// commitNamesMissingGroup is the version of OffsetCommit from which on a missing group is told from a
// wrong generation.
const commitNamesMissingGroup = 9

// commit serves an OffsetCommit.
func (s *Shard) commit(w coordinator.WaiterID, req *OffsetCommit) {
	if code := s.mayCommit(req); code != kafkaerr.None {
		s.replyCommitted(w, &OffsetCommitResponse{Err: code})
		return
	}
	expireMs := int64(-1)
	if req.RetentionMs != -1 {
		expireMs = s.nowMs + req.RetentionMs
	}
	partitions := 0
	for i := range req.Topics {
		partitions += len(req.Topics[i].Partitions)
	}
	codes := make([]kafkaerr.Code, partitions)
	response := &OffsetCommitResponse{Topics: make([][]kafkaerr.Code, len(req.Topics))}
	s.out.Records = make([]coordinator.Record, 0, partitions)
	for i := range req.Topics {
		topic := &req.Topics[i]
		n := len(topic.Partitions)
		response.Topics[i], codes = codes[:n:n], codes[n:]
		for j := range topic.Partitions {
			response.Topics[i][j] = s.commitOne(req.GroupID, topic, &topic.Partitions[j], expireMs)
		}
	}
	s.replyCommitted(w, response)
}

func (s *Shard) commitOne(group string, topic *OffsetCommitTopic, p *OffsetCommitPartition, expireMs int64) kafkaerr.Code {
	if longerThan(p.Metadata, s.config.OffsetMetadataMax) {
		return kafkaerr.OffsetMetadataTooLarge
	}
	rec, err := s.codec.offsetRecord(group, topic.Name, p.Partition, position{
		offset: p.Offset, leaderEpoch: p.LeaderEpoch, metadata: p.Metadata,
		commitMs: s.nowMs, expireMs: max(expireMs, -1), topicID: topic.ID,
	}, s.nowMs)
	if err != nil {
		return kafkaerr.UnknownServerError
	}
	s.record(rec)
	return kafkaerr.None
}

// mayCommit reports whether the request may commit, and keeps the session of the member that does. Who
// names no generation may commit to a group without members, and so to one that is not there yet.
func (s *Shard) mayCommit(req *OffsetCommit) kafkaerr.Code {
	g := s.groups[req.GroupID]
	switch {
	case g == nil && req.Generation < 0:
		return kafkaerr.None
	case g == nil && req.Version >= commitNamesMissingGroup:
		return kafkaerr.GroupIDNotFound
	case g == nil:
		return kafkaerr.IllegalGeneration
	case req.Generation < 0 && g.state == Empty:
		return kafkaerr.None
	case req.Generation < 0 && req.MemberID == "" && req.InstanceID == nil:
		return kafkaerr.UnknownMemberID
	}
	m, code := g.find(req.MemberID, req.InstanceID)
	switch {
	case code != kafkaerr.None:
		return code
	case req.Generation != g.generation:
		return kafkaerr.IllegalGeneration
	case g.state == CompletingRebalance:
		return kafkaerr.RebalanceInProgress
	}
	s.armSession(m)
	return kafkaerr.None
}

// longerThan reports whether text has more than limit UTF-16 units, which is how Kafka counts.
func longerThan(text string, limit int) bool {
	if len(text) <= limit {
		return false
	}
	units := 0
	for _, r := range text {
		units += utf16.RuneLen(r)
	}
	return units > limit
}
