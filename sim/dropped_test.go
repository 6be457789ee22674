package sim_test

import (
	"context"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/sim"
)

// harmless are the syncs that no seed misses, with what makes up for them. README.md says more.
var harmless = map[string]string{}

var (
	line       = regexp.MustCompile(`:\d+$`)
	number     = regexp.MustCompile(`\d+`)
	partitions = regexp.MustCompile(`^(t|extra|__consumer_offsets-)#(-#)?$`)
)

// site names the line that asked for a sync, by its function, and the kind of file.
func site(op vfs.Op) string {
	file := number.ReplaceAllString(path.Base(op.Name), "#")
	if partitions.MatchString(file) {
		file = "<partition>"
	}
	return strings.Join([]string{op.Kind.String(), line.ReplaceAllString(op.Caller, ""), file}, " ")
}

// TestDroppedSyncs takes out one sync after the other and expects a seed that misses it.
func TestDroppedSyncs(t *testing.T) {
	if *dropSeeds == 0 {
		t.Skip("takes minutes: run with -drop 200")
	}
	var sites []string
	seen := map[string]bool{}
	note := func(op vfs.Op) {
		if s := site(op); !seen[s] {
			seen[s] = true
			sites = append(sites, s)
		}
	}
	for seed := range uint64(40) {
		if report := sim.Run(context.Background(), *firstSeed+seed, sim.Options{Sync: note}); len(report.Violations) > 0 {
			t.Fatal(report)
		}
	}
	slices.Sort(sites)
	for _, dropped := range sites {
		if !strings.Contains(dropped, *onlySite) {
			continue
		}
		seed, why := firstRed(dropped)
		switch reason, ok := harmless[dropped]; {
		case why != "":
			t.Logf("%-75s seed %-4d %s", dropped, seed, why)
		case ok:
			t.Logf("%-75s none: %s", dropped, reason)
		default:
			t.Errorf("%-75s none of %d seeds", dropped, *dropSeeds)
		}
	}
}

// firstRed looks for a seed that goes wrong without a sync.
func firstRed(dropped string) (seed uint64, why string) {
	for i := range *dropSeeds {
		seed = *firstSeed + uint64(i)
		report := sim.Run(context.Background(), seed, sim.Options{
			Drop: func(op vfs.Op) bool { return site(op) == dropped }, Patience: 5 * time.Second,
		})
		if len(report.Violations) > 0 {
			return seed, report.Violations[0]
		}
	}
	return 0, ""
}
