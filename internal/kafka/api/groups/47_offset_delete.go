package groups

// OffsetDelete: v0.
//
// Behaviour: committed offsets of partitions go, unless a member of the group is subscribed to the topic
// (GROUP_SUBSCRIBED_TO_TOPIC) (KIP-496). A partition that does not exist is UNKNOWN_TOPIC_OR_PARTITION. An
// error of the group stands above the topics, of which there are none then.
//
// On purpose other than Kafka: partitions are answered in the order of the request; Kafka puts those that do
// not exist first.

import (
	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/wire"
)

type offsetDelete struct{ deps Deps }

func (h *offsetDelete) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.OffsetDeleteRequest)
	body := h.existing(req)
	h.deps.submitNamed(req.GroupID, body, func(answer any) {
		resp := r.Response().(*wire.OffsetDeleteResponse)
		fillDeleted(resp, req, body, answer.(*group.OffsetDeleteResponse))
		r.Reply(resp)
	})
	return server.Parked
}

// existing returns the request without what does not exist. A topic stays, maybe without partitions, where
// it stands in the request.
func (h *offsetDelete) existing(req *wire.OffsetDeleteRequest) *group.OffsetDelete {
	image := h.deps.Image()
	body := &group.OffsetDelete{GroupID: req.GroupID, Topics: make([]group.OffsetFetchTopic, len(req.Topics))}
	for i := range req.Topics {
		asked, t := &req.Topics[i], &body.Topics[i]
		t.Name = asked.Name
		topic, ok := image.Topic(asked.Name)
		if !ok {
			continue
		}
		t.ID = topic.ID
		for _, p := range asked.Partitions {
			if topic.Partition(p.PartitionIndex) != nil {
				t.Partitions = append(t.Partitions, p.PartitionIndex)
			}
		}
	}
	return body
}

// fillDeleted answers for all partitions of the request: those that body has left out do not exist.
func fillDeleted(resp *wire.OffsetDeleteResponse, req *wire.OffsetDeleteRequest, body *group.OffsetDelete, answer *group.OffsetDeleteResponse) {
	if resp.ErrorCode = answer.Err; answer.Err != kafkaerr.None {
		return
	}
	for i := range req.Topics {
		if exists := !body.Topics[i].ID.IsZero(); exists && len(req.Topics[i].Partitions) == 0 {
			continue // as in Kafka, there is nothing to answer
		}
		topic := wire.Add(&resp.Topics)
		topic.Name = req.Topics[i].Name
		kept, codes := body.Topics[i].Partitions, answer.Topics[i]
		for _, asked := range req.Topics[i].Partitions {
			p := wire.Add(&topic.Partitions)
			p.PartitionIndex, p.ErrorCode = asked.PartitionIndex, kafkaerr.UnknownTopicOrPartition
			if len(kept) > 0 && kept[0] == asked.PartitionIndex {
				p.ErrorCode = codes[0]
				kept, codes = kept[1:], codes[1:]
			}
		}
	}
}
