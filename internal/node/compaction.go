package node

import (
	"context"

	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/publish"
	"github.com/walser-io/walser/internal/storage/cleaner"
)

// openCleaner builds the cleaner and has it follow the broker's dynamic settings.
func (n *Node) openCleaner() {
	n.cleaner = cleaner.New(cleaner.Deps{
		Logs: n.storage, Logger: n.deps.Logger, Registerer: n.deps.Registerer, Wall: n.deps.Wall,
	}, n.settings.cleaner(metadata.Empty()))
	n.publisher.Subscribe(publish.Watchers, cleanerSettings{n})
}

// runCleaner compacts until ctx ends; without a cleaner it only waits for that.
func (n *Node) runCleaner(ctx context.Context) error {
	if n.cleaner == nil {
		<-ctx.Done()
		return nil
	}
	return n.cleaner.Run(ctx)
}

// cleanerSettings hands changed settings to the cleaner.
type cleanerSettings struct{ node *Node }

func (s cleanerSettings) OnMetadata(_ context.Context, img *metadata.Image, delta *metadata.Delta) error {
	for _, resource := range delta.Configs {
		if resource.Type == metadata.BrokerResource {
			s.node.cleaner.SetConfig(s.node.settings.cleaner(img))
			break
		}
	}
	return nil
}

// cleaner returns the settings of compaction at an image.
func (c *settings) cleaner(img *metadata.Image) cleaner.Config {
	broker := c.resolver(img).Broker()
	return cleaner.Config{
		Threads: broker.Cleaner.Threads, DedupeBufferBytes: broker.Cleaner.DedupeBufferBytes,
		MaxBytesPerSecond: broker.Cleaner.MaxBytesPerSecond, Backoff: broker.Cleaner.Backoff,
	}
}
