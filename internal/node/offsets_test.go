package node_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/node/nodetest"
	"github.com/walser-io/walser/internal/vfs"
)

// Many commits of few groups leave a topic of offsets that compaction brings down to about one record a
// position, while commits go on; every position is right before, during and after, and after a power loss.
func TestNode_OffsetsTopicIsCompacted(t *testing.T) {
	const groups, rounds = 20, 200
	fs := vfs.NewMem(1)
	opts := nodetest.Options{FS: fs, Set: []string{
		"offsets.topic.num.partitions=1", "offsets.topic.segment.bytes=1048576", "log.cleaner.backoff.ms=5", "log.cleaner.min.cleanable.ratio=0.1",
		"log.segment.delete.delay.ms=0", "log.flush.offset.checkpoint.interval.ms=5", // compaction stays below the recovery point
	}}
	n := nodetest.Start(t, opts)
	admin := kadm.NewClient(n.Client())
	createTopic(t, admin, "t", 1)
	size := func(admin *kadm.Client) (bytes int64) {
		dirs, err := admin.DescribeAllLogDirs(within(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range dirs[1] {
			for _, p := range d.Topics[model.GroupMetadataTopic] {
				bytes += p.Size
			}
		}
		return bytes
	}
	check := func(admin *kadm.Client, want int64) {
		t.Helper()
		for g := range groups {
			if at := committed(t, admin, fmt.Sprintf("group-%d", g), "t"); at != want {
				t.Errorf("the position of group %d is %d, want %d", g, at, want)
			}
		}
	}
	var written int64
	for i := range rounds {
		for g := range groups {
			name := fmt.Sprintf("group-%d", g)
			var offsets kadm.Offsets
			offsets.Add(kadm.Offset{Topic: "t", Partition: 0, At: int64(i), LeaderEpoch: -1, Metadata: strings.Repeat("m", 2000)})
			if err := admin.CommitAllOffsets(within(t), name, offsets); err != nil {
				t.Fatal(err)
			}
		}
		if i == 0 {
			written = size(admin) * rounds
		}
		if i%50 == 49 {
			check(admin, int64(i))
		}
	}
	// What is left: the active segment, which compaction leaves alone, and a record of each position.
	const left = 1<<20 + 2*groups*2200
	await(t, "compaction has caught up", func() bool { return size(admin) < left })
	t.Logf("%d commits wrote %d KiB, %d KiB are left", groups*rounds, written>>10, size(admin)>>10)
	check(admin, rounds-1)

	began := time.Now()
	opts.FS = fs.Crash(vfs.CrashOptions{})
	admin = kadm.NewClient(nodetest.Start(t, opts).Client())
	check(admin, rounds-1)
	t.Logf("positions loaded %v after a power loss", time.Since(began).Round(time.Millisecond))
	commit(t, admin, "group-0", "t", 7)
	if at := committed(t, admin, "group-0", "t"); at != 7 {
		t.Errorf("the position after one more commit is %d, want 7", at)
	}
}
