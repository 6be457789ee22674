package node

import (
	"context"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/metaconfig"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/storage/cleaner"
)

// brokerSettings hands the broker's dynamic settings to the parts that obey them: at the first image and
// whenever they change. Defaults of topics are not among them: replicas resolve those for each topic.
type brokerSettings struct{ node *Node }

// OnMetadata follows the image as a publish.Watchers listener.
func (s brokerSettings) OnMetadata(_ context.Context, img *metadata.Image, delta *metadata.Delta) error {
	for _, resource := range delta.Configs {
		if resource.Type == metadata.BrokerResource {
			s.node.obey(s.node.settings.resolver(img))
			break
		}
	}
	return nil
}

// obey puts the broker's settings in force.
func (n *Node) obey(r *metaconfig.Resolver) {
	for _, fault := range r.Faults() {
		n.deps.Logger.Warn("dynamic configuration", "err", fault)
	}
	broker := r.Broker()
	n.server.SetLimits(connectionLimits(broker))
	n.storage.SetProducerExpiration(broker.ProducerIDExpiration)
	if n.cleaner != nil {
		n.cleaner.SetConfig(cleanerConfig(broker))
	}
}

// connectionLimits are the settings of connections. No limit is above half of the descriptors that the
// process may have: logs need the others.
func connectionLimits(broker *metaconfig.Broker) server.Limits {
	return server.Limits{
		MaxConnections:               min(int(broker.MaxConnections), descriptorLimit()/2),
		MaxConnectionsPerIP:          int(broker.MaxConnectionsPerIP),
		MaxConnectionsPerIPOverrides: broker.MaxConnectionsByIP,
		MaxConnectionCreationRate:    int(broker.MaxConnectionCreationRate),
	}
}

// cleanerConfig are the settings of compaction.
func cleanerConfig(broker *metaconfig.Broker) cleaner.Config {
	return cleaner.Config{
		Threads: broker.Cleaner.Threads, DedupeBufferBytes: broker.Cleaner.DedupeBufferBytes,
		MaxBytesPerSecond: broker.Cleaner.MaxBytesPerSecond, Backoff: broker.Cleaner.Backoff,
	}
}
