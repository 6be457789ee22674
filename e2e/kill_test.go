package e2e

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	killTopic      = "kill"
	killGroup      = "kill-group"
	killPartitions = 4
	killProducers  = 3
	killMembers    = 2
)

// TestKill9 kills the node again and again under clients that live through it: idempotent producers with
// acks=all, five requests in flight and more always waiting behind them, and a group that reads along and
// commits. Every acknowledged record is found at the offset its producer was told, and nothing beside them;
// no producer gives up or starts a new epoch; no committed position goes back; what the group read stays.
// Every other kill comes as soon as a segment has been rolled.
//
// E2E_KILLS says how often the node is killed (5).
func TestKill9(t *testing.T) {
	kills := setting(t, "E2E_KILLS", 5)
	n := startNode(t, "--set", "group.initial.rebalance.delay.ms=0") // or seconds of load go by before the first kill
	admin := kadm.NewClient(newClient(t, n.addr))
	segment := "1048576" // the smallest Kafka takes
	configs := map[string]*string{"segment.bytes": &segment}
	if _, err := admin.CreateTopic(deadline(t), killPartitions, 1, configs, killTopic); err != nil {
		t.Fatal(err)
	}

	var acknowledged atomic.Int64
	producers := make([]*killProducer, killProducers)
	for id := range producers {
		producers[id] = startKillProducer(t, n.addr, id, &acknowledged)
	}
	group := startKillReaders(t, n.addr)
	group.awaitCommit(t, 30*time.Second) // it is a member now, and the kills hit it as one

	// moved waits until records are acknowledged again.
	moved := func(seen int64) {
		t.Helper()
		for until := time.Now().Add(30 * time.Second); acknowledged.Load() == seen; time.Sleep(time.Millisecond) {
			if t.Failed() {
				t.FailNow()
			}
			if time.Now().After(until) {
				t.Fatalf("nothing was acknowledged within 30 s of a kill; %d records were before", seen)
			}
		}
	}
	var (
		back      []time.Duration // from each kill to the next acknowledgement
		inFlight  int64           // sums over kills and producers
		fullDepth int
		begun     []int64 // sizes of the segments that were just begun when the node was killed
	)
	for k := range kills {
		if k%2 == 0 {
			time.Sleep(rand.N(500 * time.Millisecond))
		} else {
			awaitRoll(t, n, killTopic)
		}
		for _, p := range producers {
			now := p.inFlight.Load()
			inFlight += now
			if now == 5 {
				fullDepth++
			}
		}
		killed := time.Now()
		n.kill()
		seen := acknowledged.Load()
		if k%2 == 1 {
			begun = append(begun, newestSegment(t, n, killTopic))
		}
		n.start()
		moved(seen)
		back = append(back, time.Since(killed).Round(time.Millisecond))
		group.checkCommitted(t, admin)
	}
	for _, p := range producers {
		p.stop(t)
	}
	total := acknowledged.Load()
	ends := endOffsets(t, admin, killTopic)
	group.awaitEnd(t, admin, ends)
	group.stop()
	if fullDepth == 0 {
		t.Error("no producer ever had five requests in flight when the node was killed")
	}
	checkKilledLog(t, n.addr, ends, producers, group)
	t.Logf("%d kills; %d records acknowledged and each found at its offset, %d positions committed", kills, total, group.commits.Load())
	// franz-go dials again after 250 ms, and where a partition was still recovering asks for its leader after
	// up to 5 s.
	slices.Sort(back)
	t.Logf("kill to next acknowledgement: median %v, slowest %v", back[kills/2], back[kills-1])
	if slices.Sort(begun); len(begun) > 0 {
		t.Logf("%d kills came when a new segment held some %d bytes (median)", len(begun), begun[len(begun)/2])
	}
	t.Logf("requests in flight at a kill: %.1f per producer, %d of %d times all five",
		float64(inFlight)/float64(kills*killProducers), fullDepth, kills*killProducers)
}

// setting returns a whole number from the environment.
func setting(t *testing.T, name string, byDefault int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return byDefault
	}
	value, err := strconv.Atoi(text)
	if err != nil || value < 1 {
		t.Fatalf("%s=%q: want a number from 1 on", name, text)
	}
	return value
}

// awaitRoll returns as soon as a partition of the topic has a segment more than when it was called.
func awaitRoll(t *testing.T, n *node, topic string) {
	t.Helper()
	for before, until := len(segments(t, n, topic)), time.Now().Add(30*time.Second); len(segments(t, n, topic)) == before; {
		if t.Failed() {
			t.FailNow()
		}
		if time.Now().After(until) {
			t.Fatalf("no segment was rolled within 30 s; there are %d", before)
		}
	}
}

