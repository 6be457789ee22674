package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestCompaction writes updates of a thousand keys, a tenth of them tombstones, into a compacted topic and
// reads it from the start all the while. E2E_UPDATES says how many updates: 1 000 000 for a full run, a
// tenth of that in CI.
func TestCompaction(t *testing.T) {
	updates := 100_000
	if text := os.Getenv("E2E_UPDATES"); text != "" {
		var err error
		if updates, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	n := startNode(t, "--set", "log.cleaner.backoff.ms=20", "--set", "log.flush.offset.checkpoint.interval.ms=100")
	admin := kadm.NewClient(newClient(t, n.addr))
	configs := map[string]string{
		"cleanup.policy": "compact", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.01", "file.delete.delay.ms": "100",
		"delete.retention.ms": "10000", // longer than a read takes: whoever reads a value comes to its tombstone
	}
	set := map[string]*string{}
	for key, value := range configs {
		set[key] = &value
	}
	if _, err := admin.CreateTopic(deadline(t), 1, 1, set, "table"); err != nil {
		t.Fatal(err)
	}

	table := newTable(updates)
	var acknowledged atomic.Int64
	reads := make(chan int)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		count := 0
		for ctx.Err() == nil && !t.Failed() {
			if end := acknowledged.Load(); end > 0 {
				table.read(t, n.addr, end)
				count++
			}
		}
		reads <- count
	}()
	began := time.Now()
	producer := newClient(t, n.addr, kgo.DefaultProduceTopic("table"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for i := range updates {
		producer.Produce(ctx, table.record(i), func(r *kgo.Record, err error) {
			if err != nil || r.Offset != int64(i) {
				t.Errorf("update %d went to offset %d: %v", i, r.Offset, err)
			}
			acknowledged.Store(int64(i) + 1)
		})
	}
	if err := producer.Flush(deadline(t)); err != nil {
		t.Fatal(err)
	}
	wrote := time.Since(began)
	// The active segment is never compacted, so each of these records begins a new one; and a round that finds
	// the time of the tombstones over needs something that is not compacted yet.
	one, zero := "1", "0"
	if _, err := admin.AlterTopicConfigs(deadline(t), []kadm.AlterConfig{{Name: "segment.ms", Value: &one}, {Name: "min.cleanable.dirty.ratio", Value: &zero}}, "table"); err != nil {
		t.Fatal(err)
	}
	live := table.live()
	records, end := 0, int64(0)
	for limit := time.Now().Add(time.Minute); records != live; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%d records are left of %d updates, want the %d that are live", records, updates, live)
		}
		more := &kgo.Record{Key: []byte("more")}
		if err := producer.ProduceSync(deadline(t), more).FirstErr(); err != nil {
			t.Fatal(err)
		}
		end = more.Offset + 1
		records = table.read(t, n.addr, end)
	}
	stop()
	t.Logf("%d updates in %v, compacted to %d live records within %v; %d reads from the start meanwhile, every one right",
		updates, wrote.Round(time.Millisecond), live, time.Since(began).Round(time.Millisecond), <-reads)
	if t.Failed() {
		return
	}
	n.kill()
	n.start()
	if after := table.read(t, n.addr, end); after != records {
		t.Errorf("%d records after a kill, want %d", after, records)
	}
}

// table is what is written: update i is at offset i, says so, and is of a key that the seed chooses.
type table struct {
	keys  []int         // by update
	byKey map[int][]int // updates in order
}

func newTable(updates int) *table {
	tb := &table{byKey: map[int][]int{}}
	rng := rand.New(rand.NewPCG(1, 0))
	for i := range updates {
		key := rng.IntN(1000)
		tb.keys = append(tb.keys, key)
		tb.byKey[key] = append(tb.byKey[key], i)
	}
	return tb
}

func isTombstone(update int) bool { return update%10 == 3 }

func (tb *table) record(i int) *kgo.Record {
	r := &kgo.Record{Key: strconv.AppendInt(nil, int64(tb.keys[i]), 10)}
	if !isTombstone(i) {
		r.Value = fmt.Appendf(nil, "%d %0100d", i, 0)
	}
	return r
}

// live returns how many keys have a value in the end.
func (tb *table) live() (n int) {
	for _, updates := range tb.byKey {
		if !isTombstone(updates[len(updates)-1]) {
			n++
		}
	}
	return n
}

// latest returns the last update of a key before an offset, -1 for none.
func (tb *table) latest(key int, before int64) int {
	updates := tb.byKey[key]
	if at := sort.SearchInts(updates, int(before)); at > 0 {
		return updates[at-1]
	}
	return -1
}

// read reads the topic from its start to where it ends by then, which is at or past end; checks every record
// against what was written, and that it leads to the state that end has or a later one; and returns how many
// of the updates are left. A reader that stopped at end itself could miss the last update of a key: a later
// one, that it did not come to, may have taken its place.
func (tb *table) read(t *testing.T, addr string, end int64) (records int) {
	consumer, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"table": {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Error(err)
		return 0
	}
	defer consumer.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	at := map[int]int{} // key to the last update that was read
	for next, caughtUp := int64(0), false; next < end || !caughtUp; {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Errorf("read up to %d, at %d: %v", end, next, err)
			return records
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			caughtUp = len(p.Records) > 0 && p.Records[len(p.Records)-1].Offset+1 >= p.HighWatermark
		})
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset < next {
				t.Errorf("offset %d after %d", r.Offset, next-1)
			}
			next = r.Offset + 1
			if int(r.Offset) >= len(tb.keys) {
				return // one of those after the updates
			}
			records++
			i := int(r.Offset)
			if want := tb.record(i); !bytes.Equal(r.Key, want.Key) || !bytes.Equal(r.Value, want.Value) || (r.Value == nil) != isTombstone(i) {
				t.Errorf("at offset %d: %q = %.20q, want %q = %.20q", i, r.Key, r.Value, want.Key, want.Value)
			}
			at[tb.keys[i]] = i
		})
	}
	for key := range tb.byKey {
		want := tb.latest(key, min(end, int64(len(tb.keys))))
		got, seen := at[key]
		switch {
		case want < 0, seen && got >= want:
		case seen:
			t.Errorf("key %d: the last update up to %d is %d, read was %d", key, end, want, got)
		case !isTombstone(want):
			t.Errorf("key %d: update %d is lost", key, want)
		}
	}
	return records
}
