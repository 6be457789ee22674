package logs

// DeleteRecords: v0-2.
//
// Behaviour: the log begins at the offset named, -1 for the high watermark; records before it are gone
// for readers at once, files go when a whole segment is before it. The answer carries the new low
// watermark. OFFSET_OUT_OF_RANGE past the high watermark, POLICY_VIOLATION for a topic that is only
// compacted, INVALID_TOPIC_EXCEPTION for an internal one.
//
// Versions: v2 flexible.

import (
	"context"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/wire"
)

type deleteRecords struct{ deps Deps }

func (h *deleteRecords) handle(r *server.Request) server.Outcome {
	// Moving a log's start writes its checkpoint: not on the connection's reader.
	r.Go(func(context.Context) {
		req := r.Body.(*wire.DeleteRecordsRequest)
		resp := r.Response().(*wire.DeleteRecordsResponse)
		for i := range req.Topics {
			t := &req.Topics[i]
			topic := wire.Add(&resp.Topics)
			topic.Name = t.Name
			for j := range t.Partitions {
				asked := &t.Partitions[j]
				p := wire.Add(&topic.Partitions)
				p.PartitionIndex, p.LowWatermark = asked.PartitionIndex, -1
				found, err := h.deps.Replicas.ReplicaNamed(t.Name, asked.PartitionIndex)
				if err == nil {
					p.LowWatermark, err = found.DeleteRecords(asked.Offset)
				}
				p.ErrorCode = kafkaerr.CodeOf(err)
			}
		}
		r.Reply(resp)
	})
	return server.Parked
}