// newestSegment returns the size of the smallest among the last segments of a topic's partitions.
func newestSegment(t *testing.T, n *node, topic string) int64 {
	t.Helper()
	last := map[string]string{} // by partition; names come sorted
	for _, name := range segments(t, n, topic) {
		last[filepath.Dir(name)] = name
	}
	smallest := int64(math.MaxInt64)
	for _, name := range last {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		smallest = min(smallest, info.Size())
	}
	return smallest
}

// segments returns the names of a topic's segments.
func segments(t *testing.T, n *node, topic string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(n.dataDir, "walser", topic+"-*", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Batches are small, so that the producers are busy with requests and the records of many kills still fit
// into memory and on the disk. The buffer holds some ten times what may be in flight.
const (
	recordSize     = 100
	batchSize      = 1 << 10
	bufferedAtMost = 2000
)

// recordID names a record: its producer, and its number among those that the producer sent to a partition.
type recordID uint64

func newRecordID(producer, number int) recordID { return recordID(producer)<<56 | recordID(number) }

func (id recordID) producer() int { return int(id >> 56) }
func (id recordID) number() int   { return int(id & (1<<56 - 1)) }

// value is a record's value: its name, and zeros.
func (id recordID) value() []byte { return fmt.Appendf(nil, "%016x%0*d", uint64(id), recordSize-16, 0) }

func recordIDOf(r *kgo.Record) recordID {
	id, err := strconv.ParseUint(string(r.Value[:16]), 16, 64)
	if err != nil {
		return ^recordID(0) // nobody's
	}
	return recordID(id)
}

// killProducer is a producer that always has more to send, and the offsets it was told.
type killProducer struct {
	id       int
	client   *kgo.Client
	inFlight atomic.Int64 // Produce requests that are written and not answered
	offsets  [killPartitions][]int64
	pid      int64
	epoch    int16
	stopping chan struct{}
	running  sync.WaitGroup
}

// OnBrokerWrite and OnBrokerE2E frame the time that a request is in flight: the second follows the first
// once per request, whether an answer comes or the connection dies.
func (p *killProducer) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == int16(kmsg.Produce) {
		p.inFlight.Add(1)
	}
}

func (p *killProducer) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, _ kgo.BrokerE2E) {
	if key == int16(kmsg.Produce) {
		p.inFlight.Add(-1)
	}
}

func startKillProducer(t *testing.T, addr string, id int, acknowledged *atomic.Int64) *killProducer {
	t.Helper()
	p := &killProducer{id: id, stopping: make(chan struct{})}
	p.client = newClient(t, addr, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(batchSize), kgo.MaxBufferedRecords(bufferedAtMost),
		// Without this the client hides a sequence that the broker refuses by starting a new epoch.
		kgo.StopProducerOnDataLossDetected(), kgo.WithHooks(p))
	var err error
	if p.pid, p.epoch, err = p.client.ProducerID(deadline(t)); err != nil {
		t.Fatal(err)
	}
	p.running.Go(func() {
		for number := 0; ; number++ {
			for partition := range p.offsets {
				select {
				case <-p.stopping:
					return
				default:
				}
				value := newRecordID(id, number).value()
				// Produce waits while the buffer is full.
				p.client.Produce(context.Background(), &kgo.Record{Topic: killTopic, Partition: int32(partition), Value: value},
					func(r *kgo.Record, err error) {
						got := recordIDOf(r).number()
						switch want := len(p.offsets[r.Partition]); {
						case errors.Is(err, kgo.ErrClientClosed):
							return // the test has failed and ends
						case err != nil:
							t.Errorf("producer %d gave up on record %d of partition %d: %v", id, got, r.Partition, err)
						case got != want:
							t.Errorf("producer %d: record %d of partition %d is acknowledged before record %d", id, got, r.Partition, want)
						}
						p.offsets[r.Partition] = append(p.offsets[r.Partition], r.Offset) // promises are called one by one
						acknowledged.Add(1)
					})
			}
		}
	})
	return p
}

// stop sends what is buffered and makes sure that the producer is the one it was.
func (p *killProducer) stop(t *testing.T) {
	t.Helper()
	close(p.stopping)
	p.running.Wait()
	if err := p.client.Flush(deadline(t)); err != nil {
		t.Fatalf("producer %d: flush: %v", p.id, err)
	}
	if pid, epoch, err := p.client.ProducerID(deadline(t)); err != nil || pid != p.pid || epoch != p.epoch {
		t.Errorf("producer %d ends as id %d, epoch %d, %v; it began as id %d, epoch %d", p.id, pid, epoch, err, p.pid, p.epoch)
	}
	p.client.Close()
}

