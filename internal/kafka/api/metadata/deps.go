package metadata

import (
	"context"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

// Deps is what the handlers ask.
type Deps struct {
	Image func() *metadata.Image
	// Recovering reports whether this broker leads the partition but has not recovered its log yet.
	Recovering func(id model.TopicID, partition int32) bool
	// CreateTopics creates topics, each as this broker would have it, for auto.create.topics.enable. It blocks
	// until this broker's image holds them. Errors are its to log; the client sees what is still missing.
	CreateTopics func(ctx context.Context, names []string)
	// Settings returns what may change while the broker runs.
	Settings func() Settings
}

// Settings is the part of the configuration that the handlers obey.
type Settings struct {
	AutoCreateTopics   bool  // auto.create.topics.enable
	PartitionSizeLimit int32 // max.request.partition.size.limit
}

// APIs returns the rows of the table that this package serves.
func APIs(d Deps) []server.API {
	return []server.API{
		{
			Key: wire.KeyMetadata, Min: 0, Max: 13,
			ACL: server.ACL{Operation: server.Describe, Resource: server.Topic}, Handle: newTopics(d).handle,
		},
		{
			Key: wire.KeyDescribeCluster, Min: 0, Max: 2,
			ACL: server.ACL{Operation: server.Describe, Resource: server.Cluster}, Handle: (&describeCluster{d}).handle,
		},
		{
			Key: wire.KeyDescribeTopicPartitions, Min: 0, Max: 0,
			ACL: server.ACL{Operation: server.Describe, Resource: server.Topic}, Handle: (&describeTopicPartitions{d}).handle,
		},
	}
}

// The operations that exist on a resource, as the bit set that clients get who ask what they may do.
const (
	allTopicOperations = 1<<server.Read | 1<<server.Write | 1<<server.Create | 1<<server.Delete | 1<<server.Alter |
		1<<server.Describe | 1<<server.DescribeConfigs | 1<<server.AlterConfigs
	allClusterOperations = 1<<server.Create | 1<<server.Alter | 1<<server.Describe | 1<<server.ClusterAction |
		1<<server.DescribeConfigs | 1<<server.AlterConfigs | 1<<server.IdempotentWrite
)
