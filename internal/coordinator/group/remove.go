package group

import (
	"maps"
	"slices"

	"github.com/walser-io/walser/internal/kafkaerr"
)

// deleteOffsets serves an OffsetDelete: offsets that no member uses.
func (s *Shard) deleteOffsets(req *OffsetDelete) *OffsetDeleteResponse {
	g := s.groups[req.GroupID]
	switch {
	case req.GroupID == "":
		return &OffsetDeleteResponse{Err: kafkaerr.InvalidGroupID}
	case g == nil:
		return &OffsetDeleteResponse{Err: kafkaerr.GroupIDNotFound}
	case g.state != Empty && g.protocolType != consumerProtocolType:
		return &OffsetDeleteResponse{Err: kafkaerr.NonEmptyGroup}
	}
	response := &OffsetDeleteResponse{Topics: make([][]kafkaerr.Code, len(req.Topics))}
	for i := range req.Topics {
		topic := &req.Topics[i]
		codes := make([]kafkaerr.Code, len(topic.Partitions))
		response.Topics[i] = codes
		subscribed := g.isSubscribed(topic.Name)
		for j, partition := range topic.Partitions {
			if subscribed {
				codes[j] = kafkaerr.GroupSubscribedToTopic
			} else if _, ok := g.offsets[topic.Name][partition]; ok {
				s.tombstoneOffset(g, topic.Name, partition)
			}
		}
	}
	s.removal()
	return response
}

// deleteGroups serves a DeleteGroups: groups without members go with all their offsets.
func (s *Shard) deleteGroups(req *DeleteGroups) *DeleteGroupsResponse {
	response := &DeleteGroupsResponse{Groups: make([]kafkaerr.Code, len(req.GroupIDs))}
	deleted := map[*group]bool{}
	for i, id := range req.GroupIDs {
		g := s.groups[id]
		switch {
		case g == nil || deleted[g]:
			response.Groups[i] = kafkaerr.GroupIDNotFound
		case g.state != Empty:
			response.Groups[i] = kafkaerr.NonEmptyGroup
		default:
			deleted[g] = true
			for _, topic := range slices.Sorted(maps.Keys(g.offsets)) {
				s.tombstoneTopic(g, topic)
			}
			s.tombstoneGroup(g, "deleted on request")
		}
	}
	s.removal()
	return response
}

// topicsDeleted drops the offsets in topics that are gone. Offsets that carry the id of another
// incarnation of the name stay.
func (s *Shard) topicsDeleted(req *TopicsDeleted) *TopicsDeletedResponse {
	for _, g := range s.sorted() {
		for _, topic := range req.Topics {
			held := g.offsets[topic.Name]
			for _, partition := range slices.Sorted(maps.Keys(held)) {
				if id := held[partition].topicID; id.IsZero() || id == topic.ID {
					s.tombstoneOffset(g, topic.Name, partition)
				}
			}
		}
	}
	s.removal()
	return &TopicsDeletedResponse{}
}

// expireOffsets drops what was not committed again for offsets.retention.minutes, and groups that are
// left with nothing (KIP-211).
func (s *Shard) expireOffsets() {
	for _, g := range s.sorted() {
		since, expires := g.retainedSince()
		kept := 0
		for _, topic := range slices.Sorted(maps.Keys(g.offsets)) {
			held := g.offsets[topic]
			if !expires || g.isSubscribed(topic) {
				kept += len(held)
				continue
			}
			for _, partition := range slices.Sorted(maps.Keys(held)) {
				if s.isExpired(held[partition], since) {
					s.tombstoneOffset(g, topic, partition)
				} else {
					kept++
				}
			}
		}
		if kept == 0 && g.state == Empty && len(g.pending) == 0 {
			s.tombstoneGroup(g, "empty, and without offsets")
		}
	}
	s.removal()
}

// retainedSince says from when on retention counts for all offsets of the group: from when the last
// member went. since -1 is each offset's own commit; expires is false while the group may use them.
func (g *group) retainedSince() (since int64, expires bool) {
	switch {
	case g.protocolType == "":
		return -1, true
	case g.state == Empty:
		return g.stateMs, true
	case g.state == Stable && g.protocolType == consumerProtocolType && g.subscribedKnown:
		return -1, true
	default:
		return -1, false
	}
}

func (s *Shard) isExpired(p position, since int64) bool {
	if p.expireMs != -1 {
		return s.nowMs >= p.expireMs
	}
	if since == -1 {
		since = p.commitMs
	}
	return s.nowMs-since >= s.config.OffsetsRetention.Milliseconds()
}

func (s *Shard) tombstoneTopic(g *group, topic string) {
	for _, partition := range slices.Sorted(maps.Keys(g.offsets[topic])) {
		s.tombstoneOffset(g, topic, partition)
	}
}

func (s *Shard) tombstoneOffset(g *group, topic string, partition int32) {
	s.tombstone(s.codec.offsetKeyBytes(g.id, topic, partition))
}

// tombstoneGroup deletes the group itself, after everything in it.
func (s *Shard) tombstoneGroup(g *group, reason string) {
	s.tombstone(s.codec.groupKeyBytes(g.id))
	s.event("group deleted", "group", g.id, "reason", reason)
}

// removal marks the records of this call as ones that later calls must find replayed, and that may take
// more than one batch.
func (s *Shard) removal() {
	if len(s.out.Records) > 0 {
		s.out.Flush, s.out.Divisible = true, true
	}
}
