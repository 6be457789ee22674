package sim_test

import (
	"context"
	"regexp"
	"testing"
	"time"

	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/vfs/vfstest"
	"github.com/walser-io/walser/sim"
)

const (
	epochsAgain = "a file that cannot be read makes recovery read every header again"
	hint        = "the high watermark of a single replica is what it has flushed"
	noMark      = "without the mark a start recovers"
	openingToo  = "the opening syncs the directory once more before anything is promised: RemoveCleanShutdown"
	kafkasOwn   = "only Kafka reads it, and drops one whose checksum is wrong"
	entryChecks = "an entry counts only where it fits its batch; the index is rebuilt"
	inLogSteps  = "TestLog_NeedsEachSyncAtAnyStep misses it"
	longer      = "the snapshot at the segment's base and a longer replay take its place"
)

// known are the syncs that no seed may miss: what makes up for them, or which test of a part misses them.
var known = map[string]string{
	"sync checkpoint.WriteCleanShutdown .kafka_cleanshutdown.tmp":    "that the file is there is the mark, whatever is in it",
	"sync checkpoint.WriteOffsets replication-offset-checkpoint.tmp": hint,
	"sync segment.(*Segment).writeIndex #.index":                     entryChecks,
	"sync segment.(*Segment).writeIndex #.timeindex":                 inLogSteps,
	"sync storage.(*Log).saveEpochs leader-epoch-checkpoint.tmp":     epochsAgain,
	"sync storage.replaceFile #.producers.tmp":                       inLogSteps,
	"sync storage.replaceFile #.snapshot.tmp":                        kafkasOwn,
	"sync storage.syncFile #.producers":                              inLogSteps,
	"sync storage.syncFile #.snapshot":                               kafkasOwn,
	"sync storage.writeFile #.producers":                             longer,
	"sync storage.writeFile #.snapshot":                              kafkasOwn,
	"syncdir checkpoint.RemoveCleanShutdown data":                    inLogSteps,
	"syncdir checkpoint.RemoveCleanShutdown more":                    inLogSteps,
	"syncdir checkpoint.WriteCleanShutdown data":                     noMark,
	"syncdir checkpoint.WriteCleanShutdown more":                     noMark,
	"syncdir checkpoint.WriteMetaProperties data":                    openingToo,
	"syncdir checkpoint.WriteMetaProperties more":                    openingToo,
	"syncdir storage.(*Log).deleteHead <partition>":                  inLogSteps,
	"syncdir storage.(*Log).load <partition>":                        "TestRecover_DroppedLogStaysDropped misses it",
	"syncdir storage.(*Log).writeSnapshot <partition>":               longer,
}

// elsewhere are the syncs of parts whose own tests take them out: raftstore's TestStore_DroppedSyncs and
// cleaner's TestCleaner_NeedsEachSync.
var elsewhere = regexp.MustCompile(`raftstore|Rewrite|completeSwaps|cleaned|cleaner-offset`)

// TestNode_NeedsEachSync takes out one sync after the other and expects a seed that misses it.
func TestNode_NeedsEachSync(t *testing.T) {
	vfstest.DroppedSyncs(t, known, func(t testing.TB, seed uint64, drop func(vfs.Op) bool) {
		report := sim.Run(context.Background(), *firstSeed+seed, sim.Options{
			Drop:     func(op vfs.Op) bool { return !elsewhere.MatchString(vfstest.Site(op)) && drop(op) },
			Patience: 10 * time.Second,
		})
		if len(report.Violations) > 0 {
			t.Fatal(report.Violations[0])
		}
	})
}
