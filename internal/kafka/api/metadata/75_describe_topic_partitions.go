package metadata

// DescribeTopicPartitions: v0 (KIP-966).
//
// Behaviour: topics by name, in pages of at most max.request.partition.size.limit partitions; an empty
// list of topics is all. The cursor says where the next page begins; where its topic has gone meanwhile,
// the page begins with the topic after it. A cursor at a topic that the request does not name is
// INVALID_REQUEST for every topic, a topic that does not exist UNKNOWN_TOPIC_OR_PARTITION.

import (
	"iter"
	"slices"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

type describeTopicPartitions struct{ deps Deps }

func (h *describeTopicPartitions) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.DescribeTopicPartitionsRequest)
	resp := r.Response().(*wire.DescribeTopicPartitionsResponse)
	v := view{h.deps.Image(), r.Listener().Name, h.deps.Recovering}
	left := max(min(req.ResponsePartitionLimit, h.deps.Settings().PartitionSizeLimit), 1)
	if req.Cursor != nil && !validCursor(req) {
		for i := range req.Topics {
			t := wire.Add(&resp.Topics)
			t.Name, t.ErrorCode = &req.Topics[i].Name, kafkaerr.InvalidRequest
		}
		r.Reply(resp)
		return server.Done
	}
	for name, topic := range v.wanted(req) {
		if topic == nil {
			t := wire.Add(&resp.Topics)
			t.Name, t.ErrorCode, t.IsInternal = &name, kafkaerr.UnknownTopicOrPartition, model.IsInternalTopic(name)
			t.TopicAuthorizedOperations = allTopicOperations
			if model.ValidateTopicName(name) != nil {
				t.ErrorCode = kafkaerr.InvalidTopicException
			}
			continue
		}
		first := int32(0)
		if req.Cursor != nil && req.Cursor.TopicName == name {
			first = min(req.Cursor.PartitionIndex, int32(len(topic.Partitions)))
		}
		if left == 0 {
			resp.NextCursor = &wire.DescribeTopicPartitionsResponseCursor{TopicName: name, PartitionIndex: first}
			break
		}
		end := first + min(left, int32(len(topic.Partitions))-first)
		v.describe(resp, topic, first, end)
		left -= end - first
		if end < int32(len(topic.Partitions)) {
			resp.NextCursor = &wire.DescribeTopicPartitionsResponseCursor{TopicName: name, PartitionIndex: end}
			break
		}
	}
	r.Reply(resp)
	return server.Done
}

// validCursor reports whether a page of the topics that req names can begin at its cursor.
func validCursor(req *wire.DescribeTopicPartitionsRequest) bool {
	named := func(t wire.DescribeTopicPartitionsRequestTopicRequest) bool { return t.Name == req.Cursor.TopicName }
	return req.Cursor.PartitionIndex >= 0 && (len(req.Topics) == 0 || slices.ContainsFunc(req.Topics, named))
}

// wanted yields the topics of a page by name, from the cursor's on; nil for one that does not exist.
func (v view) wanted(req *wire.DescribeTopicPartitionsRequest) iter.Seq2[string, *metadata.Topic] {
	from := ""
	if req.Cursor != nil {
		from = req.Cursor.TopicName
	}
	return func(yield func(string, *metadata.Topic) bool) {
		if len(req.Topics) == 0 {
			for topic := range v.Topics() {
				if topic.Name >= from && !yield(topic.Name, topic) {
					return
				}
			}
			return
		}
		names := make([]string, 0, len(req.Topics))
		for i := range req.Topics {
			if name := req.Topics[i].Name; name >= from {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			topic, _ := v.Topic(name)
			if !yield(name, topic) {
				return
			}
		}
	}
}

func (v view) describe(resp *wire.DescribeTopicPartitionsResponse, topic *metadata.Topic, first, end int32) {
	t := wire.Add(&resp.Topics)
	t.Name, t.TopicID, t.IsInternal = &topic.Name, topic.ID, model.IsInternalTopic(topic.Name)
	t.TopicAuthorizedOperations = allTopicOperations
	for i := first; i < end; i++ {
		at := &topic.Partitions[i]
		p := wire.Add(&t.Partitions)
		leader, code := v.leader(topic, i)
		p.ErrorCode, p.PartitionIndex, p.LeaderID, p.LeaderEpoch = code, i, int32(leader), at.LeaderEpoch
		p.ReplicaNodes, p.IsrNodes, p.OfflineReplicas = ids(at.Replicas), ids(at.ISR), v.offline(at)
		p.EligibleLeaderReplicas, p.LastKnownElr = ids(at.ELR), ids(at.LastKnownELR)
	}
}
