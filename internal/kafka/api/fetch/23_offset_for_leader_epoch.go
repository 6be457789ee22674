package fetch

// OffsetForLeaderEpoch: v2-4.
//
// Behaviour: the end of a leader epoch, or of the largest one before it; -1 and -1, without an error,
// where nothing is known. Consumers ask to find out whether what they read was truncated.
//
// Versions: v3 replica ids; v4 flexible. Served to consumers (replica id -1 or -2) of every version.

import (
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/wire"
)

type offsetForLeaderEpoch struct{ deps Deps }

func (h *offsetForLeaderEpoch) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.OffsetForLeaderEpochRequest)
	resp := r.Response().(*wire.OffsetForLeaderEpochResponse)
	for i := range req.Topics {
		t := &req.Topics[i]
		topic := wire.Add(&resp.Topics)
		topic.Topic = t.Topic
		for j := range t.Partitions {
			asked := &t.Partitions[j]
			p := wire.Add(&topic.Partitions)
			p.Partition = asked.Partition
			p.LeaderEpoch, p.EndOffset = -1, -1
			found, err := h.deps.Replicas.ReplicaNamed(t.Topic, asked.Partition)
			if err == nil {
				p.LeaderEpoch, p.EndOffset, err = found.EpochEnd(asked.CurrentLeaderEpoch, asked.LeaderEpoch)
			}
			p.ErrorCode = kafkaerr.CodeOf(err)
		}
	}
	r.Reply(resp)
	return server.Done
}
