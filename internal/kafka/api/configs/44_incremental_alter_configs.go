package configs

// IncrementalAlterConfigs: v0-1 (KIP-339).
//
// Behaviour: sets, deletes, appends to and subtracts from single configs. Appending to a list is as to a
// set. INVALID_CONFIG for what a topic or group does not take, INVALID_REQUEST for what a broker does not.
// A key that has no effect here is refused with the reason.
//
// Versions: v1 flexible.

import (
	"context"

	"github.com/walser-io/walser/internal/control"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/wire"
)

type incrementalAlterConfigs struct{ deps Deps }

func (h *incrementalAlterConfigs) handle(r *server.Request) server.Outcome {
	r.Go(func(ctx context.Context) {
		req := r.Body.(*wire.IncrementalAlterConfigsRequest)
		asked := control.AlterConfigs{ValidateOnly: req.ValidateOnly}
		for i := range req.Resources {
			resource := &req.Resources[i]
			alter := control.AlterResource{Resource: metadata.ConfigResource{Type: resource.ResourceType, Name: resource.ResourceName}}
			for _, c := range resource.Configs {
				alter.Changes = append(alter.Changes, control.ConfigChange{Op: control.ConfigOp(c.ConfigOperation), Name: c.Name, Value: c.Value})
			}
			asked.Resources = append(asked.Resources, alter)
		}
		resp := r.Response().(*wire.IncrementalAlterConfigsResponse)
		for _, result := range alterAll(ctx, h.deps.Controller, asked) {
			a := wire.Add(&resp.Responses)
			a.ResourceType, a.ResourceName = result.Resource.Type, result.Resource.Name
			a.ErrorCode, a.ErrorMessage = answer(result.Err)
		}
		r.Reply(resp)
	})
	return server.Parked
}
