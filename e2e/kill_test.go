package e2e

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestKill9 kills the node again and again under producers that live through it: idempotent, acks=all, five
// requests in flight. Every record they were told of is there, once, in order, and no client gives up.
// E2E_KILLS says how often; CI kills five times.
func TestKill9(t *testing.T) {
	kills := 5
	if text := os.Getenv("E2E_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	const producers, partitions = 3, 4
	n := startNode(t)
	segment := "1048576" // so that kills fall on rolls, too
	admin := kadm.NewClient(newClient(t, n.addr))
	if _, err := admin.CreateTopic(deadline(t), partitions, 1, map[string]*string{"segment.bytes": &segment}, "kill"); err != nil {
		t.Fatal(err)
	}

	stop := make(chan struct{})
	var running sync.WaitGroup
	var acknowledged atomic.Int64
	sent := make([][partitions]int, producers) // values acknowledged: 0 … sent-1 of each producer and partition
	for p := range producers {
		client := newClient(t, n.addr, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
			kgo.ProducerBatchMaxBytes(64<<10), kgo.RecordRetries(1<<30))
		running.Go(func() {
			defer client.Close()
			var mu sync.Mutex
			for {
				select {
				case <-stop:
					if err := client.Flush(deadline(t)); err != nil {
						t.Errorf("producer %d: flush: %v", p, err)
					}
					return
				default:
				}
				var batch sync.WaitGroup
				for range 200 {
					for partition := range partitions {
						mu.Lock()
						i := sent[p][partition]
						sent[p][partition]++
						mu.Unlock()
						batch.Add(1)
						value := fmt.Appendf(nil, "%d %d %0200d", p, i, 0)
						client.Produce(context.Background(), &kgo.Record{Topic: "kill", Partition: int32(partition), Value: value},
							func(_ *kgo.Record, err error) {
								if err != nil {
									t.Errorf("producer %d gave up: %v", p, err)
								}
								acknowledged.Add(1)
								batch.Done()
							})
					}
				}
				batch.Wait()
			}
		})
	}
	var slowest time.Duration
	for range kills {
		// Let the producers get going again, a different distance each time.
		for seen, more := acknowledged.Load(), int64(1000+time.Now().UnixNano()%5000); acknowledged.Load() < seen+more; {
			time.Sleep(time.Millisecond)
		}
		n.kill()
		killed := time.Now()
		seen := acknowledged.Load()
		n.start()
		for acknowledged.Load() == seen {
			time.Sleep(time.Millisecond)
		}
		slowest = max(slowest, time.Since(killed))
	}
	close(stop)
	running.Wait()

	next := make([][partitions]int, producers)
	consumer := newClient(t, n.addr, kgo.ConsumeTopics("kill"))
	for total := acknowledged.Load(); total > 0; {
		fetches := consumer.PollFetches(deadline(t))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var p, i int
			if _, err := fmt.Sscanf(string(r.Value), "%d %d", &p, &i); err != nil {
				t.Fatal(err)
			}
			if want := next[p][r.Partition]; i != want {
				t.Fatalf("partition %d at offset %d: record %d of producer %d, want %d: lost, doubled or reordered",
					r.Partition, r.Offset, i, p, want)
			}
			next[p][r.Partition]++
			total--
		})
	}
	for p := range next {
		if next[p] != sent[p] {
			t.Errorf("producer %d: read %v, sent %v", p, next[p], sent[p])
		}
	}
	t.Logf("%d kills, %d records acknowledged and found; slowest kill to next acknowledgement %v", kills, acknowledged.Load(), slowest)
}
