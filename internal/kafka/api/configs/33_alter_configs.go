package configs

// AlterConfigs: v0-2.
//
// Behaviour: replaces all configs of each resource by those in the request. Kept for old clients; the
// incremental one loses no update that somebody else made meanwhile.
//
// Versions: v2 flexible.

import (
	"context"

	"github.com/walser-io/walser/internal/control"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/wire"
)

type alterConfigs struct{ deps Deps }

func (h *alterConfigs) handle(r *server.Request) server.Outcome {
	r.Go(func(ctx context.Context) {
		req := r.Body.(*wire.AlterConfigsRequest)
		asked := control.AlterConfigs{Replace: true, ValidateOnly: req.ValidateOnly}
		for i := range req.Resources {
			resource := &req.Resources[i]
			alter := control.AlterResource{Resource: metadata.ConfigResource{Type: resource.ResourceType, Name: resource.ResourceName}}
			for _, c := range resource.Configs {
				alter.Changes = append(alter.Changes, control.ConfigChange{Op: control.OpSet, Name: c.Name, Value: c.Value})
			}
			asked.Resources = append(asked.Resources, alter)
		}
		resp := r.Response().(*wire.AlterConfigsResponse)
		for _, result := range alterAll(ctx, h.deps.Controller, asked) {
			a := wire.Add(&resp.Responses)
			a.ResourceType, a.ResourceName = result.Resource.Type, result.Resource.Name
			a.ErrorCode, a.ErrorMessage = answer(result.Err)
		}
		r.Reply(resp)
	})
	return server.Parked
}

// alterAll asks the controller; an error of the whole request becomes that of every resource.
func alterAll(ctx context.Context, c Controller, asked control.AlterConfigs) []control.ConfigResult {
	results, err := c.AlterConfigs(ctx, asked)
	if err != nil {
		for _, r := range asked.Resources {
			results = append(results, control.ConfigResult{Resource: r.Resource, Err: err})
		}
	}
	return results
}
