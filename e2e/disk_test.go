package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestFullDisk fills a file system of 64 MiB, which a tmpfs stands for. The node stays up: records are
// read, a topic is deleted, retention makes room, and producers go on by themselves each time there is.
// Mounting needs root; without it the test is skipped, which CI does not allow.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("walser-e2e", dir, "tmpfs", 0, "size=64m"); err != nil {
		if os.Getenv("E2E_REQUIRE") != "" {
			t.Fatalf("mount a tmpfs: %v", err)
		}
		t.Skipf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { // after the node, which is started later, has ended
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	n := startNode(t, "--set", "log.dirs="+filepath.Join(dir, "data"), "--set", "log.segment.delete.delay.ms=0",
		"--set", "log.retention.check.interval.ms=50", "--set", "log.segment.bytes=4194304")
	client := newClient(t, n.addr, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordRetries(1<<30), kgo.RetryTimeout(time.Hour))
	admin := kadm.NewClient(client)
	for _, topic := range []string{"drop", "trim"} {
		if _, err := admin.CreateTopic(deadline(t), 1, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	value := make([]byte, 100_000)
	write := func(topic string, count int) error {
		records := make([]*kgo.Record, count)
		for i := range records {
			records[i] = &kgo.Record{Topic: topic, Value: value}
		}
		return client.ProduceSync(deadline(t), records...).FirstErr()
	}
	if err := write("drop", 200); err != nil { // 20 MB of the 67
		t.Fatal(err)
	}
	// A producer that never gives up fills the rest, and has to wait.
	written := make(chan error, 1)
	fill := func(count int) {
		go func() { written <- write("trim", count) }()
	}
	fill(800) // 80 MB
	awaitFull(t, dir)
	select {
	case err := <-written:
		t.Fatalf("80 MB were written to a full disk: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	consumer := newClient(t, n.addr, kgo.ConsumeTopics("drop"))
	for read := 0; read < 200; {
		fetches := consumer.PollFetches(deadline(t))
		if err := fetches.Err(); err != nil {
			t.Fatalf("a read while the disk is full: %v", err)
		}
		read += fetches.NumRecords()
	}
	if _, err := admin.DeleteTopic(deadline(t), "drop"); err != nil {
		t.Fatalf("the deletion of a topic while the disk is full: %v", err)
	}
	awaitFull(t, dir) // the producer has taken what was freed, and waits again
	limit := "16777216"
	began := time.Now()
	if _, err := admin.AlterTopicConfigs(deadline(t), []kadm.AlterConfig{{Name: "retention.bytes", Value: &limit}}, "trim"); err != nil {
		t.Fatalf("an alteration while the disk is full: %v", err)
	}
	if err := <-written; err != nil {
		t.Fatalf("the producer gave up: %v", err)
	}
	t.Logf("the producer had written all %v after retention was lowered", time.Since(began).Round(time.Millisecond))
	offsets, err := admin.ListEndOffsets(deadline(t), "trim")
	if err != nil || offsets["trim"][0].Offset != 800 {
		t.Errorf("the topic ends at %d, %v; want 800: nothing lost, nothing twice", offsets["trim"][0].Offset, err)
	}
	select {
	case <-n.exited:
		t.Error("walser has ended")
	default:
	}
}

// awaitFull returns when a file system has less free than a batch takes, for a while.
func awaitFull(t *testing.T, dir string) {
	t.Helper()
	since := time.Now()
	for limit := time.Now().Add(30 * time.Second); time.Since(since) < 300*time.Millisecond; time.Sleep(5 * time.Millisecond) {
		var usage syscall.Statfs_t
		if err := syscall.Statfs(dir, &usage); err != nil {
			t.Fatal(err)
		}
		if free := int64(usage.Bavail) * usage.Bsize; free > 2<<20 {
			since = time.Now()
		}
		if time.Now().After(limit) {
			t.Fatal("the disk does not fill up")
		}
	}
}
