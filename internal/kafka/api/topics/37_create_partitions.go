package topics

// CreatePartitions: v0-3.
//
// Behaviour: Count is the number of partitions the topic then has, and must be more than now
// (INVALID_PARTITIONS). Keys map to other partitions after it, as ever.
//
// Versions: v2 flexible; v3 quotas of mutations (KIP-599).

import (
	"context"

	"github.com/walser-io/walser/internal/control"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

type createPartitions struct{ deps Deps }

func (h *createPartitions) handle(r *server.Request) server.Outcome {
	r.Go(func(ctx context.Context) {
		req := r.Body.(*wire.CreatePartitionsRequest)
		ctx, cancel := within(ctx, req.TimeoutMs)
		defer cancel()
		asked := control.CreatePartitions{ValidateOnly: req.ValidateOnly}
		for i := range req.Topics {
			t := &req.Topics[i]
			more := control.MorePartitions{Name: t.Name, Count: t.Count}
			if t.Assignments != nil { // an empty list assigns nothing to the new partitions, which is an error
				more.Assignments = [][]model.BrokerID{}
			}
			for j := range t.Assignments {
				more.Assignments = append(more.Assignments, brokers(t.Assignments[j].BrokerIDs))
			}
			asked.Topics = append(asked.Topics, more)
		}
		results, err := h.deps.Controller.CreatePartitions(ctx, asked)
		resp := r.Response().(*wire.CreatePartitionsResponse)
		if err != nil {
			for i := range req.Topics {
				results = append(results, control.PartitionsResult{Name: req.Topics[i].Name, Err: err})
			}
		}
		for _, result := range results {
			t := wire.Add(&resp.Results)
			t.Name = result.Name
			t.ErrorCode, t.ErrorMessage = answer(result.Err)
		}
		r.Reply(resp)
	})
	return server.Parked
}