// killReaders is a group whose members read along and commit, and what they know.
type killReaders struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	commits atomic.Int64

	mu        sync.Mutex
	committed [killPartitions]int64      // the positions whose commit was acknowledged last
	read      [killPartitions][]recordID // by offset
}

func startKillReaders(t *testing.T, addr string) *killReaders {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	g := &killReaders{cancel: cancel}
	t.Cleanup(g.stop)
	for range killMembers {
		client := newClient(t, addr, kgo.ConsumerGroup(killGroup), kgo.ConsumeTopics(killTopic), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll())
		g.running.Go(func() {
			defer client.Close()
			for ctx.Err() == nil {
				fetches := client.PollRecords(ctx, 10_000)
				fetches.EachRecord(func(r *kgo.Record) { g.saw(t, r) })
				// A commit that fails is tried again with the next one, as an application would.
				client.CommitOffsetsSync(ctx, client.UncommittedOffsets(), g.onCommitted(t))
				client.AllowRebalance()
			}
		})
	}
	return g
}

func (g *killReaders) stop() {
	g.cancel()
	g.running.Wait()
}

// saw notes a record that a member read. One may be read again, but it stays the same.
func (g *killReaders) saw(t *testing.T, r *kgo.Record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	read := &g.read[r.Partition]
	switch id, next := recordIDOf(r), int64(len(*read)); {
	case r.Offset == next:
		*read = append(*read, id)
	case r.Offset > next:
		t.Errorf("the group skipped from offset %d to %d of partition %d", next, r.Offset, r.Partition)
	case (*read)[r.Offset] != id:
		t.Errorf("the group read two records at offset %d of partition %d", r.Offset, r.Partition)
	}
}

// onCommitted notes the positions that the node has taken.
func (g *killReaders) onCommitted(t *testing.T) func(*kgo.Client, *kmsg.OffsetCommitRequest, *kmsg.OffsetCommitResponse, error) {
	return func(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		for i, topic := range resp.Topics {
			for j, answer := range topic.Partitions {
				if answer.ErrorCode != 0 {
					continue
				}
				asked := req.Topics[i].Partitions[j]
				if was := g.committed[asked.Partition]; asked.Offset < was {
					t.Errorf("a member commits %d for partition %d, where %d was committed: it resumed too early", asked.Offset, asked.Partition, was)
				}
				g.committed[asked.Partition] = asked.Offset
				g.commits.Add(1)
			}
		}
	}
}

// awaitCommit waits until the group has committed once more.
func (g *killReaders) awaitCommit(t *testing.T, within time.Duration) {
	t.Helper()
	for before, until := g.commits.Load(), time.Now().Add(within); g.commits.Load() == before; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("the group committed nothing within %v", within)
		}
	}
}

// checkCommitted looks up the committed positions: none is before one that was acknowledged.
func (g *killReaders) checkCommitted(t *testing.T, admin *kadm.Client) [killPartitions]int64 {
	t.Helper()
	g.mu.Lock()
	before := g.committed
	g.mu.Unlock()
	answer, err := admin.FetchOffsets(deadline(t), killGroup)
	if err != nil {
		t.Fatal(err)
	}
	var now [killPartitions]int64
	for p, was := range before {
		if o, ok := answer.Lookup(killTopic, int32(p)); ok && o.Err == nil {
			now[p] = o.At
		}
		if now[p] < was {
			t.Errorf("the committed position of partition %d went back from %d to %d", p, was, now[p])
		}
	}
	return now
}

