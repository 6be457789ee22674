package node

import (
	"context"

	"github.com/walser-io/walser/internal/storage/cleaner"
)

// openCleaner builds the cleaner.
func (n *Node) openCleaner() {
	n.cleaner = cleaner.New(cleaner.Deps{
		Logs: n.storage, Logger: n.deps.Logger, Registerer: n.deps.Registerer, Wall: n.deps.Wall,
	}, cleanerConfig(n.settings.latest.Load().Broker()))
}

// runCleaner compacts until ctx ends; without a cleaner it only waits for that.
func (n *Node) runCleaner(ctx context.Context) error {
	if n.cleaner == nil {
		<-ctx.Done()
		return nil
	}
	return n.cleaner.Run(ctx)
}
