package sim_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/walser-io/walser/sim"
)

var (
	firstSeed = flag.Uint64("seed", 1, "first seed of the simulation")
	seeds     = flag.Int("seeds", 60, "how many seeds to run")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSimulation holds the node to its promises through power losses, kills and torn writes.
func TestSimulation(t *testing.T) {
	var total sim.Figures
	began := time.Now()
	red := 0
	for i := range *seeds {
		report := sim.Run(context.Background(), *firstSeed+uint64(i), sim.Options{})
		total.Add(report.Figures)
		if len(report.Violations) > 0 {
			red++
			t.Error(report)
			if red == 5 {
				t.Fatalf("stopped after %d seeds, %d of them red", i+1, red)
			}
		}
	}
	t.Logf("%d seeds from %d in %v: %+v, %d red", *seeds, *firstSeed, time.Since(began).Round(time.Millisecond), total, red)
}
