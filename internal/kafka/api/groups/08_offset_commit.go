package groups

// OffsetCommit: v2-10.
//
// Behaviour: positions are stored for a member of the group's generation, or for anyone (generation -1)
// while the group has no members. The answer comes when they are committed. Topics and partitions that do
// not exist are UNKNOWN_TOPIC_OR_PARTITION; if none exists the group is not asked.
//
// Versions: v2-4 a retention of the request's own; v6 leader epochs (KIP-320); v7 static members (KIP-345);
// v8 flexible; v9 GROUP_ID_NOT_FOUND (KIP-848); v10 topic ids, unknown ones UNKNOWN_TOPIC_ID. The group's
// error stands in every partition: there is no place above them.
//
// On purpose other than Kafka: partitions are answered in the order of the request; Kafka puts those that
// do not exist first.

import (
	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

// firstTopicIDVersion is the first version of OffsetCommit and of OffsetFetch that names topics by id.
const firstTopicIDVersion = 10

type offsetCommit struct{ deps Deps }

func (h *offsetCommit) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.OffsetCommitRequest)
	resp := r.Response().(*wire.OffsetCommitResponse)
	topics := h.resolve(r.Version(), req, resp)
	if len(topics) == 0 {
		r.Reply(resp)
		return server.Done
	}
	groupID := string(req.GroupID)
	h.deps.submit(groupID, &group.OffsetCommit{
		Version: r.Version(), GroupID: groupID, MemberID: string(req.MemberID), InstanceID: stringOf(req.GroupInstanceID),
		Generation: req.GenerationIDOrMemberEpoch, RetentionMs: req.RetentionTimeMs, Topics: topics,
	}, func(answer any) {
		fillCommitted(resp, answer.(*group.OffsetCommitResponse))
		r.Reply(resp)
	})
	return server.Parked
}

// resolve returns what the group is asked to store. The response gets all partitions of the request, those
// that do not exist with their error.
func (h *offsetCommit) resolve(version int16, req *wire.OffsetCommitRequest, resp *wire.OffsetCommitResponse) []group.OffsetCommitTopic {
	image := h.deps.Image()
	topics := make([]group.OffsetCommitTopic, 0, len(req.Topics))
	for i := range req.Topics {
		asked := &req.Topics[i]
		topic, unknown := lookUp(image, version, asked.Name, asked.TopicID)
		if topic != nil && len(asked.Partitions) == 0 {
			continue // as in Kafka, there is nothing to answer
		}
		answer := wire.Add(&resp.Topics)
		answer.Name, answer.TopicID = asked.Name, asked.TopicID
		partitions := make([]group.OffsetCommitPartition, 0, len(asked.Partitions))
		for j := range asked.Partitions {
			p := &asked.Partitions[j]
			result := wire.Add(&answer.Partitions)
			result.PartitionIndex = p.PartitionIndex
			switch {
			case topic == nil:
				result.ErrorCode = unknown
			case topic.Partition(p.PartitionIndex) == nil:
				result.ErrorCode = kafkaerr.UnknownTopicOrPartition
			default:
				partitions = append(partitions, group.OffsetCommitPartition{
					Partition: p.PartitionIndex, Offset: p.CommittedOffset, LeaderEpoch: p.CommittedLeaderEpoch,
					Metadata: string(p.CommittedMetadata),
				})
			}
		}
		if len(partitions) > 0 {
			topics = append(topics, group.OffsetCommitTopic{ID: topic.ID, Name: topic.Name, Partitions: partitions})
		}
	}
	return topics
}

// lookUp finds a topic the way the version names it, or says what is unknown.
func lookUp(image *metadata.Image, version int16, name []byte, id model.TopicID) (*metadata.Topic, kafkaerr.Code) {
	if version >= firstTopicIDVersion {
		topic, ok := image.TopicByID(id)
		if !ok {
			return nil, kafkaerr.UnknownTopicID
		}
		return topic, kafkaerr.None
	}
	topic, ok := image.TopicBytes(name)
	if !ok {
		return nil, kafkaerr.UnknownTopicOrPartition
	}
	return topic, kafkaerr.None
}

// fillCommitted gives the partitions that the group was asked about, which are those without an error yet,
// their codes.
func fillCommitted(resp *wire.OffsetCommitResponse, answer *group.OffsetCommitResponse) {
	topics := answer.Topics
	for i := range resp.Topics {
		partitions := resp.Topics[i].Partitions
		asked := 0
		for j := range partitions {
			switch {
			case partitions[j].ErrorCode != kafkaerr.None:
				continue
			case answer.Err != kafkaerr.None:
				partitions[j].ErrorCode = answer.Err
				continue
			}
			partitions[j].ErrorCode = topics[0][asked]
			asked++
		}
		if asked > 0 {
			topics = topics[1:]
		}
	}
}
