package configs

import (
	"context"

	"github.com/walser-io/walser/internal/control"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metaconfig"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

// Deps is what the handlers ask.
type Deps struct {
	Self  model.BrokerID
	Image func() *metadata.Image
	// Resolver returns the layers of configuration at an image.
	Resolver   func(*metadata.Image) *metaconfig.Resolver
	Controller Controller
}

// Controller decides. *controller.Controller is one.
type Controller interface {
	AlterConfigs(ctx context.Context, req control.AlterConfigs) ([]control.ConfigResult, error)
}

// APIs returns the rows of the table that this package serves.
func APIs(d Deps) []server.API {
	return []server.API{
		{
			Key: wire.KeyDescribeConfigs, Min: 1, Max: 4,
			ACL: server.ACL{Operation: server.DescribeConfigs, Resource: server.Cluster}, Handle: (&describeConfigs{d}).handle,
		},
		{
			Key: wire.KeyAlterConfigs, Min: 0, Max: 2,
			ACL: server.ACL{Operation: server.AlterConfigs, Resource: server.Cluster}, Handle: (&alterConfigs{d}).handle,
		},
		{
			Key: wire.KeyIncrementalAlterConfigs, Min: 0, Max: 1,
			ACL: server.ACL{Operation: server.AlterConfigs, Resource: server.Cluster}, Handle: (&incrementalAlterConfigs{d}).handle,
		},
	}
}

// answer returns an error as the two fields that responses have for it.
func answer(err error) (code kafkaerr.Code, message *string) {
	if text := kafkaerr.MessageOf(err); text != "" {
		message = &text
	}
	return kafkaerr.CodeOf(err), message
}
