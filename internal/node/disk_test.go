package node_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/internal/node/nodetest"
	"github.com/walser-io/walser/internal/storage/checkpoint"
	"github.com/walser-io/walser/internal/vfs"
)

// await returns when what holds, and fails the test when it does not come to.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := within(t)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !holds() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatalf("it does not come to this: %s", what)
		}
	}
}

func createTopic(t *testing.T, admin *kadm.Client, topic string, partitions int32, configs ...string) {
	t.Helper()
	set := map[string]*string{}
	for _, c := range configs {
		key, value, _ := strings.Cut(c, "=")
		set[key] = &value
	}
	if _, err := admin.CreateTopic(within(t), partitions, 1, set, topic); err != nil {
		t.Fatal(err)
	}
}

// startOf returns the first offset of a partition 0.
func startOf(t *testing.T, admin *kadm.Client, topic string) int64 {
	t.Helper()
	offsets, err := admin.ListStartOffsets(within(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	return offsets[topic][0].Offset
}

// A log directory whose disk fails takes its own partitions with it and no others; new ones go to the
// directory that is left, and the next start with a disk that works has everything again.
func TestNode_FailedLogDirectory(t *testing.T) {
	var broken atomic.Bool
	mem := vfs.NewMem(1)
	fs := vfs.NewFaulty(mem, func(op vfs.Op) error {
		if broken.Load() && strings.HasPrefix(op.Name, "/b/") {
			return syscall.EIO
		}
		return nil
	})
	n := nodetest.Start(t, nodetest.Options{FS: fs, Set: []string{"log.dirs=/a,/b"}})
	client := n.Client()
	admin := kadm.NewClient(client)
	createTopic(t, admin, "t", 2)
	for p := range int32(2) {
		if err := tryProduce(t, client, "t", p, []byte("before")); err != nil {
			t.Fatalf("partition %d: %v", p, err)
		}
	}
	inDir := func(dir string) (partition int32) {
		dirs, err := admin.DescribeAllLogDirs(within(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		partition = -1
		dirs[1][dir].Topics.Each(func(p kadm.DescribedLogDirPartition) { partition = p.Partition })
		return partition
	}
	sound, lost := inDir("/a"), inDir("/b")
	if sound == lost || sound < 0 || lost < 0 {
		t.Fatalf("partitions %d and %d: they do not lie in one directory each", sound, lost)
	}

	broken.Store(true)
	if err := tryProduce(t, client, "t", lost, []byte("refused")); !errors.Is(err, kerr.KafkaStorageError) {
		t.Errorf("produce to the failed directory: %v, want KAFKA_STORAGE_ERROR", err)
	}
	for what, err := range map[string]error{
		"a second produce": tryProduce(t, client, "t", lost, []byte("refused")),
		"a fetch":          second(tryFetch(t, client, "t", lost, 0)),
	} {
		if !errors.Is(err, kerr.KafkaStorageError) && !errors.Is(err, kerr.NotLeaderForPartition) {
			t.Errorf("%s after that: %v, want KAFKA_STORAGE_ERROR or NOT_LEADER_OR_FOLLOWER", what, err)
		}
	}
	if dirs, err := admin.DescribeAllLogDirs(within(t), nil); err != nil || !errors.Is(dirs[1]["/b"].Err, kerr.KafkaStorageError) || dirs[1]["/a"].Err != nil {
		t.Errorf("log directories %+v, %v", dirs, err)
	}
	if err := tryProduce(t, client, "t", sound, []byte("still")); err != nil {
		t.Errorf("produce to the other directory: %v", err)
	}
	if p, err := tryFetch(t, client, "t", sound, 0); err != nil || p.HighWatermark != 2 {
		t.Errorf("fetch from the other directory: high watermark %d, %v", p.HighWatermark, err)
	}
	createTopic(t, admin, "new", 3)
	for p := range int32(3) {
		if err := tryProduce(t, client, "new", p, []byte("fine")); err != nil {
			t.Errorf("produce to partition %d of a new topic: %v", p, err)
		}
	}

	broken.Store(false)
	if err := n.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	client = nodetest.Start(t, nodetest.Options{FS: fs, Set: []string{"log.dirs=/a,/b"}}).Client()
	// The high watermark may start lower: what was recovered is owed a flush first.
	await(t, "after a start with a sound disk the record is there", func() bool {
		p, err := tryFetch(t, client, "t", lost, 0)
		return err == nil && p.HighWatermark == 1
	})
	if err := tryProduce(t, client, "t", lost, []byte("again")); err != nil {
		t.Error(err)
	}
}

func second[A any](_ A, err error) error { return err }

// A full disk refuses produces, and nothing else: records are read, topics deleted, positions kept where
// there is room, and the first produce after there is space succeeds without a restart.
func TestNode_FullDisk(t *testing.T) {
	fs := vfs.NewMem(1)
	n := nodetest.Start(t, nodetest.Options{FS: fs, Set: []string{
		"log.retention.check.interval.ms=10", "log.segment.delete.delay.ms=0",
	}})
	client := n.Client()
	admin := kadm.NewClient(client)
	createTopic(t, admin, "keep", 1)
	createTopic(t, admin, "drop", 1)
	createTopic(t, admin, "trim", 1, "segment.bytes=1048576")
	value := make([]byte, 100_000)
	for _, topic := range []string{"keep", "drop", "trim"} {
		for range 40 {
			if err := tryProduce(t, client, topic, 0, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	// fill leaves not a block: what a produce that is refused leaves free is taken away too.
	fill := func() (refused error) {
		for refused == nil {
			usage, err := fs.Usage("/data")
			if err != nil {
				t.Fatal(err)
			}
			fs.SetCapacity(usage.TotalBytes - usage.FreeBytes)
			refused = tryProduce(t, client, "keep", 0, value)
		}
		return refused
	}
	endOf := func(topic string) int64 {
		offsets, err := admin.ListEndOffsets(within(t), topic)
		if err != nil {
			t.Fatal(err)
		}
		return offsets[topic][0].Offset
	}

	for _, step := range []struct {
		name string
		room func()
	}{
		{"deletion of a topic", func() {
			if _, err := admin.DeleteTopic(within(t), "drop"); err != nil {
				t.Fatal(err)
			}
		}},
		{"retention", func() {
			limit := "1048576"
			if _, err := admin.AlterTopicConfigs(within(t), []kadm.AlterConfig{{Name: "retention.bytes", Value: &limit}}, "trim"); err != nil {
				t.Fatal(err)
			}
		}},
		{"DeleteRecords", func() {
			if _, err := admin.DeleteRecords(within(t), kadm.Offsets{"trim": {0: {Topic: "trim", At: endOf("trim")}}}); err != nil {
				t.Fatal(err)
			}
		}},
		{"a larger disk", func() { fs.SetCapacity(1 << 40) }},
	} {
		if refused := fill(); !errors.Is(refused, kerr.KafkaStorageError) {
			t.Fatalf("before %s: produce to a full disk: %v, want KAFKA_STORAGE_ERROR", step.name, refused)
		}
		end := endOf("keep")
		if p, err := tryFetch(t, client, "keep", 0, end-1); err != nil || len(p.RecordBatches) < len(value) {
			t.Errorf("before %s: a read from a full disk: %d bytes, %v", step.name, len(p.RecordBatches), err)
		}
		step.room()
		await(t, "a produce succeeds after "+step.name, func() bool { return tryProduce(t, client, "keep", 0, value) == nil })
		if got := endOf("keep"); got != end+1 {
			t.Errorf("after %s: the end moved from %d to %d by one produce", step.name, end, got)
		}
	}
	consumed := 0
	consumer := n.Client(kgo.ConsumeTopics("keep"))
	for end := int(endOf("keep")); consumed < end; {
		fetches := consumer.PollFetches(within(t))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != int64(consumed) {
				t.Fatalf("offset %d, want %d", r.Offset, consumed)
			}
			consumed++
		})
	}
}

// Retention gives up what is too much and what is too old, whole segments at a time, and never by the
// wall clock of the test machine: time is the node's.
func TestNode_Retention(t *testing.T) {
	var wall atomic.Int64
	wall.Store(time.Now().UnixMilli())
	n := nodetest.Start(t, nodetest.Options{
		Set:  []string{"log.retention.check.interval.ms=10"},
		Wall: func() time.Time { return time.UnixMilli(wall.Load()) },
	})
	client := n.Client(kgo.ProducerBatchCompression(kgo.NoCompression()))
	admin := kadm.NewClient(client)
	createTopic(t, admin, "bytes", 1, "segment.bytes=1048576", "retention.bytes=3145728", "retention.ms=-1")
	createTopic(t, admin, "ms", 1, "segment.bytes=1048576", "retention.ms=3600000")
	createTopic(t, admin, "all", 1, "segment.bytes=1048576", "retention.ms=-1")
	value := make([]byte, 100_000)
	produceAt := func(topic string, count int) {
		t.Helper()
		records := make([]*kgo.Record, count)
		for i := range records {
			records[i] = &kgo.Record{Topic: topic, Value: value, Timestamp: time.UnixMilli(wall.Load())}
		}
		if err := client.ProduceSync(within(t), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, topic := range []string{"bytes", "ms", "all"} {
		produceAt(topic, 80) // 8 MB
	}
	// By size: as little as leaves retention.bytes, so more than that and less than a segment beyond it.
	await(t, "retention.bytes gives up segments", func() bool { return startOf(t, admin, "bytes") > 0 })
	var size int64
	await(t, "the log is no larger than retention.bytes and a segment", func() bool {
		dirs, err := admin.DescribeAllLogDirs(within(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := dirs[1]["/data"].Topics.Lookup("bytes", 0)
		size = p.Size
		return size < 4<<20
	})
	if size < 3<<20 {
		t.Errorf("%d bytes are left, retention.bytes is %d", size, 3<<20)
	}
	if start := startOf(t, admin, "ms"); start != 0 {
		t.Errorf("records that are not old were given up, up to %d", start)
	}

	wall.Add(time.Hour.Milliseconds() / 2)
	produceAt("ms", 40)
	wall.Add(time.Hour.Milliseconds()/2 + 1)
	await(t, "retention.ms gives up segments", func() bool { return startOf(t, admin, "ms") >= 70 })
	if start := startOf(t, admin, "ms"); start > 80 {
		t.Errorf("records of half an hour were given up: the log starts at %d, they at 80", start)
	}
	wall.Add(time.Hour.Milliseconds())
	await(t, "everything is too old, the active segment too", func() bool { return startOf(t, admin, "ms") == 120 })
	produceAt("ms", 1)
	if p, err := tryFetch(t, client, "ms", 0, 120); err != nil || p.HighWatermark != 121 {
		t.Errorf("a record after that: high watermark %d, %v", p.HighWatermark, err)
	}
	if _, err := tryFetch(t, client, "ms", 0, 119); !errors.Is(err, kerr.OffsetOutOfRange) {
		t.Errorf("a read of what is gone: %v", err)
	}
	if start := startOf(t, admin, "all"); start != 0 {
		t.Errorf("a topic without retention was given up, up to %d", start)
	}
}

// A node whose metadata log cannot be written ends and says why. What it holds of records is left as after any stop.
func TestNode_FailedMetadataLog(t *testing.T) {
	var broken atomic.Bool
	disk := vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		if broken.Load() && op.Kind == vfs.OpSync && strings.HasPrefix(op.Name, "/m/") {
			return syscall.EIO
		}
		return nil
	})
	n := nodetest.Start(t, nodetest.Options{FS: disk, Set: []string{"log.dirs=/data", "metadata.log.dir=/m"}})
	produce(t, n, "t", 0, 1)
	broken.Store(true)
	if _, err := kadm.NewClient(n.Client(kgo.RequestRetries(0))).CreateTopic(within(t), 1, 1, nil, "refused"); err == nil {
		t.Error("a topic was created that nobody knows of after a restart")
	}
	if err := n.Wait(); !errors.Is(err, syscall.EIO) || strings.Contains(err.Error(), "\n") {
		t.Errorf("the node ended with %v, want the one error of the disk", err)
	}
	if _, clean, err := checkpoint.ReadCleanShutdown(disk, "/data"); err != nil || !clean {
		t.Errorf("/data is marked clean: %v, %v", clean, err)
	}
}