// awaitEnd waits until the group has committed the end of every partition.
func (g *killReaders) awaitEnd(t *testing.T, admin *kadm.Client, ends [killPartitions]int64) {
	t.Helper()
	until := time.Now().Add(2 * time.Minute)
	for now := g.checkCommitted(t, admin); now != ends; now = g.checkCommitted(t, admin) {
		if t.Failed() || time.Now().After(until) {
			t.Fatalf("the group committed %v; the log ends at %v", now, ends)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func endOffsets(t *testing.T, admin *kadm.Client, topic string) (ends [killPartitions]int64) {
	t.Helper()
	listed, err := admin.ListEndOffsets(deadline(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	for p := range ends {
		o, ok := listed.Lookup(topic, int32(p))
		if !ok || o.Err != nil {
			t.Fatalf("the end of partition %d: %+v", p, o)
		}
		ends[p] = o.Offset
	}
	return ends
}

// checkKilledLog reads the topic whole and compares it with what its producers were told and what the
// group read.
func checkKilledLog(t *testing.T, addr string, ends [killPartitions]int64, producers []*killProducer, group *killReaders) {
	t.Helper()
	var (
		next  [killProducers][killPartitions]int
		reads [killPartitions]int64
	)
	consumer := newClient(t, addr, kgo.ConsumeTopics(killTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for reads != ends {
		fetches := consumer.PollFetches(deadline(t))
		if err := fetches.Err(); err != nil {
			t.Fatalf("read back %v of %v: %v", reads, ends, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != reads[r.Partition] {
				t.Fatalf("partition %d: offset %d follows %d", r.Partition, r.Offset, reads[r.Partition]-1)
			}
			reads[r.Partition]++
			id := recordIDOf(r)
			p, number := id.producer(), id.number()
			if want := next[p][r.Partition]; number != want {
				t.Fatalf("partition %d, offset %d: record %d of producer %d, want %d: lost, doubled or reordered", r.Partition, r.Offset, number, p, want)
			}
			next[p][r.Partition]++
			if told := producers[p].offsets[r.Partition]; number >= len(told) || told[number] != r.Offset {
				t.Fatalf("partition %d, offset %d: record %d of producer %d stands where its producer was not told", r.Partition, r.Offset, number, p)
			}
			if read := group.read[r.Partition]; r.Offset < int64(len(read)) && read[r.Offset] != id {
				t.Fatalf("partition %d, offset %d: the group read another record here", r.Partition, r.Offset)
			}
		})
	}
	for p, producer := range producers {
		for partition, told := range producer.offsets {
			if next[p][partition] != len(told) {
				t.Errorf("producer %d, partition %d: found %d records of %d acknowledged", p, partition, next[p][partition], len(told))
			}
		}
	}
	for partition, read := range group.read {
		if int64(len(read)) != ends[partition] {
			t.Errorf("partition %d: the group read up to %d, the log ends at %d", partition, len(read), ends[partition])
		}
	}
}

// TestKill9_Joining kills the node whenever a member asks to join: what it knew of the member is gone each
// time, since only a finished generation is written down. The member starts over as often as needed, and
// is in the group, reads and commits once it is left in peace for as long as the group waits for others.
func TestKill9_Joining(t *testing.T) {
	kills := setting(t, "E2E_KILLS", 5)
	for _, delay := range []time.Duration{0, 3 * time.Second} { // Kafka's default is 3 s
		t.Run(fmt.Sprint("group.initial.rebalance.delay.ms=", delay.Milliseconds()), func(t *testing.T) {
			t.Parallel()
			n := startNode(t, "--set", fmt.Sprint("group.initial.rebalance.delay.ms=", delay.Milliseconds()))
			franz{}.create(t, n.addr, killTopic, killPartitions)
			franz{}.produce(t, n.addr, killTopic, "none", 0, 100)

			joins := make(chan struct{}, 1)
			client := newClient(t, n.addr, kgo.ConsumerGroup(killGroup), kgo.ConsumeTopics(killTopic), kgo.DisableAutoCommit(),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
				kgo.WithHooks(onWrite(func(key int16) {
					if k := kmsg.Key(key); k == kmsg.JoinGroup || k == kmsg.SyncGroup {
						select {
						case joins <- struct{}{}:
						default:
						}
					}
				})))
			ctx, cancel := context.WithCancel(context.Background())
			committed := make(chan struct{})
			go func() {
				for ctx.Err() == nil {
					poll, done := context.WithTimeout(ctx, time.Second) // a commit that failed is tried again
					client.PollFetches(poll)
					done()
					if len(client.UncommittedOffsets()) > 0 && client.CommitUncommittedOffsets(ctx) == nil {
						close(committed)
						return
					}
				}
			}()
			t.Cleanup(cancel)
			for k := range kills {
				select {
				case <-joins:
				case <-committed:
					t.Logf("committed between kills, after %d of %d", k, kills)
					return
				case <-time.After(30 * time.Second):
					t.Fatalf("the member asked no more to join after %d kills", k)
				}
				time.Sleep(rand.N(20 * time.Millisecond))
				n.kill()
				n.start()
			}
			left := time.Now()
			select {
			case <-committed:
				t.Logf("%d kills while joining; committed %v after the last restart", kills, time.Since(left).Round(time.Millisecond))
			case <-time.After(delay + 15*time.Second):
				t.Fatalf("committed nothing within %v of the last kill", time.Since(left))
			}
		})
	}
}

// onWrite is called with the key of each request that was written.
type onWrite func(key int16)

func (f onWrite) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if err == nil {
		f(key)
	}
}
