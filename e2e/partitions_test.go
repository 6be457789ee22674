package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What many partitions may cost. A node with up to a thousand must be back within a second of a kill.
const (
	memoryPerPartition = 16 << 10
	idleCPU            = 0.03 // of a core
	manyBackWithin     = 5 * time.Second
	thousandBackWithin = time.Second
)

// TestPartitions fills many partitions, looks at what they cost while nobody uses them, kills the node, and
// waits until the last-created partition acknowledges a record and all of them serve again.
//
// E2E_PARTITIONS says how many there are (1000).
func TestPartitions(t *testing.T) {
	partitions := setting(t, "E2E_PARTITIONS", 1000)
	const topic = "partitions"
	n := startNode(t)
	time.Sleep(time.Second) // what start-up left to do is done
	empty := n.residentMemory()

	client := newClient(t, n.addr, kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }), // what is measured is the node
		kgo.MetadataMinAge(10*time.Millisecond))
	admin := kadm.NewClient(client)
	last := partitions - 1
	if _, err := admin.CreateTopic(deadline(t), int32(max(last, 1)), 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	if partitions > 1 {
		if _, err := admin.CreatePartitions(deadline(t), 1, topic); err != nil {
			t.Fatal(err)
		}
	}
	const recordsEach = 3
	for range recordsEach { // in turns, as data comes to many partitions
		records := make([]*kgo.Record, partitions)
		for p := range records {
			records[p] = &kgo.Record{Topic: topic, Partition: int32(p), Value: fmt.Appendf(nil, "%0100d", p)}
		}
		if err := client.ProduceSync(deadline(t), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	perPartition := func(what string) {
		t.Helper()
		each := (n.residentMemory() - empty) / int64(partitions)
		t.Logf("%s: %.1f KiB of resident memory per partition", what, float64(each)/(1<<10))
		if each > memoryPerPartition {
			t.Errorf("%s: a partition holds %d bytes of resident memory, want at most %d", what, each, memoryPerPartition)
		}
	}
	idle := func(what string) {
		t.Helper()
		const interval = 5 * time.Second
		var share float64
		for range 4 { // what the load left to do may take a while on a busy machine: work without end is what must not be
			before := n.cpuTime()
			time.Sleep(interval)
			share = float64(n.cpuTime()-before) / float64(interval)
			t.Logf("%s: %.1f %% of a core while idle", what, 100*share)
			if share < idleCPU {
				return
			}
		}
		t.Errorf("%s: an idle node takes %.1f %% of a core, want less than %.0f", what, 100*share, 100*idleCPU)
	}
	idle("filled")
	perPartition("filled")

	killed := time.Now()
	n.kill()
	n.launch()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	acknowledged, err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: int32(last), Value: []byte("back")}).First()
	took := time.Since(killed)
	if err != nil {
		t.Fatalf("no record is acknowledged after the kill: %v", err)
	}
	if acknowledged.Offset != recordsEach {
		t.Errorf("the record after the kill has offset %d, want %d", acknowledged.Offset, recordsEach)
	}
	checkEnds(t, admin, topic, partitions, func(p int) int64 {
		if p == last {
			return recordsEach + 1
		}
		return recordsEach
	})
	all := time.Since(killed)
	limit := manyBackWithin
	if partitions <= 1000 {
		limit = thousandBackWithin
	}
	t.Logf("%d partitions: kill -9 to acknowledged record on the last one %v, until every one tells its end %v",
		partitions, took.Round(time.Millisecond), all.Round(time.Millisecond))
	// The order of recovery is the node's own: that the last one is back does not say that all are.
	if max(took, all) >= limit {
		t.Errorf("the partitions are back %v after the kill, want less than %v", max(took, all), limit)
	}
	idle("after the kill")
	perPartition("after the kill")
}

// checkEnds waits until every partition tells its end again, and compares it with what was acknowledged.
func checkEnds(t *testing.T, admin *kadm.Client, topic string, partitions int, want func(p int) int64) {
	t.Helper()
	for ctx := deadline(t); ; time.Sleep(20 * time.Millisecond) {
		ends, err := admin.ListEndOffsets(ctx, topic)
		if ctx.Err() != nil {
			t.Fatalf("the partitions do not tell their ends: %v", err)
		} else if err != nil {
			continue // the whole request may fail while the partitions are recovering
		}
		recovering := 0
		for p := range partitions {
			switch o, ok := ends.Lookup(topic, int32(p)); {
			case !ok:
				t.Fatalf("partition %d is not in the answer", p)
			case kerr.IsRetriable(o.Err):
				recovering++
			case o.Err != nil || o.Offset != want(p):
				t.Errorf("partition %d ends at %d (%v) after the kill, want %d", p, o.Offset, o.Err, want(p))
			}
		}
		if recovering == 0 || t.Failed() {
			return
		}
	}
}
