package runtime

import (
	"time"

	"github.com/walser-io/walser/internal/coordinator"
)

// linesPerSecond is how many events of one shard are logged: clients bring them about, so they must not
// fill the disk. All are counted.
const linesPerSecond = 20

// lineBudget says which events are logged.
type lineBudget struct {
	second  time.Time // when the one that is counted began
	logged  int
	skipped int
}

func (x *executor) report(events []coordinator.Event) {
	for _, e := range events {
		x.runtime.metrics.events.WithLabelValues(e.Name).Inc()
		b := &x.lines
		if x.now.Sub(b.second) >= time.Second {
			if b.skipped > 0 {
				x.logger.Info("coordinator events not logged", "count", b.skipped)
			}
			*b = lineBudget{second: x.now}
		}
		if b.logged == linesPerSecond {
			b.skipped++
			continue
		}
		b.logged++
		x.logger.Info(e.Name, e.Attrs...)
	}
}
