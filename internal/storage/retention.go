package storage

import (
	"context"
	"time"
)

// runRetention removes what is due and applies retention until ctx ends.
func (m *Manager) runRetention(ctx context.Context) {
	check := time.NewTicker(m.cfg.RetentionInterval)
	defer check.Stop()
	for {
		var due <-chan time.Time
		if next := m.RemoveDue(time.Now()); !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case <-m.deletes.changed:
		case <-due:
		case <-check.C:
		}
	}
}
