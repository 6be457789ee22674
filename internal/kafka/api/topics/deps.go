package topics

import (
	"context"
	"time"

	"github.com/walser-io/walser/internal/control"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/metaconfig"
	"github.com/walser-io/walser/internal/wire"
)

// Deps is what the handlers ask.
type Deps struct {
	Controller Controller
	// Describe returns the effective configs of a topic with those overrides, by name.
	Describe func(overrides map[string]string) []metaconfig.Entry
}

// Controller decides. *controller.Controller is one.
type Controller interface {
	CreateTopics(ctx context.Context, req control.CreateTopics) ([]control.TopicResult, error)
	DeleteTopics(ctx context.Context, topics []control.DeleteTopic) ([]control.DeleteTopicResult, error)
	CreatePartitions(ctx context.Context, req control.CreatePartitions) ([]control.PartitionsResult, error)
}

// APIs returns the rows of the table that this package serves.
func APIs(d Deps) []server.API {
	return []server.API{
		{
			Key: wire.KeyCreateTopics, Min: 2, Max: 7, Quota: server.QuotaControllerMutation,
			ACL: server.ACL{Operation: server.Create, Resource: server.Cluster}, Handle: (&createTopics{d}).handle,
		},
		{
			Key: wire.KeyDeleteTopics, Min: 1, Max: 6, Quota: server.QuotaControllerMutation,
			ACL: server.ACL{Operation: server.Delete, Resource: server.Topic}, Handle: (&deleteTopics{d}).handle,
		},
		{
			Key: wire.KeyCreatePartitions, Min: 0, Max: 3, Quota: server.QuotaControllerMutation,
			ACL: server.ACL{Operation: server.Alter, Resource: server.Topic}, Handle: (&createPartitions{d}).handle,
		},
	}
}

// within bounds the wait for the controller by what the client allows.
func within(ctx context.Context, timeoutMs int32) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Duration(max(timeoutMs, 0))*time.Millisecond)
}
