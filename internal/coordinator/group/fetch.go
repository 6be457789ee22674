package group

import (
	"maps"
	"slices"

	"github.com/walser-io/walser/internal/model"
)

// fetch serves an OffsetFetch. What is not there, group, topic or partition, has offset -1.
func (s *Shard) fetch(req *OffsetFetch) *OffsetFetchResponse {
	var held offsets
	if g := s.groups[req.GroupID]; g != nil {
		held = g.offsets
	}
	if req.All {
		return fetchAll(held)
	}
	response := &OffsetFetchResponse{Topics: make([]FetchedTopic, len(req.Topics))}
	for i := range req.Topics {
		asked := &req.Topics[i]
		answer := FetchedTopic{ID: asked.ID, Name: asked.Name, Partitions: make([]FetchedOffset, len(asked.Partitions))}
		topic := held[asked.Name]
		for j, partition := range asked.Partitions {
			p, ok := topic[partition]
			if !ok || otherIncarnation(p.topicID, asked.ID) {
				p = position{offset: -1, leaderEpoch: -1}
			}
			answer.Partitions[j] = p.fetched(partition)
		}
		response.Topics[i] = answer
	}
	return response
}

func fetchAll(held offsets) *OffsetFetchResponse {
	response := &OffsetFetchResponse{Topics: make([]FetchedTopic, 0, len(held))}
	for _, name := range slices.Sorted(maps.Keys(held)) {
		topic := held[name]
		answer := FetchedTopic{Name: name, Partitions: make([]FetchedOffset, 0, len(topic))}
		for _, partition := range slices.Sorted(maps.Keys(topic)) {
			p := topic[partition]
			answer.Partitions = append(answer.Partitions, p.fetched(partition))
		}
		response.Topics = append(response.Topics, answer)
	}
	return response
}

func (p position) fetched(partition int32) FetchedOffset {
	return FetchedOffset{Partition: partition, Offset: p.offset, LeaderEpoch: p.leaderEpoch, Metadata: p.metadata}
}

// otherIncarnation reports whether both ids are known and name different topics.
func otherIncarnation(held, asked model.TopicID) bool {
	return !held.IsZero() && !asked.IsZero() && held != asked
}
