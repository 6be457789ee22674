package produce

// InitProducerId: v0-5.
//
// Behaviour: without a transactional id every call gets a new producer id with epoch 0, whatever id and
// epoch it names (KIP-360: such clients raise their epoch themselves). An id never leaves before the
// controller has committed the block it is from; a restart takes a new block.
//
// Versions: v2 flexible; v3 current id and epoch (both, or neither: INVALID_REQUEST); v4 PRODUCER_FENCED;
// v5 transactions v2 (KIP-890). v6 (KIP-939) is unstable in Kafka and not served.
//
// On purpose other than Kafka: until transactions land, a transactional id is INVALID_REQUEST.

import (
	"context"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/wire"
)

type initProducerID struct{ deps Deps }

func (h *initProducerID) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.InitProducerIDRequest)
	if req.TransactionalID != nil || (req.ProducerID == -1) != (req.ProducerEpoch == -1) {
		answerProducerID(r, -1, kafkaerr.InvalidRequest)
		return server.Done
	}
	// One call in a thousand waits for the controller.
	r.Go(func(ctx context.Context) {
		id, err := h.deps.NextProducerID(ctx)
		if err != nil {
			err = kafkaerr.CoordinatorLoadInProgress // which clients retry
		}
		answerProducerID(r, id, err)
	})
	return server.Parked
}

func answerProducerID(r *server.Request, id int64, err error) {
	resp := r.Response().(*wire.InitProducerIDResponse)
	resp.ErrorCode = kafkaerr.CodeOf(err)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	if err == nil {
		resp.ProducerID, resp.ProducerEpoch = id, 0
	}
	r.Reply(resp)
}
